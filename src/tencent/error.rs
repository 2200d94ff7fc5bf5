//! What can go wrong with a call to the vendor, and what that means.

use super::catalogue::{self, Entry, ErrorClass};
use crate::tc3::TimestampOutOfRange;
use std::{sync::Arc, time::Duration};

/// A call that gave no answer to work with. Says which call and why; carries no text of the vendor, which may be personal.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Tencent {action}: {kind} (tries: {tries})")]
pub struct Error {
    /// The vendor's action.
    pub action: &'static str,
    /// What the last try came to.
    #[source]
    pub kind: ErrorKind,
    /// How often the vendor was asked; 0: not at all.
    pub tries: u32,
    /// What the vendor had said to a try before, where the last one brought no word of it.
    pub earlier: Option<Box<EarlierRefusal>>,
}

/// A refusal after which the call was made again.
#[derive(Clone, Debug)]
pub struct EarlierRefusal {
    pub code: String,
    pub request_id: String,
}

impl Error {
    /// An answer that came, but cannot be worked with.
    pub(super) fn unintelligible(action: &'static str, problem: &str, request_id: &str, tries: u32) -> Self {
        let kind = ErrorKind::Unintelligible { problem: problem.to_owned(), request_id: request_id.to_owned() };
        Self { action, kind, tries, earlier: None }
    }

    /// A call that could not even be begun.
    pub(super) fn untried(action: &'static str, kind: ErrorKind) -> Self {
        Self { action, kind, tries: 0, earlier: None }
    }

    /// What is known of the failure: its class, and who should do what.
    pub fn known(&self) -> &'static Entry {
        match &self.kind {
            ErrorKind::Refused { code, .. } => catalogue::of_answer(self.action, code),
            kind => kind.known(),
        }
    }

    /// What the failure means.
    pub fn class(&self) -> ErrorClass {
        self.known().class
    }

    /// The vendor's last code, or a word for what went wrong where it gave none.
    pub fn code(&self) -> &str {
        match &self.earlier {
            Some(earlier) if self.kind.request_id().is_none() => &earlier.code,
            _ => self.kind.code(),
        }
    }

    /// The vendor's id that goes with the code.
    pub fn request_id(&self) -> Option<&str> {
        self.kind.request_id().or(self.earlier.as_ref().map(|earlier| earlier.request_id.as_str()))
    }
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The vendor understood and refused.
    #[error("refused with {code} (request id {request_id})")]
    Refused { code: String, request_id: String },
    #[error("no answer within {timeout_ms} ms")]
    Timeout { timeout_ms: u128 },
    #[error("unreachable: {0}")]
    Unreachable(#[source] Arc<reqwest::Error>),
    #[error("answered HTTP {0}")]
    HttpStatus(u16),
    #[error("answered over {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    /// Not JSON, cut, or not of the documented shape. The place, not the text.
    #[error("answer is not the documented JSON: {problem} (request id {request_id})")]
    Unintelligible { problem: String, request_id: String },
    /// The flow asks for encryption, and personal data came without.
    #[error(
        "answered {place} in the clear, though the flow has it encrypted; refused: is encryption on for this account and \
         RuleId? Without the flow's encryption the answer would be taken (request id {request_id})"
    )]
    NotEncrypted { place: &'static str, request_id: String },
    /// Encrypted in a way that the key of the call does not open.
    #[error("{place} of the answer {problem}: does the flow's encryption fit the console's? (request id {request_id})")]
    Undecipherable { place: &'static str, problem: &'static str, request_id: String },
    /// There was no randomness for a key.
    #[error("cannot be encrypted: the operating system gave no randomness")]
    Unencryptable,
    #[error("cannot be signed: {0}")]
    Signing(#[from] TimestampOutOfRange),
    /// Not asked: there would be too many calls of this account.
    #[error("not asked: the quota of {per_second} calls a second is used up for the next {retry_after_ms} ms")]
    QuotaExhausted { per_second: usize, retry_after_ms: u128 },
    /// Not asked: too many calls wait for their answers.
    #[error("not asked: {max_in_flight} calls are on their way already")]
    Overloaded { max_in_flight: usize },
    /// Not asked: every endpoint failed just now.
    #[error("not asked: it failed just now and is left alone for {retry_after_ms} ms")]
    CircuitOpen { retry_after_ms: u128 },
}

impl ErrorKind {
    pub(super) fn unreachable(error: reqwest::Error) -> Self {
        Self::Unreachable(Arc::new(error.without_url()))
    }

    /// What is known of the failure, whatever was asked: see [`Error::known`].
    pub fn known(&self) -> &'static Entry {
        match self {
            Self::Refused { code, .. } => catalogue::of_code(code),
            Self::Timeout { .. } => &catalogue::TIMEOUT,
            Self::Unreachable(_) => &catalogue::UNREACHABLE,
            Self::HttpStatus(_) => &catalogue::HTTP_STATUS,
            Self::TooLarge { .. } => &catalogue::TOO_LARGE,
            Self::Unintelligible { .. } => &catalogue::UNINTELLIGIBLE,
            Self::NotEncrypted { .. } => &catalogue::NOT_ENCRYPTED,
            Self::Undecipherable { .. } => &catalogue::UNDECIPHERABLE,
            Self::Unencryptable => &catalogue::UNENCRYPTABLE,
            Self::Signing(_) => &catalogue::SIGNING,
            Self::QuotaExhausted { .. } => &catalogue::QUOTA_EXHAUSTED,
            Self::Overloaded { .. } => &catalogue::OVERLOADED,
            Self::CircuitOpen { .. } => &catalogue::CIRCUIT_OPEN,
        }
    }

    /// What the failure means.
    pub fn class(&self) -> ErrorClass {
        self.known().class
    }

    /// The vendor's code, or a word for what went wrong.
    pub fn code(&self) -> &str {
        if let Self::Refused { code, .. } = self { code } else { self.known().code }
    }

    /// Whether this is the way to the vendor rather than the vendor's word: no answer, or somebody else's.
    pub(super) fn is_the_endpoints(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Unreachable(_) => true,
            Self::HttpStatus(status) => *status >= 500,
            Self::Unintelligible { request_id, .. } => request_id.is_empty(),
            Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::NotEncrypted { .. }
            | Self::Undecipherable { .. }
            | Self::Unencryptable
            | Self::Signing(_)
            | Self::QuotaExhausted { .. }
            | Self::Overloaded { .. }
            | Self::CircuitOpen { .. } => false,
        }
    }

    /// Whether the vendor had taken the signature when it found something else to refuse.
    pub(super) fn took_the_signature(&self) -> bool {
        let follows_it = [ErrorClass::Account, ErrorClass::Flow, ErrorClass::Token, ErrorClass::Request];
        matches!(self, Self::Refused { .. }) && follows_it.contains(&self.class())
    }

    /// Whether the call was refused here, without asking the vendor; and when it would be made.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QuotaExhausted { retry_after_ms, .. } | Self::CircuitOpen { retry_after_ms } => {
                Some(Duration::from_millis(u64::try_from(*retry_after_ms).unwrap_or(u64::MAX)))
            }
            Self::Overloaded { .. } => Some(Duration::from_secs(1)),
            Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Unreachable(_)
            | Self::HttpStatus(_)
            | Self::TooLarge { .. }
            | Self::Unintelligible { .. }
            | Self::NotEncrypted { .. }
            | Self::Undecipherable { .. }
            | Self::Unencryptable
            | Self::Signing(_) => None,
        }
    }

    /// A short name for metrics: few values, whatever the vendor answers.
    pub fn label(&self) -> &str {
        if self.class() == ErrorClass::Unknown { "unknown_code" } else { self.code() }
    }

    /// The vendor's id of the call, where it gave one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused { request_id, .. }
            | Self::Unintelligible { request_id, .. }
            | Self::NotEncrypted { request_id, .. }
            | Self::Undecipherable { request_id, .. } => Some(request_id.as_str()).filter(|id| !id.is_empty()),
            Self::Timeout { .. }
            | Self::Unreachable(_)
            | Self::HttpStatus(_)
            | Self::TooLarge { .. }
            | Self::Unencryptable
            | Self::Signing(_)
            | Self::QuotaExhausted { .. }
            | Self::Overloaded { .. }
            | Self::CircuitOpen { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_does_not_become_a_metric_label() {
        let kind = ErrorKind::Refused { code: "Made.Up".into(), request_id: String::new() };
        assert_eq!(kind.label(), "unknown_code");
        assert_eq!(kind.request_id(), None);
    }
}
