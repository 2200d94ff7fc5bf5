//! Which store: what belongs to one store is not to be taken for another's.

use jiff::Timestamp;
use std::fmt;
use uuid::Uuid;

/// The name of a store for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Made once, together with the database.
    pub id: Uuid,
    /// 1 at first; after a restore its time, in seconds since 1970, so that two restores of one
    /// backup differ. What was said after the backup was made does not hold any more.
    pub epoch: u32,
}

impl StoreIdentity {
    /// Of a new store.
    pub fn generate() -> Self {
        Self { id: Uuid::new_v4(), epoch: 1 }
    }

    /// When it was last restored from a backup, to the second. None: it never was.
    pub fn restored_at(self) -> Option<Timestamp> {
        Timestamp::from_second(self.epoch.into()).ok().filter(|_| self.epoch > 1)
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, epoch) = text.split_once('/')?;
        let read = Self { id: Uuid::try_parse(id).ok()?, epoch: epoch.parse().ok()? };
        (read.epoch >= 1 && read.to_string() == text).then_some(read)
    }
}

impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id.hyphenated(), self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_nothing_else_is_one() {
        let identity = StoreIdentity { id: Uuid::from_u128(7), epoch: 12 };
        assert_eq!(identity.to_string(), "00000000-0000-0000-0000-000000000007/12");
        assert_eq!(StoreIdentity::parse(&identity.to_string()), Some(identity));
        for text in ["", "7/1", "00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007/0"] {
            assert_eq!(StoreIdentity::parse(text), None, "{text}");
        }
    }
}
