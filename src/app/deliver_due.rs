//! The webhook dispatcher's use case: push a verification's events to its caller, in order.

use super::{App, Error, event::new_event};
use crate::{
    domain::{event::EventKind, job::JobKind, schedule::backoff, verification::Verification},
    store::row::{Effects, EventRow, JobRow, NewJob},
    webhook::{Admission, Endpoint, Message},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// How long an event is tried for.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// The body of a webhook. No personal data: the receiver asks for the result by the id.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    sequence: i64,
    verification_id: &'a str,
    flow: &'a str,
    state: &'a str,
    last_attempt_code: Option<i64>,
}

/// Why an event was not delivered.
enum Undelivered {
    /// The try failed.
    Failed,
    /// Nobody tried: the receiver has enough under way, or is left alone for a while.
    NotNow(Timestamp),
    /// The receiver takes nothing.
    Never,
}

impl App {
    /// Sends the first event that was not delivered yet; the job stays due while there are more.
    /// What fails is tried again with a growing pause, for a day, and what comes after it waits;
    /// then it is parked. Each receiver has its own part of the slots.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again.
    pub async fn deliver_due(&self, job: &JobRow) -> Result<(), Error> {
        let mut delivered = 0;
        if let Some(row) = self.store.undelivered(&job.subject, 1).await?.first() {
            if !self.bears_out(&row.event).await? {
                return self.reschedule_delivery(job, row, Undelivered::Never).await;
            }
            // A caller whose webhook was taken out of the configuration wants none.
            if let Some(endpoint) = self.terms().webhooks.get(&row.event.caller)
                && let Err(why) = self.deliver(endpoint, row).await
            {
                return self.reschedule_delivery(job, row, why).await;
            }
            delivered = row.seq;
        }
        Ok(self.store.note_delivered(job, delivered, self.clock.now().as_millisecond()).await?)
    }

    async fn deliver(&self, endpoint: &Endpoint, row: &EventRow) -> Result<(), Undelivered> {
        let now = self.clock.now();
        let slot = match self.webhook_receivers.admit(&row.event.caller, now) {
            Admission::Now(slot) => slot,
            Admission::Later(at) => return Err(Undelivered::NotNow(at)),
            Admission::Gone => return Err(Undelivered::Never),
        };
        let body = Body {
            kind: format!("verification.{}", row.event.kind),
            timestamp: Timestamp::from_millisecond(row.event.at_ms).unwrap_or(now).to_string(),
            data: Data {
                sequence: row.seq,
                verification_id: &row.event.verification_id,
                flow: &row.event.flow,
                state: &row.event.state,
                last_attempt_code: row.event.last_attempt_code,
            },
        };
        let json = serde_json::to_vec(&body).expect("an event is plain data");
        // The same on every try: receivers drop what they have seen.
        let message = Message::new(self.event_id(row.seq), json).map_err(|_| Undelivered::Never)?;
        let sent = self.webhook_sender.send(endpoint, &message, now).await;
        slot.note(sent.as_ref().copied(), self.clock.now());
        sent.map_err(|error| {
            tracing::warn!(verification_id = %row.event.verification_id, error = %error, "webhook not delivered");
            if error.is_permanent() { Undelivered::Never } else { Undelivered::Failed }
        })
    }

    /// Another store, or the same one after a restore, gives other events the same places.
    fn event_id(&self, seq: i64) -> String {
        format!("evt_{}_{}_{seq}", self.identity.id.simple(), self.identity.epoch)
    }

    async fn reschedule_delivery(&self, job: &JobRow, row: &EventRow, why: Undelivered) -> Result<(), Error> {
        let now = self.clock.now();
        let tried_since = Timestamp::from_millisecond(row.event.at_ms).unwrap_or(now);
        let (next, failures) = match why {
            Undelivered::Failed => (now + backoff(job.failures, rand::random()), job.failures + 1),
            // Spread, so that not all of a receiver's events come back at once.
            Undelivered::NotNow(at) => (at + backoff(0, rand::random()), job.failures),
            Undelivered::Never => (now, job.failures),
        };
        if matches!(why, Undelivered::Never) || now.duration_since(tried_since) > PATIENCE {
            tracing::error!(verification_id = %job.subject, "webhook parked: its events are in the log for WatchVerifications");
            metrics::counter!("faceid_webhooks_parked_total").increment(1);
            return Ok(self.store.park_webhook(job, now.as_millisecond()).await?);
        }
        Ok(self.store.reschedule_job(job, next.as_millisecond(), failures).await?)
    }

    /// Adds an event to what a write does, and the job that pushes it if its caller has a webhook.
    pub(super) fn announce(&self, effects: &mut Effects, verification: &Verification, kind: EventKind, at: Timestamp) {
        let event = new_event(verification, kind, at);
        if self.terms().webhooks.contains_key(&event.caller) {
            effects.jobs.push(NewJob {
                kind: JobKind::Webhook,
                subject: event.verification_id.clone(),
                due_at_ms: event.at_ms,
                rank_ms: event.at_ms,
            });
        }
        effects.events.push(event);
    }
}
