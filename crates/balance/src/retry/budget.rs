//! The retry budget of a pool: a token bucket that all workers share. The caller gives back the tokens of retries that
//! succeeded, so those cost nothing; retries that fail empty the bucket, so that an overloaded pool does not get more load.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_wire::instant::Instant;

use crate::backend::Padded;

/// Capacity of the bucket, in thousandths of a token. 100 tokens cover the time from the failure of a backend under load to
/// the probe that notices it.
const FULL: u64 = 100 * TOKEN;

/// The cost of one retry, in thousandths of a token.
const TOKEN: u64 = 1_000;

/// 10 tokens a second, so that a pool with little traffic can still retry.
const EARNED_PER_MILLISECOND: u64 = 10;

/// 0.2 tokens a request, so that retries are at most a fifth of the traffic when none of them succeeds.
const EARNED_PER_REQUEST: u64 = 200;

/// Number of bits of the state for the tokens; the others hold milliseconds, enough for 500 years.
const TOKEN_BITS: u32 = 20;

/// The retry budget of a pool: 100 tokens at start and at most, 10 more a second, 0.2 more a request. Each retry takes one.
#[derive(Debug)]
pub struct Budget {
    started: Instant,
    /// The tokens and the time up to which they were earned, in one word. With two words a worker could read one of them
    /// before and the other after an update, and earn tokens twice for the same time.
    state: Padded<AtomicU64>,
}

/// A token that was taken before it is certain that its retry begins. It goes back to the budget when it is dropped.
#[derive(Debug)]
#[must_use = "the token goes back to the budget when this is dropped"]
pub struct ReservedToken<'b> {
    budget: &'b Budget,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Milliseconds from the start to the time up to which tokens were earned.
    earned_until: u64,
    /// Thousandths of a token, at most `FULL`.
    tokens: u64,
}

impl Budget {
    /// Creates a full budget.
    #[inline]
    pub fn new(now: Instant) -> Self {
        let full = State {
            earned_until: 0,
            tokens: FULL,
        };
        Self {
            started: now,
            state: Padded(AtomicU64::new(full.packed())),
        }
    }

    /// Earns the tokens of one request. A full budget is only read, so that workers do not write to a shared cache line while no
    /// request fails.
    #[inline]
    pub fn earn(&self) {
        self.update(|state| (state.tokens < FULL).then(|| state.plus(EARNED_PER_REQUEST)));
    }

    /// Takes the token of one retry; returns `false` when there is none.
    #[inline]
    pub fn take(&self, now: Instant) -> bool {
        let elapsed = self.elapsed(now);
        self.update(|state| {
            let state = state.at(elapsed);
            let tokens = state.tokens.checked_sub(TOKEN)?;
            Some(State { tokens, ..state })
        })
    }

    /// As [`Self::take`], for a retry that may not begin after all; `None` when there is no token.
    #[inline]
    pub fn reserve(&self, now: Instant) -> Option<ReservedToken<'_>> {
        // Not `then_some`: what it makes in vain would be dropped, and give back a token.
        self.take(now).then(|| ReservedToken { budget: self })
    }

    /// Gives back the tokens of `retries` retries of one request.
    #[inline]
    pub fn give_back(&self, retries: u32) {
        if retries > 0 {
            self.update(|state| Some(state.plus(u64::from(retries) * TOKEN)));
        }
    }

    /// Number of retries that are possible now, 0 to 100.
    #[inline]
    pub fn tokens(&self, now: Instant) -> u32 {
        let state = State::unpacked(self.state.0.load(Ordering::Relaxed));
        (state.at(self.elapsed(now)).tokens / TOKEN) as u32
    }

    /// Updates the state unless `change` returns `None`; returns whether it was updated.
    fn update(&self, change: impl Fn(State) -> Option<State>) -> bool {
        let state = &self.state.0;
        let update = |packed| change(State::unpacked(packed)).map(State::packed);
        state
            .try_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .is_ok()
    }

    /// Milliseconds since the start.
    fn elapsed(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }
}

impl ReservedToken<'_> {
    /// The retry begins: from now on the token is like one that was taken. Returns `true`, as [`Budget::take`] does for a token.
    #[inline]
    pub fn spend(self) -> bool {
        std::mem::forget(self);
        true
    }
}

impl Drop for ReservedToken<'_> {
    fn drop(&mut self) {
        self.budget.give_back(1);
    }
}

impl State {
    fn packed(self) -> u64 {
        (self.earned_until << TOKEN_BITS) | self.tokens
    }

    fn unpacked(packed: u64) -> Self {
        Self {
            earned_until: packed >> TOKEN_BITS,
            tokens: packed & ((1 << TOKEN_BITS) - 1),
        }
    }

    fn plus(self, earned: u64) -> Self {
        let tokens = self.tokens.saturating_add(earned).min(FULL);
        Self { tokens, ..self }
    }

    /// The state with the tokens earned until `elapsed`, which may be in the past: the clock of another worker may be ahead.
    fn at(self, elapsed: u64) -> Self {
        let new = elapsed.saturating_sub(self.earned_until);
        Self {
            earned_until: self.earned_until.max(elapsed),
            ..self.plus(new.saturating_mul(EARNED_PER_MILLISECOND))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rng::{Rng, below};

    fn start() -> (Budget, Instant) {
        let now = crate::clock::now();
        (Budget::new(now), now)
    }

    fn drain(budget: &Budget, now: Instant) -> u32 {
        (0..1_000).take_while(|_| budget.take(now)).count() as u32
    }

    #[test]
    fn a_new_budget_allows_a_hundred_retries() {
        let (budget, now) = start();
        assert_eq!(drain(&budget, now), 100);
        assert!(!budget.take(now));
    }

    #[test]
    fn ten_tokens_are_earned_a_second() {
        let (budget, now) = start();
        drain(&budget, now);
        assert!(!budget.take(now + Duration::from_millis(99)));
        assert!(budget.take(now + Duration::from_millis(100)));
        assert_eq!(drain(&budget, now + Duration::from_millis(1_100)), 10);
        assert_eq!(drain(&budget, now + Duration::from_secs(3_600)), 100);
    }

    #[test]
    fn five_requests_earn_one_token() {
        let (budget, now) = start();
        drain(&budget, now);
        for _ in 0..4 {
            budget.earn();
        }
        assert!(!budget.take(now));
        budget.earn();
        assert!(budget.take(now) && !budget.take(now));
    }

    #[test]
    fn requests_do_not_write_to_a_full_budget() {
        let (budget, _) = start();
        let before = budget.state.0.load(Ordering::Relaxed);
        assert!(!budget.update(|state| (state.tokens < FULL).then(|| state.plus(1))));
        budget.earn();
        assert_eq!(budget.state.0.load(Ordering::Relaxed), before);
    }

    #[test]
    fn retries_that_succeed_are_free() {
        let (budget, now) = start();
        for _ in 0..10_000 {
            assert!(budget.take(now) && budget.take(now));
            budget.give_back(2);
        }
        assert_eq!(budget.tokens(now), 100);
    }

    #[test]
    fn a_reserved_token_goes_back_unless_it_is_spent() {
        let (budget, now) = start();
        let reserved = budget.reserve(now).unwrap();
        assert_eq!(budget.tokens(now), 99);
        drop(reserved);
        assert_eq!(budget.tokens(now), 100);
        assert!(budget.reserve(now).unwrap().spend());
        assert_eq!(budget.tokens(now), 99);
        drain(&budget, now);
        assert!(budget.reserve(now).is_none());
        assert_eq!(budget.tokens(now), 0);
    }

    #[test]
    fn failing_retries_are_limited_to_a_fifth_of_requests_and_ten_a_second() {
        let (budget, now) = start();
        // A request each millisecond for ten seconds; every one of its retries fails.
        let retries = (1..=10_000)
            .filter(|millis| {
                budget.earn();
                budget.take(now + Duration::from_millis(*millis))
            })
            .count();
        assert!((2_195..=2_201).contains(&retries), "{retries}");
    }

    #[test]
    fn a_time_in_the_past_neither_earns_nor_loses_tokens() {
        let (budget, now) = start();
        drain(&budget, now + Duration::from_secs(5));
        assert!(!budget.take(now));
        assert!(budget.take(now + Duration::from_millis(5_100)));
        assert!(!budget.take(now + Duration::from_millis(5_100)));
    }

    /// Compares the budget with a model in whole numbers; a failure prints the seed.
    #[test]
    fn simulation_agrees_with_a_model_and_stays_within_bounds() {
        for seed in 0..200 {
            let mut rng = Rng::seeded(seed);
            let (budget, mut now) = start();
            let mut model = 100_000_u64;
            for step in 0..1_000 {
                let place = || format!("seed {seed}, step {step}");
                match below(rng.bits(), 4) {
                    0 => {
                        budget.earn();
                        model = (model + 200).min(100_000);
                    }
                    1 => {
                        let retries = below(rng.bits(), 4) as u32;
                        budget.give_back(retries);
                        model = (model + u64::from(retries) * 1_000).min(100_000);
                    }
                    2 => {
                        let millis = below(rng.bits(), 50);
                        now += Duration::from_millis(millis);
                        // Tokens for time are earned when one is taken.
                        model = (model + 10 * millis).min(100_000);
                        assert_eq!(budget.take(now), model >= 1_000, "{}", place());
                        model = model.checked_sub(1_000).unwrap_or(model);
                    }
                    _ => {
                        assert_eq!(budget.take(now), model >= 1_000, "{}", place());
                        model = model.checked_sub(1_000).unwrap_or(model);
                    }
                }
                assert_eq!(u64::from(budget.tokens(now)), model / 1_000, "{}", place());
            }
        }
    }

    #[test]
    fn threads_never_take_more_tokens_than_were_earned() {
        let (budget, now) = start();
        let taken: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut taken = 0;
                        for _ in 0..1_000 {
                            budget.earn();
                            taken += u32::from(budget.take(now));
                        }
                        taken
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // 8,000 requests earn at most 1,600 tokens; tokens earned while the budget is full are lost.
        assert!((100..=1_700).contains(&taken), "{taken}");
        assert!(budget.tokens(now) <= 100);
    }
}
