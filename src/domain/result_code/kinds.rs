//! The kinds of result codes, and those that the gateway itself goes by.

use crate::domain::responsible_party::ResponsibleParty;

/// The vendor's "retry limit reached": this token takes no more attempts.
pub const ATTEMPTS_EXHAUSTED: i64 = 16;

/// A code of the gateway's own, far from the vendor's: the face passed, and the vendor says that
/// there was no intention step, although the verification was created with one.
pub const INTENTION_STEP_OFF: i64 = 1_000_001;

/// A code of the gateway's own: the vendor ran the intention step in another mode than the
/// verification was created with.
pub const INTENTION_MODE_DIFFERS: i64 = 1_000_002;

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

/// The responsible party and its hint.
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
    /// The responsible party, and the hint in English and Chinese.
    pub fn todo(self) -> (ResponsibleParty, &'static str, &'static str) {
        match self {
            Self::Unknown => (
                ResponsibleParty::Caller,
                "Let the user retry; the operator looks the code up at Tencent.",
                "请让用户重试；并请运维查阅该结果码。",
            ),
            Self::Done => (ResponsibleParty::Caller, "Nothing: the user has passed.", "已通过，无需处理。"),
            Self::FixRequest => (
                ResponsibleParty::Operator,
                "Fix the flow's settings or the caller's request, then create a new verification.",
                "请修正流程配置或调用方的请求，再创建新的核身。",
            ),
            Self::RetryLater => (ResponsibleParty::User, "Try again in some minutes.", "请几分钟后重试。"),
            Self::ReadResult => {
                (ResponsibleParty::Caller, "It is complete: read the result.", "核身已完成：请读取结果。")
            }
            Self::NewVerification => (ResponsibleParty::Caller, "Create a new verification.", "请创建新的核身。"),
            Self::Wait => (ResponsibleParty::User, "Finish the page that is open.", "请完成已打开的核身页面。"),
            Self::UserRetries => (ResponsibleParty::User, "Try again with the same URL.", "请用同一链接重试。"),
            Self::Operator => (
                ResponsibleParty::Operator,
                "Change it in the console of Tencent or WeChat.",
                "请在腾讯云或微信公众平台的控制台处理。",
            ),
            Self::ValidCard => (ResponsibleParty::User, "Use an ID card that is valid.", "请使用有效期内的身份证。"),
            Self::RejectOrRetry => (
                ResponsibleParty::Caller,
                "Possibly an attack: reject, or let the user retry, as the business decides.",
                "可能是攻击：由业务决定拒绝，还是让用户重试。",
            ),
            Self::OtherPhone => (ResponsibleParty::User, "Use another phone.", "请换一部手机。"),
            Self::OtherBrowser => (ResponsibleParty::User, "Use another browser.", "请换一个浏览器。"),
            Self::FixIdentity => (
                ResponsibleParty::Caller,
                "Name or ID number is wrong: create a new verification with the right ones.",
                "姓名或身份证号有误：请用正确的信息创建新的核身。",
            ),
            Self::OtherChannel => (
                ResponsibleParty::Caller,
                "This person cannot be verified this way: use another channel.",
                "此人无法以这种方式核身：请改用其他渠道。",
            ),
            Self::OtherDay => (
                ResponsibleParty::User,
                "The daily risk limit is reached: try another day.",
                "已达到当日风控上限：请改日再试。",
            ),
        }
    }
}
