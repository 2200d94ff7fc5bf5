//! Turns at what only so many may use at once: no caller takes them all.

use super::{Error, ErrorKind};
use parking_lot::Mutex;
use std::{collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How many turns of one caller are under way at once.
const RUNNING_PER_CALLER: usize = 1;
/// How many of one caller wait.
pub(super) const WAITING_PER_CALLER: usize = 32;

/// The resources, and those that wait for one.
pub(super) struct Turns<R> {
    queue: Arc<Mutex<Queue<R>>>,
    /// How long one waits.
    patience: Duration,
}

struct Queue<R> {
    idle: Vec<R>,
    waiting: Vec<Waiter<R>>,
    /// By caller; one with none running or waiting is not in it.
    callers: BTreeMap<String, CallerTurns>,
    /// Counts the turns that were given.
    given: u64,
}

#[derive(Default)]
struct CallerTurns {
    running: usize,
    waiting: usize,
    /// The number of its last turn.
    last: u64,
}

struct Waiter<R> {
    caller: String,
    hand_over: oneshot::Sender<Turn<R>>,
}

/// A resource for one use. Goes to the next when dropped.
pub(super) struct Turn<R> {
    resource: Option<R>,
    caller: String,
    queue: Arc<Mutex<Queue<R>>>,
}

impl<R> Turns<R> {
    pub(super) fn new(resources: Vec<R>, patience: Duration) -> Self {
        let queue = Queue { idle: resources, waiting: Vec::new(), callers: BTreeMap::new(), given: 0 };
        Self { queue: Arc::new(Mutex::new(queue)), patience }
    }

    pub(super) async fn next(&self, operation: &'static str, caller: &str) -> Result<Turn<R>, Error> {
        let busy = |problem: &str| Error::new(operation, ErrorKind::Transient, problem);
        let (hand_over, handed_over) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            let of_caller = queue.callers.entry(caller.to_owned()).or_default();
            if of_caller.waiting >= WAITING_PER_CALLER {
                return Err(busy("too many reads of this caller wait"));
            }
            of_caller.waiting += 1;
            queue.waiting.push(Waiter { caller: caller.to_owned(), hand_over });
        }
        give(&self.queue);
        match tokio::time::timeout(self.patience, handed_over).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(busy("the store is closed")),
            Err(_) => Err(busy("it had no turn: other reads take long")),
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }
}

/// Gives what is free to those that wait.
fn give<R>(shared: &Arc<Mutex<Queue<R>>>) {
    loop {
        let (waiter, turn) = {
            let mut queue = shared.lock();
            queue.forget_gone();
            let Some(next) = queue.next() else { return };
            let Some(resource) = queue.idle.pop() else { return };
            let waiter = queue.waiting.remove(next);
            queue.given += 1;
            let given = queue.given;
            let of_caller = queue.callers.entry(waiter.caller.clone()).or_default();
            of_caller.waiting -= 1;
            of_caller.running += 1;
            of_caller.last = given;
            let turn = Turn { resource: Some(resource), caller: waiter.caller.clone(), queue: Arc::clone(shared) };
            (waiter, turn)
        };
        // A turn that nobody takes comes back when it is dropped, without the lock.
        drop(waiter.hand_over.send(turn));
    }
}

impl<R> Queue<R> {
    /// The place of the next one: of those whose caller may run one more, the caller whose last
    /// turn is longest ago, in the order of their coming.
    fn next(&self) -> Option<usize> {
        let eligible = self.waiting.iter().enumerate().filter_map(|(at, waiter)| {
            let of_caller = self.callers.get(&waiter.caller)?;
            (of_caller.running < RUNNING_PER_CALLER).then_some((of_caller.last, at))
        });
        eligible.min().map(|(_, at)| at)
    }

    /// Those that wait no longer.
    fn forget_gone(&mut self) {
        let callers = &mut self.callers;
        self.waiting.retain(|waiter| {
            let waits = !waiter.hand_over.is_closed();
            if !waits && let Some(of_caller) = callers.get_mut(&waiter.caller) {
                of_caller.waiting -= 1;
            }
            waits
        });
        callers.retain(|_, of_caller| of_caller.running + of_caller.waiting > 0);
    }
}

impl<R> Deref for Turn<R> {
    type Target = R;

    fn deref(&self) -> &R {
        self.resource.as_ref().expect("it is given back only when the turn ends")
    }
}

impl<R> Drop for Turn<R> {
    fn drop(&mut self) {
        {
            let mut queue = self.queue.lock();
            if let Some(of_caller) = queue.callers.get_mut(&self.caller) {
                of_caller.running -= 1;
            }
            queue.idle.extend(self.resource.take());
        }
        give(&self.queue);
    }
}
