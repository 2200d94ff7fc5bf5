//! From errors to gRPC statuses, with google.rpc details. The one place that logs a failed call.

use crate::{
    app::{Error, Reason, VendorFailure},
    auth::{Refused, quota::OverQuota},
    domain::fault::Fault,
};
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{
    BadRequest, ErrorDetail, ErrorDetails, ErrorInfo, FieldViolation, LocalizedMessage, PreconditionFailure,
    PreconditionViolation, QuotaFailure, QuotaViolation, RequestInfo, RetryInfo, StatusExt,
};

/// `ErrorInfo.domain` of every error.
pub(super) const DOMAIN: &str = "faceid-gateway";
/// When to come back after an outage or a throttle.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The status of a failed use case. Logs it: callers' mistakes quietly, ours and the vendor's loudly.
pub(super) fn status(error: &Error) -> Status {
    let reason = error.reason();
    let code = code(reason);
    let vendor = error.vendor_failure();
    let vendor_code = vendor.map(|vendor| vendor.code);
    let vendor_request_id = vendor.and_then(|vendor| vendor.request_id);
    if code == Code::Internal {
        tracing::error!(reason = reason.name(), error = %error, "call failed");
    } else if matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::FailedPrecondition) {
        tracing::warn!(reason = reason.name(), vendor_code, vendor_request_id, error = %error, "call failed");
    } else {
        tracing::debug!(reason = reason.name(), "call refused");
    }
    Status::with_error_details_vec(code, message(error, reason), details(error, reason, vendor))
}

/// The status of a call that showed no valid token.
pub(super) fn unauthenticated(message: &str) -> Status {
    let details = ErrorDetails::with_error_info(Reason::Unauthenticated.name(), DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unauthenticated, message, details)
}

/// The status of a call that showed no caller that is known.
pub(super) fn refused(refused: &Refused) -> Status {
    match refused {
        Refused::Unauthenticated(message) => unauthenticated(message),
        Refused::KeysUnavailable => {
            let mut details = ErrorDetails::with_error_info(Reason::JwtKeysUnavailable.name(), DOMAIN, HashMap::new());
            details.set_retry_info(Some(RETRY_DELAY));
            Status::with_error_details(code(Reason::JwtKeysUnavailable), refused.to_string(), details)
        }
    }
}

/// The status of a call over its caller's quota.
pub(super) fn over_quota(over: &OverQuota) -> Status {
    let OverQuota { caller, setting, per_minute, retry_after } = over;
    tracing::debug!(caller, setting, "call over its caller's quota");
    metrics::counter!("faceid_caller_quota_refusals_total", "caller" => caller.clone(), "setting" => *setting)
        .increment(1);
    let message =
        format!("caller {caller} may make {per_minute} calls a minute ({setting}); call again when RetryInfo says");
    let mut details = ErrorDetails::with_error_info(Reason::CallerQuotaExceeded.name(), DOMAIN, HashMap::new());
    details.set_retry_info(Some(*retry_after));
    details.set_quota_failure(vec![QuotaViolation::new(format!("caller:{caller}"), *setting)]);
    Status::with_error_details(code(Reason::CallerQuotaExceeded), message, details)
}

/// The status of a call whose caller waits no longer. What was begun goes on: a repeated `request_id` finds it.
pub(super) fn deadline_exceeded() -> Status {
    let details = ErrorDetails::with_error_info(Reason::DeadlineExceeded.name(), DOMAIN, HashMap::new());
    Status::with_error_details(code(Reason::DeadlineExceeded), "the caller's deadline ended first", details)
}

/// The status of a message that is not what the contract says, before any use case is asked.
pub(super) fn invalid(field: &str, problem: &str) -> Status {
    status(&Error::InvalidFields(vec![Fault { field: field.to_owned(), problem: problem.to_owned() }]))
}

fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidFields | Reason::CallbackNotBound => Code::InvalidArgument,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::FlowNotGranted | Reason::RightMissing => Code::PermissionDenied,
        Reason::VerificationNotFound | Reason::CredentialNotFound => Code::NotFound,
        Reason::RequestIdReused | Reason::CredentialExists => Code::AlreadyExists,
        Reason::AlreadyFinal
        | Reason::Redacted
        | Reason::StillPending
        | Reason::CredentialInUse
        | Reason::CredentialExternal
        | Reason::CredentialAbsent
        | Reason::CredentialDisabled
        | Reason::CredentialRefused
        | Reason::VendorAccountBlocked
        | Reason::FlowMisconfigured
        | Reason::VendorTokenGone
        | Reason::VendorRefused => Code::FailedPrecondition,
        Reason::VendorThrottled
        | Reason::VendorQuotaExhausted
        | Reason::CallerQuotaExceeded
        | Reason::PersonLimitReached => Code::ResourceExhausted,
        Reason::ClockSkewed
        | Reason::CredentialUnavailable
        | Reason::VendorUnavailable
        | Reason::Overloaded
        | Reason::StoreUnavailable
        | Reason::JwtKeysUnavailable
        | Reason::Stopping => Code::Unavailable,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Internal => Code::Internal,
    }
}

/// What the caller reads, in English. Internals stay in the log.
fn message(error: &Error, reason: Reason) -> String {
    match (reason, error.vendor_failure()) {
        (Reason::Internal, _) => "internal error: see the gateway's log".into(),
        // Its words may name files of the machine.
        (Reason::CredentialRefused, None) => {
            "the source of the flow's credential refuses to give a key pair: the gateway's log says why".into()
        }
        (Reason::CredentialUnavailable, _) => {
            "the credential of the flow has no key pair now: try again; the gateway's log says why".into()
        }
        (Reason::StoreUnavailable, _) => error.store_message(),
        (_, Some(vendor)) => format!("{error}. {}", vendor.known.hint_en),
        (_, None) => error.to_string(),
    }
}

fn details(error: &Error, reason: Reason, vendor: Option<VendorFailure<'_>>) -> Vec<ErrorDetail> {
    let mut info = ErrorInfo::new(reason.name(), DOMAIN, HashMap::new());
    let mut details = Vec::new();
    if let Some(vendor) = vendor {
        info.metadata.insert("vendor_action".to_owned(), vendor.action.to_owned());
        info.metadata.insert("vendor_code".to_owned(), vendor.code.to_owned());
        info.metadata.insert("tries".to_owned(), vendor.tries.to_string());
        info.metadata.insert("acts".to_owned(), vendor.known.acts.name().to_owned());
        if let Some(request_id) = vendor.request_id {
            info.metadata.insert("vendor_request_id".to_owned(), request_id.to_owned());
            details.push(RequestInfo::new(request_id, "").into());
        }
        details.push(LocalizedMessage::new("en-US", vendor.known.hint_en).into());
        details.push(LocalizedMessage::new("zh-CN", vendor.known.hint_zh).into());
    }
    details.insert(0, info.into());
    let faults = error.faults();
    if !faults.is_empty() {
        details.push(BadRequest::new(faults.iter().map(violation).collect::<Vec<_>>()).into());
    }
    let code = code(reason);
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        details.push(RetryInfo::new(Some(retry_delay(error))).into());
    }
    if code == Code::ResourceExhausted {
        details.push(QuotaFailure::new(vec![quota_violation(error)]).into());
    }
    if code == Code::FailedPrecondition {
        let subject = vendor.map_or("faceid-gateway", |vendor| vendor.action);
        let description = vendor.map_or_else(|| error.to_string(), |vendor| vendor.known.hint_en.to_owned());
        let violation = PreconditionViolation::new(reason.name(), subject, description);
        details.push(PreconditionFailure::new(vec![violation]).into());
    }
    details
}

fn retry_delay(error: &Error) -> Duration {
    if let Error::PersonLimitReached(reached) = error {
        return reached.retry_after.unsigned_abs();
    }
    error.vendor_failure().and_then(|vendor| vendor.retry_after).unwrap_or(RETRY_DELAY)
}

fn quota_violation(error: &Error) -> QuotaViolation {
    if let Error::PersonLimitReached(reached) = error {
        return QuotaViolation::new("id-card", reached.to_string());
    }
    QuotaViolation::new("tencent-account", "calls to the vendor per second")
}

fn violation(fault: &Fault) -> FieldViolation {
    FieldViolation::new(&fault.field, &fault.problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tencent::{self, ErrorKind};

    fn refused(code: &str) -> Status {
        let kind = ErrorKind::Refused { code: code.into(), request_id: "r-1".into() };
        status(&Error::Vendor(tencent::Error { action: "DetectAuth", kind, tries: 1, earlier: None }))
    }

    #[test]
    fn every_bad_field_is_a_violation() {
        let faults = ["a", "b"].map(|field| Fault { field: field.into(), problem: "is missing".into() });
        let status = status(&Error::InvalidFields(faults.into()));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "a: is missing; b: is missing");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 2);
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELDS", "faceid-gateway"));
    }

    #[test]
    fn vendor_refusals_become_what_the_caller_can_act_on() {
        for (vendor_code, code, reason) in [
            ("RequestLimitExceeded", Code::ResourceExhausted, "VENDOR_THROTTLED"),
            ("InternalError", Code::Unavailable, "VENDOR_UNAVAILABLE"),
            ("AuthFailure.SignatureFailure", Code::FailedPrecondition, "CREDENTIAL_REFUSED"),
            ("AuthFailure.SignatureExpire", Code::Unavailable, "CLOCK_SKEWED"),
            ("UnauthorizedOperation.Arrears", Code::FailedPrecondition, "VENDOR_ACCOUNT_BLOCKED"),
            ("InvalidParameterValue.RuleIdNotExist", Code::FailedPrecondition, "FLOW_MISCONFIGURED"),
            ("InvalidParameterValue.BizTokenExpired", Code::FailedPrecondition, "VENDOR_TOKEN_GONE"),
            ("Brand.New", Code::FailedPrecondition, "VENDOR_REFUSED"),
        ] {
            let status = refused(vendor_code);
            let details = status.get_error_details();
            assert_eq!(status.code(), code, "{vendor_code}");
            assert_eq!(details.error_info().unwrap().reason, reason, "{vendor_code}");
            assert_eq!(details.error_info().unwrap().metadata["vendor_request_id"], "r-1");
            assert_eq!(details.retry_info().is_some(), matches!(code, Code::Unavailable | Code::ResourceExhausted));
            assert_eq!(details.quota_failure().is_some(), code == Code::ResourceExhausted);
            assert_eq!(details.precondition_failure().is_some(), code == Code::FailedPrecondition);
        }
    }

    /// Every entry of the catalogue, and a code of each family that is not in it.
    fn every_code() -> impl Iterator<Item = String> {
        let listed = tencent::catalogue::CODES.iter().map(|entry| entry.code.to_owned());
        let families = tencent::catalogue::FAMILIES.iter().map(|entry| entry.code.replace('*', "BrandNew"));
        listed.chain(families).chain(["Brand.New".to_owned()])
    }

    #[test]
    fn every_vendor_error_says_who_should_do_what_in_both_languages() {
        for vendor_code in every_code() {
            let status = refused(&vendor_code);
            let details = status.get_error_details_vec();
            let known = tencent::catalogue::of_code(&vendor_code);
            let hints: Vec<(&str, &str)> = details
                .iter()
                .filter_map(|detail| match detail {
                    ErrorDetail::LocalizedMessage(hint) => Some((hint.locale.as_str(), hint.message.as_str())),
                    _ => None,
                })
                .collect();
            assert_eq!(hints, [("en-US", known.hint_en), ("zh-CN", known.hint_zh)], "{vendor_code}");
            let ErrorDetail::ErrorInfo(info) = &details[0] else { panic!("{vendor_code}: ErrorInfo comes first") };
            assert_eq!(info.metadata["vendor_code"], vendor_code);
            assert_eq!(info.metadata["acts"], known.acts.name(), "{vendor_code}");
            assert!(status.message().contains(known.hint_en), "{vendor_code}");
            // Peers refuse headers over 8 KB, and both travel there: the details in base64, the message percent-encoded.
            let sent = status.details().len() * 4 / 3 + status.message().len() * 3;
            assert!(sent < 4096, "{vendor_code}: {sent} bytes");
        }
    }

    #[test]
    fn internals_stay_inside() {
        let error = Error::UnreadableRow { id: "1".into(), column: "sealed_result", problem: "key k9".into() };
        assert_eq!(status(&error).message(), "internal error: see the gateway's log");
    }
}
