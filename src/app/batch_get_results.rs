//! BatchGetResults: what is stored of several verifications, each for itself.

use super::{App, Error, ResultView, VerificationWithResult};
use crate::domain::{
    caller::Caller,
    fault::{Fault, Faults},
    ids::VerificationId,
};
use std::{collections::BTreeSet, sync::Arc};

const MAX_IDS: usize = 100;

/// The outcome for one id.
pub struct BatchOutcome {
    pub verification_id: String,
    pub outcome: Result<VerificationWithResult, Error>,
}

impl App {
    /// Tells of each verification what GetResult would tell as stored, in the order of the ids.
    ///
    /// # Errors
    /// [`Error::InvalidFields`] for the list as a whole. What fails for one id is its outcome.
    pub async fn batch_get_results(
        self: &Arc<Self>,
        caller: &Caller,
        unverified_ids: Vec<String>,
        view: ResultView,
    ) -> Result<Vec<BatchOutcome>, Error> {
        let ids = checked(&unverified_ids, view).map_err(Error::InvalidFields)?;
        let mut outcomes = Vec::with_capacity(ids.len());
        for id in ids {
            let verification_id = id.to_string();
            let outcome = self.stored_result(caller, id, view).await;
            outcomes.push(BatchOutcome { verification_id, outcome });
        }
        Ok(outcomes)
    }
}

fn checked(unverified_ids: &[String], view: ResultView) -> Result<Vec<VerificationId>, Vec<Fault>> {
    const FIELD: &str = "verification_ids";
    let mut faults = Faults::default();
    if view == ResultView::Full {
        faults.add("view", "is FULL, which is for GetResult alone");
    }
    if !(1..=MAX_IDS).contains(&unverified_ids.len()) {
        faults.add(FIELD, format!("has {} entries; 1 to {MAX_IDS} are taken", unverified_ids.len()));
    }
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for (i, unverified) in unverified_ids.iter().enumerate().take(MAX_IDS) {
        let field = format!("{FIELD}[{i}]");
        if !seen.insert(unverified) {
            faults.add(&field, "is there twice");
        }
        ids.extend(faults.check(&field, VerificationId::parse(unverified)));
    }
    faults.finish(|| ids)
}
