//! A verification's states and the transitions between them.
//!
//! ```text
//! Pending ──▶ Passed | Failed | Expired | Canceled        the four on the right never change
//! ```

use super::{
    flow::Product,
    ids::VerificationId,
    intention::IntentionMode,
    outcome::{Attempt, Judgement, Verdict},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use strum::{EnumDiscriminants, EnumString, IntoStaticStr, VariantArray};

/// How long a token of the vendor can be used (document 103606).
pub const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_secs(7200);

/// How long the vendor keeps results, counted from the making of the token (document 41957).
pub const RESULT_LIFETIME: SignedDuration = SignedDuration::from_hours(72);

/// One verification, without personal data and without its token.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    pub id: VerificationId,
    /// Counts the changes; a change is stored only over the version that it was made from.
    pub version: i64,
    /// Name of the caller that owns it.
    pub caller: String,
    pub flow: String,
    pub product: Product,
    /// The vendor's id of the flow when the token was made: results are asked for with the same
    /// one.
    pub rule_id: String,
    pub credential: String,
    pub reference: String,
    pub labels: BTreeMap<String, String>,
    /// The intention step that the caller gave a script for.
    pub intention: Option<IntentionMode>,
    pub created_at: Timestamp,
    /// When its token ends.
    pub expires_at: Timestamp,
    /// Until when the vendor knows its result.
    pub result_until: Timestamp,
    pub state: State,
    /// When the vendor last answered about it.
    pub checked_at: Option<Timestamp>,
    pub last_attempt: Option<Attempt>,
    pub attempts_exhausted: bool,
    /// How many attempts in the ledger the vendor bills.
    pub charged_attempts: u32,
    /// When a final state was first told to the caller.
    pub fetched_at: Option<Timestamp>,
    /// The vendor forgot before it could be asked: the state says what was known.
    pub result_lost: bool,
    /// The vendor forgot before all evidence that its flow keeps was fetched.
    pub evidence_lost: bool,
    /// When its personal data was erased.
    pub redacted_at: Option<Timestamp>,
}

/// Where a verification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumDiscriminants)]
#[strum_discriminants(
    doc = "A state without its time. The names are stored, and sent in webhooks.",
    name(StateName),
    derive(EnumString, IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case")
)]
pub enum State {
    Pending,
    Passed { at: Timestamp },
    Failed { at: Timestamp },
    Expired { at: Timestamp },
    Canceled { at: Timestamp },
}

impl State {
    /// The state that was stored as a name, with the time when it became final.
    ///
    /// # Errors
    /// The fault.
    pub fn of(name: &str, settled_at: Option<Timestamp>) -> Result<Self, String> {
        let known: StateName = name.parse().map_err(|_| format!("{name:?} is not a state"))?;
        match (known, settled_at) {
            (StateName::Pending, None) => Ok(Self::Pending),
            (StateName::Passed, Some(at)) => Ok(Self::Passed { at }),
            (StateName::Failed, Some(at)) => Ok(Self::Failed { at }),
            (StateName::Expired, Some(at)) => Ok(Self::Expired { at }),
            (StateName::Canceled, Some(at)) => Ok(Self::Canceled { at }),
            (_, None) => Err(format!("state {name} needs the time when it became final")),
            (StateName::Pending, Some(_)) => Err("state pending has a time when it became final".into()),
        }
    }

    /// The state without what it carries.
    pub fn name(self) -> StateName {
        self.into()
    }

    /// Whether the vendor has nothing more to tell. A canceled verification still learns of
    /// attempts.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Passed { .. } | Self::Failed { .. } | Self::Expired { .. })
    }

    /// When the state became final; absent while it is not.
    pub fn settled_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending => None,
            Self::Passed { at } | Self::Failed { at } | Self::Expired { at } | Self::Canceled { at } => Some(at),
        }
    }
}

impl StateName {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A transition that the state does not allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a verification that is final cannot be canceled")]
pub struct AlreadyFinal;

impl Verification {
    /// Whether an answer to a question asked at `asked_at` can still change. It is the time of the
    /// question that counts: an answer that was under way when the token ended may miss the user's
    /// last success.
    pub fn token_expired(&self, asked_at: Timestamp) -> bool {
        asked_at > self.expires_at
    }

    /// Whether the vendor has deleted what it knew.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        now > self.result_until
    }

    /// Applies what the vendor said. A final outcome stays as it is; a canceled one still learns of
    /// attempts, which are billed.
    #[must_use]
    pub fn settle(self, judgement: &Judgement, asked_at: Timestamp) -> Self {
        let state = match (self.state, judgement.verdict) {
            (State::Passed { .. } | State::Failed { .. } | State::Expired { .. }, _) => return self,
            (State::Canceled { at }, _) => State::Canceled { at },
            (State::Pending, Verdict::Open) => State::Pending,
            (State::Pending, Verdict::Passed) => State::Passed { at: asked_at },
            (State::Pending, Verdict::Failed) => State::Failed { at: asked_at },
            // The vendor has stopped telling of an attempt that it told of before.
            (State::Pending, Verdict::Expired) if self.last_attempt.is_some() => State::Failed { at: asked_at },
            (State::Pending, Verdict::Expired) => State::Expired { at: asked_at },
        };
        Self {
            state,
            checked_at: Some(asked_at),
            last_attempt: judgement.last_attempt.or(self.last_attempt),
            attempts_exhausted: self.attempts_exhausted || judgement.attempts_exhausted,
            ..self
        }
    }

    /// The vendor has forgotten: what was known stands, and says so.
    #[must_use]
    pub fn lose_result(self, at: Timestamp) -> Self {
        let state = match (self.state, self.last_attempt) {
            (State::Pending, Some(_)) => State::Failed { at },
            (State::Pending, None) => State::Expired { at },
            (state, _) => return Self { state, ..self },
        };
        Self { state, result_lost: true, ..self }
    }

    /// Ends the caller's interest. Canceling twice is canceling once.
    ///
    /// # Errors
    /// When the outcome is already final.
    pub fn cancel(self, at: Timestamp) -> Result<Self, AlreadyFinal> {
        match self.state {
            State::Pending => Ok(Self { state: State::Canceled { at }, ..self }),
            State::Canceled { .. } => Ok(self),
            State::Passed { .. } | State::Failed { .. } | State::Expired { .. } => Err(AlreadyFinal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Findings, IntentionFinding, judge};
    use proptest::prelude::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn pending() -> Verification {
        Verification {
            product: Product::H5,
            id: VerificationId::generate(second(0)),
            version: 1,
            caller: "orders".into(),
            flow: "onboarding".into(),
            rule_id: "1".into(),
            credential: "main".into(),
            reference: String::new(),
            labels: BTreeMap::new(),
            intention: None,
            created_at: second(0),
            expires_at: second(7200),
            result_until: second(259_200),
            state: State::Pending,
            checked_at: None,
            last_attempt: None,
            attempts_exhausted: false,
            charged_attempts: 0,
            fetched_at: None,
            result_lost: false,
            evidence_lost: false,
            redacted_at: None,
        }
    }

    fn answer(verification: Verification, code: Option<i64>, asked: i64) -> Verification {
        let findings = Findings { face_code: code, intention: IntentionFinding::default(), last_liveness: None };
        let asked_at = second(asked);
        let judgement = judge(&findings, verification.intention, verification.token_expired(asked_at));
        verification.settle(&judgement, asked_at)
    }

    #[test]
    fn fails_then_passes_with_the_same_token() {
        let failed_once = answer(pending(), Some(2016), 60);
        assert_eq!(failed_once.state, State::Pending);
        assert_eq!(failed_once.last_attempt.unwrap().code, 2016);
        let passed = answer(failed_once, Some(0), 120);
        assert_eq!(passed.state, State::Passed { at: second(120) });
    }

    #[test]
    fn the_tokens_last_second_still_belongs_to_the_user() {
        assert_eq!(answer(pending(), Some(1004), 7200).state, State::Pending);
        assert_eq!(answer(pending(), Some(1004), 7201).state, State::Failed { at: second(7201) });
        assert_eq!(answer(pending(), None, 7201).state, State::Expired { at: second(7201) });
    }

    #[test]
    fn the_vendor_forgets_after_three_days() {
        assert!(!pending().is_forgotten(second(259_200)));
        assert!(pending().is_forgotten(second(259_201)));
    }

    #[test]
    fn an_attempt_that_was_told_once_is_not_forgotten() {
        let failed_once = answer(pending(), Some(2016), 60);
        let ended = answer(failed_once, Some(15), 7201);
        assert_eq!(ended.state, State::Failed { at: second(7201) });
        assert_eq!(ended.last_attempt.unwrap().code, 2016);
    }

    #[test]
    fn canceled_stays_canceled_and_still_learns() {
        let canceled = pending().cancel(second(5)).unwrap();
        let told = answer(canceled, Some(0), 60);
        assert_eq!(told.state, State::Canceled { at: second(5) });
        assert_eq!(told.last_attempt.unwrap().code, 0);
        assert_eq!(told.clone().cancel(second(70)).unwrap(), told);
        assert_eq!(answer(pending(), Some(0), 60).cancel(second(61)), Err(AlreadyFinal));
    }

    proptest! {
        #[test]
        fn a_final_state_never_changes(answers in prop::collection::vec((prop::option::of(-5i64..20), 0i64..9000), 1..12)) {
            let mut verification = pending();
            for (code, asked) in answers {
                let before = verification.clone();
                verification = answer(verification, code, asked);
                if before.state != State::Pending {
                    prop_assert_eq!(before, verification.clone());
                }
            }
        }
    }
}
