//! Errors of the use cases. A failed verification is not an error.

use super::claim_error::ClaimError;
use crate::{
    credential::{CallError, CredentialError},
    domain::{caller::Right, fault::Fault, id_card_limits::LimitReached, reason::Reason, verification::AlreadyFinal},
    evidence,
    store::{self, ErrorKind},
    tencent::{self, ErrorClass, catalogue},
    vault::keyring::OpenError,
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};

/// One of these per failed call; the front doors translate it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", list(.0))]
    InvalidFields(Vec<Fault>),
    /// A callback that does not belong to its verification. Nothing was changed.
    #[error("{0}")]
    CallbackNotBound(Fault),
    #[error("caller {caller} needs the right {} for this", right.name())]
    RightMissing { caller: String, right: Right },
    #[error("no such verification of this caller")]
    VerificationNotFound,
    #[error("the verification has no such evidence: GetResult lists what it has")]
    EvidenceNotFound,
    #[error("{0}")]
    AlreadyFinal(#[from] AlreadyFinal),
    #[error("the verification was redacted: its token and its personal data are erased")]
    Redacted,
    #[error("a pending verification is not redacted: cancel it first")]
    StillPending,
    #[error("the verification's token has ended, so its user can make no attempt: create another")]
    TokenEnded,
    /// `list_from`: what was created since may have had the events; None where nothing tells.
    #[error(
        "events may be missing: the gateway's store was restored from a backup, or replaced, after this resume token was given. {}",
        how_to_catch_up(*list_from)
    )]
    EventsMissing { list_from: Option<Timestamp> },
    /// The process is about to stop; another one, or this one when it is back, goes on.
    #[error("the gateway is stopping: connect again")]
    Stopping,
    #[error("request_id was used before with another body: use a new one for a new verification")]
    RequestIdReused,
    /// The vendor would refuse the person's next attempt.
    #[error("{0}: the person must wait; another person can be verified at once")]
    PersonLimitReached(LimitReached),
    #[error("credential {0} exists already: rotate it to give it another key pair")]
    CredentialExists(String),
    #[error("there is no credential {0}")]
    CredentialNotFound(String),
    #[error("credential {0} has no such key pair: list the credentials to see the ids of those it has")]
    KeyPairNotFound(String),
    #[error("credential {name} is used by {users}")]
    CredentialInUse { name: String, users: String },
    #[error("credential {0} is given by a source of the configuration: change it there")]
    CredentialExternal(String),
    #[error("it is the only key pair of credential {0}: rotate first, or disable the whole credential")]
    LastKeyPair(String),
    #[error(transparent)]
    Vendor(#[from] tencent::Error),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Evidence(#[from] evidence::StoreError),
    #[error(transparent)]
    EvidenceClaim(#[from] ClaimError),
    /// A blob that is gone, was altered, or whose key is missing.
    #[error(transparent)]
    UnreadableEvidence(#[from] evidence::GetError),
    /// A row that cannot be read: a key is missing, or the database was altered.
    #[error("verification {id}, {column}: {problem}")]
    UnreadableRow { id: String, column: &'static str, problem: String },
    #[error("the work stopped before its end: {0}")]
    WorkLost(#[from] tokio::task::JoinError),
    /// Of a call that others waited for, too.
    #[error(transparent)]
    Shared(Arc<Error>),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Credential(error) => Self::Credential(error),
            CallError::Vendor(error) => Self::Vendor(error),
        }
    }
}

impl Error {
    pub(super) fn unreadable(id: &str, column: &'static str, problem: &OpenError) -> Self {
        Self::UnreadableRow { id: id.to_owned(), column, problem: problem.to_string() }
    }

    /// Whether the call was refused here, without asking the vendor: it says nothing about what was
    /// to be asked.
    pub(super) fn was_not_asked(&self) -> bool {
        self.vendor_failure().is_some_and(|failure| failure.retry_after.is_some())
    }

    /// Whether the vendor refused because our clock is off.
    pub(super) fn is_clock_skew(&self) -> bool {
        self.reason() == Reason::ClockSkewed
    }

    /// Whether the same call may succeed a little later, without anybody changing anything.
    pub(super) fn is_worth_a_retry(&self) -> bool {
        self.reason().passes_by_itself()
    }

    /// The bad fields, if that is what happened.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::InvalidFields(faults) => faults,
            Self::CallbackNotBound(fault) => std::slice::from_ref(fault),
            Self::Shared(error) => error.faults(),
            _ => &[],
        }
    }

    /// The vendor's part in it, if it had one.
    pub fn vendor_failure(&self) -> Option<VendorFailure<'_>> {
        match self {
            Self::Shared(error) => error.vendor_failure(),
            Self::Vendor(error) => Some(VendorFailure {
                action: error.action,
                code: error.code(),
                request_id: error.request_id(),
                tries: error.tries,
                retry_after: error.kind.retry_after(),
                known: error.known(),
            }),
            _ => None,
        }
    }

    /// The message for callers when the store has failed: it names no files and no SQL.
    pub fn store_message(&self) -> String {
        let kind = match self {
            Self::Shared(error) => return error.store_message(),
            Self::Credential(CredentialError::Store(error)) | Self::Store(error) => error.kind,
            _ => ErrorKind::Transient,
        };
        match kind {
            ErrorKind::Refused(why) => format!("the gateway's store is unavailable: {why}. An operator must act"),
            ErrorKind::Ambiguous => {
                "the gateway's store failed, and whether it has done this is not known: read it again, or \
                                     repeat the call with the same request_id"
                    .into()
            }
            ErrorKind::TooSlow => {
                "the store was asked for more than it could find in time: narrow the time or the filter, or try again"
                    .into()
            }
            ErrorKind::Transient | ErrorKind::Conflict | ErrorKind::Corrupt => {
                "the gateway's store is unavailable: try again".into()
            }
        }
    }

    /// The stable name of what happened, for programs.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidFields(_) => Reason::InvalidFields,
            Self::CallbackNotBound(_) => Reason::CallbackNotBound,
            Self::RightMissing { .. } => Reason::RightMissing,
            Self::VerificationNotFound => Reason::VerificationNotFound,
            Self::EvidenceNotFound => Reason::EvidenceNotFound,
            Self::TokenEnded => Reason::TokenEnded,
            Self::RequestIdReused => Reason::RequestIdReused,
            Self::PersonLimitReached(_) => Reason::PersonLimitReached,
            Self::AlreadyFinal(_) => Reason::AlreadyFinal,
            Self::Redacted => Reason::Redacted,
            Self::StillPending => Reason::StillPending,
            Self::EventsMissing { .. } => Reason::EventsMissing,
            Self::Stopping => Reason::Stopping,
            Self::Vendor(error) => match error.class() {
                ErrorClass::Clock => Reason::ClockSkewed,
                ErrorClass::Credential => Reason::CredentialRefused,
                ErrorClass::Account | ErrorClass::Storage => Reason::VendorAccountBlocked,
                ErrorClass::Flow => Reason::FlowMisconfigured,
                ErrorClass::Token => Reason::VendorTokenGone,
                ErrorClass::Throttled => Reason::VendorThrottled,
                ErrorClass::Transient => Reason::VendorUnavailable,
                ErrorClass::Quota => Reason::VendorQuotaExhausted,
                ErrorClass::Overload => Reason::Overloaded,
                ErrorClass::Request | ErrorClass::Unknown => Reason::VendorRefused,
            },
            Self::Shared(error) => error.reason(),
            Self::CredentialExists(_) => Reason::CredentialExists,
            Self::CredentialNotFound(_) | Self::KeyPairNotFound(_) => Reason::CredentialNotFound,
            Self::CredentialInUse { .. } | Self::LastKeyPair(_) => Reason::CredentialInUse,
            Self::CredentialExternal(_) => Reason::CredentialExternal,
            Self::Credential(CredentialError::Absent(_)) => Reason::CredentialAbsent,
            Self::Credential(CredentialError::Disabled(_)) => Reason::CredentialDisabled,
            Self::Credential(CredentialError::Refused { .. }) => Reason::CredentialRefused,
            Self::Credential(CredentialError::Unavailable { .. }) => Reason::CredentialUnavailable,
            Self::Credential(CredentialError::Store(error)) | Self::Store(error) => match error.kind {
                ErrorKind::Corrupt => Reason::Internal,
                ErrorKind::Transient
                | ErrorKind::Conflict
                | ErrorKind::Ambiguous
                | ErrorKind::TooSlow
                | ErrorKind::Refused(_) => Reason::StoreUnavailable,
            },
            Self::Evidence(_) | Self::UnreadableEvidence(evidence::GetError::Store(_)) => Reason::StoreUnavailable,
            Self::Credential(CredentialError::Unreadable { .. } | CredentialError::Corrupt(_))
            | Self::UnreadableEvidence(_)
            | Self::EvidenceClaim(_)
            | Self::UnreadableRow { .. }
            | Self::WorkLost(_) => Reason::Internal,
        }
    }
}

/// A call to the vendor that failed.
#[derive(Clone, Copy)]
pub struct VendorFailure<'a> {
    pub action: &'static str,
    /// The vendor's last code, or a word for what went wrong.
    pub code: &'a str,
    /// The vendor's request id, which its support asks for.
    pub request_id: Option<&'a str>,
    /// How often the vendor was asked; 0: it was not.
    pub tries: u32,
    /// When it is worth asking again, where that is known.
    pub retry_after: Option<Duration>,
    /// The hint for the responsible party.
    pub known: &'static catalogue::Entry,
}

fn how_to_catch_up(list_from: Option<Timestamp>) -> String {
    match list_from {
        Some(from) => format!("Watch without a token, and list the verifications created since {from}"),
        None => "Watch without a token, and list all verifications that you still wait for".into(),
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
