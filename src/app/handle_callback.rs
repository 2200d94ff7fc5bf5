//! HandleCallback: the browser is back. The redirect is a hint; the vendor is asked.

use super::{App, Error, record::Record};
use crate::domain::{
    audit::AuditAction,
    caller::Caller,
    fault::{Fault, Faults},
    ids::{BizToken, VerificationId},
    outcome::Attempt,
    redirect::UnverifiedReturn,
    verification::{State, Verification},
};
use crate::tencent::Urgency;
use jiff::{SignedDuration, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use url::Url;

/// One refusal of a verification and an actor is written to the audit trail in this time; the
/// metric counts all.
const REFUSAL_WINDOW_MS: i64 = 60_000;

/// How long the vendor's answer may lag behind the browser before the person is told that it is not
/// a pass.
const LATE_ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before the vendor is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Share of a caller's deadline that is kept for the answer.
const ANSWER_TIME: Duration = Duration::from_millis(200);
/// An attempt this old is the one before the browser's return, not the one that it comes from.
const RECENT_ATTEMPT: SignedDuration = SignedDuration::from_secs(60);

/// A callback's result.
pub enum CallbackSource {
    /// The URL, or its query, as the browser brought it.
    Url(String),
    /// The same in parts, from a caller that parsed the URL itself.
    Tokens { verification_id: String, biz_token: String },
}

/// The source of a visit.
#[derive(Clone, Copy)]
pub enum Visitor<'a> {
    /// An authenticated caller, which must own the verification.
    Caller(&'a Caller),
    /// The user's browser itself, at the gateway's public callback.
    Browser,
}

/// Where the verification stands, and where to send the browser.
pub struct CallbackOutcome {
    pub verification: Verification,
    /// None when the verification was created without final targets.
    pub redirect_url: Option<Url>,
}

/// A return that was read but not yet checked.
struct Claim {
    id: VerificationId,
    token: BizToken,
    /// Absent where the caller, which is authenticated, named the verification itself.
    mac: Option<Vec<u8>>,
    mac_field: String,
    token_field: String,
}

impl App {
    /// Checks that the return belongs to the verification, then settles it. A replay gives the same
    /// answer.
    ///
    /// # Errors
    /// See [`Error`]. After an error nothing has changed but the audit trail.
    pub async fn handle_callback(
        self: &Arc<Self>,
        visitor: Visitor<'_>,
        source: CallbackSource,
        urgency: Urgency,
    ) -> Result<CallbackOutcome, Error> {
        let claim = Claim::read(source)?;
        let record = self.bound_record(visitor, &claim).await?;
        let record = self.mark_result_fetched(self.settle_return(visitor, record, urgency).await?).await?;
        let passed = matches!(record.verification.state, State::Passed { .. });
        let redirect_url = record
            .session
            .and_then(|session| session.targets)
            .map(|targets| if passed { targets.success_url } else { targets.failure_url });
        Ok(CallbackOutcome { verification: record.verification, redirect_url })
    }

    /// Settles a verification whose user has just come back. "Not yet" is not "no": while the
    /// answer tells nothing of the attempt that the browser comes from, the vendor is asked again
    /// for a few seconds.
    async fn settle_return(
        self: &Arc<Self>,
        visitor: Visitor<'_>,
        record: Record,
        urgency: Urgency,
    ) -> Result<Record, Error> {
        let known = record.verification.last_attempt;
        let mut record = self.settle_visit(visitor, record, urgency).await?;
        let mut patience_ends = Instant::now() + LATE_ANSWER;
        if let Urgency::Interactive { deadline: Some(deadline) } = urgency {
            patience_ends = patience_ends.min(deadline.checked_sub(ANSWER_TIME).unwrap_or(deadline));
        }
        while tells_nothing_new(&record.verification, known, self.clock.now()) {
            let again = Instant::now() + ASK_AGAIN;
            if again > patience_ends
                || self.stopping.run_until_cancelled(tokio::time::sleep_until(again)).await.is_none()
            {
                break;
            }
            record = self.settle_visit(visitor, record, urgency).await?;
        }
        Ok(record)
    }

    /// Limits how often a browser makes the gateway ask the vendor: a callback URL can be replayed
    /// by its holder. A request that comes too soon waits for its turn, and uses the answer that
    /// another request got meanwhile.
    async fn settle_visit(
        self: &Arc<Self>,
        visitor: Visitor<'_>,
        record: Record,
        urgency: Urgency,
    ) -> Result<Record, Error> {
        let id = record.verification.id.to_string();
        if let (Visitor::Browser, Err(until)) = (visitor, self.visits.may_ask(&id)) {
            self.stopping.run_until_cancelled(tokio::time::sleep_until(until)).await;
            let record = self.find(&id).await?;
            return match self.visits.may_ask(&id) {
                Ok(()) => self.settle(record, urgency).await,
                Err(_) => Ok(record),
            };
        }
        self.settle(record, urgency).await
    }

    /// The verification that a return is bound to: by our MAC or by its caller's word, and by the
    /// token.
    async fn bound_record(self: &Arc<Self>, visitor: Visitor<'_>, claim: &Claim) -> Result<Record, Error> {
        let not_bound = |field: &str, problem: &str| {
            Error::CallbackNotBound(Fault { field: field.to_owned(), problem: problem.to_owned() })
        };
        // Before the store is asked: without our MAC nobody learns which verifications exist, not
        // even by timing.
        if claim.mac.as_ref().is_some_and(|mac| !self.keyring.verifies_redirect(claim.id, mac)) {
            metrics::counter!("faceid_callbacks_refused_total").increment(1);
            self.audit_refusal_later(visitor, claim.id.to_string());
            return Err(not_bound(&claim.mac_field, "was not made by this gateway for this verification"));
        }
        let Some(row) = self.store.find(&claim.id.to_string()).await? else {
            metrics::counter!("faceid_callbacks_refused_total").increment(1);
            return Err(Error::VerificationNotFound);
        };
        let owned = match visitor {
            Visitor::Caller(caller) => row.created.caller == caller.name,
            Visitor::Browser => true,
        };
        let record = Record::open(&self.keyring, row)?;
        let refusal = if !owned {
            Error::VerificationNotFound
        } else if record.session()?.token != claim.token {
            not_bound(&claim.token_field, "is not the token of this verification")
        } else {
            return Ok(record);
        };
        metrics::counter!("faceid_callbacks_refused_total").increment(1);
        self.audit_refusal(actor(visitor), &claim.id.to_string()).await?;
        Err(refusal)
    }

    /// Writes down a refusal of what may be about no verification at all, after the answer. Under a
    /// flood not every one.
    fn audit_refusal_later(self: &Arc<Self>, visitor: Visitor<'_>, id: String) {
        let Some(place) = self.visits.refusal() else { return };
        let (app, actor) = (Arc::clone(self), actor(visitor).to_owned());
        self.detached.spawn(async move {
            let written = match app.store.find(&id).await {
                Ok(Some(_)) => app.audit_refusal(&actor, &id).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = written {
                tracing::warn!(error = %error, "a refused callback could not be written to the audit trail");
            }
            drop(place);
        });
    }

    /// Writes a refusal down, but not every one of a flood: the public callback is open to
    /// everyone.
    async fn audit_refusal(&self, actor: &str, id: &str) -> Result<(), Error> {
        let event = self.audit_event(actor, AuditAction::CallbackRefused, id);
        let written_lately = self.store.audit_of(id).await?.iter().any(|before| {
            before.actor == event.actor
                && before.action == event.action
                && event.at_ms.saturating_sub(before.at_ms) < REFUSAL_WINDOW_MS
        });
        if !written_lately {
            self.store.append_audit(event).await?;
        }
        Ok(())
    }
}

fn tells_nothing_new(verification: &Verification, known: Option<Attempt>, now: Timestamp) -> bool {
    let is_recent = |attempt: Attempt| attempt.at.is_some_and(|at| now.duration_since(at) < RECENT_ATTEMPT);
    verification.state == State::Pending
        && verification.last_attempt == known
        && !verification.last_attempt.is_some_and(is_recent)
}

/// As the audit trail names it.
fn actor(visitor: Visitor<'_>) -> &str {
    match visitor {
        Visitor::Caller(caller) => &caller.name,
        Visitor::Browser => "browser",
    }
}

impl Claim {
    fn read(source: CallbackSource) -> Result<Self, Error> {
        let mut faults = Faults::default();
        let claim = match source {
            CallbackSource::Url(url) => {
                const FIELD: &str = "callback_url";
                UnverifiedReturn::parse(&url, FIELD, &mut faults).map(|unverified| Self {
                    id: unverified.verification_id,
                    token: unverified.biz_token,
                    mac: Some(unverified.mac),
                    mac_field: UnverifiedReturn::mac_field(FIELD),
                    token_field: UnverifiedReturn::token_field(FIELD),
                })
            }
            CallbackSource::Tokens { verification_id, biz_token } => {
                let id = faults.check("tokens.verification_id", VerificationId::parse(&verification_id));
                let token = faults.check("tokens.biz_token", BizToken::parse(&biz_token));
                id.zip(token).map(|(id, token)| Self {
                    id,
                    token,
                    mac: None,
                    mac_field: String::new(),
                    token_field: "tokens.biz_token".into(),
                })
            }
        };
        claim.ok_or_else(|| Error::InvalidFields(faults.into_vec()))
    }
}
