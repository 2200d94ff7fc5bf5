//! The meaning of the vendor's answer, and when it is final (document 103606).
//!
//! Four rules that public integrations get wrong: a non-zero code before the token's end is not a
//! failure (the user may retry with the same token and pass); a missing code is never a verdict,
//! not even at the end where the attempts say that the user had passed; with the intention step on,
//! the face alone does not pass; and only `IsVerifyIntention` says whether that step was on: the
//! vendor sends the step's object, full of nulls or zeros, where there was none.

use super::{
    intention::IntentionMode,
    result::VerificationResult,
    result_code::{ATTEMPTS_EXHAUSTED, INTENTION_MODE_DIFFERS, INTENTION_STEP_OFF, ends_attempts, is_attempt},
};
use jiff::Timestamp;

/// The vendor's answer to one request for a verification's outcome.
pub struct Report {
    /// None: the answer has nothing in it that a verdict could depend on.
    pub findings: Option<Findings>,
    /// Everything that it says, but photos, audio and video.
    pub result: VerificationResult,
}

/// The part of the vendor's answer that a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// `Text.ErrCode`: the face part. Absent while the user has not finished.
    pub face_code: Option<i64>,
    pub intention: IntentionFinding,
    /// The last entry of `Text.LivenessDetail`. Absent when the user has made no liveness attempt.
    pub last_liveness: Option<LivenessFinding>,
}

/// The vendor's report of the intention step, each part as it stands in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntentionFinding {
    /// Whether the step was on. Nothing else says so.
    pub was_on: Option<bool>,
    /// The mode that it was on in.
    pub mode: Option<IntentionMode>,
    /// The vendor names a mode, and it is none that is known here: no code is that of the step.
    pub mode_is_unknown: bool,
    pub read_aloud_code: Option<i64>,
    pub questions_code: Option<i64>,
    pub nods_code: Option<i64>,
}

impl IntentionFinding {
    /// The code of a mode. Where the vendor names none, the code of the only mode that has one, or
    /// the first that refuses: the zero of a step that was not taken is a default.
    pub fn code(self, mode: Option<IntentionMode>) -> Option<i64> {
        match mode {
            Some(IntentionMode::ReadAloud) => self.read_aloud_code,
            Some(IntentionMode::Questions) => self.questions_code,
            Some(IntentionMode::Nods) => self.nods_code,
            None => {
                let codes = [self.read_aloud_code, self.questions_code, self.nods_code];
                codes.into_iter().flatten().find(|code| *code != 0).or(codes.into_iter().flatten().next())
            }
        }
    }

    /// Whether the vendor takes no more attempts at reading aloud.
    fn read_aloud_ended(self, wanted: Option<IntentionMode>) -> bool {
        self.was_on == Some(true)
            && wanted.or(self.mode) == Some(IntentionMode::ReadAloud)
            && self.read_aloud_code.is_some_and(ends_attempts)
    }

    /// How the step ended for a verification that was to have it in mode `wanted`, or was not to
    /// have it.
    fn judge(self, wanted: Option<IntentionMode>) -> IntentionStep {
        match (wanted, self.was_on, self.mode) {
            (None, Some(true), _) if self.mode_is_unknown => IntentionStep::Ended(None),
            (Some(_), Some(true), _) if self.mode_is_unknown => IntentionStep::Misconfigured(INTENTION_MODE_DIFFERS),
            // On in the vendor's console only: it counts all the same.
            (None, Some(true), mode) => IntentionStep::Ended(self.code(mode)),
            (None, Some(false) | None, _) => IntentionStep::Off,
            (Some(_), None, _) => IntentionStep::Ended(None),
            (Some(_), Some(false), _) => IntentionStep::Misconfigured(INTENTION_STEP_OFF),
            (Some(wanted), Some(true), Some(mode)) if mode != wanted => {
                IntentionStep::Misconfigured(INTENTION_MODE_DIFFERS)
            }
            (Some(wanted), Some(true), _) => IntentionStep::Ended(self.code(Some(wanted))),
        }
    }
}

/// The intention step of one verification.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IntentionStep {
    Off,
    /// On; without a code while the vendor has not said how it ended.
    Ended(Option<i64>),
    /// The vendor ran another flow than the one that was asked for: a code of ours that says so.
    Misconfigured(i64),
}

/// One liveness attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessFinding {
    pub code: Option<i64>,
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
    /// The outcome of an answer without findings: everything stays as it was, whatever the time.
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
    pub code: i64,
    pub at: Option<Timestamp>,
}

/// Judges findings. `wanted`: the intention step that the verification was created with.
/// `token_expired`: the vendor was asked after the token's 7,200 s, so nothing can change any more.
pub fn judge(findings: &Findings, wanted: Option<IntentionMode>, token_expired: bool) -> Judgement {
    let face_code = findings.face_code.filter(|code| is_attempt(*code));
    let intention = findings.intention.judge(wanted);
    let passed = face_code == Some(0) && matches!(intention, IntentionStep::Off | IntentionStep::Ended(Some(0)));
    let attempted = face_code.is_some() || findings.last_liveness.is_some();
    // The last attempt passed, nothing was to come after it, and yet there is no code: the answer
    // is not whole.
    let contradicts_itself = face_code.is_none()
        && intention == IntentionStep::Off
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
        last_attempt: code_of_last_attempt(face_code, intention, findings).map(|code| Attempt { code, at }),
        attempts_exhausted: findings.face_code == Some(ATTEMPTS_EXHAUSTED)
            || findings.intention.read_aloud_ended(wanted),
    }
}

/// The code of the last try that ended. None when the user is in the middle of the first.
fn code_of_last_attempt(face_code: Option<i64>, intention: IntentionStep, findings: &Findings) -> Option<i64> {
    match (face_code, intention) {
        (Some(0), IntentionStep::Off) => Some(0),
        (Some(0), IntentionStep::Ended(code)) => code,
        // Only beside a face that passed: before the user's end the flag may be a default.
        (Some(0), IntentionStep::Misconfigured(code)) => Some(code),
        (Some(code), _) => Some(code),
        // In the middle of another try: the one before is the last that ended. A zero there is no
        // verdict.
        (None, _) => findings.last_liveness.and_then(|liveness| liveness.code).filter(|code| *code != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: IntentionFinding = IntentionFinding {
        was_on: Some(false),
        mode: None,
        mode_is_unknown: false,
        read_aloud_code: None,
        questions_code: None,
        nods_code: None,
    };

    fn findings(face_code: Option<i64>, intention: IntentionFinding) -> Findings {
        Findings { face_code, intention, last_liveness: None }
    }

    fn on(mode: IntentionMode, code: Option<i64>) -> IntentionFinding {
        let on = IntentionFinding { was_on: Some(true), mode: Some(mode), ..OFF };
        match mode {
            IntentionMode::ReadAloud => IntentionFinding { read_aloud_code: code, ..on },
            IntentionMode::Questions => IntentionFinding { questions_code: code, ..on },
            IntentionMode::Nods => IntentionFinding { nods_code: code, ..on },
        }
    }

    /// Before and after the token's end.
    fn verdict_of(findings: &Findings, wanted: Option<IntentionMode>) -> (Verdict, Verdict) {
        (judge(findings, wanted, false).verdict, judge(findings, wanted, true).verdict)
    }

    fn verdict(findings: &Findings) -> (Verdict, Verdict) {
        verdict_of(findings, None)
    }

    fn last_code(findings: &Findings, wanted: Option<IntentionMode>) -> Option<i64> {
        judge(findings, wanted, false).last_attempt.map(|attempt| attempt.code)
    }

    #[test]
    fn zero_passes_before_and_after_the_tokens_end() {
        assert_eq!(verdict(&findings(Some(0), OFF)), (Verdict::Passed, Verdict::Passed));
    }

    #[test]
    fn a_failed_attempt_is_final_only_after_the_tokens_end() {
        let compared = findings(Some(2016), OFF);
        assert_eq!(verdict(&compared), (Verdict::Open, Verdict::Failed));
        assert_eq!(judge(&compared, None, false).last_attempt, Some(Attempt { code: 2016, at: None }));
    }

    #[test]
    fn no_code_is_no_attempt() {
        for face in [None, Some(17), Some(15), Some(14)] {
            let untouched = findings(face, OFF);
            assert_eq!(verdict(&untouched), (Verdict::Open, Verdict::Expired), "{face:?}");
            assert_eq!(last_code(&untouched, None), None, "{face:?}");
        }
    }

    #[test]
    fn a_missing_code_after_liveness_attempts_is_never_passed() {
        let between =
            |face, code| Findings { last_liveness: Some(LivenessFinding { code, at: None }), ..findings(face, OFF) };
        for face in [None, Some(17)] {
            for code in [None, Some(1004)] {
                let unfinished = between(face, code);
                assert_eq!(verdict(&unfinished), (Verdict::Open, Verdict::Failed), "{face:?} {code:?}");
            }
            // The intention step was still to come.
            let intention = IntentionFinding { was_on: Some(true), ..OFF };
            let half_way = Findings { intention, ..between(face, Some(0)) };
            assert_eq!(verdict(&half_way), (Verdict::Open, Verdict::Failed), "{face:?}");
            // Nothing was to come: such an answer is as good as none.
            let contradiction = between(face, Some(0));
            assert_eq!(verdict(&contradiction), (Verdict::Open, Verdict::Open), "{face:?}");
        }
    }

    #[test]
    fn the_last_attempt_before_another_try_is_told_unless_it_is_a_zero() {
        let between = |code| Findings {
            last_liveness: Some(LivenessFinding { code: Some(code), at: None }),
            ..findings(None, OFF)
        };
        assert_eq!(last_code(&between(1004), None), Some(1004));
        assert_eq!(last_code(&between(0), None), None, "the face passed, and the flow goes on");
    }

    #[test]
    fn without_the_flag_what_the_step_left_behind_decides_nothing() {
        let defaults = IntentionFinding {
            mode: Some(IntentionMode::ReadAloud),
            read_aloud_code: Some(0),
            questions_code: Some(-301),
            ..OFF
        };
        for was_on in [None, Some(false)] {
            let answer = findings(Some(0), IntentionFinding { was_on, ..defaults });
            assert_eq!(verdict(&answer), (Verdict::Passed, Verdict::Passed), "{was_on:?}");
            for mode in [IntentionMode::ReadAloud, IntentionMode::Questions, IntentionMode::Nods] {
                assert_eq!(verdict_of(&answer, Some(mode)), (Verdict::Open, Verdict::Failed), "{was_on:?} {mode:?}");
            }
        }
    }

    #[test]
    fn a_consent_that_the_vendor_did_not_ask_for_is_told_as_a_misconfigured_flow() {
        let off = findings(Some(0), IntentionFinding { read_aloud_code: Some(0), ..OFF });
        assert_eq!(last_code(&off, Some(IntentionMode::ReadAloud)), Some(INTENTION_STEP_OFF));
        let other = findings(Some(0), on(IntentionMode::Nods, Some(0)));
        assert_eq!(last_code(&other, Some(IntentionMode::ReadAloud)), Some(INTENTION_MODE_DIFFERS));
        assert_eq!(verdict_of(&other, Some(IntentionMode::ReadAloud)), (Verdict::Open, Verdict::Failed));
        // While the face has not passed, the flag may be a default.
        assert_eq!(last_code(&findings(Some(2016), OFF), Some(IntentionMode::ReadAloud)), Some(2016));
        assert_eq!(last_code(&findings(None, OFF), Some(IntentionMode::ReadAloud)), None);
    }

    #[test]
    fn with_the_step_on_the_face_alone_does_not_pass() {
        for mode in [IntentionMode::ReadAloud, IntentionMode::Questions, IntentionMode::Nods] {
            for wanted in [None, Some(mode)] {
                let answer = |code| findings(Some(0), on(mode, code));
                assert_eq!(verdict_of(&answer(Some(0)), wanted), (Verdict::Passed, Verdict::Passed));
                assert_eq!(verdict_of(&answer(None), wanted), (Verdict::Open, Verdict::Failed));
                assert_eq!(verdict_of(&answer(Some(-301)), wanted), (Verdict::Open, Verdict::Failed));
                assert_eq!(last_code(&answer(Some(-301)), wanted), Some(-301));
                assert_eq!(last_code(&answer(None), wanted), None, "it has not ended");
                let face_failed = findings(Some(2016), on(mode, Some(0)));
                assert_eq!(verdict_of(&face_failed, wanted), (Verdict::Open, Verdict::Failed));
            }
        }
    }

    #[test]
    fn where_the_vendor_names_no_mode_a_refusal_goes_before_a_zero() {
        let unnamed = IntentionFinding { was_on: Some(true), read_aloud_code: Some(0), nods_code: Some(-301), ..OFF };
        assert_eq!(verdict(&findings(Some(0), unnamed)), (Verdict::Open, Verdict::Failed));
        let read = IntentionFinding { nods_code: None, ..unnamed };
        assert_eq!(verdict(&findings(Some(0), read)), (Verdict::Passed, Verdict::Passed));
    }

    #[test]
    fn reading_aloud_ends_the_attempts_with_codes_of_its_own() {
        for code in [-14, -15] {
            let exhausted =
                |mode| judge(&findings(Some(0), on(mode, Some(code))), Some(mode), false).attempts_exhausted;
            assert!(exhausted(IntentionMode::ReadAloud), "{code}");
            assert!(!exhausted(IntentionMode::Questions), "{code}");
        }
        let off = IntentionFinding { read_aloud_code: Some(-14), ..OFF };
        assert!(!judge(&findings(Some(0), off), None, false).attempts_exhausted);
    }

    #[test]
    fn a_mode_that_is_not_known_passes_nobody() {
        let unknown = IntentionFinding {
            was_on: Some(true),
            mode_is_unknown: true,
            read_aloud_code: Some(0),
            questions_code: Some(0),
            ..OFF
        };
        let answer = findings(Some(0), unknown);
        assert_eq!(verdict(&answer), (Verdict::Open, Verdict::Failed));
        assert_eq!(verdict_of(&answer, Some(IntentionMode::ReadAloud)), (Verdict::Open, Verdict::Failed));
        assert_eq!(last_code(&answer, Some(IntentionMode::ReadAloud)), Some(INTENTION_MODE_DIFFERS));
        let off = findings(Some(0), IntentionFinding { was_on: Some(false), ..unknown });
        assert_eq!(verdict(&off), (Verdict::Passed, Verdict::Passed));
    }

    #[test]
    fn sixteen_exhausts_the_attempts_but_not_the_time() {
        let judgement = judge(&findings(Some(16), OFF), None, false);
        assert!(judgement.attempts_exhausted);
        assert_eq!(judgement.verdict, Verdict::Open);
    }
}
