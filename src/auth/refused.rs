//! Why a call is not served.

/// A call that is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The call shows nothing of a caller. The text says what it may show.
    #[error("{0}")]
    Nothing(String),
    /// It shows what cannot be believed: it is malformed, forged, over or not yet valid. The text
    /// says nothing of what was shown.
    #[error("{0}")]
    Invalid(String),
    /// It shows what is no caller's.
    #[error("{0}")]
    Unknown(&'static str),
    /// There are no keys to verify a JWT with, which is not the caller's fault.
    #[error("the keys of the JWTs' issuer could not be fetched yet: try again")]
    KeysUnavailable,
}

impl Refused {
    pub(super) fn because(problem: impl Into<String>) -> Self {
        Self::Invalid(problem.into())
    }

    /// A short name for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing(_) => "nothing_shown",
            Self::Invalid(_) => "invalid",
            Self::Unknown(_) => "unknown",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}
