//! The retry budget in plain whole numbers, as the docs describe it: 100 tokens at start and at most, 10 more a second, 0.2 more
//! a request.

use crate::clock::Time;

const FULL: u64 = 100_000;
const TOKEN: u64 = 1_000;

/// A model of the budget of one pool, in thousandths of a token.
#[derive(Debug)]
pub(super) struct BudgetModel {
    tokens: u64,
    /// Milliseconds for which tokens were added.
    millis: u64,
}

impl Default for BudgetModel {
    fn default() -> Self {
        Self {
            tokens: FULL,
            millis: 0,
        }
    }
}

impl BudgetModel {
    /// A request has arrived.
    pub(super) fn earn(&mut self) {
        self.add(200);
    }

    /// A retry takes a token. Returns whether there was one.
    pub(super) fn take(&mut self, now: Time) -> bool {
        self.pass(now);
        let left = self.tokens.checked_sub(TOKEN);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Retries have helped.
    pub(super) fn give_back(&mut self, retries: u32) {
        self.add(u64::from(retries) * TOKEN);
    }

    /// Whole tokens at a time.
    pub(super) fn tokens(&mut self, now: Time) -> u32 {
        self.pass(now);
        (self.tokens / TOKEN) as u32
    }

    fn pass(&mut self, now: Time) {
        let millis = now.0 / 1_000_000;
        self.add(10 * (millis - self.millis));
        self.millis = millis;
    }

    fn add(&mut self, thousandths: u64) {
        self.tokens = (self.tokens + thousandths).min(FULL);
    }
}
