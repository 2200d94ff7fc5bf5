//! From errors to gRPC statuses, with google.rpc details. The one place that logs a failed call.

use super::call_context::CallContext;
use crate::{
    app::{Error, VendorFailure},
    auth::{Refused, quota::OverQuota},
    domain::{
        end_user,
        fault::Fault,
        reason::{Category, Reason},
    },
    shares::Full,
};
use std::{
    collections::{HashMap, HashSet},
    mem,
    time::Duration,
};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{
    BadRequest, ErrorDetail, ErrorInfo, FieldViolation, LocalizedMessage, PreconditionFailure, PreconditionViolation,
    QuotaFailure, QuotaViolation, RequestInfo, RetryInfo, StatusExt,
};

/// `ErrorInfo.domain` of every error.
pub(super) const DOMAIN: &str = "faceid-gateway";
/// When to come back after an outage or a throttle.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Message and details together, as they travel. Both are in the trailers, of which clients and
/// proxies take 8 KiB: over that a client sees another error, and a proxy may reset the connection
/// that others share.
const MAX_STATUS_BYTES: usize = 6 * 1024;
/// Limit for the message alone; it travels twice.
const MAX_MESSAGE_BYTES: usize = 1024;
const MAX_VIOLATIONS: usize = 32;
const MAX_VIOLATION_BYTES: usize = 256;

/// The status of a failed use case. Logs it: callers' mistakes quietly, ours and the vendor's
/// loudly.
pub(super) fn status(error: &Error) -> Status {
    let reason = error.reason();
    let code = code(reason);
    let vendor = error.vendor_failure();
    let vendor_code = vendor.map(|vendor| vendor.code);
    let vendor_request_id = vendor.and_then(|vendor| vendor.request_id);
    let call = CallContext::current();
    // Beside the span, which a level above info leaves out.
    let request_id = call.as_ref().map(CallContext::request_id);
    if code == Code::Internal {
        tracing::error!(reason = reason.name(), request_id, error = %error, "call failed");
    } else if matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::FailedPrecondition) {
        tracing::warn!(reason = reason.name(), request_id, vendor_code, vendor_request_id, error = %error, "call failed");
    } else {
        tracing::debug!(reason = reason.name(), request_id, "call refused");
    }
    capped(reason, &message(error, reason), details(error, reason, vendor), error.faults())
}

/// The status of a call that showed no valid token.
pub(super) fn unauthenticated(message: &str) -> Status {
    plain(Reason::Unauthenticated, message)
}

/// The status of a stream whose caller's token, subject or identity was taken out of the
/// configuration.
pub(super) fn revoked() -> Status {
    unauthenticated("what the call showed of its caller counts no more: it was taken out of the configuration")
}

/// The status of a call that showed no caller that is known.
pub(super) fn refused(refused: &Refused) -> Status {
    match refused {
        Refused::Nothing(_) | Refused::Invalid(_) | Refused::Unknown(_) => unauthenticated(&refused.to_string()),
        Refused::KeysUnavailable => later(Reason::JwtKeysUnavailable, &refused.to_string(), RETRY_DELAY, None),
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
    let violation = QuotaViolation::new(format!("caller:{caller}"), *setting);
    later(Reason::CallerQuotaExceeded, &message, *retry_after, Some(violation))
}

/// The status of a call for which its caller, or its peer, has too much under way.
pub(super) fn over_share(holder: &str, setting: &'static str, full: Full) -> Status {
    tracing::debug!(holder, setting, "call over its holder's share");
    metrics::counter!("faceid_share_refusals_total", "setting" => setting).increment(1);
    let message = match full {
        Full::ForHolder { limit } => format!("{holder} has all of its share under way: {limit} ({setting})"),
        Full::InAll { limit } => format!("all holders together have everything under way: {limit} ({setting})"),
    };
    later(Reason::CallerQuotaExceeded, &message, RETRY_DELAY, Some(QuotaViolation::new(holder, setting)))
}

/// The status of a call whose caller waits no longer. What was begun goes on: a repeated
/// `request_id` finds it.
pub(super) fn deadline_exceeded() -> Status {
    plain(Reason::DeadlineExceeded, "the caller's deadline ended first")
}

/// The status of a call whose message did not come.
pub(super) fn not_received(timeout: Duration) -> Status {
    plain(Reason::DeadlineExceeded, &format!("the call's message was not received within {} s", timeout.as_secs()))
}

fn plain(reason: Reason, message: &str) -> Status {
    let mut details = vec![info(reason).into()];
    if reason.passes_by_itself() {
        details.push(RetryInfo::new(Some(RETRY_DELAY)).into());
    }
    capped(reason, message, details, &[])
}

fn later(reason: Reason, message: &str, retry_after: Duration, violation: Option<QuotaViolation>) -> Status {
    let mut details = vec![info(reason).into(), RetryInfo::new(Some(retry_after)).into()];
    details.extend(violation.map(|violation| QuotaFailure::new(vec![violation]).into()));
    capped(reason, message, details, &[])
}

fn info(reason: Reason) -> ErrorInfo {
    ErrorInfo::new(reason.name(), DOMAIN, HashMap::new())
}

/// Every status is made here: one detail of a type, and all of it so small that every client and
/// proxy takes it.
fn capped(reason: Reason, message: &str, details: Vec<ErrorDetail>, faults: &[Fault]) -> Status {
    let code = code(reason);
    let message = cut(message, MAX_MESSAGE_BYTES);
    let mut seen = HashSet::new();
    let mut details: Vec<ErrorDetail> =
        details.into_iter().filter(|detail| seen.insert(mem::discriminant(detail))).collect();
    let mut violations = Vec::new();
    if let Some(ErrorDetail::BadRequest(bad)) =
        details.iter_mut().find(|detail| matches!(detail, ErrorDetail::BadRequest(_)))
    {
        violations = mem::take(&mut bad.field_violations);
    }
    let all = violations.len();
    violations.truncate(MAX_VIOLATIONS);
    let metadata = pushback(&details);
    if let Some(call) = CallContext::current() {
        details.push(RequestInfo::new(call.request_id(), "").into());
        let language = call.language();
        details.push(LocalizedMessage::new(language.tag(), end_user::told(reason, faults).text(language)).into());
    }
    loop {
        if let Some(ErrorDetail::BadRequest(bad)) =
            details.iter_mut().find(|detail| matches!(detail, ErrorDetail::BadRequest(_)))
        {
            bad.field_violations = first_of(&violations, all);
        }
        let status =
            Status::with_error_details_vec_and_metadata(code, message.clone(), details.clone(), metadata.clone());
        if travelling_bytes(&status) <= MAX_STATUS_BYTES {
            return status;
        }
        // The last faults go first, then the last details; what happened stays.
        if violations.pop().is_none() && details.len() > 1 {
            details.pop();
        } else if violations.is_empty() && details.len() == 1 {
            return Status::with_error_details_vec_and_metadata(code, message, vec![], metadata);
        }
    }
}

/// What clients that retry by themselves go by: they do not read RetryInfo (gRFC A6, "pushback").
fn pushback(details: &[ErrorDetail]) -> MetadataMap {
    let delay = details.iter().find_map(|detail| match detail {
        ErrorDetail::RetryInfo(retry) => retry.retry_delay,
        _ => None,
    });
    let mut metadata = MetadataMap::new();
    if let Some(delay) = delay {
        // An int32 there.
        let milliseconds = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        metadata.insert("grpc-retry-pushback-ms", milliseconds.into());
    }
    metadata
}

/// The first faults, and how many there are beside.
fn first_of(violations: &[FieldViolation], all: usize) -> Vec<FieldViolation> {
    let shortened = |violation: &FieldViolation| {
        let [field, description] =
            [&violation.field, &violation.description].map(|text| cut(text, MAX_VIOLATION_BYTES));
        FieldViolation::new(field, description)
    };
    let mut first: Vec<_> = violations.iter().map(shortened).collect();
    let more = all - violations.len();
    if more > 0 {
        first.push(FieldViolation::new("(more)", format!("and {more} more")));
    }
    first
}

/// The details travel in base64, the message percent-encoded.
fn travelling_bytes(status: &Status) -> usize {
    status.details().len().div_ceil(3) * 4 + status.message().chars().map(encoded_bytes).sum::<usize>()
}

fn encoded_bytes(character: char) -> usize {
    if matches!(character, ' '..='~') && character != '%' { 1 } else { 3 * character.len_utf8() }
}

/// The text, or as much of it as travels in `max_bytes`.
fn cut(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: &str = "...";
    let mut length = 0;
    let fits = |(at, character): (usize, char)| {
        length += encoded_bytes(character);
        (length > max_bytes).then_some(at)
    };
    match text.char_indices().find_map(fits) {
        None => text.to_owned(),
        Some(end) => {
            let end = text.floor_char_boundary(end.saturating_sub(ELLIPSIS.len()));
            format!("{}{ELLIPSIS}", &text[..end])
        }
    }
}

/// The status of a message that is not what the contract says, before any use case is asked.
pub(super) fn invalid(field: &str, problem: &str) -> Status {
    status(&Error::InvalidFields(vec![Fault { field: field.to_owned(), problem: problem.to_owned() }]))
}

fn code(reason: Reason) -> Code {
    match reason.category() {
        Category::InvalidArgument => Code::InvalidArgument,
        Category::Unauthenticated => Code::Unauthenticated,
        Category::PermissionDenied => Code::PermissionDenied,
        Category::NotFound => Code::NotFound,
        Category::AlreadyExists => Code::AlreadyExists,
        Category::FailedPrecondition => Code::FailedPrecondition,
        Category::ResourceExhausted => Code::ResourceExhausted,
        Category::Unavailable => Code::Unavailable,
        Category::DeadlineExceeded => Code::DeadlineExceeded,
        Category::Internal => Code::Internal,
    }
}

/// The message for the caller, in English. Internals stay in the log.
fn message(error: &Error, reason: Reason) -> String {
    match (error.vendor_failure(), reason.row().public_text) {
        (Some(vendor), _) => format!("{error}. {}", vendor.known.hint_en),
        (None, Some(text)) if reason == Reason::Internal => CallContext::current()
            .map_or_else(|| text.to_owned(), |call| format!("{text} for request_id {}", call.request_id())),
        (None, Some(text)) => text.to_owned(),
        (None, None) if reason == Reason::StoreUnavailable => error.store_message(),
        (None, None) => error.to_string(),
    }
}

fn details(error: &Error, reason: Reason, vendor: Option<VendorFailure<'_>>) -> Vec<ErrorDetail> {
    let mut info = info(reason);
    let mut details = Vec::new();
    if let Some(vendor) = vendor {
        info.metadata.insert("vendor_action".to_owned(), vendor.action.to_owned());
        info.metadata.insert("vendor_code".to_owned(), vendor.code.to_owned());
        info.metadata.insert("tries".to_owned(), vendor.tries.to_string());
        info.metadata.insert("acts".to_owned(), vendor.known.acts.name().to_owned());
        if let Some(request_id) = vendor.request_id {
            info.metadata.insert("vendor_request_id".to_owned(), request_id.to_owned());
        }
        info.metadata.insert("hint_en".to_owned(), vendor.known.hint_en.to_owned());
        info.metadata.insert("hint_zh".to_owned(), vendor.known.hint_zh.to_owned());
    }
    if let Error::EventsMissing { list_from: Some(from) } = error {
        info.metadata.insert("list_created_from".to_owned(), from.to_string());
    }
    details.insert(0, info.into());
    let faults = error.faults();
    if !faults.is_empty() {
        details.push(BadRequest::new(faults.iter().map(violation).collect::<Vec<_>>()).into());
    }
    let code = code(reason);
    if reason.passes_by_itself() {
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
    use crate::{
        grpc::pb::ErrorReason,
        tencent::{self, ErrorKind},
    };
    use std::collections::BTreeSet;
    use strum::VariantArray;

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
            let ErrorDetail::ErrorInfo(info) = &details[0] else { panic!("{vendor_code}: ErrorInfo comes first") };
            let hints = (info.metadata["hint_en"].as_str(), info.metadata["hint_zh"].as_str());
            assert_eq!(hints, (known.hint_en, known.hint_zh), "{vendor_code}");
            assert_eq!(info.metadata["vendor_code"], vendor_code);
            assert_eq!(info.metadata["acts"], known.acts.name(), "{vendor_code}");
            assert!(status.message().contains(known.hint_en), "{vendor_code}");
            assert!(travelling_bytes(&status) < 4096, "{vendor_code}");
        }
    }

    #[test]
    fn many_faults_are_cut_to_what_travels() {
        for (field, problem) in [("states", "is not a state"), ("答案", "太长了太长了太长了"), ("%", "%\n\u{7f}")]
        {
            let fault = |i| Fault { field: format!("{field}[{i}]"), problem: problem.repeat(20) };
            let status = status(&Error::InvalidFields((0..5_000).map(fault).collect()));
            let bytes = travelling_bytes(&status);
            assert!((1_000..=MAX_STATUS_BYTES).contains(&bytes), "{field}: {bytes}");
            let violations = status.get_error_details().bad_request().unwrap().field_violations.clone();
            let (last, first) = violations.split_last().unwrap();
            assert!(first.len() > 3 && first[0].field == format!("{field}[0]"), "{field}: {}", first.len());
            assert_eq!(last.description, format!("and {} more", 5_000 - first.len()));
        }
    }

    #[test]
    fn a_status_has_one_detail_of_a_type_and_always_its_reason() {
        let long = || PreconditionFailure::new(vec![PreconditionViolation::new("a", "b", "c".repeat(9_000))]).into();
        let twice = vec![info(Reason::Internal).into(), RetryInfo::new(None).into(), RetryInfo::new(None).into()];
        assert_eq!(capped(Reason::Internal, "x", twice, &[]).get_error_details_vec().len(), 2);
        let status = capped(Reason::Internal, &"长".repeat(9_000), vec![info(Reason::Internal).into(), long()], &[]);
        assert!(status.message().ends_with("长..."));
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "INTERNAL");
        assert!(travelling_bytes(&status) <= MAX_STATUS_BYTES);
    }

    #[test]
    fn who_may_retry_is_told_when_in_both_ways() {
        let retry_after = Duration::from_millis(2_500);
        for (status, delay_ms) in [
            (deadline_exceeded(), Some(1_000)),
            (later(Reason::CallerQuotaExceeded, "x", retry_after, None), Some(2_500)),
            (later(Reason::CallerQuotaExceeded, "x", Duration::MAX, None), Some(i64::from(i32::MAX))),
            (refused("InternalError"), Some(1_000)),
            (unauthenticated("x"), None),
            (refused("UnauthorizedOperation.Arrears"), None),
        ] {
            let pushback = status.metadata().get("grpc-retry-pushback-ms").map(|value| value.to_str().unwrap());
            assert_eq!(pushback.map(str::to_owned), delay_ms.map(|delay| delay.to_string()), "{status:?}");
            assert_eq!(status.get_error_details().retry_info().is_some(), delay_ms.is_some(), "{status:?}");
        }
    }

    #[test]
    fn the_reasons_are_those_of_the_contract() {
        let ours: BTreeSet<&str> = Reason::VARIANTS.iter().map(|reason| reason.name()).collect();
        let unspecified = ErrorReason::Unspecified as i32;
        let of_the_contract = (unspecified + 1..).map_while(|number| ErrorReason::try_from(number).ok());
        assert_eq!(of_the_contract.map(|reason| reason.as_str_name()).collect::<BTreeSet<_>>(), ours);
    }

    #[test]
    fn the_contract_gives_each_reason_its_code() {
        const CONTRACT: &str = include_str!("../../proto/faceid/v1/error_reason.proto");
        for reason in Reason::VARIANTS {
            let (before, _) =
                CONTRACT.split_once(&format!("  {} = ", reason.name())).expect("a reason of the contract");
            let category: &str = reason.category().into();
            // What stands before it: the end of another value, then its own comment.
            let comment = before.rsplit_once(&format!(";\n  // {category}. ")).map(|(_, comment)| comment);
            let is_right = |comment: &str| comment.contains("Example:") && !comment.contains(" = ");
            assert!(comment.is_some_and(is_right), "{}: {comment:?}", reason.name());
        }
    }

    #[test]
    fn internals_stay_inside() {
        let error = Error::UnreadableRow { id: "1".into(), column: "sealed_result", problem: "key k9".into() };
        assert_eq!(status(&error).message(), "internal error: see the gateway's log");
    }
}
