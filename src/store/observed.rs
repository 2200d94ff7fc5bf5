//! Any store, with a span, a duration and a count of failures for each operation.

use super::{
    Creation, Error, Store,
    row::*,
    signals::{EventKey, EventSignal},
};
use crate::domain::{job::JobKind, store_identity::StoreIdentity};
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{Instrument, field::Empty};

/// Tells of every operation of the store inside.
pub struct ObservedStore {
    inner: Arc<dyn Store>,
}

macro_rules! observe_all {
    ($($operation:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for ObservedStore {
            $(async fn $operation(&self, $($argument: $type),*) -> Result<$answer, Error> {
                self.observe(stringify!($operation), self.inner.$operation($($argument),*)).await
            })*

            fn engine(&self) -> &'static str {
                self.inner.engine()
            }

            fn event_signal(&self, key: EventKey) -> EventSignal {
                self.inner.event_signal(key)
            }
        }
    };
}

observe_all! {
    identity() -> StoreIdentity;
    create_or_find(new: NewRow, mac: RowMac, effects: Effects) -> Creation;
    find(id: &str) -> Option<VerificationRow>;
    find_by_request_id(caller: &str, request_id: &str) -> Option<VerificationRow>;
    find_by_token_hash(hashes: Vec<Vec<u8>>) -> Option<VerificationRow>;
    list(filter: ListFilter) -> Vec<VerificationRow>;
    advance(id: &str, expected_version: i64, next: ProgressRow, mac: RowMac, effects: Effects) -> bool;
    put_evidence(job: &JobRow, rows: Vec<EvidenceRow>, effects: Effects) -> bool;
    evidence_of(verification_id: &str) -> Vec<EvidenceRow>;
    erase_evidence(verification_id: &str, at_ms: i64, effects: Effects) -> ();
    note_blobs_deleted(verification_id: &str) -> ();
    has_job(kind: JobKind, subject: &str) -> bool;
    redact(id: &str, expected_version: i64, at_ms: i64, keep_session: bool, mac: RowMac, effects: Effects) -> bool;
    scrub() -> ();
    mark_fetched(id: &str, at_ms: i64) -> ();
    append_audit(event: AuditRow) -> ();
    audit_events(filter: AuditFilter) -> Vec<(i64, AuditRow)>;
    audit_of(verification_id: &str) -> Vec<AuditRow>;
    events_after(caller: &str, flow: &str, seq: i64, limit: u32) -> Vec<EventRow>;
    last_event() -> i64;
    add_job(job: NewJob) -> ();
    keep_only_job(kind: JobKind, subject: &str) -> ();
    claim_jobs(kind: JobKind, now_ms: i64, lease_until_ms: i64, limit: u32) -> Vec<JobRow>;
    finish_job(job: &JobRow) -> ();
    reschedule_job(job: &JobRow, due_at_ms: i64, failures: u32) -> ();
    undelivered(verification_id: &str, limit: u32) -> Vec<EventRow>;
    note_delivered(job: &JobRow, seq: i64, now_ms: i64) -> ();
    park_webhook(job: &JobRow, now_ms: i64) -> ();
    parked_webhooks() -> u64;
    first_due(kind: JobKind) -> Option<i64>;
    unsettled(now_ms: i64) -> Unsettled;
    usage(filter: UsageFilter) -> Vec<UsageDay>;
    charges(rule_id: &str, from_ms: i64, before_ms: i64) -> Vec<ChargeRow>;
    id_card_uses(hashes: Vec<Vec<u8>>, caller: &str, expired_after_ms: i64) -> Vec<CardUse>;
    forget_id_cards(expired_before_ms: i64) -> u64;
    create_credential(credential: CredentialRow, effects: Effects) -> bool;
    find_credential(name: &str) -> Option<CredentialRow>;
    credentials() -> Vec<CredentialRow>;
    change_credential(next: CredentialRow, effects: Effects) -> bool;
    delete_credential(name: &str, expected_version: i64, effects: Effects) -> bool;
    unsettled_with_credential(name: &str) -> u64;
    note_key_pair_used(id: &str, at_ms: i64) -> ();
    note_key_pair_tested(id: &str, at_ms: i64, code: &str, effects: Effects) -> ();
    sealing_keys() -> BTreeSet<String>;
    key_use() -> Vec<KeyUseRow>;
    not_sealed_with(key_id: &str, limit: u32) -> Vec<SealedValue>;
    sealed_with(key_id: &str, limit: u32) -> Vec<SealedValue>;
    unbound(limit: u32) -> Vec<VerificationRow>;
    reseal(values: Vec<Resealed>) -> u64;
    key_checks() -> Vec<(String, Vec<u8>)>;
    put_key_check(key_id: &str, sealed_check: Vec<u8>) -> ();
    beat(replica: &str, within: Duration) -> u32;
    leave(replica: &str) -> ();
    ping() -> ();
}

impl ObservedStore {
    /// Observes a store of this engine.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }

    async fn observe<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        // Of level DEBUG: it costs nothing where neither traces are exported nor debugging is
        // logged.
        let span = tracing::debug_span!(
            "store",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = self.inner.engine(),
            db.operation.name = operation,
            "error.type" = Empty,
        );
        let started = Instant::now();
        let answer = work.instrument(span.clone()).await;
        metrics::histogram!("faceid_store_operation_duration_seconds", "operation" => operation)
            .record(started.elapsed());
        if let Err(error) = &answer {
            let kind = error.kind.name();
            span.record("otel.status_code", "ERROR");
            span.record("error.type", kind);
            metrics::counter!("faceid_store_errors_total", "operation" => operation, "kind" => kind).increment(1);
        }
        answer
    }
}
