//! The vendor's result codes: what each means and who should do what [103606].
//!
//! The codes of `Text.ErrCode`, `LiveStatus`, `Comparestatus` and of the intention step share one number space. Texts of
//! the vendor change without notice; codes do not.

use super::acts::Acts;

/// The vendor's "retry limit reached": this token takes no more attempts.
pub const ATTEMPTS_EXHAUSTED: i32 = 16;

/// A code of the gateway's own, far from the vendor's: the face passed, and the vendor says that there was no intention step,
/// although the verification was created with one.
pub const INTENTION_STEP_OFF: i32 = 1_000_001;

/// A code of the gateway's own: the vendor ran the intention step in another mode than the verification was created with.
pub const INTENTION_MODE_DIFFERS: i32 = 1_000_002;

/// What a result code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode {
    pub code: i32,
    pub stage: Stage,
    /// In English, without personal data.
    pub meaning: &'static str,
    pub advice: Advice,
}

impl ResultCode {
    /// Explains `code`. A code that is not in the table gets stage and advice `Unknown`.
    pub fn explain(code: i32) -> Self {
        let (stage, meaning, advice) = table(code);
        Self { code, stage, meaning, advice }
    }

    /// Whether the code says that the user tried and how that ended; 14, 15 and 17 only speak of the token.
    pub fn is_attempt(self) -> bool {
        !matches!(self.code, 14 | 15 | 17)
    }
}

/// The step of the flow that a code belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Unknown,
    Final,
    System,
    Wechat,
    Ocr,
    Liveness,
    Comparison,
    Intention,
}

/// Who should do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    Unknown,
    Done,
    FixRequest,
    RetryLater,
    ReadResult,
    NewVerification,
    Wait,
    UserRetries,
    Operator,
    ValidCard,
    RejectOrRetry,
    OtherPhone,
    OtherBrowser,
    FixIdentity,
    OtherChannel,
    OtherDay,
}

impl Advice {
    /// Who acts, and what to do, in English and Chinese.
    pub fn todo(self) -> (Acts, &'static str, &'static str) {
        match self {
            Self::Unknown => (
                Acts::Caller,
                "Let the user retry; the operator looks the code up at Tencent.",
                "请让用户重试；并请运维查阅该结果码。",
            ),
            Self::Done => (Acts::Caller, "Nothing: the user has passed.", "已通过，无需处理。"),
            Self::FixRequest => (
                Acts::Operator,
                "Fix the flow's settings or the caller's request, then create a new verification.",
                "请修正流程配置或调用方的请求，再创建新的核身。",
            ),
            Self::RetryLater => (Acts::User, "Try again in some minutes.", "请几分钟后重试。"),
            Self::ReadResult => (Acts::Caller, "It is complete: read the result.", "核身已完成：请读取结果。"),
            Self::NewVerification => (Acts::Caller, "Create a new verification.", "请创建新的核身。"),
            Self::Wait => (Acts::User, "Finish the page that is open.", "请完成已打开的核身页面。"),
            Self::UserRetries => (Acts::User, "Try again with the same URL.", "请用同一链接重试。"),
            Self::Operator => (
                Acts::Operator,
                "Change it in the console of Tencent or WeChat.",
                "请在腾讯云或微信公众平台的控制台处理。",
            ),
            Self::ValidCard => (Acts::User, "Use an ID card that is valid.", "请使用有效期内的身份证。"),
            Self::RejectOrRetry => (
                Acts::Caller,
                "Possibly an attack: reject, or let the user retry, as the business decides.",
                "可能是攻击：由业务决定拒绝，还是让用户重试。",
            ),
            Self::OtherPhone => (Acts::User, "Use another phone.", "请换一部手机。"),
            Self::OtherBrowser => (Acts::User, "Use another browser.", "请换一个浏览器。"),
            Self::FixIdentity => (
                Acts::Caller,
                "Name or ID number is wrong: create a new verification with the right ones.",
                "姓名或身份证号有误：请用正确的信息创建新的核身。",
            ),
            Self::OtherChannel => (
                Acts::Caller,
                "This person cannot be verified this way: use another channel.",
                "此人无法以这种方式核身：请改用其他渠道。",
            ),
            Self::OtherDay => {
                (Acts::User, "The daily risk limit is reached: try another day.", "已达到当日风控上限：请改日再试。")
            }
        }
    }
}

fn table(code: i32) -> (Stage, &'static str, Advice) {
    use Advice as A;
    use Stage as S;
    match code {
        0 => (S::Final, "passed", A::Done),
        1 => (S::System, "called wrongly", A::FixRequest),
        2 => (S::System, "called wrongly", A::FixRequest),
        3 => (S::System, "called wrongly", A::FixRequest),
        4 => (S::System, "service exception", A::RetryLater),
        8 => (S::System, "service exception", A::RetryLater),
        10 => (S::System, "service exception", A::RetryLater),
        12 => (S::System, "service exception", A::RetryLater),
        13 => (S::System, "service exception", A::RetryLater),
        14 => (S::System, "this verification is already complete", A::ReadResult),
        15 => (S::System, "token expired", A::NewVerification),
        16 => (S::System, "retry limit reached", A::NewVerification),
        17 => (S::System, "flow not finished", A::Wait),
        201 => (S::Wechat, "could not fetch the picture from WeChat", A::UserRetries),
        202 => (S::Wechat, "could not fetch the video", A::UserRetries),
        203 => (S::Wechat, "no permission for this API", A::Operator),
        204 => (S::Wechat, "official account has not authorised FaceID", A::Operator),
        301 => (S::Ocr, "ID number differs from the one given by the caller", A::UserRetries),
        302 => (S::Ocr, "ID card expired", A::ValidCard),
        303 => (S::Ocr, "card not recognised", A::UserRetries),
        1001 => (S::Liveness, "engine timeout", A::UserRetries),
        1002 => (S::Liveness, "suspected not a live person", A::RejectOrRetry),
        1003 => (S::Liveness, "not recognised", A::UserRetries),
        1004 => (S::Liveness, "failed", A::UserRetries),
        1005 => (S::Liveness, "failed", A::UserRetries),
        1006 => (S::Liveness, "certificate library error", A::RetryLater),
        1007 => (S::Liveness, "WeChat liveness result missing", A::UserRetries),
        1008 => (S::Liveness, "unstable network", A::UserRetries),
        1101 => (S::Liveness, "voice not recognised", A::UserRetries),
        1102 => (S::Liveness, "face not fully visible", A::UserRetries),
        1103 => (S::Liveness, "voice not recognised", A::UserRetries),
        1104 => (S::Liveness, "video format", A::OtherPhone),
        1105 => (S::Liveness, "video fetch failed", A::UserRetries),
        1106 => (S::Liveness, "voice too quiet", A::UserRetries),
        1107 => (S::Liveness, "video empty or of the wrong length (about 6 s)", A::UserRetries),
        1108 => (S::Liveness, "resolution too low", A::OtherPhone),
        1109 => (S::Liveness, "no lip movement", A::UserRetries),
        1201 => (S::Liveness, "poor light", A::UserRetries),
        1202 => (S::Liveness, "poor light", A::UserRetries),
        1203 => (S::Liveness, "too near or too far", A::UserRetries),
        1204 => (S::Liveness, "too near or too far", A::UserRetries),
        1205 => (S::Liveness, "too near or too far", A::UserRetries),
        1301 => (S::Liveness, "suspected not a live person", A::RejectOrRetry),
        1302 => (S::Liveness, "failed", A::UserRetries),
        1303 => (S::Liveness, "recording shorter than 2 s", A::UserRetries),
        2001 => (S::Comparison, "engine timeout", A::UserRetries),
        2002 => (S::Comparison, "wrong name", A::FixIdentity),
        2003 => (S::Comparison, "wrong ID number", A::FixIdentity),
        2004 => (S::Comparison, "no usable photo in the video", A::OtherPhone),
        2005 => (S::Comparison, "identity not found", A::OtherChannel),
        2006 => (S::Comparison, "name and ID number do not match", A::FixIdentity),
        2007 => (S::Comparison, "no reference photo", A::OtherChannel),
        2008 => (S::Comparison, "no reference photo", A::OtherChannel),
        2009 => (S::Comparison, "reference photo too small", A::OtherChannel),
        2010 => (S::Comparison, "face not fully visible", A::UserRetries),
        2011 => (S::Comparison, "not the same person (suspected not live)", A::RejectOrRetry),
        2012 => (S::Comparison, "several faces", A::UserRetries),
        2013 => (S::Comparison, "face not fully visible", A::UserRetries),
        2014 => (S::Comparison, "resolution too low", A::OtherPhone),
        2015 => (S::Comparison, "not the same person (comparison failed)", A::UserRetries),
        2016 => (S::Comparison, "not the same person (below the threshold)", A::RejectOrRetry),
        2017 => (S::Comparison, "authority source being upgraded", A::RetryLater),
        2018 => (S::Comparison, "risk limit reached (ID card, browser or openid)", A::OtherDay),
        -1 => (S::Intention, "system or parameter error", A::UserRetries),
        -2 => (S::Intention, "parameter or system error", A::UserRetries),
        -101 => (S::Intention, "face not in the frame", A::UserRetries),
        -102 => (S::Intention, "several faces", A::UserRetries),
        -103 => (S::Intention, "face not detected", A::UserRetries),
        -104 => (S::Intention, "face incomplete", A::UserRetries),
        -105 => (S::Intention, "eyes covered", A::UserRetries),
        -106 => (S::Intention, "mouth covered", A::UserRetries),
        -107 => (S::Intention, "nose covered", A::UserRetries),
        -201 => (S::Intention, "face similarity too low", A::RejectOrRetry),
        -202 => (S::Intention, "face comparison failed", A::UserRetries),
        -301 => (S::Intention, "intention not confirmed", A::RejectOrRetry),
        -302 => (S::Intention, "no mouth movement while answering", A::UserRetries),
        -800 => (S::Intention, "browser not compatible", A::OtherBrowser),
        -801 => (S::Intention, "camera or microphone refused", A::UserRetries),
        -802 => (S::Intention, "interrupted (page switched)", A::UserRetries),
        -803 => (S::Intention, "user closed the page", A::UserRetries),
        -804 => (S::Intention, "unstable network", A::UserRetries),
        -998 => (S::Intention, "system data exception", A::RetryLater),
        -999 => (S::Intention, "unknown system error", A::Operator),
        3001 => (S::Intention, "face not in the frame", A::UserRetries),
        3002 => (S::Intention, "several faces", A::UserRetries),
        3003 => (S::Intention, "face not detected", A::UserRetries),
        3011 => (S::Intention, "face similarity too low", A::RejectOrRetry),
        3012 => (S::Intention, "face comparison failed", A::UserRetries),
        INTENTION_STEP_OFF => {
            (S::Intention, "the flow has an intention step here, and none in the vendor's console", A::Operator)
        }
        INTENTION_MODE_DIFFERS => {
            (S::Intention, "the flow's intention step has another mode in the vendor's console than here", A::Operator)
        }
        _ => (S::Unknown, "a code that this gateway does not know", A::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_every_documented_code() {
        let table = include_str!("../../tests/vectors/vendor/result-codes.tsv");
        let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split('\t').collect()).collect();
        assert!(rows.len() > 80);
        for row in rows {
            let [code, stage, advice] = row[..] else { panic!("{row:?}") };
            let explained = ResultCode::explain(code.parse().unwrap());
            assert_eq!(explained.stage, documented_stage(stage), "{code}");
            assert_eq!(explained.advice, documented_advice(advice), "{code}");
            assert!(!explained.meaning.is_empty(), "{code}");
        }
        let unknown = ResultCode::explain(987_654);
        assert_eq!((unknown.stage, unknown.advice), (Stage::Unknown, Advice::Unknown));
    }

    fn documented_stage(stage: &str) -> Stage {
        match stage.split('-').next().unwrap() {
            "final" => Stage::Final,
            "system" => Stage::System,
            "wechat" => Stage::Wechat,
            "ocr" => Stage::Ocr,
            "liveness" => Stage::Liveness,
            "compare" => Stage::Comparison,
            "intention" => Stage::Intention,
            other => panic!("stage {other}"),
        }
    }

    fn documented_advice(advice: &str) -> Advice {
        match advice {
            "done" => Advice::Done,
            "fix the call" => Advice::FixRequest,
            "retry later" => Advice::RetryLater,
            "read the result" => Advice::ReadResult,
            "new verification" => Advice::NewVerification,
            "pending" => Advice::Wait,
            "user retries" => Advice::UserRetries,
            "operator" => Advice::Operator,
            "user needs a valid card" => Advice::ValidCard,
            "reject or retry" => Advice::RejectOrRetry,
            "another phone" => Advice::OtherPhone,
            "another browser" => Advice::OtherBrowser,
            "fix the name" | "fix the number" | "fix the identity" => Advice::FixIdentity,
            "other channel" => Advice::OtherChannel,
            "another day" => Advice::OtherDay,
            other => panic!("advice {other}"),
        }
    }

    #[test]
    fn codes_about_the_token_are_no_attempts() {
        for code in [14, 15, 17] {
            assert!(!ResultCode::explain(code).is_attempt(), "{code}");
        }
        for code in [0, 4, 16, 301, 2016, -301, 987_654] {
            assert!(ResultCode::explain(code).is_attempt(), "{code}");
        }
    }
}
