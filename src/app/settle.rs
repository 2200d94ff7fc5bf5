//! Settle: ask the vendor, apply the answer. Shared by the callback, the result and the reconciler.

use super::{App, Error, record::Record};
use crate::{
    domain::{
        event::EventKind,
        key_pair::KeyPair,
        outcome::{Judgement, Report, Verdict, judge},
        reason::Reason,
        result::LivenessAttempt,
        result_code::{INTENTION_MODE_DIFFERS, INTENTION_STEP_OFF, ResultCode},
        verification::{State, Verification},
    },
    store::row::{AttemptRow, Effects, VerificationRow},
    tencent::Urgency,
};
use futures_util::FutureExt;
use jiff::Timestamp;
use std::sync::Arc;
use tracing::Instrument;

/// Begins the ledger's name of an attempt that the vendor gave none.
pub(super) const UNNAMED_ATTEMPT: &str = "place-";

/// Where a verification stands after the vendor was asked.
pub(super) struct Checked {
    pub(super) record: Record,
    /// The answer is to a request that was in flight already: what happened since may be missing.
    pub(super) joined_in_flight: bool,
}

/// Ends a flight, whatever becomes of it.
struct Landing {
    app: Arc<App>,
    id: String,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.app.checks.land(&self.id);
    }
}

impl App {
    /// Brings a pending verification up to date with the vendor. One that is final, or canceled, is
    /// not asked about.
    pub(super) async fn settle(self: &Arc<Self>, record: Record, urgency: Urgency) -> Result<Record, Error> {
        if record.verification.state != State::Pending {
            return Ok(record);
        }
        let checked = self.check(record, urgency).await?;
        // The caller may have just seen the user finish; a request sent earlier cannot reflect
        // that, so ask once more.
        if checked.joined_in_flight && checked.record.verification.state == State::Pending {
            return Ok(self.check(checked.record, urgency).await?.record);
        }
        Ok(checked.record)
    }

    /// Asks the vendor and applies the answer. Single-flight per verification: concurrent callers
    /// share one call and its outcome. It goes on when they hang up, and what it learns is kept.
    pub(super) async fn check(self: &Arc<Self>, mut record: Record, urgency: Urgency) -> Result<Checked, Error> {
        let id = record.verification.id.to_string();
        let mut may_retry = urgency != Urgency::Background;
        loop {
            let (flight, is_new) = self.checks.join(&id, || {
                let landing = Landing { app: Arc::clone(self), id: id.clone() };
                async move { landing.app.check_alone(record, urgency).await.map_err(Arc::new) }.boxed()
            });
            if is_new {
                let (flight, giving_up) = (flight.clone(), self.giving_up.clone());
                let driven = async move { giving_up.run_until_cancelled(flight).await };
                self.detached.spawn(driven.in_current_span());
            }
            let outcome = flight.await;
            record = self.find(&id).await?;
            match outcome {
                Ok(()) => return Ok(Checked { record, joined_in_flight: !is_new }),
                // The refused call may have been background work, which has the lower priority.
                Err(error) if !is_new && error.was_not_asked() && urgency != Urgency::Background => {}
                // Or the leader hit its own deadline: retry under ours.
                Err(error) if !is_new && error.reason() == Reason::VendorUnavailable && may_retry => {
                    may_retry = false;
                }
                Err(error) => return Err(Error::Shared(error)),
            }
        }
    }

    /// Asks the vendor and applies the answer: state, last attempt, ledger, result, events.
    ///
    /// Text only: photos and videos are never waited for. A check at the same time in another
    /// process does no harm: a change is stored only over the version that it was made from, and an
    /// older answer never over a newer one.
    async fn check_alone(&self, mut record: Record, urgency: Urgency) -> Result<(), Error> {
        let Report { findings, result } = self.ask_vendor(&record, urgency).await?;
        let (asked_at, request_id) = (result.fetched_at, result.vendor_request_id.clone());
        let verification = &record.verification;
        let id = verification.id.to_string();
        let judgement = findings.as_ref().map_or(Judgement::NOTHING_LEARNT, |findings| {
            judge(findings, verification.intention, verification.token_expired(asked_at))
        });
        let tells_something =
            findings.is_some_and(|findings| findings.face_code.is_some() || findings.last_liveness.is_some());
        let result = tells_something.then_some(result);
        let attempts = result.as_ref().map(|result| ledger_rows(&id, &result.attempts)).unwrap_or_default();
        loop {
            let before = record.verification.clone();
            // A newer answer of another call stands, unless ours is the one that cannot change any
            // more.
            let outdated = before.checked_at.is_some_and(|checked_at| checked_at > asked_at)
                && judgement.verdict != Verdict::Passed;
            if before.state.is_decided() || outdated {
                return Ok(());
            }
            let settled = Record {
                verification: record.verification.settle(&judgement, asked_at),
                result: result.clone().or(record.result),
                check_request_id: Some(request_id.clone()),
                ..record
            };
            let mut effects = Effects {
                attempts: attempts.clone(),
                jobs: self.jobs_at_the_end(&settled.verification),
                ..Effects::default()
            };
            if let Some(kind) = kind_of_change(&before, &settled.verification) {
                self.announce(&mut effects, &settled.verification, kind, asked_at);
            }
            let (progress, mac) = settled.progress(&self.keyring);
            if self.store.advance(&id, before.version, progress, mac, effects).await? {
                note_change(&before, &settled.verification);
                return Ok(());
            }
            record = self.find(&id).await?;
        }
    }

    async fn ask_vendor(&self, record: &Record, urgency: Urgency) -> Result<Report, Error> {
        let verification = &record.verification;
        let token = &record.session()?.token;
        let ask = |pair: Arc<KeyPair>| async move { self.tencent.ask(&pair, verification, token, urgency).await };
        Ok(self.credentials.with_key_pair(&verification.credential, ask).await?)
    }

    /// Reads a verification that must exist.
    pub(super) async fn find(&self, id: &str) -> Result<Record, Error> {
        self.open(self.store.find(id).await?)
    }

    pub(super) fn open(&self, row: Option<VerificationRow>) -> Result<Record, Error> {
        Record::open(&self.keyring, row.ok_or(Error::VerificationNotFound)?)
    }
}

/// The ledger's rows. The vendor's `Seq` names an attempt; where it is missing or empty, its place
/// in the list must do.
fn ledger_rows(verification_id: &str, attempts: &[LivenessAttempt]) -> Vec<AttemptRow> {
    let row = |(i, attempt): (usize, &LivenessAttempt)| AttemptRow {
        verification_id: verification_id.to_owned(),
        seq: attempt
            .sequence_id
            .clone()
            .filter(|seq| !seq.is_empty())
            .unwrap_or_else(|| format!("{UNNAMED_ATTEMPT}{i}")),
        at_ms: attempt.at.map(Timestamp::as_millisecond),
        code: attempt.code,
        charged: attempt.charged,
    };
    attempts.iter().enumerate().map(row).collect()
}

fn kind_of_change(before: &Verification, after: &Verification) -> Option<EventKind> {
    if before.state != after.state {
        Some(EventKind::Settled)
    } else if before.last_attempt != after.last_attempt {
        Some(EventKind::Attempted)
    } else {
        None
    }
}

pub(super) fn note_change(before: &Verification, after: &Verification) {
    if before.last_attempt != after.last_attempt {
        note_misconfigured_flow(after);
    }
    if before.state == after.state {
        return;
    }
    let outcome = after.state.name().as_str();
    metrics::counter!("faceid_verifications_settled_total", "flow" => after.flow.clone(), "outcome" => outcome)
        .increment(1);
    tracing::info!(verification_id = %after.id, flow = %after.flow, outcome, "settled");
}

/// The person cannot pass, whatever they do: an operator has to mend the flow, and hears of it at
/// once.
fn note_misconfigured_flow(after: &Verification) {
    let Some(code) = after.last_attempt.map(|attempt| attempt.code) else { return };
    let problem = match code {
        INTENTION_STEP_OFF => "step_off",
        INTENTION_MODE_DIFFERS => "mode_differs",
        _ => return,
    };
    metrics::counter!("faceid_flow_misconfigured_total", "flow" => after.flow.clone(), "problem" => problem)
        .increment(1);
    tracing::error!(
        verification_id = %after.id, flow = %after.flow,
        "{}: nobody can pass; make the flow's `intention` and the console agree",
        ResultCode::explain(code, after.intention).meaning
    );
}
