//! The backends of a pool at one moment, and the cell in which the control plane replaces them. What a pool's settings say of
//! strategy or timeouts is not here: a reload keeps the roster and changes those.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;

use super::Member;
use super::settings::{BackendSettings, Settings};
use crate::backend::{Address, AddressKey, BackendId};
use crate::clock::Instant;
use crate::health::{Health, PoolWakeup};
use crate::net::ProxyVersion;
use crate::tls::ClientSettings;

/// Maximum number of removed backends with unfinished requests that are remembered. The requests of one that is forgotten end as
/// usual; only the status no longer shows them.
const MAX_REMOVED: usize = super::MAX_BACKENDS;
/// Every worker has seen an update after this time: it looks at every tick.
const SEEN_AFTER: Duration = Duration::from_secs(1);

/// The backends of a pool at one moment. Immutable.
#[derive(Debug, Default)]
pub struct Roster {
    members: Vec<Arc<Member>>,
    by_id: HashMap<BackendId, usize, FixedState>,
}

/// What connections to a backend depend on beside its address. A connection that was established with other settings must not be
/// used, so a backend is kept only while they are the same. When only the contents of the TLS files change, backends are kept,
/// and the generation of the TLS settings keeps their connections apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionSettings {
    tls: Option<ClientSettings>,
    send_proxy: Option<ProxyVersion>,
}

/// How many backends an update has added, removed and changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RosterChange {
    /// New ones.
    pub added: usize,
    /// Those that get no more requests.
    pub removed: usize,
    /// Those that stay, with another `weight`, `backup` or `drain`.
    pub changed: usize,
}

/// The current roster of a pool and the backends that were removed from it. Written by the control plane only. Outlives reloads.
#[derive(Debug, Default)]
pub(super) struct RosterCell {
    current: ArcSwap<Roster>,
    /// In the order of their removal.
    removed: Mutex<Vec<Removed>>,
    /// Number of worker threads.
    workers: usize,
    /// How these call the control plane.
    wakeup: Arc<PoolWakeup>,
}

/// A removed backend whose requests may still run.
#[derive(Debug)]
struct Removed {
    member: Arc<Member>,
    at: Instant,
}

impl Roster {
    /// All backends, eligible or not, in the order of their list.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The member with this id.
    pub fn member(&self, id: BackendId) -> Option<&Arc<Member>> {
        self.by_id.get(&id).and_then(|&index| self.members.get(index))
    }

    /// The member with this name, or with this URL.
    pub fn find(&self, name_or_url: &str) -> Option<&Arc<Member>> {
        let named = |member: &&Arc<Member>| member.name().as_deref() == Some(name_or_url);
        let address = Address::parse(name_or_url).ok();
        let is_it = |member: &&Arc<Member>| {
            let its = &member.backend.address;
            its.url == name_or_url || address.as_ref() == Some(its) || its.canonical() == name_or_url
        };
        let mut members = self.members.iter();
        members.clone().find(named).or_else(|| members.find(is_it))
    }

    /// The position of the member with this id in [`Self::members`].
    pub(super) fn position(&self, id: BackendId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    fn of(members: Vec<Arc<Member>>) -> Self {
        let ids = members.iter().map(|member| member.backend.id);
        Self {
            by_id: ids.zip(0..).collect(),
            members,
        }
    }
}

impl ConnectionSettings {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            tls: settings.tls.as_ref().map(|tls| tls.settings.clone()),
            send_proxy: settings.send_proxy,
        }
    }
}

impl RosterChange {
    /// Whether the update has changed nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl RosterCell {
    /// An empty roster, for this number of workers, which call the control plane in this way.
    pub(super) fn new(workers: usize, wakeup: PoolWakeup) -> Self {
        Self {
            workers,
            wakeup: Arc::new(wakeup),
            ..Self::default()
        }
    }

    /// How workers call the control plane.
    pub(super) fn wakeup(&self) -> &PoolWakeup {
        &self.wakeup
    }

    /// The current roster.
    pub(super) fn load(&self) -> Arc<Roster> {
        self.current.load_full()
    }

    /// Replaces the list of backends, whose addresses differ from each other. A backend that stays, or that comes back before its
    /// last request has ended, keeps its health, counters and connections.
    pub(super) fn update(
        &self,
        wanted: &[BackendSettings],
        connections: ConnectionSettings,
        now: Instant,
    ) -> RosterChange {
        let before = self.load();
        let connections = Arc::new(connections);
        let mut removed = self.removed();
        // A current one comes last, so that it replaces a removed one with its address.
        let all = removed
            .iter()
            .map(|removed| &removed.member)
            .chain(&before.members);
        let usable = all.filter(|member| member.connections == connections);
        let known: HashMap<AddressKey<'_>, &Arc<Member>> = usable
            .map(|member| (member.backend.address.identity(), member))
            .collect();
        let mut change = RosterChange::default();
        let mut members = Vec::with_capacity(wanted.len());
        for backend in wanted {
            let kept = known.get(&backend.address.identity()).copied();
            let is_current = kept.is_some_and(|member| before.member(member.backend.id).is_some());
            change.added += usize::from(!is_current);
            let is_changed = kept.is_some_and(|member| member.adapt(backend));
            change.changed += usize::from(is_current && is_changed);
            let make = || {
                let health = Health::calling(Arc::clone(&self.wakeup));
                Member::new(backend, &connections, self.workers, health)
            };
            members.push(kept.map_or_else(make, Arc::clone));
        }
        drop(known);
        let next = Roster::of(members);
        let is_gone = |member: &Arc<Member>| next.member(member.backend.id).is_none();
        removed.retain(|removed| is_gone(&removed.member));
        let before_removal = removed.len();
        let gone = before.members.iter().filter(|member| is_gone(member));
        removed.extend(gone.map(|member| Removed {
            member: Arc::clone(member),
            at: now,
        }));
        change.removed = removed.len() - before_removal;
        let too_many = removed.len().saturating_sub(MAX_REMOVED);
        removed.drain(..too_many);
        self.current.store(Arc::new(next));
        change
    }

    /// The removed backends whose requests still run.
    pub(super) fn unfinished(&self) -> Vec<Arc<Member>> {
        let removed = self.removed();
        let members = removed.iter().map(|removed| &removed.member);
        members.filter(|member| member.is_in_use()).cloned().collect()
    }

    /// Closes the shared idle connections of backends that were removed a while ago, and forgets those without requests. Returns
    /// whether removed backends are left.
    pub(super) fn release_removed(&self, now: Instant) -> bool {
        let mut removed = self.removed();
        removed.retain(|removed| {
            if now.saturating_duration_since(removed.at) < SEEN_AFTER {
                return true;
            }
            removed.member.shared_idle.clear();
            removed.member.is_in_use()
        });
        !removed.is_empty()
    }

    fn removed(&self) -> MutexGuard<'_, Vec<Removed>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
