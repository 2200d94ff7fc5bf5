//! What the vendor's answer means, and when it is final [103606].
//!
//! Three rules that public integrations get wrong: a non-zero code before the token's end is not a failure (the user may
//! retry with the same token and pass); a missing code is never a verdict, not even at the end where the attempts say that the
//! user had passed; and with the intention step on, the face alone does not pass.

use super::result_code::{ATTEMPTS_EXHAUSTED, ResultCode};
use jiff::Timestamp;

/// What of the vendor's answer a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// `Text.ErrCode`: the face part. Absent while the user has not finished.
    pub face_code: Option<i32>,
    pub intention: IntentionFinding,
    /// The last entry of `Text.LivenessDetail`. Absent when the user has made no liveness attempt.
    pub last_liveness: Option<LivenessFinding>,
}

/// Whether there was an intention step, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentionFinding {
    Off,
    /// On; the code is absent while the vendor has not said.
    On(Option<i32>),
}

/// One liveness attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessFinding {
    pub code: Option<i32>,
    pub at: Option<Timestamp>,
}

/// Where findings leave a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub last_attempt: Option<Attempt>,
    pub attempts_exhausted: bool,
}

impl Judgement {
    /// What an answer without findings leaves: everything as it was, whatever the time.
    pub const NOTHING_LEARNT: Self = Self { verdict: Verdict::Open, last_attempt: None, attempts_exhausted: false };
}

/// The outcome, as far as there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not final: the user may still pass.
    Open,
    Passed,
    /// The token's time is over and the last attempt had not passed.
    Failed,
    /// The token's time is over and there was no attempt.
    Expired,
}

/// How one try of the user ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub code: i32,
    pub at: Option<Timestamp>,
}

/// Judges findings. `token_expired`: the vendor was asked after the token's 7,200 s, so nothing can change any more.
pub fn judge(findings: &Findings, token_expired: bool) -> Judgement {
    let face_code = findings.face_code.filter(|code| ResultCode::explain(*code).is_attempt());
    let passed =
        face_code == Some(0) && matches!(findings.intention, IntentionFinding::Off | IntentionFinding::On(Some(0)));
    let attempted = face_code.is_some() || findings.last_liveness.is_some();
    // The last attempt passed, nothing was to come after it, and yet there is no code: the answer is not whole.
    let contradicts_itself = face_code.is_none()
        && findings.intention == IntentionFinding::Off
        && findings.last_liveness.is_some_and(|liveness| liveness.code == Some(0));
    let verdict = match (passed, token_expired, attempted) {
        (true, _, _) => Verdict::Passed,
        (false, false, _) => Verdict::Open,
        (false, true, _) if contradicts_itself => Verdict::Open,
        (false, true, true) => Verdict::Failed,
        (false, true, false) => Verdict::Expired,
    };
    let at = findings.last_liveness.and_then(|liveness| liveness.at);
    Judgement {
        verdict,
        last_attempt: code_of_last_attempt(face_code, findings).map(|code| Attempt { code, at }),
        attempts_exhausted: findings.face_code == Some(ATTEMPTS_EXHAUSTED),
    }
}

/// The code of the last try that ended. None when the user is in the middle of the first.
fn code_of_last_attempt(face_code: Option<i32>, findings: &Findings) -> Option<i32> {
    match (face_code, findings.intention) {
        (Some(0), IntentionFinding::Off) => Some(0),
        (Some(0), IntentionFinding::On(code)) => code,
        (Some(code), _) => Some(code),
        // In the middle of another try: the one before is the last that ended. A zero there is no verdict.
        (None, _) => findings.last_liveness.and_then(|liveness| liveness.code).filter(|code| *code != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(face_code: Option<i32>, intention: IntentionFinding) -> Findings {
        Findings { face_code, intention, last_liveness: None }
    }

    fn verdict(findings: &Findings) -> (Verdict, Verdict) {
        (judge(findings, false).verdict, judge(findings, true).verdict)
    }

    #[test]
    fn zero_passes_before_and_after_the_tokens_end() {
        assert_eq!(verdict(&findings(Some(0), IntentionFinding::Off)), (Verdict::Passed, Verdict::Passed));
    }

    #[test]
    fn a_failed_attempt_is_final_only_after_the_tokens_end() {
        let compared = findings(Some(2016), IntentionFinding::Off);
        assert_eq!(verdict(&compared), (Verdict::Open, Verdict::Failed));
        assert_eq!(judge(&compared, false).last_attempt, Some(Attempt { code: 2016, at: None }));
    }

    #[test]
    fn no_code_is_no_attempt() {
        for face in [None, Some(17), Some(15), Some(14)] {
            let untouched = findings(face, IntentionFinding::Off);
            assert_eq!(verdict(&untouched), (Verdict::Open, Verdict::Expired), "{face:?}");
            assert_eq!(judge(&untouched, false).last_attempt, None, "{face:?}");
        }
    }

    #[test]
    fn a_missing_code_after_liveness_attempts_is_never_passed() {
        let between = |face, code, intention| Findings {
            last_liveness: Some(LivenessFinding { code, at: None }),
            ..findings(face, intention)
        };
        for face in [None, Some(17)] {
            for code in [None, Some(1004)] {
                let unfinished = between(face, code, IntentionFinding::Off);
                assert_eq!(verdict(&unfinished), (Verdict::Open, Verdict::Failed), "{face:?} {code:?}");
            }
            // The intention step was still to come.
            let half_way = between(face, Some(0), IntentionFinding::On(None));
            assert_eq!(verdict(&half_way), (Verdict::Open, Verdict::Failed), "{face:?}");
            // Nothing was to come: such an answer is as good as none.
            let contradiction = between(face, Some(0), IntentionFinding::Off);
            assert_eq!(verdict(&contradiction), (Verdict::Open, Verdict::Open), "{face:?}");
        }
    }

    #[test]
    fn with_intention_on_the_face_alone_does_not_pass() {
        let on = |code| findings(Some(0), IntentionFinding::On(code));
        assert_eq!(verdict(&on(Some(0))), (Verdict::Passed, Verdict::Passed));
        assert_eq!(verdict(&on(None)), (Verdict::Open, Verdict::Failed));
        assert_eq!(verdict(&on(Some(-301))), (Verdict::Open, Verdict::Failed));
        assert_eq!(judge(&on(Some(-301)), false).last_attempt.unwrap().code, -301);
        assert_eq!(judge(&on(None), true).last_attempt, None, "it has not ended");
        let face_failed = findings(Some(2016), IntentionFinding::On(Some(0)));
        assert_eq!(verdict(&face_failed), (Verdict::Open, Verdict::Failed));
    }

    #[test]
    fn sixteen_exhausts_the_attempts_but_not_the_time() {
        let judgement = judge(&findings(Some(16), IntentionFinding::Off), false);
        assert!(judgement.attempts_exhausted);
        assert_eq!(judgement.verdict, Verdict::Open);
    }
}
