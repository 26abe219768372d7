//! A model of the wait queue: who waits, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Invariant;

/// The requests that wait.
#[derive(Debug, Default)]
pub struct QueueModel {
    /// Those whose turn has not come, by their number.
    waiting: BTreeMap<u64, u32>,
    /// Those that try a backend and keep their place.
    trying: BTreeSet<u32>,
    /// The numbers of all that have joined and not left for good.
    numbers: HashMap<u32, u64>,
    next: u64,
}

impl QueueModel {
    /// A request has joined, behind all others.
    pub fn joined(&mut self, slot: u32) {
        self.next += 1;
        self.waiting.insert(self.next, slot);
        self.numbers.insert(slot, self.next);
    }

    /// A request has tried a backend in vain, and has its old place again.
    pub fn put_back(&mut self, slot: u32) {
        self.trying.remove(&slot);
        if let Some(number) = self.numbers.get(&slot) {
            self.waiting.insert(*number, slot);
        }
    }

    /// A request does not come back to the queue.
    pub fn left(&mut self, slot: u32) {
        self.trying.remove(&slot);
        if let Some(number) = self.numbers.remove(&slot) {
            self.waiting.remove(&number);
        }
    }

    /// A request that waited has picked a backend.
    pub(super) fn picked(&mut self, slot: u32, is_kept: bool) -> Option<(Invariant, String)> {
        let number = *self.numbers.get(&slot)?;
        let first = self.waiting.first_key_value().map(|(number, _)| *number)?;
        self.waiting.remove(&number);
        if is_kept {
            self.trying.insert(slot);
        }
        (first < number).then(|| {
            let before = self.waiting.range(..number).count();
            let detail = format!("r{slot} overtook {before} requests that wait");
            (Invariant::QueueOrder, detail)
        })
    }

    /// A new request has picked a backend without waiting.
    pub(super) fn passed(&self) -> Option<(Invariant, String)> {
        let waiting = self.waiting.len();
        (waiting > 0).then(|| {
            (
                Invariant::QueueOrder,
                format!("a new request overtook {waiting} that wait"),
            )
        })
    }

    /// The first one that waits.
    pub(super) fn first(&self) -> Option<u32> {
        self.waiting.first_key_value().map(|(_, slot)| *slot)
    }

    /// Number of requests in the queue.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.trying.len()
    }
}
