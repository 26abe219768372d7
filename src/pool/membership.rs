//! The eligible backends of a pool at one moment, and the strategy made for exactly them. Immutable.

use std::sync::Arc;
use std::time::Instant;

use super::Member;
use crate::backend::BackendId;
use crate::strategy::{Ask, Candidate, Entry, Strategy, Turn};

/// A membership.
#[derive(Debug)]
pub struct Membership {
    candidates: Vec<Candidate>,
    members: Vec<Arc<Member>>,
    strategy: Box<dyn Strategy>,
}

/// What a pick depends on beside the membership.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Backends this request has tried already.
    pub tried: &'a [BackendId],
    /// Bound of requests in flight of one backend.
    pub in_flight_limit: Option<u32>,
    /// Hash of what identifies the client.
    pub key: u64,
    /// Fresh uniform bits.
    pub random: u64,
    /// The monotonic now.
    pub now: Instant,
}

impl Membership {
    pub(super) fn new(members: &[Arc<Member>], strategy: &Entry, turn: &Arc<Turn>) -> Self {
        let eligible = |is_backup: bool| -> Vec<Arc<Member>> {
            let is_wanted =
                |member: &&Arc<Member>| member.backend.is_backup == is_backup && member.is_eligible();
            members.iter().filter(is_wanted).cloned().collect()
        };
        let mut members = eligible(false);
        if members.is_empty() {
            members = eligible(true);
        }
        let candidates: Vec<Candidate> = members
            .iter()
            .map(|member| Candidate {
                backend: Arc::clone(&member.backend),
                weight: member
                    .backend
                    .weight
                    .load(std::sync::atomic::Ordering::Relaxed)
                    .max(1),
            })
            .collect();
        let strategy = (strategy.build)(&candidates, turn);
        Self {
            candidates,
            members,
            strategy,
        }
    }

    /// Chooses a backend; `None` when no eligible one may be taken.
    pub fn pick(&self, wish: Wish<'_>) -> Option<&Arc<Member>> {
        let ask = Ask {
            candidates: &self.candidates,
            tried: wish.tried,
            in_flight_limit: wish.in_flight_limit,
            key: wish.key,
            random: wish.random,
            now: wish.now,
        };
        self.strategy.pick(&ask).and_then(|index| self.members.get(index))
    }

    /// Whether a backend that is not in `tried` is eligible.
    pub fn has_untried(&self, tried: &[BackendId]) -> bool {
        self.members
            .iter()
            .any(|member| !tried.contains(&member.backend.id))
    }

    /// Number of eligible backends.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is eligible.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}
