//! A rate limit that several instances share through a store. Decisions never wait for the store: an instance admits requests by
//! its own state, and a task of the control plane reports them to the store in batches and brings back what is left.
//!
//! The store keeps the theoretical arrival time (TAT) of each key, counts every reported request against it as if they had come
//! evenly since the instance's last report, and tells how far it is ahead and how many instances use the limit. Of what is left, each instance takes its share (one part in as many as
//! there are instances, rounded up). Requests that were admitted beyond the limit stay counted, so that later ones wait for
//! them: in the long run the instances together admit exactly the rate.
//!
//! How far they can exceed it, with `n` instances and a time `s` from one report to the next, round trip included:
//!
//! - while the store answers: at most `burst ÷ 2 + n + n × rate × s` requests above `burst + rate × time`, because what
//!   is left is shared out before all have reported what they used;
//! - after the store is lost: each instance keeps its part of burst and rate, so at most once more the burst and
//!   the above, where `s` is now the time until the loss is noticed. Instances that start while the store is away
//!   know of no other and take the whole limit;
//! - while an instance is new and has not reported yet: it takes the whole limit.
//!
//! A lone client of one instance among `n` gets its burst in parts, as reports come back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use evenkeel_wire::instant::Instant;

use super::gcra::Gcra;
use super::key_table::{KeyTable, Slot, State};
use super::limit_memory::{Counted, LimitMemory, Outcome};
use crate::key::KeyHasher;

/// In the status: the store answers. The lower half is the number of instances.
const CONNECTED: u64 = 1 << 32;

/// What happens to requests while the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// Each instance applies its part of the limit.
    Allow,
    /// Requests are refused.
    Deny,
}

/// A limit with its state in a store. The policy asks it about each request; the task that talks to the store uses the public
/// functions.
#[derive(Debug)]
pub struct SharedLimit {
    store: Box<str>,
    id: Box<str>,
    limit: Gcra,
    has_shrunk: bool,
    on_failure: OnFailure,
    memory: Arc<SharedMemory>,
}

/// What outlives a reload.
#[derive(Debug)]
pub(super) struct SharedMemory {
    limit: LimitMemory,
    /// With the seed of the store: all instances give a key the same name. Until it is known, nothing is reported.
    hasher: OnceLock<(u64, KeyHasher)>,
    /// One bit for each set of the table with requests that are not reported yet.
    dirty: Box<[AtomicU64]>,
    /// See [`CONNECTED`].
    status: AtomicU64,
}

/// Requests of one key to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The key's name in the store, as a number.
    pub key: u64,
    /// How many requests were admitted since the last report.
    pub requests: u16,
    slot: Slot,
}

/// A request is refused because the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable;

impl SharedMemory {
    pub(super) fn new(keys: usize) -> Self {
        let limit = LimitMemory::new(keys);
        let words = limit.table.sets().div_ceil(64);
        Self {
            limit,
            hasher: OnceLock::new(),
            dirty: (0..words).map(|_| AtomicU64::new(0)).collect(),
            status: AtomicU64::new(1),
        }
    }

    fn mark(&self, set: usize) {
        if let Some(word) = self.dirty.get(set / 64) {
            word.fetch_or(1 << (set % 64), Ordering::SeqCst);
        }
    }
}

impl SharedLimit {
    /// A limit of this id in this store.
    pub(super) fn new(
        [store, name]: [&str; 2],
        limit: Gcra,
        on_failure: OnFailure,
        memory: Arc<SharedMemory>,
    ) -> Self {
        Self {
            store: store.into(),
            // A changed limit is another one for the store, so that what its keys have used is not read by another measure.
            id: format!("{name}:{}:{}", limit.interval(), limit.burst()).into(),
            limit,
            has_shrunk: false,
            on_failure,
            memory,
        }
    }

    /// The same limit, which may find TATs in its memory that an earlier, larger limit has put ahead.
    pub(super) fn after_larger(self, has_shrunk: bool) -> Self {
        Self { has_shrunk, ..self }
    }

    /// The name of the store in the config.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// What names the limit in the store: the same on all instances that have it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Time between two requests at the limit's rate.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.limit.interval())
    }

    /// The seed of hashes that all instances have, once it is known.
    pub fn seed(&self) -> Option<u64> {
        self.memory.hasher.get().map(|(seed, _)| *seed)
    }

    /// Sets the seed of hashes that all instances have, as the store has it. Returns whether it is in use: the first seed stays
    /// until the process ends.
    pub fn use_seed(&self, seed: u64) -> bool {
        let mut is_first = false;
        let (used, _) = self.memory.hasher.get_or_init(|| {
            is_first = true;
            (seed, KeyHasher::seeded(seed))
        });
        if is_first {
            // What was counted until now has names that mean nothing to the store.
            self.take(usize::MAX, &mut Vec::new());
        }
        *used == seed
    }

    /// Moves the requests that are to be reported to the end of `batch`, of at most `most` keys. The rest is left for the next time.
    /// Returns whether there is a rest.
    pub fn take(&self, most: usize, batch: &mut Vec<Usage>) -> bool {
        if self.memory.hasher.get().is_none() {
            return false;
        }
        let end = batch.len().saturating_add(most);
        for (index, word) in self.memory.dirty.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Before the slots are read: a request that is counted from now on sets its bit again.
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                if batch.len() >= end {
                    word.fetch_or(bits, Ordering::SeqCst);
                    return true;
                }
                let set = index * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                self.take_set(set, batch);
            }
        }
        false
    }

    fn take_set(&self, set: usize, batch: &mut Vec<Usage>) {
        for slot in KeyTable::slots(set) {
            let mut key = 0;
            let old = self.memory.limit.table.change(slot, |of, state| {
                key = of;
                (state.count > 0).then_some(State { count: 0, ..state })
            });
            if let Some(old) = old {
                batch.push(Usage {
                    key,
                    requests: old.count,
                    slot,
                });
            }
        }
    }

    /// Puts requests back that could not be reported. Those of keys that have lost their slot since are forgotten.
    pub fn give_back(&self, batch: &[Usage]) {
        for usage in batch {
            let done = self.memory.limit.table.change(usage.slot, |key, state| {
                let count = state.count.saturating_add(usage.requests);
                (key == usage.key).then_some(State { count, ..state })
            });
            if done.is_some() {
                self.memory.mark(usage.slot.set());
            }
        }
    }

    /// Takes over what the store says of a key after a report: its TAT is this far `ahead` of the time.
    pub fn apply(&self, usage: &Usage, ahead: Duration, now: Instant) {
        let now = self.memory.limit.nanos(now);
        let ahead = self.ahead_here(ahead.as_nanos() as u64);
        let interval = self.limit.interval();
        self.memory.limit.table.change(usage.slot, |key, state| {
            // Requests since the report are not known to the store.
            let value = now + ahead + u64::from(state.count) * interval;
            (key == usage.key).then_some(State { value, ..state })
        });
    }

    /// How far ahead a TAT is here so that this instance has its share of what is left.
    fn ahead_here(&self, ahead: u64) -> u64 {
        let (_, instances) = self.status();
        let here = self.limit.with_shared_burst(instances).reach();
        let Some(left) = self.limit.reach().checked_sub(ahead) else {
            let debt = ahead - self.limit.reach();
            return here.saturating_add(debt).min(1 << 62);
        };
        let interval = self.limit.interval();
        let share = (left / interval).div_ceil(instances) * interval + left % interval;
        here.saturating_sub(share)
    }

    /// The store answered, and this many instances use the limit, this one included.
    pub fn connected(&self, instances: u32) {
        let status = CONNECTED | u64::from(instances.max(1));
        self.memory.status.store(status, Ordering::Relaxed);
    }

    /// The store does not answer. The number of instances stays as it was last known.
    pub fn lost(&self) {
        self.memory.status.fetch_and(!CONNECTED, Ordering::Relaxed);
    }

    /// Whether the store answers, and the number of instances.
    fn status(&self) -> (bool, u64) {
        let status = self.memory.status.load(Ordering::Relaxed);
        (status & CONNECTED != 0, status & (CONNECTED - 1))
    }

    /// The hasher of its keys.
    pub(super) fn hasher(&self) -> &KeyHasher {
        let shared = self.memory.hasher.get().map(|(_, hasher)| hasher);
        shared.unwrap_or(&self.memory.limit.hasher)
    }

    /// Admits a request of a key, or not.
    pub(super) fn admit(&self, hash: u64, random: u64, now: Instant) -> Result<Outcome, Unavailable> {
        let limit = match self.status() {
            (true, instances) => self.limit.with_shared_burst(instances),
            (false, _) if self.on_failure == OnFailure::Deny => return Err(Unavailable),
            (false, instances) => self.limit.divided(instances),
        };
        let (outcome, slot) = self.memory.limit.admit(
            limit,
            Counted {
                hash,
                random,
                now: self.memory.limit.nanos(now),
                counts: true,
                has_shrunk: self.has_shrunk,
            },
        );
        if let Some(slot) = slot.filter(|_| matches!(outcome, Outcome::Admitted(_))) {
            self.memory.mark(slot.set());
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::policy::gcra::Rate;
    use crate::rng::Rng;

    const TICK: Duration = Duration::from_millis(1);
    /// Ticks between two reports.
    const REPORT: u32 = 100;
    const KEY: u64 = 77 << 20;

    fn shared(rate: &str, burst: u64, on_failure: OnFailure) -> SharedLimit {
        let limit = Gcra::new(Rate::parse(rate).unwrap(), burst).unwrap();
        let shared = SharedLimit::new(
            ["limits", "per_user"],
            limit,
            on_failure,
            SharedMemory::new(100).into(),
        );
        assert!(shared.use_seed(7));
        shared
    }

    /// What the script in the store does.
    #[derive(Debug, Default)]
    struct Store(HashMap<u64, u64>);

    impl Store {
        fn report(&mut self, usage: &Usage, interval: Duration, [since, now]: [u64; 2]) -> Duration {
            let tat = self.0.entry(usage.key).or_default();
            *tat = (*tat).max(since) + u64::from(usage.requests) * interval.as_nanos() as u64;
            Duration::from_nanos(tat.saturating_sub(now))
        }
    }

    /// Instances of one limit in simulated time.
    struct World {
        instances: Vec<SharedLimit>,
        store: Store,
        /// When each of them reported the last time.
        reported: Vec<u32>,
        is_away: bool,
        start: Instant,
        ticks: u32,
        rng: Rng,
    }

    impl World {
        fn new(instances: usize, rate: &str, burst: u64) -> Self {
            let limits = (0..instances).map(|_| shared(rate, burst, OnFailure::Allow));
            let world = Self {
                instances: limits.collect(),
                store: Store::default(),
                reported: vec![0; instances],
                is_away: false,
                start: crate::clock::now(),
                ticks: 0,
                rng: Rng::seeded(5),
            };
            world
                .instances
                .iter()
                .for_each(|limit| limit.connected(instances as u32));
            world
        }

        fn now(&self) -> Instant {
            self.start + TICK * self.ticks
        }

        /// Runs for this many ticks, with `load` requests a tick at each instance; returns how many each of them admitted.
        fn run(&mut self, ticks: u32, load: &[u32]) -> Vec<u32> {
            let mut admitted = vec![0; self.instances.len()];
            for _ in 0..ticks {
                self.ticks += 1;
                let now = self.now();
                for (index, load) in load.iter().enumerate() {
                    for _ in 0..*load {
                        let outcome = self.instances[index].admit(KEY, self.rng.bits(), now);
                        admitted[index] += u32::from(matches!(outcome, Ok(Outcome::Admitted(_))));
                    }
                    // Instances report at different times.
                    if (self.ticks + index as u32 * 37).is_multiple_of(REPORT) {
                        self.report(index);
                    }
                }
            }
            admitted
        }

        fn report(&mut self, index: usize) {
            let limit = &self.instances[index];
            let mut batch = Vec::new();
            assert!(!limit.take(1000, &mut batch));
            if self.is_away {
                limit.give_back(&batch);
                return limit.lost();
            }
            let since = std::mem::replace(&mut self.reported[index], self.ticks);
            let times = [since, self.ticks].map(|ticks| (TICK * ticks).as_nanos() as u64);
            for usage in &batch {
                let ahead = self.store.report(usage, limit.interval(), times);
                limit.apply(usage, ahead, self.now());
            }
            limit.connected(self.instances.len() as u32);
        }
    }

    fn sum(admitted: &[u32]) -> u32 {
        admitted.iter().sum()
    }

    #[track_caller]
    fn assert_near(admitted: u32, expected: u32) {
        let most = expected / 20;
        assert!(
            admitted.abs_diff(expected) <= most,
            "{admitted}, expected {expected} ± {most}"
        );
    }

    #[test]
    fn three_instances_keep_one_rate() {
        for burst in [1, 10, 100] {
            let mut world = World::new(3, "200/s", burst);
            world.run(2_000, &[2, 2, 2]);
            let admitted = world.run(10_000, &[2, 2, 2]);
            assert_near(sum(&admitted), 2_000);
            assert!(admitted.iter().all(|one| *one > 300), "{admitted:?}");
        }
    }

    #[test]
    fn an_instance_alone_gets_the_whole_rate_although_there_are_others() {
        for burst in [5, 100] {
            let mut world = World::new(3, "200/s", burst);
            world.run(2_000, &[1, 0, 0]);
            assert_near(sum(&world.run(10_000, &[1, 0, 0])), 2_000);
        }
    }

    #[test]
    fn a_burst_on_all_instances_exceeds_the_limit_by_what_the_docs_say() {
        let mut world = World::new(3, "100/s", 100);
        let mut total = 0;
        for tick in 1..=5_000_u32 {
            total += sum(&world.run(1, &[5, 5, 5]));
            let most = 100 + tick / 10 + 100 / 2 + 3 + 3 * REPORT / 10;
            assert!(total <= most, "{total} of {most} after {tick} ms");
        }
    }

    #[test]
    fn a_lost_store_leaves_each_instance_its_part() {
        let mut world = World::new(3, "300/s", 30);
        world.run(3_000, &[1, 1, 1]);
        world.is_away = true;
        let mut total = 0;
        for tick in 1..=10_000_u32 {
            total += sum(&world.run(1, &[1, 1, 1]));
            let rate = tick * 3 / 10;
            let most = 30 + rate + 30 + 2 * (3 + 3 * REPORT * 3 / 10);
            assert!(total <= most, "{total} of {most} after {tick} ms");
        }
        assert_near(total, 3_000);
        world.is_away = false;
        world.run(3_000, &[1, 1, 1]);
        assert_near(sum(&world.run(10_000, &[1, 1, 1])), 3_000);
    }

    #[test]
    fn with_deny_nothing_is_admitted_while_the_store_is_away() {
        let limit = shared("10/s", 5, OnFailure::Deny);
        let now = crate::clock::now();
        assert_eq!(limit.admit(KEY, 0, now), Err(Unavailable));
        limit.connected(1);
        assert!(limit.admit(KEY, 0, now).is_ok());
        limit.lost();
        assert_eq!(limit.admit(KEY, 0, now), Err(Unavailable));
    }

    #[test]
    fn requests_are_taken_once_and_can_be_put_back() {
        let limit = shared("10/s", 100, OnFailure::Allow);
        let now = crate::clock::now();
        let hashes = [1 << 40, 2 << 40, (3 << 40) + 1, (4 << 40) + 2];
        for (index, hash) in hashes.iter().enumerate() {
            for random in 0..=index as u64 {
                limit.admit(*hash, random, now).unwrap();
            }
        }
        let mut batch = Vec::new();
        assert!(limit.take(1, &mut batch), "more sets have requests");
        let first = batch.len();
        assert!(!limit.take(100, &mut batch));
        assert!(first < 4 && batch.len() == 4);
        for (index, hash) in hashes.iter().enumerate() {
            let found = batch.iter().find(|usage| usage.key == KeyTable::identity(*hash));
            assert_eq!(usize::from(found.unwrap().requests), index + 1);
        }
        let mut again = Vec::new();
        assert!(!limit.take(100, &mut again) && again.is_empty());
        limit.give_back(&batch);
        limit.admit(hashes[0], 9, now).unwrap();
        limit.take(100, &mut again);
        assert_eq!(
            again
                .iter()
                .map(|usage| usize::from(usage.requests))
                .sum::<usize>(),
            11
        );
    }

    #[test]
    fn what_was_counted_before_the_seed_was_known_is_not_reported() {
        let limit = Gcra::new(Rate::parse("10/s").unwrap(), 5).unwrap();
        let memory: Arc<SharedMemory> = SharedMemory::new(100).into();
        let limit = SharedLimit::new(["limits", "a"], limit, OnFailure::Allow, memory);
        limit.admit(KEY, 0, crate::clock::now()).unwrap();
        let mut batch = Vec::new();
        assert!(!limit.take(10, &mut batch) && batch.is_empty());
        assert!(limit.use_seed(1) && limit.use_seed(1) && !limit.use_seed(2));
        assert!(!limit.take(10, &mut batch) && batch.is_empty());
        assert_eq!(limit.id(), "a:100000000:5");
    }
}
