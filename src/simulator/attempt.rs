//! One attempt of a user: how it can end, and why it may not take place.

use super::codes::{self, Stage};
use super::rule::IntentionMode;

/// How many attempts one BizToken allows. The vendor documents that there is a limit (code 16), not
/// which.
pub(super) const MAX_ATTEMPTS: usize = 5;

/// One liveness comparison.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The vendor's unique id of the comparison.
    pub(super) seq: String,
    /// Its place among the token's attempts, from 0.
    pub(super) nth: u64,
    pub(super) at_ms: i64,
    pub(super) outcome: Outcome,
    pub(super) charged: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The code of the face part.
    pub(super) code: i64,
    /// The code of the intention step; `None` where the flow has none or the user did not come that
    /// far.
    pub(super) intention_code: Option<i64>,
}

impl Outcome {
    pub(super) const PASSED: Self = Self { code: 0, intention_code: None };

    /// The outcome that one code stands for: an intention code means a face that passed.
    ///
    /// # Errors
    /// [`AttemptRefused::UnusableCode`] for a code that ends no attempt.
    pub(super) fn from_code(code: i64) -> Result<Self, AttemptRefused> {
        match codes::find(code) {
            Some(known) if known.stage == Stage::Intention => Ok(Self { code: 0, intention_code: Some(code) }),
            Some(_) if codes::ends_an_attempt(code) => Ok(Self { code, intention_code: None }),
            _ => Err(AttemptRefused::UnusableCode(code)),
        }
    }

    /// As [`Outcome::from_code`], with the code of the intention step given apart.
    ///
    /// # Errors
    /// Also when the intention step could not have been reached, or its code is none.
    pub(super) fn from_codes(code: i64, intention_code: Option<i64>) -> Result<Self, AttemptRefused> {
        let face = Self::from_code(code)?;
        let Some(intention_code) = intention_code else {
            return Ok(face);
        };
        if face != Self::PASSED {
            return Err(AttemptRefused::IntentionNotReached);
        }
        let is_intention = codes::find(intention_code).is_some_and(|known| known.stage == Stage::Intention);
        if intention_code != 0 && !is_intention {
            return Err(AttemptRefused::UnusableCode(intention_code));
        }
        Ok(Self { code: 0, intention_code: Some(intention_code) })
    }

    /// The outcome as this flow has it: with an intention step a pass is a pass of both.
    pub(super) fn for_flow(mut self, intention: Option<IntentionMode>) -> Result<Self, AttemptRefused> {
        match (intention, self.intention_code) {
            (None, Some(_)) => return Err(AttemptRefused::NoIntention),
            (Some(_), None) if self.code == 0 => self.intention_code = Some(0),
            _ => {}
        }
        Ok(self)
    }

    /// Whether face and intention both passed.
    pub(super) fn has_passed(self) -> bool {
        self.code == 0 && self.intention_code.unwrap_or(0) == 0
    }

    /// The code that the user sees: the intention's where it decided.
    pub(super) fn decisive_code(self) -> i64 {
        match self.intention_code {
            Some(intention_code) if self.code == 0 => intention_code,
            _ => self.code,
        }
    }
}

/// Why an attempt did not take place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AttemptRefused {
    #[error("there is no such token; GET /tokens lists those there are")]
    UnknownToken,
    #[error("the token is older than 7200 s; make a new one with DetectAuth")]
    Expired,
    #[error("the token has already passed; make a new one with DetectAuth")]
    AlreadyComplete,
    #[error("the token has used up its {MAX_ATTEMPTS} attempts; make a new one with DetectAuth")]
    RetryLimit,
    #[error("an attempt cannot end with {0}; use a code of the vendor's result table")]
    UnusableCode(i64),
    #[error("the flow of this token has no intention step; use a flow that has one, or leave the intention code out")]
    NoIntention,
    #[error("the intention step is reached only with a face that passed; give code 0 with an intention code")]
    IntentionNotReached,
}

impl AttemptRefused {
    /// The vendor's result code for it, where it has one.
    pub(super) fn result_code(&self) -> Option<i64> {
        match self {
            AttemptRefused::Expired => Some(codes::TOKEN_EXPIRED),
            AttemptRefused::AlreadyComplete => Some(codes::ALREADY_COMPLETE),
            AttemptRefused::RetryLimit => Some(codes::RETRY_LIMIT),
            AttemptRefused::UnknownToken
            | AttemptRefused::UnusableCode(_)
            | AttemptRefused::NoIntention
            | AttemptRefused::IntentionNotReached => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intention_code_stands_for_a_face_that_passed() {
        let refused = Outcome { code: 0, intention_code: Some(-301) };
        assert_eq!(Outcome::from_code(-301), Ok(refused));
        assert_eq!(Outcome::from_codes(0, Some(-301)), Ok(refused));
        assert_eq!((refused.has_passed(), refused.decisive_code()), (false, -301));
    }

    #[test]
    fn codes_that_contradict_each_other_are_refused() {
        assert_eq!(Outcome::from_codes(2016, Some(0)), Err(AttemptRefused::IntentionNotReached));
        assert_eq!(Outcome::from_codes(0, Some(2016)), Err(AttemptRefused::UnusableCode(2016)));
        assert_eq!(Outcome::from_code(17), Err(AttemptRefused::UnusableCode(17)));
    }

    #[test]
    fn a_pass_of_a_flow_with_intention_is_a_pass_of_both() {
        let both = Outcome { code: 0, intention_code: Some(0) };
        assert_eq!(Outcome::PASSED.for_flow(Some(IntentionMode::Nods)), Ok(both));
        assert_eq!(Outcome::PASSED.for_flow(None), Ok(Outcome::PASSED));
        assert_eq!(both.for_flow(None), Err(AttemptRefused::NoIntention));
    }
}
