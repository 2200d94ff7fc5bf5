//! Holds the uses of each ID card against the vendor's limits, before the vendor does.

use super::{App, Error};
use crate::domain::{id_card_limits::DAY, identity::IdNumber, verification::TOKEN_LIFETIME};
use jiff::Timestamp;

impl App {
    /// Refuses a person whose next attempt the vendor would refuse. Two creates at the same moment may both be the last one:
    /// then the vendor refuses an attempt, which is what would have happened anyway.
    pub(super) async fn check_id_card(&self, number: Option<&IdNumber>) -> Result<(), Error> {
        let Some(number) = number.filter(|_| self.id_card_limits.are_on()) else { return Ok(()) };
        let now = self.clock.now();
        let uses = self.store.id_card_uses(self.keyring.id_card_hashes(number), created_since_ms(now)).await?;
        let uses = uses.into_iter().filter_map(|ms| Timestamp::from_millisecond(ms).ok()).collect();
        self.id_card_limits.check(uses, now).map_err(|reached| {
            metrics::counter!("faceid_person_limit_refusals_total", "window" => reached.window_name()).increment(1);
            Error::PersonLimitReached(reached)
        })
    }

    /// By what a use is counted. None: nothing is.
    pub(super) fn id_card_hash(&self, number: Option<&IdNumber>) -> Option<Vec<u8>> {
        number.filter(|_| self.id_card_limits.are_on()).map(|number| self.keyring.id_card_hash(number))
    }

    /// Erases the ID cards' hashes that do not count any more. Gives their number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_id_cards(&self) -> Result<u64, Error> {
        let forgotten = self.store.forget_id_cards(created_since_ms(self.clock.now())).await?;
        if forgotten > 0 {
            self.store.scrub().await?;
        }
        Ok(forgotten)
    }
}

/// An attempt that counts may be of a verification that was created so long before it.
fn created_since_ms(now: Timestamp) -> i64 {
    (now - DAY - TOKEN_LIFETIME).as_millisecond()
}
