//! Pools: backends that are interchangeable for a request, with their settings, connections and retry budget.

mod connections;
mod eligible;
mod http2_connections;
mod settings;
mod shared_idle;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;

pub use connections::{BackendConnection, IdleConnections};
pub use eligible::{Another, EligibleSet};
pub use http2_connections::{ConnectLead, Http2Connections, SingleFlight};
pub use settings::{BackendSettings, Settings, Timeouts};
pub use shared_idle::SharedIdlePool;

use crate::backend::{AddressKey, Backend, BackendId, Scheme};
use crate::health::Health;
use crate::net::Secured;
use crate::retry::Budget;
use crate::strategy::Cursor;
use crate::telemetry::Label;
use crate::tls::Offer;

/// A backend as a member of a pool.
#[derive(Debug)]
pub struct Member {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its health.
    pub health: Arc<Health>,
    /// Its URL for the log.
    pub label: Label,
    /// Idle connections that any worker may take before it establishes another.
    pub shared_idle: SharedIdlePool,
    /// Whether an operator drains it: it gets no new requests.
    pub is_drained: AtomicBool,
}

impl Member {
    /// The TLS settings for connections to it as a member of `pool`; `None` without TLS.
    pub fn secured<'a>(&'a self, pool: &'a Pool, offer: Offer) -> Option<Secured<'a>> {
        let address = &self.backend.address;
        let tls = pool.settings.tls.as_deref()?;
        (address.scheme == Scheme::Https).then_some(Secured {
            tls,
            host: &address.host,
            offer,
        })
    }

    /// The generation of the TLS settings for connections to it, which grows with every reload that changes them. 0 without
    /// TLS.
    pub fn tls_generation(&self, pool: &Pool) -> u64 {
        match self.backend.address.scheme {
            Scheme::Https => pool.tls_generation,
            Scheme::Http | Scheme::H2c => 0,
        }
    }

    /// Whether it may receive requests.
    pub fn is_eligible(&self) -> bool {
        !self.is_drained.load(Ordering::Relaxed)
            && self.health.is_eligible()
            && self.backend.weight.load(Ordering::Relaxed) > 0
    }
}

/// One pool. Shared by all workers and the control plane. A reload replaces it as a whole and keeps the members that are
/// still configured.
#[derive(Debug)]
pub struct Pool {
    /// Its settings from the config.
    pub settings: Settings,
    /// Its name for the log.
    pub label: Label,
    /// All backends, eligible or not, in the order of the config.
    pub members: Vec<Arc<Member>>,
    /// The retry budget.
    pub budget: Arc<Budget>,
    eligible: ArcSwap<EligibleSet>,
    cursor: Arc<Cursor>,
    by_id: HashMap<BackendId, usize, FixedState>,
    /// Number of reloads that changed the TLS settings, in the config or in the certificate files.
    tls_generation: u64,
}

impl Pool {
    /// Makes a pool; `previous` is the pool of the same name before a reload. Backends with the same URL keep their
    /// health, counters and connections.
    pub fn new(settings: Settings, previous: Option<&Self>) -> Arc<Self> {
        let previous_members = PreviousMembers::of(&settings, previous);
        let backends = settings.backends.iter();
        let members: Vec<Arc<Member>> = backends.map(|backend| previous_members.member(backend)).collect();
        let cursor = previous.map_or_else(Arc::default, |pool| Arc::clone(&pool.cursor));
        let budget = previous.map_or_else(
            || Arc::new(Budget::new(crate::clock::now())),
            |pool| Arc::clone(&pool.budget),
        );
        let eligible = ArcSwap::from_pointee(EligibleSet::new(&members, &settings.strategy, &cursor));
        let by_id = members
            .iter()
            .enumerate()
            .map(|(index, member)| (member.backend.id, index))
            .collect();
        let tls_generation = previous.map_or(0, |pool| {
            pool.tls_generation + u64::from(pool.settings.tls != settings.tls)
        });
        Arc::new(Self {
            tls_generation,
            label: Label::new(&settings.name),
            settings,
            members,
            budget,
            eligible,
            cursor,
            by_id,
        })
    }

    /// Rebuilds the eligible set from the health, weight and drain state of the members. Control plane only.
    pub fn refresh(&self) {
        let eligible = EligibleSet::new(&self.members, &self.settings.strategy, &self.cursor);
        self.eligible.store(Arc::new(eligible));
    }

    /// The backends that are eligible now.
    pub fn eligible(&self) -> Arc<EligibleSet> {
        self.eligible.load_full()
    }

    /// The member with this id.
    pub fn member(&self, id: BackendId) -> Option<&Arc<Member>> {
        self.by_id.get(&id).and_then(|&index| self.members.get(index))
    }
}

/// The members that a reload may keep, by what identifies a backend.
struct PreviousMembers<'a>(HashMap<(AddressKey<'a>, bool), &'a Arc<Member>>);

impl<'a> PreviousMembers<'a> {
    /// The members of `previous`, unless these settings do not allow their connections.
    fn of(settings: &Settings, previous: Option<&'a Pool>) -> Self {
        // Connections that were established with other TLS settings, or with another PROXY header, must not be used. When only
        // the contents of the TLS files changed, the members are kept, and `tls_generation` keeps their connections apart.
        let tls = |settings: &Settings| settings.tls.as_ref().map(|tls| tls.settings.clone());
        let previous = previous.filter(|pool| {
            let before = &pool.settings;
            tls(before) == tls(settings) && before.send_proxy == settings.send_proxy
        });
        let members = previous.into_iter().flat_map(|pool| &pool.members);
        let key = |backend: &'a Backend| (backend.address.identity(), backend.is_backup);
        Self(members.map(|member| (key(&member.backend), member)).collect())
    }

    /// The member with this address from before the reload, or a new one.
    fn member(&self, wanted: &BackendSettings) -> Arc<Member> {
        match self.0.get(&(wanted.address.identity(), wanted.is_backup)) {
            Some(member) => {
                member.backend.weight.store(wanted.weight, Ordering::Relaxed);
                Arc::clone(member)
            }
            None => Arc::new(Member {
                label: Label::new(&wanted.address.url),
                shared_idle: SharedIdlePool::default(),
                backend: Backend::new(wanted.address.clone(), wanted.weight, wanted.is_backup),
                health: Health::new(),
                is_drained: AtomicBool::new(false),
            }),
        }
    }
}
