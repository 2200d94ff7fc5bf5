//! ListVerifications: a caller's verifications, page by page.

use super::{
    App, Error,
    page::{FOREIGN_PAGE_TOKEN, page_size},
    record::Record,
};
use crate::{
    domain::{
        audit::AuditAction,
        caller::{Caller, Right},
        fault::{Fault, Faults},
        verification::{StateName, Verification},
    },
    store::row::ListFilter,
};
use jiff::Timestamp;
use std::collections::BTreeSet;

const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 500;
/// A page ends early where its texts have so many bytes: with what else it holds it stays far under
/// the 4 MiB that clients take.
const PAGE_TEXT_BYTES: usize = 512 * 1024;
const TOKEN_FIELD: &str = "page_token";

/// Filters of a list. Empty lists and texts match all.
#[derive(Default)]
pub struct ListRequest {
    /// Empty: the one that calls.
    pub caller: String,
    pub states: Vec<StateName>,
    pub flow: String,
    pub reference: String,
    pub created_from: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    pub never_fetched: bool,
    pub oldest_first: bool,
    /// 0: the default.
    pub page_size: i32,
    pub page_token: String,
}

/// A page, and the token of the next one.
pub struct Page {
    pub verifications: Vec<Verification>,
    /// Ids of those on the page whose rows are damaged.
    pub unreadable: Vec<String>,
    pub next_page_token: Option<String>,
}

impl App {
    /// Lists a page. Pages are cut at (creation time, id), which never change: writes between two
    /// pages move nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_verifications(&self, caller: &Caller, request: ListRequest) -> Result<Page, Error> {
        let mut faults = Faults::default();
        let page_size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, &mut faults);
        let is_foreign = !request.caller.is_empty() && request.caller != caller.name;
        if is_foreign {
            self.require(caller, Right::Admin)?;
        }
        if !request.flow.is_empty() && !is_foreign {
            faults.check("flow", self.flow_of(caller, &request.flow).map(drop));
        }
        let mut filter = ListFilter {
            caller: if is_foreign { request.caller } else { caller.name.clone() },
            states: request
                .states
                .into_iter()
                .map(|state| state.as_str().to_owned())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            flow: request.flow,
            reference: request.reference,
            created_from_ms: request.created_from.map(Timestamp::as_millisecond),
            created_before_ms: request.created_before.map(Timestamp::as_millisecond),
            never_fetched: request.never_fetched,
            oldest_first: request.oldest_first,
            after: None,
            limit: 0,
        };
        // Bound to store, caller and filter: a token cannot be carried elsewhere.
        let context = format!("list {} {filter:?}", self.identity);
        if !request.page_token.is_empty() {
            let place = self.keyring.read_cursor(&context, &request.page_token).and_then(|place| read_place(&place));
            match place {
                Some(place) => filter.after = Some(place),
                None => faults.add(TOKEN_FIELD, FOREIGN_PAGE_TOKEN),
            }
        }
        let faults: Vec<Fault> = faults.into_vec();
        if !faults.is_empty() {
            return Err(Error::InvalidFields(faults));
        }
        if is_foreign {
            self.store.append_audit(self.new_event(&caller.name, AuditAction::ListedByAdmin)).await?;
        }
        // One more than the page: tells whether there is another.
        filter.limit = page_size + 1;
        let rows = self.store.list(filter).await?;
        let mut has_more = rows.len() > page_size as usize;
        let mut page = Page { verifications: Vec::new(), unreadable: Vec::new(), next_page_token: None };
        let (mut last_place, mut text_bytes) = (None, 0);
        for row in rows.into_iter().take(page_size as usize) {
            let (id, place) = (row.created.id.clone(), write_place(row.created.created_at_ms, &row.created.id));
            match Record::open(&self.keyring, row) {
                Ok(Record { verification, .. }) => {
                    text_bytes += text_bytes_of(&verification);
                    if text_bytes > PAGE_TEXT_BYTES && !page.verifications.is_empty() {
                        has_more = true;
                        break;
                    }
                    page.verifications.push(verification);
                }
                // One damaged row must not hide the others; nor is it left out in silence.
                Err(error @ Error::UnreadableRow { .. }) => {
                    tracing::error!(verification_id = %id, error = %error, "a damaged row");
                    page.unreadable.push(id);
                }
                Err(error) => return Err(error),
            }
            last_place = Some(place);
        }
        page.next_page_token = last_place.filter(|_| has_more).map(|place| self.keyring.write_cursor(&context, &place));
        Ok(page)
    }
}

/// Counts the fields whose length the caller chooses.
fn text_bytes_of(verification: &Verification) -> usize {
    let labels = verification.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    verification.reference.len() + labels
}

fn write_place(created_at_ms: i64, id: &str) -> Vec<u8> {
    [&created_at_ms.to_be_bytes()[..], id.as_bytes()].concat()
}

fn read_place(place: &[u8]) -> Option<(i64, String)> {
    let (created_at_ms, id) = place.split_first_chunk()?;
    Some((i64::from_be_bytes(*created_at_ms), String::from_utf8(id.to_vec()).ok()?))
}
