//! Logs, traces and metrics of the process.

mod b3;

use http::HeaderMap;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    KeyValue,
    propagation::{TextMapCompositePropagator, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, ParseError, Targets},
    layer::SubscriberExt,
    reload,
    util::{SubscriberInitExt, TryInitError},
};

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where a collector is, as OpenTelemetry's own variables say it; of use where the configuration
/// names none.
const ENDPOINT_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const SERVICE_NAME: &str = "faceid-gateway";

/// Spans of the store are of level DEBUG: exported always, and free where nothing is exported.
const STORE_SPANS: &str = concat!(env!("CARGO_CRATE_NAME"), "::store::observed");

/// Its lines carry paths of the machine that built it.
const QUIET: &str = "refinery_core=warn";

static LOG_FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Logs or traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.level or RUST_LOG: {0}")]
    Filter(#[from] ParseError),
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("logging was set up before: {0}")]
    SetUpBefore(#[from] TryInitError),
}

/// Exports traces until it is told to stop.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends logs to standard error and, with an endpoint, traces to an OTLP collector (gRPC).
    /// `filter` has the form of tracing's directives, for instance `info` or
    /// `info,faceid_gateway=debug`; the environment's `RUST_LOG` goes before it.
    ///
    /// # Errors
    /// When the filter cannot be read, the exporter cannot be made, or logging was set up before.
    pub fn start(filter: &str, format: LogFormat, otlp_endpoint: Option<&str>) -> Result<Self, TelemetryError> {
        let (filter, handle) = reload::Layer::new(log_filter(filter)?);
        let log = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        let log = match format {
            LogFormat::Json => log.json().flatten_event(true).boxed(),
            LogFormat::Text => log.boxed(),
        }
        .with_filter(filter);
        let traces = traces_wanted(otlp_endpoint).as_deref().map(trace_provider).transpose()?;
        let export = traces.as_ref().map(|provider| {
            // Where a request has both, W3C's goes before B3: later ones replace only what they
            // find.
            let formats: Vec<Box<dyn TextMapPropagator + Send + Sync>> =
                vec![Box::new(b3::B3), Box::new(TraceContextPropagator::new())];
            opentelemetry::global::set_text_map_propagator(TextMapCompositePropagator::new(formats));
            // Our own spans, whatever is logged: those of the libraries would include the export's
            // own calls.
            let ours = Targets::new()
                .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO)
                .with_target(STORE_SPANS, LevelFilter::DEBUG);
            tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE_NAME)).with_filter(ours)
        });
        tracing_subscriber::registry().with(log).with(export).try_init()?;
        // Set once, as the subscriber is.
        let _ = LOG_FILTER.set(handle);
        Ok(Self { traces })
    }

    /// Sends what is still waiting.
    pub fn stop(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(error = %error, "some traces were not exported");
        }
    }
}

/// Logs by another filter from now on, see [`Telemetry::start`]. Without effect where nothing is
/// logged.
///
/// # Errors
/// When the filter cannot be read.
pub fn set_log_filter(filter: &str) -> Result<(), TelemetryError> {
    let filter = log_filter(filter)?;
    if let Some(handle) = LOG_FILTER.get() {
        // Fails only when the subscriber is gone, with the process.
        let _ = handle.reload(filter);
    }
    Ok(())
}

/// The environment's `RUST_LOG`, else `filter`.
fn log_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_owned());
    Ok(EnvFilter::try_new(directives)?.add_directive(QUIET.parse()?))
}

fn trace_provider(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

/// The configuration's endpoint, else the environment's; none where `OTEL_SDK_DISABLED` says so.
fn traces_wanted(configured: Option<&str>) -> Option<String> {
    let of_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if of_environment("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    configured.map(str::to_owned).or_else(|| ENDPOINT_VARIABLES.into_iter().find_map(of_environment))
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go before what is said here.
fn resource() -> Resource {
    let ours = Resource::builder_empty()
        .with_service_name(SERVICE_NAME)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let of_environment = Resource::builder().build();
    // What no variable sets is named unknown_service.
    let said = of_environment
        .iter()
        .filter(|(key, value)| key.as_str() != "service.name" || !value.as_str().starts_with("unknown_service"));
    let said = said.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let known = ours.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(known.chain(said)).build()
}

/// Has a span go on with the trace that the headers of a request name, in W3C's form or B3's.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    let parent = opentelemetry::global::get_text_map_propagator(|formats| formats.extract(&HeaderExtractor(headers)));
    // Fails only where no trace is exported, and then there is nothing to continue.
    let _ = span.set_parent(parent);
}

/// The process's metrics, installed when first asked for: the recorder is one per process.
///
/// # Panics
/// When another recorder was installed before.
pub fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    /// Seconds: a store read, a vendor call, a vendor call that times out, a wait of GetResult.
    const BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    const TRIES: [f64; 5] = [0.0, 1.0, 2.0, 3.0, 4.0];
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
                .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_tries_per_call".into()), &TRIES))
                .expect("there are buckets")
                .install_recorder()
                .expect("no other metrics recorder in this process");
            describe_metrics();
            process_metrics().describe();
            handle
        })
        .clone()
}

/// The process's memory, CPU time, threads and open files, as Prometheus names them; to be
/// collected at each scrape.
pub fn process_metrics() -> metrics_process::Collector {
    metrics_process::Collector::default()
}

fn describe_vendor_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("faceid_vendor_calls_total", "Calls to Tencent, by action and code of the last try");
    describe_histogram!(
        "faceid_vendor_call_duration_seconds",
        "Duration of calls to Tencent with all tries and waits, by action"
    );
    describe_histogram!("faceid_vendor_tries_per_call", "Tries of a call to Tencent, by action; 0: refused here");
    describe_counter!(
        "faceid_vendor_retries_total",
        "Tries after the first, by action and what the one before came to"
    );
    describe_histogram!("faceid_vendor_quota_wait_seconds", "Waits for the account's quota, by action and priority");
    describe_counter!("faceid_vendor_quota_exhausted_total", "Calls refused for the quota, by action and priority");
    describe_gauge!("faceid_vendor_quota_per_second", "What the quota allows now, by credential and action");
    describe_gauge!("faceid_vendor_breaker_state", "Endpoints: 0 in use, 1 probed, 2 left alone");
    describe_gauge!("faceid_vendor_calls_in_flight", "Calls to Tencent that wait or are under way, by priority");
    describe_counter!("faceid_vendor_calls_shed_total", "Calls refused because too many were under way, by priority");
    describe_gauge!("faceid_vendor_clock_offset_seconds", "Tencent's time less this machine's, as learned");
    describe_counter!(
        "faceid_vendor_fields_without_a_place_total",
        "Fields of Tencent's answers kept only as vendor_raw"
    );
}

fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("faceid_jobs_total", "Background jobs, by kind and outcome");
    describe_counter!(
        "faceid_credential_fallback_total",
        "Calls that went with a credential's second key pair, because Tencent refuses the first"
    );
    describe_counter!("faceid_credential_renewals_total", "Times that a source was asked for a key pair, by outcome");
    describe_gauge!("faceid_credential_expiry_timestamp_seconds", "When a temporary key pair ends, in UNIX seconds");
    describe_counter!("faceid_vault_rewrapped_total", "Values that were sealed anew with the vault's first key");
    describe_counter!("faceid_results_lost_total", "Results that the vendor forgot before they could be asked for");
    describe_counter!("faceid_webhook_deliveries_total", "Tries to send a webhook, by outcome");
    describe_counter!("faceid_webhooks_parked_total", "Verifications whose webhooks were given up");
    describe_gauge!("faceid_webhooks_parked", "Verifications with events that could not be delivered");
    describe_counter!(
        "faceid_evidence_lost_total",
        "Verifications whose evidence the vendor deleted before it was fetched"
    );
    describe_counter!(
        "faceid_evidence_not_kept_total",
        "Photos, videos and sounds of the vendor that could not be kept, by kind and reason"
    );
    describe_gauge!("faceid_unsettled", "Verifications that are not settled yet, by age");
    describe_gauge!("faceid_unsettled_oldest_age_seconds", "Age of the oldest verification that is not settled yet");
    describe_gauge!("faceid_unsettled_time_left_seconds", "Time until the vendor forgets the oldest of them");
    describe_gauge!("faceid_streams_open", "WatchVerifications and DownloadEvidence that go on");
    describe_gauge!("faceid_waits_open", "GetResults that wait");
    metrics::gauge!("faceid_streams_open").set(0.0);
    metrics::gauge!("faceid_waits_open").set(0.0);
    describe_counter!("faceid_rpcs_total", "RPCs, by method and gRPC code");
    describe_histogram!("faceid_rpc_duration_seconds", "Duration of RPCs, by method");
    describe_vendor_metrics();
    describe_gauge!("faceid_build_info", "Always 1; its labels tell version, commit, store and vendor");
    describe_gauge!(
        "faceid_health_serving",
        "What gRPC health says of a service, or overall: 1 SERVING, 0 NOT_SERVING"
    );
    describe_counter!("faceid_health_transitions_total", "Changes of what gRPC health says, by service and status");
    describe_gauge!(
        "faceid_replicas",
        "Replicas that the vendor's quotas are split between, as this one knows; 0: it does not know, and asks nothing"
    );
    describe_gauge!("faceid_store_ready", "Whether the store can be written: 1, or 0");
    describe_histogram!("faceid_store_operation_duration_seconds", "Duration of the store's operations, by operation");
    describe_counter!("faceid_store_errors_total", "Operations of the store that failed, by operation and kind");
    describe_gauge!("faceid_store_size_bytes", "Size of the database, and of its log, by file");
    describe_gauge!("faceid_store_disk_free_bytes", "What is free for the gateway where the database is");
    describe_counter!("faceid_store_refused_writes_total", "Writes that the store refused, by kind");
    describe_gauge!(
        "faceid_store_scrub_pending",
        "Whether something that was erased still stands in the store's log: 1, or 0"
    );
    describe_counter!(
        "faceid_unreadable_rows_total",
        "Reads of rows that are damaged, altered, or sealed with a missing key"
    );
    describe_gauge!("faceid_evidence_orphans", "Blobs without a row, as of the last sweep");
    describe_gauge!("faceid_evidence_foreign_blobs", "Blobs of verifications that the database does not have");
    describe_counter!(
        "faceid_flow_misconfigured_total",
        "Verifications whose intention step is not as the flow says, by flow and problem"
    );
    describe_gauge!(
        "faceid_jobs_overdue_seconds",
        "For how long the job that was due first has been due, by kind; jobs under way count"
    );
    describe_counter!("faceid_verifications_created_total", "Verifications created, by flow");
    describe_counter!("faceid_verifications_settled_total", "Verifications that became final, by flow and outcome");
    describe_counter!("faceid_caller_quota_refusals_total", "Calls over their caller's quota, by caller and setting");
    describe_counter!("faceid_person_limit_refusals_total", "Creates for an ID card that has to rest, by window");
    describe_counter!("faceid_jwks_refreshes_total", "Reads of the keys of the JWTs' issuer, by outcome");
    describe_counter!("faceid_config_reload_failures_total", "Changed configuration files that could not be used");
    describe_gauge!("faceid_config_reload_failed", "1 while the configuration file, as it is now, cannot be used");
    describe_gauge!(
        "faceid_config_settings_waiting_for_restart",
        "Settings of the configuration file that were changed since the start and count after a restart only"
    );
    describe_counter!("faceid_tls_reload_failures_total", "Changed TLS files that could not be used");
    describe_counter!("faceid_connections_refused_total", "Connections without a place, by listener");
    describe_counter!("faceid_connections_cut_total", "Connections that were cut to make room, by listener");
    describe_counter!("faceid_connections_stalled_total", "Connections whose peer took nothing of what was sent");
    describe_counter!("faceid_share_refusals_total", "Calls over their holder's share, by setting");
    describe_counter!("faceid_logins_refused_total", "Calls that showed no caller that is known, by kind");
    describe_counter!("faceid_rights_missing_total", "Calls whose caller lacks a right or a flow, by caller");
    describe_counter!("faceid_webhook_receivers_paused_total", "Receivers that are left alone for a while, by caller");
    describe_counter!("faceid_tls_handshakes_failed_total", "Connections of the gRPC port that were not made ready");
    describe_gauge!("faceid_tls_certificate_expiry_timestamp_seconds", "When the server certificate in use ends");
    describe_counter!("faceid_callbacks_refused_total", "Callbacks that were not bound to their verification");
    describe_counter!("faceid_browser_callbacks_total", "Browsers at the public callback, by HTTP status");
}
