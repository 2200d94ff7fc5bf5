//! Holds the uses of each ID card against the vendor's limits, before the vendor does.

use super::{App, Error};
use crate::domain::{caller::Caller, id_card_limits::DAY, identity::IdDocument};
use jiff::Timestamp;

impl App {
    /// Refuses a person whose next attempt the vendor would refuse. What other callers have begun
    /// and not finished counts nothing here: else one could bar a person at all of them. Two
    /// creates at the same moment may both be the last one: then the vendor refuses an attempt,
    /// which is what would have happened anyway.
    pub(super) async fn check_id_card(&self, caller: &Caller, number: Option<&IdDocument>) -> Result<(), Error> {
        let limits = self.terms().id_card_limits;
        let Some(number) = number.filter(|_| limits.are_on()) else { return Ok(()) };
        let now = self.clock.now();
        let hashes = self.keyring.id_card_hashes(number);
        let uses = self.store.id_card_uses(hashes, &caller.name, expired_since_ms(now)).await?;
        let all_own = uses.iter().all(|one| one.is_own);
        let uses = uses.into_iter().filter_map(|one| Timestamp::from_millisecond(one.at_ms).ok()).collect();
        limits.check(uses, now).map_err(|reached| {
            metrics::counter!("faceid_person_limit_refusals_total", "window" => reached.window_name()).increment(1);
            // To the second, the wait would tell when the person was at another caller's.
            Error::PersonLimitReached(if all_own { reached } else { reached.rounded_up() })
        })
    }

    /// By what a use is counted. None: nothing is.
    pub(super) fn id_card_hash(&self, number: Option<&IdDocument>) -> Option<Vec<u8>> {
        number.filter(|_| self.terms().id_card_limits.are_on()).map(|number| self.keyring.id_card_hash(number))
    }

    /// Erases the ID cards' hashes that do not count any more. Gives their number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_id_cards(&self) -> Result<u64, Error> {
        let forgotten = self.store.forget_id_cards(expired_since_ms(self.clock.now())).await?;
        if forgotten > 0 {
            self.plan_scrub().await?;
        }
        Ok(forgotten)
    }
}

/// An attempt that counts may be of a verification whose token ended so long ago.
fn expired_since_ms(now: Timestamp) -> i64 {
    (now - DAY).as_millisecond()
}
