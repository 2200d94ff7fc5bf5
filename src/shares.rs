//! Shares of something scarce: so much in all, and no more than a part of it for one holder.

use parking_lot::{Mutex, MutexGuard};
use std::{collections::HashMap, hash::Hash, sync::Arc};

/// A limited amount and the share of each holder.
pub struct Shares<K> {
    per_holder: usize,
    total: usize,
    held: Mutex<Held<K>>,
}

struct Held<K> {
    total: usize,
    by_holder: HashMap<K, usize>,
}

/// A part that is given back when dropped.
pub struct Share<K: Eq + Hash + Clone> {
    shares: Arc<Shares<K>>,
    holder: K,
    amount: usize,
}

/// There is no more: for this holder, or for anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    ForHolder { limit: usize },
    InAll { limit: usize },
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// `total` in all, and at most `per_holder` for one holder.
    pub fn new(per_holder: usize, total: usize) -> Arc<Self> {
        Arc::new(Self { per_holder, total, held: Mutex::new(Held { total: 0, by_holder: HashMap::new() }) })
    }

    /// Takes an amount, which may be 0 to [`Share::grow`] later.
    ///
    /// # Errors
    /// When there is not as much left.
    pub fn take(self: &Arc<Self>, holder: K, amount: usize) -> Result<Share<K>, Full> {
        let mut share = Share { shares: Arc::clone(self), holder, amount: 0 };
        share.grow(amount)?;
        Ok(share)
    }

    fn held(&self) -> MutexGuard<'_, Held<K>> {
        self.held.lock()
    }
}

impl<K: Eq + Hash + Clone> Share<K> {
    /// Takes more.
    ///
    /// # Errors
    /// When there is not as much left; what was taken before stays.
    pub fn grow(&mut self, amount: usize) -> Result<(), Full> {
        let Shares { per_holder, total, .. } = *self.shares;
        let mut held = self.shares.held();
        let own = held.by_holder.get(&self.holder).copied().unwrap_or_default();
        if own.saturating_add(amount) > per_holder {
            return Err(Full::ForHolder { limit: per_holder });
        }
        if held.total.saturating_add(amount) > total {
            return Err(Full::InAll { limit: total });
        }
        if amount > 0 {
            held.total += amount;
            held.by_holder.insert(self.holder.clone(), own + amount);
            self.amount += amount;
        }
        Ok(())
    }
}

impl<K: Eq + Hash + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        held.total -= self.amount;
        if let Some(own) = held.by_holder.get_mut(&self.holder) {
            *own -= self.amount;
            if *own == 0 {
                held.by_holder.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_leaves_the_others_their_part() {
        let shares = Shares::new(2, 3);
        let first = shares.take("a", 1).unwrap();
        let second = shares.take("a", 1).unwrap();
        assert_eq!(shares.take("a", 1).err(), Some(Full::ForHolder { limit: 2 }));
        let third = shares.take("b", 1).unwrap();
        assert_eq!(shares.take("b", 1).err(), Some(Full::InAll { limit: 3 }));
        drop((first, second, third));
        assert!(shares.held().by_holder.is_empty() && shares.held().total == 0);
    }

    #[test]
    fn a_share_that_cannot_grow_keeps_what_it_has() {
        let shares = Shares::new(10, 15);
        let mut share = shares.take("a", 0).unwrap();
        share.grow(8).unwrap();
        assert!(share.grow(3).is_err());
        share.grow(2).unwrap();
        assert_eq!(shares.take("b", 6).err(), Some(Full::InAll { limit: 15 }));
        drop(share);
        assert!(shares.take("b", 10).is_ok());
    }
}
