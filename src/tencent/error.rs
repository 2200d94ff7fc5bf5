//! What can go wrong with a call to the vendor, and what that means.

use crate::tc3::TimestampOutOfRange;

/// A call that gave no answer to work with. Says which call and why; carries no text of the vendor, which may be personal.
#[derive(Debug, thiserror::Error)]
#[error("Tencent {action}: {kind}")]
pub struct Error {
    /// The vendor's action.
    pub action: &'static str,
    #[source]
    pub kind: ErrorKind,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The vendor understood and refused.
    #[error("refused with {code} (request id {request_id})")]
    Refused { code: String, request_id: String },
    #[error("no answer within {timeout_ms} ms")]
    Timeout { timeout_ms: u128 },
    #[error("unreachable: {0}")]
    Unreachable(#[source] reqwest::Error),
    #[error("answered HTTP {0}")]
    HttpStatus(u16),
    #[error("answered over {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    /// Not JSON, cut, or not of the documented shape. The place, not the text.
    #[error("answer is not the documented JSON: {problem} (request id {request_id})")]
    Unintelligible { problem: String, request_id: String },
    #[error("cannot be signed: {0}")]
    Signing(#[from] TimestampOutOfRange),
}

impl ErrorKind {
    /// What the failure means.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { code, .. } => classify(code),
            Self::Timeout { .. }
            | Self::Unreachable(_)
            | Self::HttpStatus(_)
            | Self::TooLarge { .. }
            | Self::Unintelligible { .. } => ErrorClass::Transient,
            Self::Signing(_) => ErrorClass::Clock,
        }
    }

    /// A short name for metrics: few values, whatever the vendor answers.
    pub fn label(&self) -> &str {
        match self {
            Self::Refused { code, .. } if classify(code) == ErrorClass::Unknown => "unknown_code",
            Self::Refused { code, .. } => code,
            Self::Timeout { .. } => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::HttpStatus(_) => "http_status",
            Self::TooLarge { .. } => "too_large",
            Self::Unintelligible { .. } => "unintelligible",
            Self::Signing(_) => "signing",
        }
    }

    /// The vendor's id of the call, where it gave one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused { request_id, .. } | Self::Unintelligible { request_id, .. } => {
                Some(request_id.as_str()).filter(|id| !id.is_empty())
            }
            Self::Timeout { .. }
            | Self::Unreachable(_)
            | Self::HttpStatus(_)
            | Self::TooLarge { .. }
            | Self::Signing(_) => None,
        }
    }
}

/// What a refusal means: who can do something about it, and whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Our clock differs from the vendor's by over five minutes.
    Clock,
    /// The key pair, or its rights.
    Credential,
    /// The vendor account: not activated, in arrears, blocked.
    Account,
    /// The RuleId.
    Flow,
    /// The BizToken.
    Token,
    /// Too many calls: ask again later.
    Throttled,
    /// The vendor's side failed: ask again.
    Transient,
    /// The request itself.
    Request,
    /// A code that is not in the table: not to be repeated.
    Unknown,
}

/// Classes an error code of the vendor's API.
pub fn classify(code: &str) -> ErrorClass {
    match code {
        "AuthFailure.SignatureExpire" => ErrorClass::Clock,
        "AuthFailure.SignatureFailure"
        | "AuthFailure.SecretIdNotFound"
        | "AuthFailure.InvalidSecretId"
        | "AuthFailure.InvalidAuthorization"
        | "AuthFailure.TokenFailure"
        | "AuthFailure.UnauthorizedOperation"
        | "AuthFailure.MFAFailure"
        | "FailedOperation.StsUnAuthErrError" => ErrorClass::Credential,
        "UnauthorizedOperation"
        | "UnauthorizedOperation.ActivateError"
        | "UnauthorizedOperation.Activating"
        | "UnauthorizedOperation.Arrears"
        | "UnauthorizedOperation.ChargeStatusException"
        | "UnauthorizedOperation.NonAuthorize"
        | "UnauthorizedOperation.Nonactivated"
        | "IpInBlacklist"
        | "IpNotInWhitelist" => ErrorClass::Account,
        "InvalidParameterValue.RuleIdNotExist" | "InvalidParameterValue.RuleIdDisabled" => ErrorClass::Flow,
        "InvalidParameterValue.BizTokenExpired"
        | "InvalidParameterValue.BizTokenIllegal"
        | "FailedOperation.InvalidTokenParameter" => ErrorClass::Token,
        "RequestLimitExceeded"
        | "RequestLimitExceeded.UinLimitExceeded"
        | "RequestLimitExceeded.GlobalRegionUinLimitExceeded"
        | "RequestLimitExceeded.IPLimitExceeded"
        | "FailedOperation.RequestLimitExceeded"
        | "LimitExceeded" => ErrorClass::Throttled,
        "InternalError"
        | "InternalError.UnKnown"
        | "InternalError.EncryptSystemError"
        | "FailedOperation.DbError"
        | "FailedOperation.UnKnown"
        | "FailedOperation.EncryptSystemError"
        | "FailedOperation.FileSaveError"
        | "ServiceUnavailable" => ErrorClass::Transient,
        "FailedOperation.DecryptSystemError"
        | "InvalidParameter"
        | "InvalidParameterValue"
        | "InvalidParameter.UnsupportEncryptField"
        | "MissingParameter"
        | "UnknownParameter"
        | "UnsupportedOperation"
        | "InvalidAction"
        | "NoSuchVersion"
        | "RequestSizeLimitExceeded"
        | "ResponseSizeLimitExceeded" => ErrorClass::Request,
        _unlisted => ErrorClass::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_every_documented_code() {
        let table = include_str!("../../tests/vectors/vendor/error-codes.tsv");
        let rows: Vec<(&str, &str)> = table.lines().skip(1).filter_map(|line| line.split_once('\t')).collect();
        assert!(rows.len() > 40);
        for (code, class) in rows {
            let expected = match class {
                "clock" => ErrorClass::Clock,
                "credential" => ErrorClass::Credential,
                "account" => ErrorClass::Account,
                "flow" => ErrorClass::Flow,
                "token" => ErrorClass::Token,
                "throttled" => ErrorClass::Throttled,
                "transient" => ErrorClass::Transient,
                "request" => ErrorClass::Request,
                other => panic!("{code} has class {other}"),
            };
            assert_eq!(classify(code), expected, "{code}");
        }
        for unlisted in ["InvalidParameterValue.SomethingNew", "internalerror", ""] {
            assert_eq!(classify(unlisted), ErrorClass::Unknown, "{unlisted}");
        }
    }

    #[test]
    fn an_unknown_code_does_not_become_a_metric_label() {
        let kind = ErrorKind::Refused { code: "Made.Up".into(), request_id: String::new() };
        assert_eq!(kind.label(), "unknown_code");
        assert_eq!(kind.request_id(), None);
    }
}
