//! Limits the requests in flight by key, over all workers.
//!
//! Exact for a key with a slot of its own in the table of keys. While every slot of a set has requests in flight, a new key counts
//! together with one of them, so that the limit is never exceeded by having many keys, but may apply to two keys as one.

use std::sync::Arc;

use super::key_table::{Access, Crowded, KeyTable, Slot, State, Unchanged};
use super::rate_limit::{IPV6, KEY, STATUS, TABLE_SIZE, WITHOUT_KEY, request_key};
use super::{BuildError, Context, Decision, Notes, Policy, Refusal};
use crate::key::{Key as RequestKey, KeyHasher};
use crate::request::Request;
use crate::rng::Rng;
use crate::schema::{Key, Kind};

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[(
    "too_many_concurrent",
    "the limit of requests in flight was reached (`status` of the policy, 429 by default)",
)];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "limit",
        Kind::Count {
            least: 1,
            most: 1_000_000,
        },
        "How many requests of a key may be in flight. A request is in flight until its response has been sent; a tunnel, until it ends.",
    )
    .required(),
    KEY,
    IPV6,
    Key::new("status", STATUS, "The status of refused requests.").default("429"),
    TABLE_SIZE,
];

#[derive(Debug)]
struct Concurrency {
    key: RequestKey,
    limit: u64,
    status: u16,
    /// Why a request is refused.
    refused: Box<str>,
    counts: Arc<InFlight>,
}

/// The requests in flight of each key. Outlives reloads.
#[derive(Debug)]
struct InFlight {
    /// Values are numbers of requests.
    table: KeyTable,
    hasher: KeyHasher,
}

/// A request in flight; no longer when it is dropped.
struct Held {
    counts: Arc<InFlight>,
    slot: Slot,
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let Context { name, params, kept } = context;
    let limit = params.count("limit");
    let key = request_key(params);
    let keys = params.count("keys").unwrap_or(100_000) as usize;
    let bits = params.count("ipv6_prefix").unwrap_or_default();
    // Another definition of the key, or another size, is another table.
    let identity = format!("policy/{name}/concurrency/{key}/{bits}/{keys}");
    let limit = limit.ok_or_else(|| BuildError::of("limit", "`concurrency` requires a limit"))?;
    Ok(Box::new(Concurrency {
        refused: format!("limit of {limit} in flight by {key}").into(),
        key,
        limit,
        status: params.count("status").unwrap_or(429) as u16,
        counts: kept.get_or_insert(&identity, || InFlight {
            table: KeyTable::new(keys),
            hasher: KeyHasher::seeded(Rng::fresh().bits()),
        }),
    }))
}

impl Policy for Concurrency {
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision {
        let hash = self.key.hash(&self.counts.hasher, request, notes);
        let access = Access {
            hash: hash.unwrap_or(WITHOUT_KEY),
            random: request.random,
            idle: 0,
            crowded: Crowded::Share,
        };
        let slot = self.counts.table.update(access, |state| {
            let State { value, count } = state.unwrap_or_default();
            match value < self.limit {
                true => Ok(State {
                    value: value + 1,
                    count,
                }),
                false => Err(()),
            }
        });
        match slot {
            Ok(slot) => {
                let counts = Arc::clone(&self.counts);
                notes.held.push(Box::new(Held { counts, slot }));
                Decision::Continue
            }
            Err(Unchanged::Refused(()) | Unchanged::Contended) => {
                let refusal = Refusal::new(self.status, "too_many_concurrent");
                // When one of the others ends is unknown: 1 s keeps clients from trying in a loop.
                Decision::Refuse(refusal.with("Retry-After", "1").because(&*self.refused))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let end = |_, state: State| {
            Some(State {
                value: state.value.saturating_sub(1),
                ..state
            })
        };
        self.counts.table.change(self.slot, end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::thread;

    use super::*;
    use crate::kept::Kept;
    use crate::request::tests::{head, request};
    use crate::schema::{Params, Value};

    fn built(values: &[(&'static str, Value)], kept: &mut Kept) -> Box<dyn Policy> {
        let mut params = Params::default();
        for (key, value) in values {
            params.set(key, value.clone());
        }
        let mut next = kept.next();
        let policy = build(Context {
            name: "few",
            params: &params,
            kept: &mut next,
        });
        *kept = next.finish();
        policy.unwrap()
    }

    fn by_header(limit: u64, keys: u64) -> Vec<(&'static str, Value)> {
        vec![
            ("limit", Value::Count(limit)),
            ("key", Value::Text("header.x-key".to_owned())),
            ("keys", Value::Count(keys)),
        ]
    }

    /// Starts a request with this key; the notes that hold it, or the refusal.
    fn start(policy: &dyn Policy, key: &str, random: u64) -> Result<Notes, Box<Refusal>> {
        let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n"));
        let mut notes = Notes::default();
        let request = Request {
            random,
            ..request(&head)
        };
        match policy.check(&request, &mut notes) {
            Decision::Continue => Ok(notes),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Wait(job) => panic!("{job:?}"),
        }
    }

    #[test]
    fn a_request_is_refused_until_another_one_ends() {
        let policy = built(&by_header(2, 10), &mut Kept::default());
        let first = start(&*policy, "a", 0).unwrap();
        let _second = start(&*policy, "a", 0).unwrap();
        let refusal = start(&*policy, "a", 0).unwrap_err();
        assert_eq!((refusal.status, refusal.code), (429, "too_many_concurrent"));
        assert_eq!(
            (&*refusal.headers[0].0, &*refusal.headers[0].1),
            ("Retry-After", &b"1"[..])
        );
        let _other = start(&*policy, "b", 0).unwrap();
        drop(first);
        let _third = start(&*policy, "a", 0).unwrap();
        assert!(start(&*policy, "a", 0).is_err());
    }

    #[test]
    fn requests_in_flight_are_counted_over_a_reload() {
        let mut kept = Kept::default();
        let before = built(&by_header(1, 10), &mut kept);
        let held = start(&*before, "a", 0).unwrap();
        let after = built(&by_header(1, 10), &mut kept);
        assert!(start(&*after, "a", 0).is_err());
        drop((held, before));
        assert!(start(&*after, "a", 0).is_ok());
    }

    #[test]
    fn a_full_table_limits_new_keys_together_with_others() {
        let policy = built(&by_header(2, 1), &mut Kept::default());
        let held: Vec<Notes> = (0..100)
            .filter_map(|key| start(&*policy, &key.to_string(), key).ok())
            .collect();
        // One set of 8 slots, each with at most 2.
        assert!((9..=16).contains(&held.len()), "{}", held.len());
        drop(held);
        let again = (0..8).filter_map(|key| start(&*policy, &format!("new {key}"), key).ok());
        assert_eq!(again.collect::<Vec<_>>().len(), 8, "every slot is free again");
    }

    #[test]
    fn the_limit_is_required() {
        let context = Context {
            name: "few",
            params: &Params::default(),
            kept: &mut Kept::default().next(),
        };
        assert_eq!(build(context).unwrap_err().key, Some("limit"));
    }

    #[test]
    fn threads_never_exceed_the_limit_and_leave_nothing_behind() {
        const LIMIT: i64 = 2;
        let policy = built(&by_header(LIMIT as u64, 1), &mut Kept::default());
        let in_flight: [AtomicI64; 3] = Default::default();
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (policy, in_flight) = (&*policy, &in_flight);
                scope.spawn(move || {
                    let mut rng = Rng::seeded(thread);
                    for _ in 0..5_000 {
                        let key = (rng.bits() % 3) as usize;
                        let Ok(notes) = start(policy, &key.to_string(), rng.bits()) else {
                            continue;
                        };
                        let now = in_flight[key].fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= LIMIT, "{now} of key {key}");
                        if rng.bits().is_multiple_of(64) {
                            thread::yield_now();
                        }
                        in_flight[key].fetch_sub(1, Ordering::SeqCst);
                        drop(notes);
                    }
                });
            }
        });
        for key in ["0", "1", "2"] {
            let held: Vec<Notes> = (0..LIMIT).map(|_| start(&*policy, key, 0).unwrap()).collect();
            assert!(start(&*policy, key, 0).is_err());
            drop(held);
        }
    }
}
