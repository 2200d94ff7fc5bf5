//! The vendor's result codes: meaning, responsible party and hint of each (document 103606).
//!
//! The codes of `Text.ErrCode`, `LiveStatus`, `Comparestatus` and of the intention step share one
//! number space. Texts of the vendor change without notice; codes do not. In the intention step a
//! code may depend on the mode.

mod kinds;
mod table;

pub use kinds::{ATTEMPTS_EXHAUSTED, Advice, INTENTION_MODE_DIFFERS, INTENTION_STEP_OFF, Stage};

use super::intention::IntentionMode;
use table::{Row, TABLE};

/// Meaning of a result code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode {
    pub code: i64,
    pub stage: Stage,
    /// In English, without personal data.
    pub meaning: &'static str,
    /// The same in Chinese.
    pub meaning_zh: &'static str,
    pub advice: Advice,
}

impl ResultCode {
    /// Explains a code of a verification with this intention step. A code that is not in the table
    /// gets stage and advice `Unknown`.
    pub fn explain(code: i64, intention: Option<IntentionMode>) -> Self {
        match TABLE.iter().find(|row| row.code == code && row.step.has(intention)) {
            Some(&Row { stage, meaning, meaning_zh, advice, .. }) => Self { code, stage, meaning, meaning_zh, advice },
            None => Self {
                code,
                stage: Stage::Unknown,
                meaning: "a code that this gateway does not know",
                meaning_zh: "网关未收录的结果码",
                advice: Advice::Unknown,
            },
        }
    }
}

/// Whether a face code says that the user tried and how that ended; 14, 15 and 17 only speak of the
/// token.
pub fn is_attempt(face_code: i64) -> bool {
    !matches!(face_code, 14 | 15 | 17)
}

/// Whether a code of the intention step read aloud says that the token takes no more attempts.
pub fn ends_attempts(read_aloud_code: i64) -> bool {
    matches!(read_aloud_code, -14 | -15)
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
            for mode in documented_modes(stage) {
                let explained = ResultCode::explain(code.parse().unwrap(), mode);
                assert_eq!(explained.stage, documented_stage(stage), "{code} {mode:?}");
                assert_eq!(explained.advice, documented_advice(advice), "{code} {mode:?}");
                assert!(!explained.meaning.is_empty() && !explained.meaning_zh.is_empty(), "{code} {mode:?}");
            }
        }
        let unknown = ResultCode::explain(987_654, None);
        assert_eq!((unknown.stage, unknown.advice), (Stage::Unknown, Advice::Unknown));
    }

    #[test]
    fn each_mode_has_a_code_once() {
        let modes = [None, Some(IntentionMode::ReadAloud), Some(IntentionMode::Questions), Some(IntentionMode::Nods)];
        for row in TABLE {
            let of_row = |other: &&Row| other.code == row.code && (row.step == other.step);
            assert_eq!(TABLE.iter().filter(of_row).count(), 1, "{}", row.code);
        }
        for mode in modes {
            let meaning = ResultCode::explain(-1, mode).meaning;
            assert_ne!(meaning, ResultCode::explain(987_654, mode).meaning, "{mode:?}");
        }
    }

    #[test]
    fn minus_one_and_two_swap_between_the_modes() {
        let meaning = |code, mode| ResultCode::explain(code, Some(mode)).meaning;
        assert_eq!(meaning(-1, IntentionMode::ReadAloud), meaning(-2, IntentionMode::Questions));
        assert_eq!(meaning(-2, IntentionMode::ReadAloud), meaning(-1, IntentionMode::Nods));
        assert_eq!(ResultCode::explain(-9, Some(IntentionMode::Nods)).stage, Stage::Unknown);
    }

    fn documented_modes(stage: &str) -> Vec<Option<IntentionMode>> {
        match stage {
            "intention (read aloud)" => vec![Some(IntentionMode::ReadAloud)],
            "intention (questions, nods)" => vec![Some(IntentionMode::Questions), Some(IntentionMode::Nods)],
            _ => vec![None, Some(IntentionMode::ReadAloud), Some(IntentionMode::Questions), Some(IntentionMode::Nods)],
        }
    }

    fn documented_stage(stage: &str) -> Stage {
        match stage.split(['-', ' ']).next().unwrap() {
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
            assert!(!is_attempt(code), "{code}");
        }
        for code in [0, 4, 16, 301, 2016, -301, 987_654] {
            assert!(is_attempt(code), "{code}");
        }
    }
}
