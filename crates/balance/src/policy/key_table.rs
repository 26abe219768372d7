//! A table of states by key, shared by all workers, of fixed size and without locks. Knows nothing of what the states mean.
//!
//! The table is an array of sets of [`WAYS`] slots. A key belongs to one set and may be in any slot of it. A slot is one atomic word
//! of 128 bits that holds both the key and its state, so that a state can never be charged to the wrong key, and a change is
//! one compare-and-swap.
//!
//! A new key takes the slot that has been idle the longest. When no slot of its set is idle, [`Crowded`] says what happens. The
//! table has at least two slots for each key that it is made for, so that a set rarely fills up.
//!
//! A key never has two slots. Whoever adds a key first claims a slot for it, which is not a state yet, then looks at the other
//! slots of the set, and only then turns the claim into a state. Of two claims for one key, the later one sees the earlier one
//! and removes it, or finds that it has become a state and gives up.

use std::sync::atomic::Ordering::SeqCst;

use portable_atomic::AtomicU128;

/// Slots of a set: two cache lines, which processors fetch together.
const WAYS: usize = 8;

/// Slots for each key that a table is made for.
const SPARE: usize = 2;

/// How often a change starts again because another worker was faster. Each time that other worker has made progress, so this is
/// never reached by chance; it bounds the loop.
const MAX_RACES: u32 = 10_000;

const EMPTY: u128 = 0;

/// In a value: the slot is claimed, and the other bits are the number of the claim.
const CLAIM: u64 = 1 << 63;

/// The table.
#[derive(Debug)]
pub(super) struct KeyTable {
    /// A power of two.
    sets: Box<[Set]>,
}

/// The slots of a set.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([AtomicU128; WAYS]);

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    /// What orders states: one with a value up to [`Access::idle`] is idle. Below 2^63.
    pub(super) value: u64,
    /// A count beside it. A state is not idle until it is 0.
    pub(super) count: u16,
}

/// Who changes a state, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    /// The hash of the key.
    pub(super) hash: u64,
    /// Fresh uniform bits.
    pub(super) random: u64,
    /// The largest value of an idle state.
    pub(super) idle: u64,
    /// What happens when no slot is idle.
    pub(super) crowded: Crowded,
}

/// What happens to a new key when no slot of its set is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    /// It takes the slot with the smallest value; the key in that slot loses its state.
    Replace,
    /// It shares the slot of another key, always the same one of the set.
    Share,
}

/// A slot of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    set: u32,
    way: u32,
}

/// Why a state was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unchanged<R> {
    /// The caller refused.
    Refused(R),
    /// Other workers changed the set all the time.
    Contended,
}

/// Where a key is, or may be put.
enum Place {
    Present(usize, u128),
    Absent(usize, u128),
    /// Nowhere until a claim of another key has become a state.
    Unsettled,
}

impl KeyTable {
    /// A table for this many keys.
    pub(super) fn new(keys: usize) -> Self {
        let sets = (keys.max(1) * SPARE).div_ceil(WAYS).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
        }
    }

    /// Changes the state of a key to what `next` returns for the present one; `None` stands for a key that has no state.
    /// `next` runs again when another worker was faster. Returns the slot of the key.
    #[inline]
    pub(super) fn update<R>(
        &self,
        access: Access,
        mut next: impl FnMut(Option<State>) -> Result<State, R>,
    ) -> Result<Slot, Unchanged<R>> {
        let index = access.hash as usize & (self.sets.len() - 1);
        let Some(set) = self.sets.get(index) else {
            return Err(Unchanged::Contended);
        };
        let key = key_bits(access.hash);
        // Where most keys are. An empty slot has no key, and `key` is never 0.
        let home = home(key);
        let word = set.load(home);
        if key_of(word) == key && !is_claim(word) {
            let state = next(Some(state_of(word))).map_err(Unchanged::Refused)?;
            if set.swap(home, word, word_of(key, state)) {
                return Ok(Slot {
                    set: index as u32,
                    way: home as u32,
                });
            }
        }
        self.update_anywhere(index, access, next)
    }

    /// Changes the state of a key that may be in any slot of a set, or in none.
    #[inline(never)]
    fn update_anywhere<R>(
        &self,
        index: usize,
        access: Access,
        mut next: impl FnMut(Option<State>) -> Result<State, R>,
    ) -> Result<Slot, Unchanged<R>> {
        let Some(set) = self.sets.get(index) else {
            return Err(Unchanged::Contended);
        };
        let key = key_bits(access.hash);
        for race in 0..MAX_RACES {
            let (way, is_done) = match set.find(key, access) {
                Place::Present(way, word) => {
                    let state = next(Some(state_of(word))).map_err(Unchanged::Refused)?;
                    (way, set.swap(way, word, word_of(key_of(word), state)))
                }
                Place::Absent(way, word) => {
                    let state = next(None).map_err(Unchanged::Refused)?;
                    let claim = CLAIM | (access.random.wrapping_add(u64::from(race)) & !CLAIM);
                    (way, set.insert(way, word, [key, u128::from(claim)], state))
                }
                Place::Unsettled => (0, false),
            };
            if is_done {
                return Ok(Slot {
                    set: index as u32,
                    way: way as u32,
                });
            }
            std::hint::spin_loop();
        }
        Err(Unchanged::Contended)
    }

    /// Changes the state in a slot, whichever key it has, to what `next` returns; `None` leaves it. Returns what was there before.
    pub(super) fn change(
        &self,
        slot: Slot,
        mut next: impl FnMut(u64, State) -> Option<State>,
    ) -> Option<State> {
        let set = self.sets.get(slot.set as usize)?;
        let way = slot.way as usize;
        for _ in 0..MAX_RACES {
            let word = set.load(way);
            if word == EMPTY || is_claim(word) {
                return None;
            }
            let old = state_of(word);
            let new = next((key_of(word) >> KEY_SHIFT) as u64, old)?;
            if set.swap(way, word, word_of(key_of(word), new)) {
                return Some(old);
            }
        }
        None
    }

    /// Number of sets.
    pub(super) fn sets(&self) -> usize {
        self.sets.len()
    }

    /// The slots of a set.
    pub(super) fn slots(set: usize) -> impl Iterator<Item = Slot> {
        (0..WAYS as u32).map(move |way| Slot { set: set as u32, way })
    }

    /// The part of a hash by which the table knows a key.
    #[cfg(test)]
    pub(super) fn identity(hash: u64) -> u64 {
        (key_bits(hash) >> KEY_SHIFT) as u64
    }
}

impl Slot {
    /// The set that it belongs to.
    pub(super) fn set(self) -> usize {
        self.set as usize
    }
}

impl Set {
    fn load(&self, way: usize) -> u128 {
        self.0.get(way).map_or(EMPTY, |slot| slot.load(SeqCst))
    }

    fn swap(&self, way: usize, old: u128, new: u128) -> bool {
        let slot = self.0.get(way);
        slot.is_some_and(|slot| slot.compare_exchange(old, new, SeqCst, SeqCst).is_ok())
    }

    fn find(&self, key: u128, access: Access) -> Place {
        let mut best = (0, EMPTY, u64::MAX);
        let home = home(key);
        // From a way of its own, where it is unless that was taken: most keys are found in the first slot.
        for way in (home..WAYS).chain(0..home) {
            let word = self.load(way);
            if word != EMPTY && key_of(word) == key {
                return match is_claim(word) {
                    // The key is being added by another worker, which may have been suspended: its claim is taken over.
                    true => Place::Absent(way, word),
                    false => Place::Present(way, word),
                };
            }
            let rank = rank(word, access.idle);
            if rank < best.2 {
                best = (way, word, rank);
            }
        }
        let (way, word, rank) = best;
        if rank <= access.idle || access.crowded == Crowded::Replace {
            return Place::Absent(way, word);
        }
        match self.load(home) {
            word if word == EMPTY || is_claim(word) => Place::Unsettled,
            word => Place::Present(home, word),
        }
    }

    /// Puts a key into a slot that has this word, unless the key is in the set by now. `[key, claim]` is the claim.
    fn insert(&self, way: usize, old: u128, [key, claim]: [u128; 2], state: State) -> bool {
        let claim = key | claim;
        if !self.swap(way, old, claim) {
            return false;
        }
        for other in (0..WAYS).filter(|other| *other != way) {
            let word = self.load(other);
            let is_same = word != EMPTY && key_of(word) == key;
            if is_same && !(is_claim(word) && self.swap(other, word, EMPTY)) {
                self.swap(way, claim, EMPTY);
                return false;
            }
        }
        self.swap(way, claim, word_of(key, state))
    }
}

/// In a word: 48 bits of the key, 16 of the count, 64 of the value.
const KEY_SHIFT: u32 = 80;
const COUNT_SHIFT: u32 = 64;

/// The bits of a hash that do not choose the set, at their place in a word; never 0, because an empty slot is 0.
fn key_bits(hash: u64) -> u128 {
    u128::from((hash >> 16).max(1)) << KEY_SHIFT
}

/// The way in which a key is looked for first.
fn home(key: u128) -> usize {
    (key >> KEY_SHIFT) as usize % WAYS
}

fn key_of(word: u128) -> u128 {
    word >> KEY_SHIFT << KEY_SHIFT
}

fn state_of(word: u128) -> State {
    State {
        value: word as u64,
        count: (word >> COUNT_SHIFT) as u16,
    }
}

fn word_of(key: u128, state: State) -> u128 {
    key | u128::from(state.count) << COUNT_SHIFT | u128::from(state.value & !CLAIM)
}

fn is_claim(word: u128) -> bool {
    word as u64 & CLAIM != 0
}

/// How late a slot is replaced: by value, and after every idle one while it has a count.
fn rank(word: u128, idle: u64) -> u64 {
    let State { value, count } = state_of(word);
    match count {
        0 => value,
        _ => value.max(idle.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::rng::Rng;

    fn access(hash: u64, idle: u64, crowded: Crowded) -> Access {
        Access {
            hash,
            random: 0,
            idle,
            crowded,
        }
    }

    fn add(table: &KeyTable, hash: u64, crowded: Crowded, by: u64) -> Slot {
        let next = |state: Option<State>| {
            Ok::<_, ()>(State {
                value: state.unwrap_or_default().value + by,
                count: 0,
            })
        };
        table.update(access(hash, 0, crowded), next).unwrap()
    }

    fn value(table: &KeyTable, hash: u64) -> Option<u64> {
        let mut found = None;
        let _ = table.update(access(hash, 0, Crowded::Replace), |state| {
            found = state.map(|state| state.value);
            Err::<State, ()>(())
        });
        found
    }

    /// Hashes of different keys in the same set.
    fn hash(number: u64) -> u64 {
        (number + 1) << 16
    }

    #[test]
    fn keeps_a_state_for_each_key() {
        let table = KeyTable::new(1000);
        for number in 0..1000 {
            let hash = Rng::seeded(number).bits();
            add(&table, hash, Crowded::Replace, number + 1);
            add(&table, hash, Crowded::Replace, 1);
            assert_eq!(value(&table, hash), Some(number + 2));
        }
        assert_eq!(table.sets.len(), 256);
        assert_eq!(value(&table, 5), None);
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let table = KeyTable::new(1);
        add(&table, 1, Crowded::Replace, 7);
        let refused = table.update(access(1, 0, Crowded::Replace), |_| Err("no"));
        assert_eq!(refused.unwrap_err(), Unchanged::Refused("no"));
        assert_eq!(value(&table, 1), Some(7));
    }

    #[test]
    fn a_new_key_takes_the_slot_that_has_been_idle_the_longest() {
        let table = KeyTable::new(1);
        for number in 0..8 {
            add(&table, hash(number), Crowded::Replace, 10 + (number + 4) % 8);
        }
        add(&table, hash(100), Crowded::Replace, 99);
        assert_eq!(value(&table, hash(4)), None, "10 was the smallest value");
        for kept in [0, 1, 2, 3, 5, 6, 7, 100] {
            assert!(value(&table, hash(kept)).is_some(), "{kept}");
        }
    }

    #[test]
    fn a_state_with_a_count_is_replaced_last() {
        let table = KeyTable::new(1);
        for number in 0..8 {
            let state = State {
                value: number + 1,
                count: u16::from(number == 0),
            };
            let done = table.update(access(hash(number), 50, Crowded::Replace), |_| Ok::<_, ()>(state));
            done.unwrap();
        }
        let state = State { value: 60, count: 0 };
        let done = table.update(access(hash(9), 50, Crowded::Replace), |_| Ok::<_, ()>(state));
        done.unwrap();
        assert_eq!((value(&table, hash(0)), value(&table, hash(1))), (Some(1), None));
    }

    #[test]
    fn a_key_shares_a_slot_when_no_other_may_be_replaced() {
        let table = KeyTable::new(1);
        let slots: Vec<Slot> = (0..8)
            .map(|number| add(&table, hash(number), Crowded::Share, 1))
            .collect();
        let shared = add(&table, hash(20), Crowded::Share, 1);
        assert_eq!(shared, add(&table, hash(20), Crowded::Share, 1));
        assert!(slots.contains(&shared));
        let values: Vec<u64> = (0..8).filter_map(|number| value(&table, hash(number))).collect();
        assert_eq!((values.len(), values.iter().sum::<u64>()), (8, 10));
    }

    #[test]
    fn a_change_by_slot_finds_what_is_there() {
        let table = KeyTable::new(1);
        let slot = add(&table, hash(3), Crowded::Share, 5);
        let old = table.change(slot, |key, state| {
            assert_eq!(key, KeyTable::identity(hash(3)));
            Some(State {
                value: state.value - 1,
                ..state
            })
        });
        assert_eq!((old.unwrap().value, value(&table, hash(3))), (5, Some(4)));
        assert!(table.change(slot, |_, _| None).is_none());
    }

    /// What makes the table exact: no increment is lost, also when every worker adds the same keys at the same moment.
    #[test]
    fn threads_that_add_the_same_new_key_share_one_state() {
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 3_000;
        let table = KeyTable::new(1);
        let round = AtomicU64::new(0);
        let arrived = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (table, round, arrived, stop) = (&table, &round, &arrived, &stop);
                scope.spawn(move || {
                    let mut rng = Rng::seeded(thread);
                    let mut seen = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let now = round.load(Ordering::SeqCst);
                        if now == seen {
                            thread::yield_now();
                            continue;
                        }
                        seen = now;
                        // Workers differ in which slots they take for idle, so they choose different ones.
                        let access = Access {
                            hash: hash(now),
                            random: rng.bits(),
                            idle: now * 100 - rng.bits() % 50,
                            crowded: Crowded::Replace,
                        };
                        let next = |state: Option<State>| {
                            Ok::<_, ()>(State {
                                value: state.map_or(now * 100, |state| state.value) + 1,
                                count: 0,
                            })
                        };
                        table.update(access, next).unwrap();
                        arrived.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for now in 1..=ROUNDS {
                round.store(now, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < now * THREADS {
                    thread::yield_now();
                }
                assert_eq!(value(&table, hash(now)), Some(now * 100 + THREADS), "round {now}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
