//! GetUsage and ReconcileUsage: what the verifications cost, by our ledger and by the vendor's.

use super::{
    App, Error,
    page::{FOREIGN_PAGE_TOKEN, page_size},
    settle::UNNAMED_ATTEMPT,
};
use crate::{
    domain::{
        bill_day::BillDay,
        caller::{Caller, Right},
        fault::{Fault, Faults},
        key_pair::KeyPair,
    },
    store::row::{ChargeRow, UsageDay, UsageFilter},
    tencent::{Charge, Urgency},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// How many days one answer covers.
const MAX_DAYS: i64 = 367;
const DEFAULT_PAGE: u32 = 5_000;
/// At most about 1.5 MiB, with the longest names.
const MAX_PAGE: u32 = 10_000;

/// A comparison lists so many differences, each with so many sequence ids of a ledger: about 2.5
/// MiB, whatever the bill.
const MAX_DIFFERENCES: u64 = 1_000;
const MAX_SEQS: usize = 20;

/// Which usage. Empty texts mean all.
pub struct UsageRequest {
    pub first_date: String,
    pub last_date: String,
    pub caller: String,
    pub flow: String,
    /// 0: the default.
    pub page_size: i32,
    pub page_token: String,
}

/// A page of usage, and the token of the next one.
pub struct UsagePage {
    pub rows: Vec<UsageRow>,
    pub next_page_token: Option<String>,
}

/// Usage of one caller and flow on one day.
pub struct UsageRow {
    pub day: BillDay,
    pub caller: String,
    pub flow: String,
    pub verifications: u64,
    pub attempts: u64,
    pub charged_attempts: u64,
}

/// Where the two ledgers agree and differ.
#[derive(Default)]
pub struct Reconciliation {
    pub our_charges: u64,
    pub vendor_charges: u64,
    pub agreeing: u64,
    /// How many differ.
    pub differing: u64,
    /// The first of those.
    pub differences: Vec<UsageDifference>,
}

impl Reconciliation {
    fn add(&mut self, mut difference: UsageDifference) {
        for seqs in [&mut difference.only_ours, &mut difference.only_vendors] {
            seqs.truncate(MAX_SEQS);
        }
        self.differences.push(difference);
    }

    /// Counts one that differs; says whether it is listed.
    fn count_differing(&mut self) -> bool {
        self.differing += 1;
        self.differing <= MAX_DIFFERENCES
    }
}

/// A verification, or a token of the vendor, with different charges.
pub struct UsageDifference {
    /// None: only the vendor knows the token.
    pub verification_id: Option<String>,
    /// None: only we know the verification.
    pub token_tail: Option<String>,
    pub our_charges: u64,
    pub vendor_charges: u64,
    /// Attempts, by the vendor's sequence id, that only one ledger has as charged.
    pub only_ours: Vec<String>,
    pub only_vendors: Vec<String>,
}

/// The place of a row in the order of the answer.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    day: i64,
    caller: String,
    flow: String,
}

impl Place {
    fn of(row: &UsageDay) -> Self {
        Self { day: row.day, caller: row.caller.clone(), flow: row.flow.clone() }
    }

    /// Names have no line breaks.
    fn write(&self) -> Vec<u8> {
        format!("{}\n{}\n{}", self.day, self.caller, self.flow).into_bytes()
    }

    fn read(place: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(place).ok()?.split('\n');
        let (day, caller, flow) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { day: day.parse().ok()?, caller: caller.to_owned(), flow: flow.to_owned() })
    }
}

impl App {
    /// A page of usage by day, caller and flow. A caller sees its own; with the right admin, all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_usage(&self, caller: &Caller, request: UsageRequest) -> Result<UsagePage, Error> {
        let mut faults = Faults::default();
        let first = faults.check("first_date", BillDay::parse(&request.first_date));
        let last = faults.check("last_date", BillDay::parse(&request.last_date));
        if let (Some(first), Some(last)) = (first, last) {
            let days = last.end().duration_since(first.begin()).as_hours() / 24;
            if !(1..=MAX_DAYS).contains(&days) {
                faults.add("last_date", format!("is not within {} days after first_date", MAX_DAYS - 1));
            }
        }
        let page_size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, &mut faults) as usize;
        let (first, last) = match (first, last, faults.into_vec()) {
            (Some(first), Some(last), faults) if faults.is_empty() => (first, last),
            (_, _, faults) => return Err(Error::InvalidFields(faults)),
        };
        let is_admin = caller.has(Right::Admin);
        if !is_admin && !request.caller.is_empty() && request.caller != caller.name {
            return Err(Error::RightMissing { caller: caller.name.clone(), right: Right::Admin });
        }
        let mut filter = UsageFilter {
            first_day: first.epoch_days(),
            last_day: last.epoch_days(),
            caller: if is_admin { request.caller } else { caller.name.clone() },
            flow: request.flow,
        };
        // Bound to caller and filter: a token cannot be carried elsewhere.
        let context = format!("usage {} {} {filter:?}", self.identity, caller.name);
        let mut after = None;
        if !request.page_token.is_empty() {
            let place = self.keyring.read_cursor(&context, &request.page_token).and_then(|place| Place::read(&place));
            let place = place.ok_or_else(|| {
                let problem = FOREIGN_PAGE_TOKEN.to_owned();
                Error::InvalidFields(vec![Fault { field: "page_token".to_owned(), problem }])
            })?;
            // The days before it were told.
            filter.first_day = filter.first_day.max(place.day);
            after = Some(place);
        }
        let mut days = self.store.usage(filter).await?;
        if let Some(after) = after {
            days.retain(|day| Place::of(day) > after);
        }
        let has_more = days.len() > page_size;
        days.truncate(page_size);
        let next_page_token =
            days.last().filter(|_| has_more).map(|last| self.keyring.write_cursor(&context, &Place::of(last).write()));
        let row = |day: UsageDay| {
            Some(UsageRow {
                day: BillDay::from_epoch_days(day.day)?,
                caller: day.caller,
                flow: day.flow,
                verifications: day.verifications,
                attempts: day.attempts,
                charged_attempts: day.charged_attempts,
            })
        };
        Ok(UsagePage { rows: days.into_iter().filter_map(row).collect(), next_page_token })
    }

    /// Compares a day of a flow with the vendor's ledger, token by token.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reconcile_usage(
        &self,
        caller: &Caller,
        date: &str,
        flow: &str,
        urgency: Urgency,
    ) -> Result<Reconciliation, Error> {
        self.require(caller, Right::Admin)?;
        let mut faults = Faults::default();
        let day = faults.check("date", BillDay::parse(date));
        let terms = self.terms();
        let flow = terms.flows.get(flow);
        if flow.is_none() {
            faults.add("flow", "is not a flow of this gateway's configuration");
        }
        let (Some(day), Some(flow)) = (day, flow) else { return Err(Error::InvalidFields(faults.into_vec())) };

        let bill = |pair: Arc<KeyPair>| async move { self.tencent.bill(&pair, flow, day, urgency).await };
        let theirs = self.credentials.with_key_pair(&flow.credential, bill).await?;
        let (from_ms, before_ms) = (day.begin().as_millisecond(), day.end().as_millisecond());
        let ours = self.store.charges(&flow.rule_id, from_ms, before_ms).await?;
        self.compare(ours, theirs).await
    }

    async fn compare(&self, ours: Vec<ChargeRow>, theirs: Vec<Charge>) -> Result<Reconciliation, Error> {
        let mut compared = Reconciliation::default();
        let mut ours: HashMap<Vec<u8>, ChargeRow> = ours.into_iter().map(|row| (row.token_hash.clone(), row)).collect();
        for bill in theirs {
            let hashes = bill.token.as_ref().map(|token| self.keyring.token_hashes(token)).unwrap_or_default();
            let row = hashes.iter().find_map(|hash| ours.remove(hash));
            let our_seqs = row.as_ref().map_or(&[][..], |row| &row.seqs);
            let entries = compare_entries(our_seqs, &bill);
            compared.vendor_charges += bill.charges;
            compared.our_charges += our_seqs.len() as u64;
            if row.is_some() && entries.agree {
                compared.agreeing += 1;
                continue;
            }
            if !compared.count_differing() {
                continue;
            }
            let our_charges = our_seqs.len() as u64;
            let verification_id = match row {
                Some(row) => Some(row.verification_id),
                // Ours all the same, with no charge on that day.
                None => self.store.find_by_token_hash(hashes).await?.map(|row| row.created.id),
            };
            compared.add(UsageDifference {
                verification_id,
                token_tail: Some(bill.token_tail),
                our_charges,
                vendor_charges: bill.charges,
                only_ours: entries.only_ours,
                only_vendors: entries.only_vendors,
            });
        }
        let mut only_ours: Vec<ChargeRow> = ours.into_values().collect();
        only_ours.sort_by(|a, b| a.verification_id.cmp(&b.verification_id));
        for row in only_ours {
            compared.our_charges += row.seqs.len() as u64;
            if !compared.count_differing() {
                continue;
            }
            compared.add(UsageDifference {
                verification_id: Some(row.verification_id),
                token_tail: None,
                our_charges: row.seqs.len() as u64,
                vendor_charges: 0,
                only_ours: row.seqs,
                only_vendors: Vec::new(),
            });
        }
        Ok(compared)
    }
}

/// How the entries of one token compare.
struct Entries {
    agree: bool,
    /// By `Seq`, those that only one ledger has.
    only_ours: Vec<String>,
    only_vendors: Vec<String>,
}

/// Compares entry by entry. An entry without a `Seq` in one ledger may stand for any that the other
/// has alone; the counts must agree all the same.
fn compare_entries(our_seqs: &[String], bill: &Charge) -> Entries {
    let is_named = |seq: &&String| !seq.starts_with(UNNAMED_ATTEMPT);
    let ours: BTreeSet<&String> = our_seqs.iter().filter(is_named).collect();
    let vendors: BTreeSet<&String> = bill.entries.iter().flatten().collect();
    let only_ours: Vec<String> = ours.difference(&vendors).copied().cloned().collect();
    let only_vendors: Vec<String> = vendors.difference(&ours).copied().cloned().collect();
    let our_unnamed = our_seqs.len() - ours.len();
    // What is counted and not listed has no name either.
    let vendors_unnamed = usize::try_from(bill.charges).unwrap_or(usize::MAX).saturating_sub(vendors.len());
    let agree = our_seqs.len() as u64 == bill.charges
        && (bill.entries.is_empty() || bill.entries.len() as u64 == bill.charges)
        && only_ours.len() <= vendors_unnamed
        && only_vendors.len() <= our_unnamed;
    Entries { agree, only_ours, only_vendors }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(ours: &[&str], charges: u64, entries: &[&str]) -> (bool, Vec<String>, Vec<String>) {
        let ours: Vec<String> = ours.iter().map(|seq| (*seq).to_owned()).collect();
        let entries = entries.iter().map(|seq| Some((*seq).to_owned()).filter(|seq| !seq.is_empty())).collect();
        let bill = Charge { token: None, token_tail: String::new(), charges, entries };
        let Entries { agree, only_ours, only_vendors } = compare_entries(&ours, &bill);
        (agree, only_ours, only_vendors)
    }

    #[test]
    fn entries_are_compared_and_not_only_counted() {
        assert_eq!(compared(&["a", "b"], 2, &["b", "a"]), (true, vec![], vec![]));
        assert_eq!(compared(&["a", "b"], 2, &["a", "c"]), (false, vec!["b".into()], vec!["c".into()]));
        assert_eq!(compared(&["a"], 2, &["a", "c"]), (false, vec![], vec!["c".into()]));
        assert!(!compared(&["a", "b"], 2, &["a"]).0, "it counts two and lists one");
    }

    #[test]
    fn an_entry_without_a_sequence_stands_for_one_that_the_other_has() {
        assert!(compared(&["place-0", "b"], 2, &["a", "b"]).0);
        assert!(compared(&["a", "b"], 2, &["a", ""]).0);
        assert!(compared(&["a", "b"], 2, &[]).0, "a bill without entries can only be counted");
        assert!(!compared(&["place-0", "b"], 3, &["a", "b", "c"]).0);
    }
}
