//! One call to the vendor, as it is counted, timed, logged and traced.

use super::error::{EarlierRefusal, Error, ErrorKind};
use tokio::time::Instant;

/// One call, with all its tries: counted, timed and traced, with the vendor's request id on the
/// span.
pub(super) struct Call {
    pub(super) action: &'static str,
    pub(super) span: tracing::Span,
    pub(super) tries: u32,
    /// The vendor's last refusal, if there was one.
    refusal: Option<EarlierRefusal>,
    started: Instant,
}

impl Call {
    pub(super) fn begin(action: &'static str) -> Self {
        let span = tracing::info_span!(
            "tencent",
            otel.name = action,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            "error.type" = tracing::field::Empty,
            http.request.method = "POST",
            server.address = tracing::field::Empty,
            code = tracing::field::Empty,
            tries = tracing::field::Empty,
            vendor_request_id = tracing::field::Empty
        );
        Self { action, span, tries: 0, refusal: None, started: Instant::now() }
    }

    /// A try goes to this host.
    pub(super) fn goes_to(&self, host: &str) {
        self.span.record("server.address", host);
    }

    /// A try has failed, which need not be the end.
    pub(super) fn failed_once(&mut self, kind: &ErrorKind) {
        let Self { action, span, tries, .. } = self;
        tracing::debug!(parent: &*span, action, tries, code = kind.label(), vendor_request_id = kind.request_id(), "try failed");
        if let Some(request_id) = kind.request_id() {
            self.refusal = Some(EarlierRefusal { code: kind.label().to_owned(), request_id: request_id.to_owned() });
        }
    }

    pub(super) fn succeeded(&self, request_id: &str) {
        self.end("ok", Some(request_id));
    }

    pub(super) fn failed(&self, kind: ErrorKind) -> Error {
        self.span.record("otel.status_code", "ERROR");
        self.span.record("error.type", kind.label());
        self.end(kind.label(), kind.request_id());
        Error { action: self.action, kind, tries: self.tries, earlier: self.refusal.clone().map(Box::new) }
    }

    fn end(&self, label: &str, request_id: Option<&str>) {
        let Self { action, span, tries, started, .. } = self;
        span.record("code", label);
        // Signed: an unsigned number would be exported as text.
        span.record("tries", i64::from(*tries));
        span.record("vendor_request_id", request_id);
        tracing::debug!(parent: span, action, code = label, tries, vendor_request_id = request_id, "vendor call ended");
        metrics::counter!("faceid_vendor_calls_total", "action" => *action, "code" => label.to_owned()).increment(1);
        metrics::histogram!("faceid_vendor_call_duration_seconds", "action" => *action).record(started.elapsed());
        metrics::histogram!("faceid_vendor_tries_per_call", "action" => *action).record(f64::from(*tries));
    }
}
