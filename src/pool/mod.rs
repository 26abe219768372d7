//! A pool: backends that are interchangeable for a request, and the rules for asking them.

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
    /// How it is.
    pub health: Arc<Health>,
    /// Its URL for the log.
    pub label: Label,
    /// Connections that any worker may take before it makes another.
    pub shared_idle: SharedIdlePool,
    /// Whether an operator took it out: it gets no new requests.
    pub is_drained: AtomicBool,
}

impl Member {
    /// How TLS is spoken to it as a member of `pool`, if it is.
    pub fn secured<'a>(&'a self, pool: &'a Pool, offer: Offer) -> Option<Secured<'a>> {
        let address = &self.backend.address;
        let tls = pool.settings.tls.as_deref()?;
        (address.scheme == Scheme::Https).then_some(Secured {
            tls,
            host: &address.host,
            offer,
        })
    }

    /// Says which rules of TLS a connection to it is made under: greater after a reload that found others. 0 where none is
    /// spoken.
    pub fn tls_generation(&self, pool: &Pool) -> u64 {
        match self.backend.address.scheme {
            Scheme::Https => pool.tls_generation,
            Scheme::Http | Scheme::H2c => 0,
        }
    }

    /// Whether it may get requests.
    pub fn is_eligible(&self) -> bool {
        !self.is_drained.load(Ordering::Relaxed)
            && self.health.is_eligible()
            && self.backend.weight.load(Ordering::Relaxed) > 0
    }
}

/// One pool. Shared by all workers and the control plane; replaced as a whole by a reload, which carries over the
/// members that stay.
#[derive(Debug)]
pub struct Pool {
    /// What the config says.
    pub settings: Settings,
    /// Its name for the log.
    pub label: Label,
    /// All backends, eligible or not, in the order of the config.
    pub members: Vec<Arc<Member>>,
    /// What retries draw on.
    pub budget: Arc<Budget>,
    eligible: ArcSwap<EligibleSet>,
    cursor: Arc<Cursor>,
    by_id: HashMap<BackendId, usize, FixedState>,
    /// Reloads that found other rules of TLS, in what is written or in the files.
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
        let eligible = ArcSwap::from_pointee(EligibleSet::new(&members, settings.strategy, &cursor));
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
        let eligible = EligibleSet::new(&self.members, self.settings.strategy, &self.cursor);
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

/// The members that a reload carries over, by what makes a backend another one.
struct PreviousMembers<'a>(HashMap<(AddressKey<'a>, bool), &'a Arc<Member>>);

impl<'a> PreviousMembers<'a> {
    /// Those of `previous` that may go on under these settings.
    fn of(settings: &Settings, previous: Option<&'a Pool>) -> Self {
        // Connections that were made under other rules of TLS, or without a header that they need, must not be used under
        // these. Where the same files hold something else, the backend is the same, and its connections are told apart by
        // their rules.
        let tls_generation = |settings: &Settings| settings.tls.as_ref().map(|tls| tls.settings.clone());
        let previous = previous.filter(|pool| {
            let previous_members = &pool.settings;
            tls_generation(previous_members) == tls_generation(settings)
                && previous_members.send_proxy == settings.send_proxy
        });
        let members = previous.into_iter().flat_map(|pool| &pool.members);
        let key = |backend: &'a Backend| (backend.address.identity(), backend.is_backup);
        Self(members.map(|member| (key(&member.backend), member)).collect())
    }

    /// The member that this backend was, or a new one.
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
