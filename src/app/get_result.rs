//! GetResult: where a verification stands and what the vendor found.

use super::{App, Error, evidence::Evidence, record::Record};
use crate::domain::{
    audit::AuditAction,
    caller::{Caller, Right},
    evidence::UnkeptMedium,
    ids::{BizToken, VerificationId},
    job::JobKind,
    result::VerificationResult,
    verification::{State, Verification},
};
use crate::{store::signals::EventKey, tencent::Urgency};
use jiff::SignedDuration;
use std::{mem, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A caller that polls does not turn into as many calls to the vendor.
const RECENT: SignedDuration = SignedDuration::from_secs(2);

/// How long a waiting GetResult leaves the vendor alone before each question, and before all later ones.
const ASK_PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(5)];
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Which verification.
pub enum ResultKey {
    VerificationId(VerificationId),
    BizToken(BizToken),
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultView {
    Basic,
    Masked,
    Full,
}

/// A verification and, where there is one and the view has it, its result.
pub struct VerificationWithResult {
    pub verification: Verification,
    pub result: Option<VerificationResult>,
    pub evidence: Vec<Evidence>,
    /// Media that the vendor has and that could not be kept. Their texts are in view FULL only.
    pub unkept_media: Vec<UnkeptMedium>,
    /// Whether evidence is still being fetched.
    pub evidence_pending: bool,
}

impl App {
    /// Settles the verification if it is pending, and tells of it. `fresh` asks the vendor even if it was asked just now. While it
    /// stays pending, waits up to `wait` for whoever settles it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_result(
        self: &Arc<Self>,
        caller: &Caller,
        key: ResultKey,
        view: ResultView,
        fresh: bool,
        wait: Duration,
        urgency: Urgency,
    ) -> Result<VerificationWithResult, Error> {
        if view == ResultView::Full {
            self.require(caller, Right::FullView)?;
        }
        let row = match key {
            ResultKey::VerificationId(id) => self.store.find(&id.to_string()).await?,
            ResultKey::BizToken(token) => self.store.find_by_token_hash(self.keyring.token_hashes(&token)).await?,
        };
        let mut record = self.open(row.filter(|row| row.made.caller == caller.name))?;
        let checked_at = record.verification.checked_at;
        // A negative age, after the clock was set back, is not recent.
        let recent = checked_at.is_some_and(|checked_at| {
            (SignedDuration::ZERO..RECENT).contains(&self.clock.now().duration_since(checked_at))
        });
        if fresh || !recent {
            record = self.settle(record, urgency).await?;
        }
        if !wait.is_zero() {
            record = self.wait_until_settled(record, wait, urgency).await?;
        }
        record = self.mark_result_fetched(record).await?;
        let id = record.verification.id.to_string();
        let evidence = self.store.evidence_of(&id).await?.into_iter().map(Evidence::from).collect();
        let evidence_pending = self.store.has_job(JobKind::FetchEvidence, &id).await?;
        let mut result = match view {
            ResultView::Basic | ResultView::Masked => record.result.map(VerificationResult::masked),
            ResultView::Full => {
                self.audit(&caller.name, AuditAction::ViewedFull, &id).await?;
                record.result
            }
        };
        let unkept_media = result.as_mut().map(|result| mem::take(&mut result.unkept_media)).unwrap_or_default();
        let result = result.filter(|_| view != ResultView::Basic);
        let verification = record.verification;
        Ok(VerificationWithResult { verification, result, evidence, unkept_media, evidence_pending })
    }
}

impl App {
    /// Gives the record back when its state is final, or when the time is over. A browser that never comes back must not cost the
    /// caller the result: the vendor is asked now and then, behind other calls, and once more at the end.
    async fn wait_until_settled(
        self: &Arc<Self>,
        mut record: Record,
        wait: Duration,
        urgency: Urgency,
    ) -> Result<Record, Error> {
        let deadline = Instant::now() + wait;
        let id = record.verification.id.to_string();
        let mut signal = self.store.event_signal(EventKey::Verification(id.clone()));
        let mut pauses = ASK_PAUSES.into_iter();
        let mut next_ask = Instant::now() + pauses.next().unwrap_or(LAST_PAUSE);
        while record.verification.state == State::Pending {
            // Seen before the row is read: an event that comes in between changes the signal again.
            signal.forget();
            record = self.find(&id).await?;
            if record.verification.state != State::Pending {
                break;
            }
            tokio::select! {
                () = signal.changed() => {}
                () = self.stopping.cancelled() => break,
                () = tokio::time::sleep_until(deadline) => return Ok(self.ask_while_waiting(record, urgency).await),
                () = tokio::time::sleep_until(next_ask) => {
                    let ask = self.ask_while_waiting(record, Urgency::Background);
                    record = match tokio::time::timeout_at(deadline, ask).await {
                        Ok(record) => record,
                        Err(_) => return self.find(&id).await,
                    };
                    next_ask = Instant::now() + pauses.next().unwrap_or(LAST_PAUSE);
                }
            }
        }
        Ok(record)
    }

    /// Settles if the vendor answers. If not, what is known stands: the caller asked to wait, not to be told of an outage.
    async fn ask_while_waiting(self: &Arc<Self>, record: Record, urgency: Urgency) -> Record {
        let known = record.clone();
        match self.settle(record, urgency).await {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(verification_id = %known.verification.id, error = %error, "not settled during a wait");
                known
            }
        }
    }

    /// Notes that the caller has a final state.
    pub(super) async fn mark_result_fetched(&self, mut record: Record) -> Result<Record, Error> {
        let verification = &mut record.verification;
        if verification.state != State::Pending && verification.fetched_at.is_none() {
            let at = self.clock.now();
            self.store.mark_fetched(&verification.id.to_string(), at.as_millisecond()).await?;
            verification.fetched_at = Some(at);
        }
        Ok(record)
    }
}
