//! Actions in the audit trail.

use strum::{EnumString, IntoStaticStr, VariantNames};

/// Something that somebody did. The names are stored, and part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum AuditAction {
    /// A verification was created.
    Created,
    /// A callback was not bound to its verification.
    CallbackRefused,
    /// A result was read with its personal data.
    ViewedFull,
    /// Url and token of a verification were given to its caller again.
    Reopened,
    /// An operator read another caller's verification.
    ViewedByAdmin,
    /// An operator listed another caller's verifications.
    ListedByAdmin,
    /// A verification was canceled.
    Canceled,
    /// Its personal data was erased.
    Redacted,
    /// A photo, video or sound was downloaded.
    EvidenceDownloaded,
    /// Its evidence was erased.
    EvidenceErased,
    /// A credential was added.
    CredentialCreated,
    /// It got a new first key pair.
    CredentialRotated,
    /// Its key pairs were tested.
    CredentialTested,
    /// It was disabled.
    CredentialDisabled,
    /// One of its key pairs was erased.
    KeyPairDisabled,
    /// It was erased.
    CredentialDeleted,
    /// An operator had everything re-encrypted with the vault's first key.
    RewrapStarted,
    /// The credentials were listed, without their secrets.
    CredentialsListed,
    /// The audit trail was read.
    AuditRead,
    /// The callers were taken out of the changed configuration.
    CallersReloaded,
}

impl AuditAction {
    /// The name in the trail.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
