//! What a strategy with affinity reads of requests: a key, such as the client's address, as a hash.

use evenkeel_balance::key::{Key, KeyHasher};
use evenkeel_balance::policy::Notes;
use evenkeel_balance::request::Request;

use crate::strategy;

/// Instances with the same backends have to agree on the hash of a key. A client that chooses its key chooses its backend; that
/// is all that knowing the seed gives it.
const SEED: u64 = 0;

/// The key of a pool's strategy.
#[derive(Debug, Clone)]
pub struct Affinity {
    key: Key,
    hasher: KeyHasher,
}

impl Affinity {
    /// That of a strategy, if it has one.
    pub(super) fn of(strategy: &strategy::Settings) -> Option<Self> {
        strategy.key().map(|key| Self {
            key,
            hasher: KeyHasher::seeded(SEED),
        })
    }

    /// That of a header, whose requests stay with a backend.
    pub(super) fn of_header(name: &str) -> Self {
        Self {
            key: Key::Header(name.into()),
            hasher: KeyHasher::seeded(SEED),
        }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The hash of a request's key; `None` when the request does not have it.
    pub fn hash(&self, request: &Request<'_>, notes: Option<&Notes>) -> Option<u64> {
        match notes {
            Some(notes) => self.key.hash(&self.hasher, request, notes),
            None => self.key.hash(&self.hasher, request, &Notes::default()),
        }
    }
}
