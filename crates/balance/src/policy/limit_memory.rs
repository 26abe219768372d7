//! What a rate limit remembers: the theoretical arrival time (TAT) of each key, and since when. Outlives reloads.

use std::sync::{Arc, OnceLock};

use evenkeel_wire::instant::Instant;

use super::gcra::Gcra;
use super::key_table::{Access, Crowded, KeyTable, State, Unchanged};
use crate::kept::KeptBuilder;
use crate::key::KeyHasher;
use crate::rng::Rng;

/// By how much the clocks of workers may differ, in nanoseconds. A TAT that is farther ahead than the limit and this come from a
/// limit before a reload.
const CLOCKS: u64 = 1_000_000_000;

/// The states of a limit's keys.
#[derive(Debug)]
pub(super) struct LimitMemory {
    /// Values are TATs.
    pub(super) table: KeyTable,
    /// With a seed of its own, so that clients cannot choose keys that collide.
    pub(super) hasher: KeyHasher,
    /// The first time that was seen.
    origin: OnceLock<Instant>,
}

/// The farthest that any of the limits that have used a memory puts a TAT ahead. Each config has a value of its own: a reload that
/// fails has put no TAT ahead.
#[derive(Debug)]
pub(super) struct Reach(u64);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is admitted.
    Admitted(Admitted),
    /// It is refused, and one is admitted after this many nanoseconds.
    Refused { wait: u64 },
}

/// An admitted request, to ask what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    limit: Gcra,
    tat: u64,
    now: u64,
}

impl Admitted {
    /// How many more would be admitted now.
    pub(super) fn remaining(self) -> u64 {
        self.limit.remaining(self.tat, self.now)
    }

    /// Nanoseconds until the whole burst is there again.
    pub(super) fn full_after(self) -> u64 {
        self.tat.saturating_sub(self.now)
    }
}

impl LimitMemory {
    pub(super) fn new(keys: usize) -> Self {
        Self {
            table: KeyTable::new(keys),
            hasher: KeyHasher::seeded(Rng::fresh().bits()),
            origin: OnceLock::new(),
        }
    }

    /// A time as the table has it. Never 0, which is the TAT of a new key.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        let origin = self.origin.get_or_init(|| now);
        now.nanos_since(*origin) + 1
    }

    /// Counts a request of a key. `counts` says whether the count beside the TAT grows too; with `has_shrunk`, a TAT that an
    /// earlier limit put too far ahead is brought back to where this limit is used up.
    #[inline(always)] // Into the check, which runs for every request of a limited route.
    pub(super) fn admit(&self, limit: Gcra, request: Counted) -> (Outcome, Option<super::key_table::Slot>) {
        let Counted {
            hash, random, now, ..
        } = request;
        let access = Access {
            hash,
            random,
            idle: now,
            crowded: Crowded::Replace,
        };
        let mut outcome = Outcome::Refused {
            wait: limit.interval(),
        };
        let done = self.table.update(access, |state| {
            let State { value: tat, count } = state.unwrap_or_default();
            match limit.admit(tat, now) {
                Ok(next) => {
                    outcome = Outcome::Admitted(Admitted {
                        limit,
                        tat: next,
                        now,
                    });
                    Ok(State {
                        value: next,
                        count: count.saturating_add(u16::from(request.counts)),
                    })
                }
                Err(wait) if request.has_shrunk && wait > limit.interval() + CLOCKS => {
                    outcome = Outcome::Refused {
                        wait: limit.interval(),
                    };
                    Ok(State {
                        value: now + limit.reach(),
                        count,
                    })
                }
                Err(wait) => Err(wait),
            }
        });
        match done {
            Ok(slot) => (outcome, Some(slot)),
            Err(Unchanged::Refused(wait)) => (Outcome::Refused { wait }, None),
            Err(Unchanged::Contended) => (
                Outcome::Refused {
                    wait: limit.interval(),
                },
                None,
            ),
        }
    }
}

impl Reach {
    /// Notes that this limit uses the memory of this name with the next config. Returns whether an earlier one may have put TATs
    /// farther ahead.
    pub(super) fn extend(kept: &mut KeptBuilder, memory: &str, limit: Gcra) -> bool {
        let reach = kept.follow(memory, |before: Option<&Arc<Self>>| {
            let before = before.map_or(0, |before| before.0);
            Arc::new(Self(before.max(limit.reach())))
        });
        reach.0 > limit.reach()
    }
}

/// A request, as a limit counts it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// The hash of its key.
    pub(super) hash: u64,
    /// Fresh uniform bits.
    pub(super) random: u64,
    /// The time, as the table has it.
    pub(super) now: u64,
    /// Whether the requests of the key are counted for a store.
    pub(super) counts: bool,
    /// Whether an earlier limit may have put TATs farther ahead than this one does.
    pub(super) has_shrunk: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::kept::Kept;
    use crate::policy::gcra::Rate;

    fn limit(rate: &str, burst: u64) -> Gcra {
        Gcra::new(Rate::parse(rate).unwrap(), burst).unwrap()
    }

    fn counted(hash: u64, now: u64) -> Counted {
        Counted {
            hash,
            random: hash ^ now,
            now,
            counts: false,
            has_shrunk: false,
        }
    }

    fn is_admitted(memory: &LimitMemory, limit: Gcra, request: Counted) -> bool {
        matches!(memory.admit(limit, request).0, Outcome::Admitted(_))
    }

    /// Many threads, few keys, and a time that they all read: no key gets more than its burst and the rate.
    #[test]
    fn threads_together_never_exceed_the_limit() {
        const KEYS: usize = 3;
        let limit = limit("1000000/s", 50);
        for round in 0..20 {
            let memory = LimitMemory::new(1);
            let time = AtomicU64::new(1);
            let admitted: [AtomicU32; KEYS] = Default::default();
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (memory, time, admitted) = (&memory, &time, &admitted);
                    scope.spawn(move || {
                        let mut rng = Rng::seeded(round * 10 + thread);
                        for _ in 0..5_000 {
                            let now = time.fetch_add(rng.bits() % 40, Ordering::SeqCst);
                            let key = (rng.bits() % KEYS as u64) as usize;
                            let request = Counted {
                                random: rng.bits(),
                                ..counted((key as u64 + 1) << 20, now)
                            };
                            if is_admitted(memory, limit, request) {
                                admitted[key].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            let elapsed = time.load(Ordering::SeqCst) - 1;
            for admitted in admitted {
                let admitted = u64::from(admitted.into_inner());
                let most = limit.burst() + elapsed / limit.interval() + 1;
                assert!(admitted <= most, "{admitted} of {most} in {elapsed} ns");
                assert!(admitted * 10 >= most * 8, "{admitted} of {most} in {elapsed} ns");
            }
        }
    }

    #[test]
    fn a_million_keys_need_no_more_memory_than_the_table_has() {
        let memory = LimitMemory::new(1000);
        let sets = memory.table.sets();
        let limit = limit("1/s", 1);
        for number in 0..1_000_000 {
            let request = counted(Rng::seeded(number).bits(), 1 + number);
            assert!(is_admitted(&memory, limit, request), "a new key has its burst");
        }
        assert_eq!((sets, memory.table.sets()), (256, 256));
    }

    #[test]
    fn a_key_that_keeps_its_slot_is_limited_among_many_others() {
        let memory = LimitMemory::new(1000);
        let limit = limit("1/h", 3);
        let mut admitted = 0;
        for number in 0..900_u64 {
            is_admitted(&memory, limit, counted(Rng::seeded(number).bits(), 1));
            admitted += u32::from(is_admitted(&memory, limit, counted(7 << 40, 1)));
        }
        assert_eq!(admitted, 3);
    }

    #[test]
    fn a_higher_rate_applies_at_once_to_a_key_that_was_used_up() {
        let memory = LimitMemory::new(10);
        let slow = limit("1/h", 10);
        let mut kept = Kept::default().next();
        assert!(!Reach::extend(&mut kept, "memory", slow));
        for _ in 0..10 {
            assert!(is_admitted(&memory, slow, counted(1, 1)));
        }
        let fast = limit("100/s", 100);
        assert!(Reach::extend(&mut kept, "memory", fast));
        let at = |now| Counted {
            has_shrunk: true,
            ..counted(1, now)
        };
        assert!(!is_admitted(&memory, fast, at(1)), "counts as used up");
        assert!(is_admitted(&memory, fast, at(1 + fast.interval())));
        assert!(!is_admitted(&memory, fast, at(1 + fast.interval())));
    }

    #[test]
    fn time_begins_with_the_first_that_was_seen() {
        let memory = LimitMemory::new(1);
        let now = crate::clock::now();
        assert_eq!(memory.nanos(now), 1);
        assert_eq!(memory.nanos(now + std::time::Duration::from_nanos(5)), 6);
        assert_eq!(
            memory.nanos(now.checked_sub(std::time::Duration::from_nanos(5)).unwrap_or(now)),
            1
        );
    }
}
