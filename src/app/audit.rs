//! The audit trail: what is written, and ListAuditEvents.

use super::{
    App, Error,
    page::{FOREIGN_PAGE_TOKEN, page_size},
};
use crate::{
    domain::{
        audit::AuditAction,
        caller::{Caller, Right},
        fault::Faults,
        ids::VerificationId,
        named,
    },
    store::row::{AuditFilter, AuditRow},
};
use jiff::Timestamp;

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// Which events. Empty texts mean all.
#[derive(Default)]
pub struct AuditRequest {
    pub verification_id: String,
    pub credential: String,
    pub actor: String,
    pub action: String,
    pub from: Option<Timestamp>,
    pub before: Option<Timestamp>,
    /// 0: the default.
    pub page_size: i32,
    pub page_token: String,
}

/// An entry of the audit trail.
pub struct AuditEvent {
    /// Rises in the order of commits.
    pub sequence: i64,
    pub at: Option<Timestamp>,
    pub actor: String,
    pub action: String,
    pub verification_id: String,
    pub credential: String,
}

/// A page, newest first, and the token of the next one.
pub struct AuditPage {
    pub events: Vec<AuditEvent>,
    pub next_page_token: Option<String>,
}

impl App {
    /// Reads the audit trail of all callers. Pages are cut at an event's place, which never
    /// changes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_audit_events(&self, caller: &Caller, request: AuditRequest) -> Result<AuditPage, Error> {
        self.require(caller, Right::Audit)?;
        let mut faults = Faults::default();
        let page_size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, &mut faults);
        let verification_id = if request.verification_id.is_empty() {
            Some(String::new())
        } else {
            faults.check("verification_id", VerificationId::parse(&request.verification_id)).map(|id| id.to_string())
        };
        if !request.action.is_empty() {
            faults.check("action", named::parse::<AuditAction>(&request.action));
        }
        let mut filter = AuditFilter {
            verification_id: verification_id.unwrap_or_default(),
            credential: request.credential,
            actor: request.actor,
            action: request.action,
            from_ms: request.from.map(Timestamp::as_millisecond),
            before_ms: request.before.map(Timestamp::as_millisecond),
            before_seq: None,
            limit: 0,
        };
        // Bound to store, caller and filter: a token cannot be carried elsewhere.
        let context = format!("audit {} {} {filter:?}", self.identity, caller.name);
        if !request.page_token.is_empty() {
            let place = self.keyring.read_cursor(&context, &request.page_token);
            match place.and_then(|place| place.try_into().ok()) {
                Some(place) => filter.before_seq = Some(i64::from_be_bytes(place)),
                None => faults.add("page_token", FOREIGN_PAGE_TOKEN),
            }
        }
        let faults = faults.into_vec();
        if !faults.is_empty() {
            return Err(Error::InvalidFields(faults));
        }
        // One more than the page: tells whether there is another.
        filter.limit = page_size + 1;
        let mut rows = self.store.audit_events(filter).await?;
        let has_more = rows.len() > page_size as usize;
        rows.truncate(page_size as usize);
        let last = rows.last().filter(|_| has_more);
        let next_page_token = last.map(|(seq, _)| self.keyring.write_cursor(&context, &seq.to_be_bytes()));
        let event = |(sequence, row): (i64, AuditRow)| AuditEvent {
            sequence,
            at: Timestamp::from_millisecond(row.at_ms).ok(),
            actor: row.actor,
            action: row.action,
            verification_id: row.verification_id,
            credential: row.credential,
        };
        let page = AuditPage { events: rows.into_iter().map(event).collect(), next_page_token };
        // Once per listing, not per page. Written after the read, so that a page does not list
        // itself.
        if request.page_token.is_empty() {
            self.store.append_audit(self.new_event(&caller.name, AuditAction::AuditRead)).await?;
        }
        Ok(page)
    }

    /// Notes that other callers, tokens or rights count now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_callers_reloaded(&self) -> Result<(), Error> {
        Ok(self.store.append_audit(self.new_event("configuration", AuditAction::CallersReloaded)).await?)
    }

    pub(super) fn require(&self, caller: &Caller, right: Right) -> Result<(), Error> {
        if caller.has(right) { Ok(()) } else { Err(Error::RightMissing { caller: caller.name.clone(), right }) }
    }

    pub(super) async fn audit(&self, actor: &str, action: AuditAction, verification_id: &str) -> Result<(), Error> {
        Ok(self.store.append_audit(self.audit_event(actor, action, verification_id)).await?)
    }

    /// An event about a verification.
    pub(super) fn audit_event(&self, actor: &str, action: AuditAction, verification_id: &str) -> AuditRow {
        AuditRow { verification_id: verification_id.to_owned(), ..self.new_event(actor, action) }
    }

    /// An event about a credential.
    pub(super) fn credential_event(&self, actor: &str, action: AuditAction, credential: &str) -> AuditRow {
        AuditRow { credential: credential.to_owned(), ..self.new_event(actor, action) }
    }

    /// An event about neither.
    pub(super) fn new_event(&self, actor: &str, action: AuditAction) -> AuditRow {
        AuditRow {
            at_ms: self.clock.now().as_millisecond(),
            actor: actor.to_owned(),
            action: action.name().to_owned(),
            ..AuditRow::default()
        }
    }
}
