//! Why a call failed, by name, and all that follows from it: the one table of errors. A new one is
//! a variant and a row here.

use strum::{IntoStaticStr, VariantArray};

/// Why a call failed. The names are part of the contract (`ErrorInfo.reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    InvalidFields,
    CallbackNotBound,
    Unauthenticated,
    RightMissing,
    VerificationNotFound,
    EvidenceNotFound,
    RequestIdReused,
    CallerQuotaExceeded,
    PersonLimitReached,
    JwtKeysUnavailable,
    AlreadyFinal,
    Redacted,
    StillPending,
    TokenEnded,
    EventsMissing,
    Stopping,
    DeadlineExceeded,
    ClockSkewed,
    CredentialExists,
    CredentialNotFound,
    CredentialInUse,
    CredentialExternal,
    CredentialAbsent,
    CredentialDisabled,
    CredentialUnavailable,
    CredentialRefused,
    VendorAccountBlocked,
    FlowMisconfigured,
    VendorTokenGone,
    VendorThrottled,
    VendorQuotaExhausted,
    VendorUnavailable,
    Overloaded,
    VendorRefused,
    StoreUnavailable,
    Internal,
}

/// Consequences of a reason.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub category: Category,
    /// The page that the user's browser shows for the error.
    pub page: Page,
    /// The message for callers, in place of the error's own text, which is for the log alone.
    pub public_text: Option<&'static str>,
}

/// Whose turn it is. One for one with the codes of gRPC that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Category {
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    Internal,
}

/// The pages of the browser's callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    BadLink,
    Gone,
    /// Asks again by itself.
    Waiting,
    Unconfirmed,
}

impl Reason {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The table.
    pub fn row(self) -> Row {
        use {Category as C, Page as P};
        match self {
            Self::InvalidFields => row(C::InvalidArgument, P::BadLink),
            Self::CallbackNotBound => row(C::InvalidArgument, P::BadLink),
            Self::Unauthenticated => row(C::Unauthenticated, P::Unconfirmed),
            Self::RightMissing => row(C::PermissionDenied, P::Unconfirmed),
            Self::VerificationNotFound => row(C::NotFound, P::Gone),
            Self::EvidenceNotFound => row(C::NotFound, P::Gone),
            Self::RequestIdReused => row(C::AlreadyExists, P::Unconfirmed),
            Self::CallerQuotaExceeded => row(C::ResourceExhausted, P::Unconfirmed),
            Self::PersonLimitReached => row(C::ResourceExhausted, P::Unconfirmed),
            Self::JwtKeysUnavailable => row(C::Unavailable, P::Unconfirmed),
            Self::AlreadyFinal => row(C::FailedPrecondition, P::Unconfirmed),
            Self::Redacted => row(C::FailedPrecondition, P::Gone),
            Self::StillPending => row(C::FailedPrecondition, P::Unconfirmed),
            Self::TokenEnded => row(C::FailedPrecondition, P::Gone),
            Self::EventsMissing => row(C::FailedPrecondition, P::Unconfirmed),
            Self::Stopping => row(C::Unavailable, P::Waiting),
            Self::DeadlineExceeded => row(C::DeadlineExceeded, P::Unconfirmed),
            Self::ClockSkewed => row(C::Unavailable, P::Waiting),
            Self::CredentialExists => row(C::AlreadyExists, P::Unconfirmed),
            Self::CredentialNotFound => row(C::NotFound, P::Unconfirmed),
            Self::CredentialInUse => row(C::FailedPrecondition, P::Unconfirmed),
            Self::CredentialExternal => row(C::FailedPrecondition, P::Unconfirmed),
            Self::CredentialAbsent => row(C::FailedPrecondition, P::Unconfirmed),
            Self::CredentialDisabled => row(C::FailedPrecondition, P::Unconfirmed),
            // The words of a credential's source may name files of the machine.
            Self::CredentialUnavailable => row(C::Unavailable, P::Waiting).telling(
                "the flow's credential has no key pair at the moment; retry later (the gateway's log says why)",
            ),
            Self::CredentialRefused => row(C::FailedPrecondition, P::Unconfirmed)
                .telling("the source of the flow's credential refuses to issue a key pair: see the gateway's log"),
            Self::VendorAccountBlocked => row(C::FailedPrecondition, P::Unconfirmed),
            Self::FlowMisconfigured => row(C::FailedPrecondition, P::Unconfirmed),
            Self::VendorTokenGone => row(C::FailedPrecondition, P::Gone),
            Self::VendorThrottled => row(C::ResourceExhausted, P::Waiting),
            Self::VendorQuotaExhausted => row(C::ResourceExhausted, P::Waiting),
            Self::VendorUnavailable => row(C::Unavailable, P::Waiting),
            Self::Overloaded => row(C::Unavailable, P::Waiting),
            Self::VendorRefused => row(C::FailedPrecondition, P::Unconfirmed),
            Self::StoreUnavailable => row(C::Unavailable, P::Waiting),
            Self::Internal => row(C::Internal, P::Unconfirmed).telling("internal error: see the gateway's log"),
        }
    }

    /// Whose turn it is.
    pub fn category(self) -> Category {
        self.row().category
    }

    /// Whether the same call may succeed a little later, without anybody changing anything.
    pub fn passes_by_itself(self) -> bool {
        matches!(self.category(), Category::Unavailable | Category::ResourceExhausted | Category::DeadlineExceeded)
    }
}

const fn row(category: Category, page: Page) -> Row {
    Row { category, page, public_text: None }
}

impl Row {
    const fn telling(self, public_text: &'static str) -> Self {
        Self { public_text: Some(public_text), ..self }
    }
}

impl Page {
    /// Its text in Chinese and in English.
    pub fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::BadLink => ("链接无效，请返回原页面重新发起核身。", "This link is not valid."),
            Self::Gone => ("该核身流程不存在或已过期。", "This verification does not exist or has expired."),
            Self::Waiting => ("正在确认核身结果，请稍候……", "Confirming the result, please wait."),
            Self::Unconfirmed => ("暂时无法确认核身结果，请返回原页面。", "The result cannot be confirmed."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        assert_eq!(Reason::JwtKeysUnavailable.name(), "JWT_KEYS_UNAVAILABLE");
        assert_eq!(Reason::RequestIdReused.name(), "REQUEST_ID_REUSED");
    }

    #[test]
    fn a_browser_waits_only_for_what_passes_by_itself() {
        for reason in Reason::VARIANTS {
            let waits = reason.row().page == Page::Waiting;
            assert!(!waits || reason.passes_by_itself(), "{reason:?}");
        }
    }
}
