//! Faults on demand: what the vendor, or the network before it, can do to a client.

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// One thing that goes wrong, instead of the true answer or on top of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Fault {
    /// The vendor's error envelope with this code.
    ErrorCode { code: String },
    /// An HTTP status with an HTML body, as a gateway in front of the vendor gives.
    HttpStatus { status: u16 },
    /// HTML with status 200, as a captive portal gives.
    #[serde(rename = "html_200")]
    Html200,
    /// Status 200 and JSON by its header, but text that is none.
    NotJson,
    /// The true answer, cut in the middle.
    CutJson,
    /// A well-begun answer that goes on and on.
    Huge {
        #[serde(default = "fifty_megabytes")]
        size_bytes: u64,
        /// Whether the size is announced, or the answer just keeps coming.
        #[serde(default)]
        content_length: bool,
    },
    /// The true answer, each of its fields null.
    Nulls,
    /// The true answer, each value in it null, whatever its depth; its RequestId is told.
    DeepNulls,
    /// The true answer and, at every level, fields that nobody knows.
    UnknownFields,
    /// The true answer with strings where numbers and booleans belong, and the other way round.
    WrongTypes,
    /// The true answer, late.
    Delay { ms: u64 },
    /// The connection is reset, without an answer.
    Reset,
    /// The true answer begins, and the connection is reset in its middle.
    ResetMidBody,
    /// The connection is reset as soon as a request comes, unread: whatever its action.
    ResetUnread,
    /// As that, but only a connection that served a request before, and closed as an idle one is.
    CloseReused,
    /// The request is taken, and nothing comes.
    BlackHole,
    /// The true answer, so slowly that it takes for ever.
    Drip { bytes_per_second: u32 },
    /// The true answer with this `Text.ErrCode`.
    ResultCode { code: i64 },
    /// The true answer in the clear, though encryption was asked for.
    Unencrypted,
    /// The true answer with its encrypted parts cut short.
    BadCiphertext,
}

/// The faults that wait for their calls, in the order in which they were given.
#[derive(Default)]
pub(super) struct FaultQueue(Vec<Planned>);

/// A fault and the calls that meet it.
pub(super) struct Planned {
    /// "*" is every action.
    pub(super) action: String,
    /// Only calls for this BizToken meet it, so that calls which a client makes in the background
    /// do not use it up.
    pub(super) biz_token: Option<String>,
    /// How many calls meet it; `u32::MAX` is any number.
    pub(super) times_left: u32,
    /// One call in so many meets it, by chance.
    pub(super) one_in: NonZeroU32,
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    pub(super) fault: Fault,
}

impl Planned {
    /// For the next calls, one after the other.
    #[cfg(test)]
    pub(super) fn next(action: &str, times: u32, fault: Fault) -> Self {
        let (action, one_in) = (action.to_owned(), NonZeroU32::MIN);
        Self { action, biz_token: None, times_left: times, one_in, until: None, fault }
    }
}

impl FaultQueue {
    /// Plans a fault, after those already planned.
    pub(super) fn plan(&mut self, planned: Planned) {
        self.0.push(planned);
    }

    /// Takes the fault that this call of `action`, for this BizToken if for any, meets.
    pub(super) fn take(&mut self, action: &str, biz_token: Option<&str>) -> Option<Fault> {
        self.first(|planned| {
            !planned.fault.is_of_connection()
                && (planned.action == "*" || planned.action == action)
                && (planned.biz_token.is_none() || planned.biz_token.as_deref() == biz_token)
        })
    }

    /// Takes the fault that a connection meets on which a request comes, the first one or a later
    /// one.
    pub(super) fn take_for_connection(&mut self, is_reused: bool) -> Option<Fault> {
        self.first(|planned| match planned.fault {
            Fault::ResetUnread => true,
            Fault::CloseReused => is_reused,
            _ => false,
        })
    }

    fn first(&mut self, meets: impl Fn(&Planned) -> bool) -> Option<Fault> {
        let now = Instant::now();
        self.0.retain(|planned| planned.until.is_none_or(|until| now < until));
        let planned = self.0.iter_mut().find(|planned| meets(planned))?;
        if rand::random_range(0..planned.one_in.get()) > 0 {
            return None;
        }
        if planned.times_left < u32::MAX {
            planned.times_left = planned.times_left.saturating_sub(1);
        }
        let fault = planned.fault.clone();
        self.0.retain(|planned| planned.times_left > 0);
        Some(fault)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many calls are still to fail.
    pub(super) fn calls_left(&self) -> u64 {
        self.0.iter().map(|planned| u64::from(planned.times_left)).sum()
    }
}

impl Fault {
    /// The code under which the call log counts a call that met this fault: the answer's own, where
    /// it has one.
    pub(super) fn answer_code(&self) -> &str {
        match self {
            Fault::ErrorCode { code } => code,
            Fault::Delay { .. } => "OK",
            Fault::HttpStatus { .. } => "fault:http_status",
            Fault::Html200 => "fault:html_200",
            Fault::NotJson => "fault:not_json",
            Fault::CutJson => "fault:cut_json",
            Fault::Huge { .. } => "fault:huge",
            Fault::Nulls => "fault:nulls",
            Fault::DeepNulls => "fault:deep_nulls",
            Fault::UnknownFields => "fault:unknown_fields",
            Fault::WrongTypes => "fault:wrong_types",
            Fault::Reset => "fault:reset",
            Fault::ResetMidBody => "fault:reset_mid_body",
            Fault::ResetUnread => "fault:reset_unread",
            Fault::CloseReused => "fault:close_reused",
            Fault::BlackHole => "fault:black_hole",
            Fault::Drip { .. } => "fault:drip",
            Fault::ResultCode { .. } => "fault:result_code",
            Fault::Unencrypted => "fault:unencrypted",
            Fault::BadCiphertext => "fault:bad_ciphertext",
        }
    }

    /// Whether it hits a connection before there is a call on it.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Fault::ResetUnread | Fault::CloseReused)
    }

    /// Says what is wrong with the fault's own numbers.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Fault::HttpStatus { status } if !(200..=599).contains(status) => Err("status must be 200 to 599"),
            Fault::Huge { size_bytes, .. } if *size_bytes > 1 << 30 => Err("size_bytes must be at most 1073741824"),
            Fault::Delay { ms } if *ms > 600_000 => Err("ms must be at most 600000, ten minutes"),
            Fault::Drip { bytes_per_second: 0 } => Err("bytes_per_second must be at least 1"),
            Fault::ErrorCode { code } if code.is_empty() || code.len() > 128 => {
                Err("code must have 1 to 128 characters")
            }
            _ => Ok(()),
        }
    }

    /// Spoils the content of a true answer, `{"Response": {…}}`.
    pub(super) fn spoil(&self, answer: &mut Value) {
        let Some(response) = answer.get_mut("Response") else {
            return;
        };
        match self {
            Fault::Nulls => fields(response, &mut |field| *field = Value::Null),
            Fault::DeepNulls => {
                let request_id = response["RequestId"].take();
                nullify(response);
                response["RequestId"] = request_id;
            }
            Fault::UnknownFields => add_unknown_fields(response),
            Fault::WrongTypes => {
                mistype(response);
                for name in ["BizToken", "Url"] {
                    if let Some(field) = response.get_mut(name) {
                        *field = json!(42);
                    }
                }
            }
            Fault::BadCiphertext => super::encryption::spoil(response),
            Fault::ResultCode { code } => {
                if let Some(text) = response.get_mut("Text").and_then(Value::as_object_mut) {
                    text.insert("ErrCode".to_owned(), json!(code));
                    text.insert("ErrMsg".to_owned(), json!(super::codes::message(*code)));
                }
            }
            _ => {}
        }
    }
}

/// The page of a proxy or a portal.
pub(super) const HTML: &str = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>\
    <body><center><h1>502 Bad Gateway</h1></center><hr><center>simulated</center></body></html>";

/// A body of `size_bytes` that begins like an answer. It is made piece by piece as the client
/// reads.
pub(super) fn huge_body(size_bytes: u64) -> Body {
    const OPENING: &[u8] = br#"{"Response":{"RequestId":""#;
    const PIECE: Bytes = Bytes::from_static(&[b'A'; 65_536]);
    let pieces = stream::unfold((Bytes::from_static(OPENING), size_bytes), |(piece, left)| async move {
        if left == 0 {
            return None;
        }
        let piece = piece.slice(..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let left = left - piece.len() as u64;
        Some((Ok::<_, std::convert::Infallible>(piece), (PIECE, left)))
    });
    Body::from_stream(pieces)
}

/// The pieces at a rate, a second's worth at a time.
pub(super) fn dripping_body(pieces: Vec<Bytes>, bytes_per_second: u32) -> Body {
    let per_second = usize::try_from(bytes_per_second).unwrap_or(usize::MAX);
    Body::from_stream(stream::unfold(Bytes::from(pieces.concat()), move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let drop = left.split_to(per_second.min(left.len()));
        Some((Ok::<_, std::convert::Infallible>(drop), left))
    }))
}

fn fifty_megabytes() -> u64 {
    50 * 1024 * 1024
}

fn fields(value: &mut Value, edit: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(map) => map.values_mut().for_each(edit),
        Value::Array(items) => items.iter_mut().for_each(edit),
        _ => {}
    }
}

fn nullify(value: &mut Value) {
    match value {
        Value::Object(_) | Value::Array(_) => fields(value, &mut nullify),
        _ => *value = Value::Null,
    }
}

fn add_unknown_fields(value: &mut Value) {
    fields(value, &mut add_unknown_fields);
    if let Value::Object(map) = value {
        map.insert("UnknownNumber".to_owned(), json!(9_007_199_254_740_993_i64));
        map.insert("UnknownObject".to_owned(), json!({"Inside": [1, "two", null, {"Deep": true}]}));
    }
}

fn mistype(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.to_string()),
        Value::Bool(flag) => *value = json!(flag.to_string()),
        Value::Object(map) => Map::values_mut(map).for_each(mistype),
        Value::Array(items) => items.iter_mut().for_each(mistype),
        Value::Null | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoiled(fault: &Fault) -> Value {
        let mut answer = json!({"Response": {
            "Text": {"ErrCode": 0, "LivenessDetail": [{"IsNeedCharge": true}]}, "RequestId": "r"
        }});
        fault.spoil(&mut answer);
        answer["Response"].take()
    }

    #[test]
    fn faults_are_met_in_order_and_used_up() {
        let mut queue = FaultQueue::default();
        queue.plan(Planned::next("DetectAuth", 2, Fault::Reset));
        queue.plan(Planned::next("*", 1, Fault::Nulls));
        assert_eq!(queue.calls_left(), 3);
        assert_eq!(queue.take("GetDetectInfoEnhanced", Some("T")), Some(Fault::Nulls));
        assert_eq!(queue.take("GetDetectInfoEnhanced", Some("T")), None);
        let mut detect_auth = || queue.take("DetectAuth", None);
        assert_eq!([detect_auth(), detect_auth(), detect_auth()], [Some(Fault::Reset), Some(Fault::Reset), None]);
    }

    #[test]
    fn a_fault_for_one_token_waits_for_it() {
        let mut queue = FaultQueue::default();
        queue.plan(Planned { biz_token: Some("A".to_owned()), ..Planned::next("*", 1, Fault::Reset) });
        assert_eq!(queue.take("GetDetectInfoEnhanced", Some("B")), None);
        assert_eq!(queue.take("DetectAuth", None), None);
        assert_eq!(queue.take("GetDetectInfoEnhanced", Some("A")), Some(Fault::Reset));
    }

    #[test]
    fn a_fault_by_chance_hits_some_and_ends_with_its_time() {
        let mut queue = FaultQueue::default();
        let one_in = NonZeroU32::new(4).unwrap();
        queue.plan(Planned { one_in, ..Planned::next("*", u32::MAX, Fault::Reset) });
        let met = (0..4000).filter(|_| queue.take("DetectAuth", None).is_some()).count();
        assert!((800..1200).contains(&met), "{met}");
        queue.clear();
        queue.plan(Planned { until: Some(Instant::now()), ..Planned::next("*", u32::MAX, Fault::Reset) });
        assert_eq!(queue.take("DetectAuth", None), None);
        assert_eq!(queue.calls_left(), 0);
    }

    #[test]
    fn faults_of_connections_are_not_those_of_calls() {
        let mut queue = FaultQueue::default();
        queue.plan(Planned::next("*", 1, Fault::CloseReused));
        queue.plan(Planned::next("*", 1, Fault::Reset));
        assert_eq!(queue.take_for_connection(false), None);
        assert_eq!(queue.take("DetectAuth", None), Some(Fault::Reset));
        assert_eq!(queue.take_for_connection(true), Some(Fault::CloseReused));
        assert_eq!(queue.take_for_connection(true), None);
    }

    #[test]
    fn answers_are_spoiled_as_named() {
        assert_eq!(spoiled(&Fault::Nulls), json!({"Text": null, "RequestId": null}));
        let nulled = json!({"Text": {"ErrCode": null, "LivenessDetail": [{"IsNeedCharge": null}]}, "RequestId": "r"});
        assert_eq!(spoiled(&Fault::DeepNulls), nulled);
        let mistyped =
            json!({"Text": {"ErrCode": "0", "LivenessDetail": [{"IsNeedCharge": "true"}]}, "RequestId": "r"});
        assert_eq!(spoiled(&Fault::WrongTypes), mistyped);
        assert_eq!(spoiled(&Fault::ResultCode { code: 17 })["Text"]["ErrCode"], 17);
        let extended = spoiled(&Fault::UnknownFields);
        for object in [&extended, &extended["Text"], &extended["Text"]["LivenessDetail"][0]] {
            assert!(object["UnknownObject"]["Inside"].is_array());
        }
    }

    #[tokio::test]
    async fn a_huge_body_has_exactly_the_size_asked_for() {
        for size in [0, 10, 200_000] {
            let body = axum::body::to_bytes(huge_body(size), usize::MAX).await.unwrap();
            assert_eq!(body.len() as u64, size);
        }
    }
}
