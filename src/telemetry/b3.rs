//! Reads the trace that a request belongs to from B3 headers, as Zipkin and older meshes send them:
//! `b3`, or `x-b3-…`.

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::{SpanContext, TraceContextExt, TraceState},
};
use std::sync::LazyLock;

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const SAMPLED: &str = "x-b3-sampled";
const DEBUG: &str = "x-b3-flags";

/// Only reads: the vendor and receivers of webhooks learn nothing of our traces.
#[derive(Debug)]
pub(super) struct B3;

impl TextMapPropagator for B3 {
    fn inject_context(&self, _context: &Context, _injector: &mut dyn Injector) {}

    fn extract_with_context(&self, context: &Context, headers: &dyn Extractor) -> Context {
        let found = headers.get(SINGLE).and_then(single).or_else(|| several(headers));
        found.map_or_else(|| context.clone(), |span| context.with_remote_span_context(span))
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: LazyLock<[String; 5]> =
            LazyLock::new(|| [SINGLE, TRACE_ID, SPAN_ID, SAMPLED, DEBUG].map(str::to_owned));
        FieldIter::new(&*FIELDS)
    }
}

/// `<trace>-<span>`, with `-<sampled>` and `-<parent>` after it or not. A sampling decision alone
/// names no trace.
fn single(value: &str) -> Option<SpanContext> {
    let mut parts = value.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    span_context(trace, span, parts.next())
}

fn several(headers: &dyn Extractor) -> Option<SpanContext> {
    let sampled = if headers.get(DEBUG) == Some("1") { Some("d") } else { headers.get(SAMPLED) };
    span_context(headers.get(TRACE_ID)?, headers.get(SPAN_ID)?, sampled)
}

/// Trace ids of 64 bits are the lower half. Where nothing is said, we sample: the decision was left
/// to us.
fn span_context(trace: &str, span: &str, sampled: Option<&str>) -> Option<SpanContext> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if ![16, 32].contains(&trace.len()) || span.len() != 16 || !is_hex(trace) || !is_hex(span) {
        return None;
    }
    let flags = match sampled {
        None | Some("1" | "d" | "true") => TraceFlags::SAMPLED,
        Some("0" | "false") => TraceFlags::NOT_SAMPLED,
        Some(_) => return None,
    };
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn read(headers: &[(&str, &str)]) -> Option<(String, String, bool)> {
        let headers: HashMap<String, String> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let context = B3.extract_with_context(&Context::new(), &headers);
        let span = context.span().span_context().clone();
        span.is_valid().then(|| (span.trace_id().to_string(), span.span_id().to_string(), span.is_sampled()))
    }

    /// The examples of the B3 specification.
    #[test]
    fn both_forms_are_read() {
        let of = |sampled| Some((TRACE.to_owned(), SPAN.to_owned(), sampled));
        assert_eq!(read(&[("b3", &format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"))]), of(true));
        assert_eq!(read(&[("b3", &format!("{TRACE}-{SPAN}"))]), of(true));
        assert_eq!(read(&[("b3", &format!("{TRACE}-{SPAN}-0"))]), of(false));
        assert_eq!(read(&[(TRACE_ID, TRACE), (SPAN_ID, SPAN), (SAMPLED, "0")]), of(false));
        assert_eq!(read(&[(TRACE_ID, TRACE), (SPAN_ID, SPAN), (DEBUG, "1")]), of(true));
        let short = read(&[(TRACE_ID, &TRACE[16..]), (SPAN_ID, SPAN)]).expect("a trace");
        assert_eq!(short.0, format!("{:0>32}", &TRACE[16..]));
    }

    #[test]
    fn what_names_no_trace_is_none() {
        for value in ["0", "", "-", "x-y", &format!("{TRACE}-{SPAN}-9"), &format!("{}-{SPAN}", "0".repeat(32))] {
            assert_eq!(read(&[("b3", value)]), None, "{value}");
        }
        assert_eq!(read(&[(TRACE_ID, TRACE)]), None);
    }
}
