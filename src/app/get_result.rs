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
use crate::{
    store::{row::VerificationRow, signals::EventKey},
    tencent::Urgency,
};
use jiff::SignedDuration;
use std::{mem, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A caller that polls does not turn into as many calls to the vendor.
const RECENT: SignedDuration = SignedDuration::from_secs(2);

/// How long a waiting GetResult leaves the vendor alone before each question, and before all later
/// ones.
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

/// How new the answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The vendor is asked unless it was a moment ago.
    Usual,
    /// The vendor is asked.
    Fresh,
    /// The vendor is not asked.
    Cached,
}

/// A question for a result.
pub struct ResultRequest {
    pub key: ResultKey,
    pub view: ResultView,
    pub freshness: Freshness,
    /// How long to wait for a final state.
    pub wait: Duration,
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
    /// Settles the verification if it is pending, and tells of it. While it stays pending, waits
    /// for whoever settles it. Another caller's is told to an admin, in view BASIC and as it is
    /// stored.
    ///
    /// # Errors
    /// See [`Error`]. In view BASIC a vendor that cannot be asked is none, unless the answer must
    /// be fresh.
    pub async fn get_result(
        self: &Arc<Self>,
        caller: &Caller,
        request: ResultRequest,
        urgency: Urgency,
    ) -> Result<VerificationWithResult, Error> {
        let ResultRequest { key, view, freshness, wait } = request;
        if view == ResultView::Full {
            self.require(caller, Right::FullView)?;
        }
        let row = match key {
            ResultKey::VerificationId(id) => self.store.find(&id.to_string()).await?,
            ResultKey::BizToken(token) => self.store.find_by_token_hash(self.keyring.token_hashes(&token)).await?,
        };
        let mut record = match self.visible_to(caller, view, row).await? {
            Visible::Own(record) => record,
            Visible::Foreign(record) => return self.tell(caller, record, view).await,
        };
        record = match freshness {
            Freshness::Cached => record,
            Freshness::Usual if self.was_checked_recently(&record) => record,
            Freshness::Usual if view == ResultView::Basic => self.settle_if_possible(record, urgency).await,
            Freshness::Usual | Freshness::Fresh => self.settle(record, urgency).await?,
        };
        if !wait.is_zero() {
            record = self.wait_until_settled(record, wait, urgency).await?;
        }
        record = self.mark_result_fetched(record).await?;
        self.tell(caller, record, view).await
    }

    /// Tells the stored state, without asking the vendor.
    pub(super) async fn stored_result(
        self: &Arc<Self>,
        caller: &Caller,
        id: VerificationId,
        view: ResultView,
    ) -> Result<VerificationWithResult, Error> {
        let key = ResultKey::VerificationId(id);
        let request = ResultRequest { key, view, freshness: Freshness::Cached, wait: Duration::ZERO };
        self.get_result(caller, request, Urgency::Background).await
    }

    async fn visible_to(
        &self,
        caller: &Caller,
        view: ResultView,
        row: Option<VerificationRow>,
    ) -> Result<Visible, Error> {
        let row = row.ok_or(Error::VerificationNotFound)?;
        if row.created.caller == caller.name {
            return Ok(Visible::Own(self.open(Some(row))?));
        }
        if view != ResultView::Basic || !caller.has(Right::Admin) {
            return Err(Error::VerificationNotFound);
        }
        let record = self.open(Some(row))?;
        self.audit(&caller.name, AuditAction::ViewedByAdmin, &record.verification.id.to_string()).await?;
        Ok(Visible::Foreign(record))
    }

    fn was_checked_recently(&self, record: &Record) -> bool {
        // A negative age, after the clock was set back, is not recent.
        record.verification.checked_at.is_some_and(|checked_at| {
            (SignedDuration::ZERO..RECENT).contains(&self.clock.now().duration_since(checked_at))
        })
    }

    async fn tell(&self, caller: &Caller, record: Record, view: ResultView) -> Result<VerificationWithResult, Error> {
        let id = record.verification.id.to_string();
        // Against the order in which a fetch writes (what is not kept, then the evidence, then the
        // end of its job): an answer that says that nothing is pending has all of it.
        let evidence_pending = self.store.has_job(JobKind::FetchEvidence, &id).await?;
        let evidence = match view {
            ResultView::Basic => Vec::new(),
            ResultView::Masked | ResultView::Full => self.store.evidence_of(&id).await?,
        };
        let record = if self.may_have_been_fetched(&record, evidence_pending) { self.find(&id).await? } else { record };
        let mut told = VerificationWithResult {
            verification: record.verification,
            result: None,
            evidence: evidence.into_iter().map(Evidence::from).collect(),
            unkept_media: Vec::new(),
            evidence_pending,
        };
        let mut result = match view {
            ResultView::Basic => return Ok(told),
            ResultView::Masked => record.result.map(VerificationResult::masked),
            ResultView::Full => {
                self.audit(&caller.name, AuditAction::ViewedFull, &id).await?;
                record.result
            }
        };
        told.unkept_media = result.as_mut().map(|result| mem::take(&mut result.unkept_media)).unwrap_or_default();
        told.result = result;
        Ok(told)
    }

    /// Whether evidence may have been fetched since the record was read.
    fn may_have_been_fetched(&self, record: &Record, evidence_pending: bool) -> bool {
        let terms = self.terms();
        let flow = terms.flows.get(&record.verification.flow);
        !evidence_pending
            && record.verification.state != State::Pending
            && flow.is_none_or(|flow| !flow.evidence.is_nothing())
    }
}

/// A verification that the caller may see.
enum Visible {
    Own(Record),
    Foreign(Record),
}

impl App {
    /// Gives the record back when its state is final, or when the time is over. A browser that
    /// never comes back must not cost the caller the result: the vendor is asked now and then,
    /// behind other calls, and once more at the end.
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
                () = tokio::time::sleep_until(deadline) => return Ok(self.settle_if_possible(record, urgency).await),
                () = tokio::time::sleep_until(next_ask) => {
                    let ask = self.settle_if_possible(record, Urgency::Background);
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

    /// Settles if the vendor answers. If not, what is known stands: the caller asked for that, not
    /// to be told of an outage.
    async fn settle_if_possible(self: &Arc<Self>, record: Record, urgency: Urgency) -> Record {
        if record.verification.state != State::Pending {
            return record;
        }
        let known = record.clone();
        match self.settle(record, urgency).await {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(verification_id = %known.verification.id, error = %error, "not settled; what is known is told");
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
