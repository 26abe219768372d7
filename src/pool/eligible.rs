//! The eligible backends of a pool at one moment, and the strategies made for exactly them. Immutable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Member;
use crate::backend::BackendId;
use crate::strategy::{Candidate, Cursor, Entry, PickContext, Strategy};

/// A membership.
#[derive(Debug)]
pub struct EligibleSet {
    main: Tier,
    /// Asked only when no backend of `main` may be taken.
    backup: Tier,
}

/// Backends that are asked alike, and the strategy made for them.
#[derive(Debug)]
struct Tier {
    candidates: Vec<Candidate>,
    members: Vec<Arc<Member>>,
    strategy: Box<dyn Strategy>,
}

/// What a pick depends on beside the membership.
#[derive(Debug, Clone, Copy)]
pub struct PickRequest<'a> {
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

/// What another pick for the same request depends on beside that.
#[derive(Debug, Clone, Copy)]
pub struct Another<'m, 't> {
    /// Those of the backends tried that have failed. The others may be taken again once all have been tried.
    pub failed: &'t [BackendId],
    /// The one that was tried last, if it has not failed: it has room for this request, whatever its bound.
    pub last: Option<&'m Member>,
    /// Whether backups are asked only when all other backends have failed.
    pub is_backup_last: bool,
}

impl EligibleSet {
    pub(super) fn new(members: &[Arc<Member>], strategy: &Entry, cursor: &Arc<Cursor>) -> Self {
        let tier = |is_backup| {
            let is_wanted =
                |member: &&Arc<Member>| member.backend.is_backup == is_backup && member.is_eligible();
            Tier::new(
                members.iter().filter(is_wanted).cloned().collect(),
                strategy,
                cursor,
            )
        };
        Self {
            main: tier(false),
            backup: tier(true),
        }
    }

    /// Chooses a backend; `None` when no eligible one may be taken.
    pub fn pick(&self, request: PickRequest<'_>) -> Option<&Member> {
        self.main.pick(request).or_else(|| self.backup.pick(request))
    }

    /// Chooses a backend for another attempt; `None` when no eligible one may be taken.
    pub fn pick_another<'m>(
        &'m self,
        request: PickRequest<'_>,
        another: Another<'m, '_>,
    ) -> Option<&'m Member> {
        let Another { failed, last, .. } = another;
        let again = PickRequest {
            tried: failed,
            ..request
        };
        let before_backups = || {
            let own = last.filter(|last| !last.backend.is_backup);
            let main = self.main.pick(request).or_else(|| self.main.pick(again));
            main.or(own)
        };
        let at_once = another.is_backup_last.then(before_backups).flatten();
        at_once
            .or_else(|| self.pick(request))
            .or_else(|| self.pick(again))
            .or(last)
    }

    /// Number of eligible backends, backups included.
    pub fn len(&self) -> usize {
        self.main.members.len() + self.backup.members.len()
    }

    /// Whether nobody is eligible.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tier {
    fn new(members: Vec<Arc<Member>>, strategy: &Entry, cursor: &Arc<Cursor>) -> Self {
        let candidate = |member: &Arc<Member>| Candidate {
            backend: Arc::clone(&member.backend),
            weight: member.backend.weight.load(Ordering::Relaxed).max(1),
        };
        let candidates: Vec<Candidate> = members.iter().map(candidate).collect();
        let strategy = (strategy.build)(&candidates, cursor);
        Self {
            candidates,
            members,
            strategy,
        }
    }

    fn pick(&self, request: PickRequest<'_>) -> Option<&Member> {
        let ask = PickContext {
            candidates: &self.candidates,
            tried: request.tried,
            in_flight_limit: request.in_flight_limit,
            key: request.key,
            random: request.random,
            now: request.now,
        };
        self.strategy
            .pick(&ask)
            .and_then(|index| self.members.get(index))
            .map(|member| &**member)
    }
}
