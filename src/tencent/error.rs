//! Errors of calls to the vendor, and their meaning.

use super::catalogue::{self, Entry, ErrorClass};
use crate::tc3::TimestampOutOfRange;
use std::{sync::Arc, time::Duration};

/// A failed call: which one and why. Carries no text of the vendor, which may be personal.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Tencent {action}: {kind} (tries: {tries})")]
pub struct Error {
    /// The vendor's action.
    pub action: &'static str,
    /// How the last try failed.
    #[source]
    pub kind: ErrorKind,
    /// How often the call was sent; 0: never.
    pub tries: u32,
    /// The refusal of an earlier try, where the last one brought no response.
    pub earlier: Option<Box<EarlierRefusal>>,
}

/// A refusal that was followed by a retry.
#[derive(Clone, Debug)]
pub struct EarlierRefusal {
    pub code: String,
    pub request_id: String,
}

impl Error {
    /// A response that cannot be used.
    pub(super) fn unintelligible(action: &'static str, problem: &str, request_id: &str, tries: u32) -> Self {
        let kind = ErrorKind::Unintelligible { problem: problem.to_owned(), request_id: request_id.to_owned() };
        Self { action, kind, tries, earlier: None }
    }

    /// A verification was opened under a token that the vendor had given before.
    pub fn repeated_token(request_id: &str) -> Self {
        Self::unintelligible("DetectAuth", "its BizToken was given before, for another verification", request_id, 1)
    }

    /// A call that failed before it was sent.
    pub(super) fn untried(action: &'static str, kind: ErrorKind) -> Self {
        Self { action, kind, tries: 0, earlier: None }
    }

    /// The catalogue's entry for the failure: class, responsible party and hint.
    pub fn known(&self) -> &'static Entry {
        match &self.kind {
            ErrorKind::Refused { code, .. } => catalogue::of_answer(self.action, code),
            kind => kind.known(),
        }
    }

    /// The class of the failure.
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
    #[error("no response within {timeout_ms} ms")]
    Timeout { timeout_ms: u128 },
    #[error("unreachable: {0}")]
    Unreachable(#[source] Arc<reqwest::Error>),
    #[error("responded with HTTP status {0}")]
    HttpStatus(u16),
    #[error("response is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    /// Not JSON, cut, or not of the documented shape. The place, not the text.
    #[error("response is not the documented JSON: {problem} (request id {request_id})")]
    Unintelligible { problem: String, request_id: String },
    /// The flow asks for encryption, and personal data came without.
    #[error(
        "response has {place} in plain text although the flow requires encryption; refused. Check that encryption is enabled \
         for this account and RuleId, or remove the flow's encryption settings (request id {request_id})"
    )]
    NotEncrypted { place: &'static str, request_id: String },
    /// Encrypted in a way that the key of the call does not open.
    #[error(
        "{place} of the response {problem}: compare the flow's encryption with the console's (request id {request_id})"
    )]
    Undecipherable { place: &'static str, problem: &'static str, request_id: String },
    /// There was no randomness for a key.
    #[error("cannot be encrypted: the operating system has no randomness")]
    Unencryptable,
    #[error("cannot be signed: {0}")]
    Signing(#[from] TimestampOutOfRange),
    /// Not sent: the account has no calls left.
    #[error("not sent: quota of {per_second} calls per second exhausted, retry in {retry_after_ms} ms")]
    QuotaExhausted { per_second: usize, retry_after_ms: u128 },
    /// Not sent: too many calls are in flight.
    #[error("not sent: {max_in_flight} calls are in flight already")]
    Overloaded { max_in_flight: usize },
    /// Not sent: the circuit of every endpoint is open.
    #[error("not sent: circuit open, retry in {retry_after_ms} ms")]
    CircuitOpen { retry_after_ms: u128 },
}

impl ErrorKind {
    pub(super) fn unreachable(error: reqwest::Error) -> Self {
        Self::Unreachable(Arc::new(error.without_url()))
    }

    /// The catalogue's entry for the failure, for any action: see [`Error::known`].
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

    /// The class of the failure.
    pub fn class(&self) -> ErrorClass {
        self.known().class
    }

    /// The vendor's code, or a word for what went wrong.
    pub fn code(&self) -> &str {
        if let Self::Refused { code, .. } = self { code } else { self.known().code }
    }

    /// Whether the transport failed, not the vendor: no response, or one of a proxy's.
    pub(super) fn is_transport_failure(&self) -> bool {
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

    /// Whether the vendor had accepted the signature when it refused for another reason.
    pub(super) fn signature_accepted(&self) -> bool {
        let follows_it =
            [ErrorClass::Account, ErrorClass::Storage, ErrorClass::Flow, ErrorClass::Token, ErrorClass::Request];
        matches!(self, Self::Refused { .. }) && follows_it.contains(&self.class())
    }

    /// When a call that was refused here, without being sent, is worth retrying.
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
