//! Pools: backends that are interchangeable for a request, with their settings, connections and retry budget.

mod affinity;
mod condition;
mod connections;
mod eligible;
mod limiter;
mod multiplexed;
mod observe;
mod operated;
mod outage;
mod queue;
mod ramp;
mod roster;
mod settings;
mod shared_idle;
mod silence;
mod sticky;
mod tls_generations;

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;

pub use affinity::Affinity;
pub use connections::{BackendConnection, Care, IdleConnections};
pub use eligible::{Another, EligibleSet};
pub use limiter::Limiter;
pub use multiplexed::{ConnectLead, MultiplexedConnections, SingleFlight};
pub use queue::{Queue, QueuePlace};
pub use roster::{Roster, RosterChange};
pub use settings::{BackendSettings, ForwardedHeaders, HeaderCase, Settings, Timeouts};
pub use shared_idle::SharedIdlePool;
pub use sticky::{CookieSettings, SameSite, Secure, Sticky, StickyCookie, StickySettings};

use crate::admission::{Adaptive, Sample};
use crate::backend::{Backend, Load, Scheme, Shared};
use crate::clock::{self, Instant};
use crate::health::{Health, PoolWakeup, Wakeup, slow_start};
use crate::kept::KeptBuilder;
use crate::net::Secured;
use crate::retry::{Budget, HoldOff, NotBefore, Outcome, QuantileCache};
use crate::strategy::Cursor;
use crate::telemetry::Label;
use crate::telemetry::metrics::{ConnectionCounters, TrafficCounters};
use crate::tls::Offer;
use eligible::FailOpen;
use operated::Operated;
use ramp::Ramp;
use roster::{ConnectionSettings, RosterCell};
use silence::Silent;
use tls_generations::TlsGeneration;

/// Maximum number of backends of one pool: strategies keep lists of this length.
pub const MAX_BACKENDS: usize = 16_384;

/// The name of the [`Wakeup`] of the process in what outlives a reload.
pub const WAKEUP: &str = "ejections";

/// A backend as a member of a pool.
#[derive(Debug)]
pub struct Member {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its health.
    pub health: Arc<Health>,
    /// Its URL for the log.
    pub label: Label,
    /// Its responses by status and duration.
    pub traffic: Arc<TrafficCounters>,
    /// Idle connections that any worker may take before it establishes another.
    pub shared_idle: SharedIdlePool,
    /// Identifies it in every process that has it: a hash of its URL.
    pub(super) identity: u64,
    /// Its adaptive limit.
    pub limiter: Limiter,
    /// Until when it wants no requests, by its own word.
    not_before: NotBefore,
    /// Whether it responds to nothing.
    silent: Silent,
    /// After which time a request to it is hedged.
    hedge_delay: QuantileCache,
    /// Whether it is drained: it gets no requests, except of clients that stay with it.
    pub is_drained: AtomicBool,
    /// What the config and an operator say of it.
    operated: Operated,
    /// The settings that its connections were established with.
    connections: Arc<ConnectionSettings>,
    /// Its slow start.
    ramp: Ramp,
}

impl Member {
    fn new(
        settings: &BackendSettings,
        connections: &Arc<ConnectionSettings>,
        workers: usize,
        health: Arc<Health>,
    ) -> Arc<Self> {
        let (weight, is_backup) = (settings.weight, settings.is_backup);
        Arc::new(Self {
            label: Label::new(&settings.address.url),
            traffic: Arc::new(TrafficCounters::new(&settings.address.url, workers)),
            identity: FixedState::with_seed(0).hash_one(settings.address.identity()),
            shared_idle: SharedIdlePool::default(),
            backend: Backend::with_load(settings.address.clone(), weight, is_backup, Load::new(workers)),
            health,
            limiter: Limiter::default(),
            not_before: NotBefore::default(),
            silent: Silent::default(),
            hedge_delay: QuantileCache::default(),
            is_drained: AtomicBool::new(settings.is_drained),
            operated: Operated::new(settings),
            connections: Arc::clone(connections),
            ramp: Ramp::default(),
        })
    }

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
        !self.is_excluded() && self.health.is_eligible()
    }

    /// Whether it is out and its last check succeeded, or there is none: it may well respond. It gets requests only where no
    /// eligible backend can be reached.
    fn is_in_reserve(&self) -> bool {
        !self.is_excluded() && !self.health.is_eligible() && self.health.may_respond()
    }

    /// Whether it may receive requests of clients that stay with it: one that is drained may.
    pub fn may_keep_clients(&self) -> bool {
        self.health.is_eligible() && self.backend.weight.load(Ordering::Relaxed) > 0
    }

    /// Whether it has fewer requests in flight than this, and than its own limit.
    pub fn is_below(&self, limit: Option<u32>) -> bool {
        limit.is_none_or(|limit| self.backend.load.has_room(limit))
    }

    /// Whether it receives no requests, however healthy it is: an operator drains it, or its weight is 0.
    pub fn is_excluded(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed) || self.backend.weight.load(Ordering::Relaxed) == 0
    }

    /// Whether it is ejected and gets trial requests.
    fn is_on_trial(&self) -> bool {
        let is_trial = self
            .health
            .ejection()
            .is_some_and(|ejection| ejection.until.is_none());
        is_trial && !self.is_excluded() && !self.health.is_down()
    }

    /// Whether it is used only when no other backend is eligible.
    pub fn is_backup(&self) -> bool {
        self.backend.is_backup.load(Ordering::Relaxed)
    }

    /// Whether requests run at it.
    fn is_in_use(&self) -> bool {
        self.backend.load.total_in_flight() > 0
    }
}

/// One pool. Shared by all workers and the control plane. A reload replaces it as a whole and keeps its roster, cursor and budget.
#[derive(Debug)]
pub struct Pool {
    /// Its settings from the config.
    pub settings: Settings,
    /// The name of the route that overrides some of them; `None` for the pool itself.
    pub route: Option<Box<str>>,
    /// Its name for the log.
    pub label: Label,
    /// Its requests by status and duration.
    pub traffic: Arc<TrafficCounters>,
    /// The connections to its backends.
    pub connections: Arc<ConnectionCounters>,
    /// The retry budget.
    pub budget: Arc<Budget>,
    roster: Arc<RosterCell>,
    eligible: Arc<ArcSwap<EligibleSet>>,
    cursor: Arc<Cursor>,
    hold_off: Arc<HoldOff>,
    /// What a strategy with affinity reads of requests.
    pub affinity: Option<Affinity>,
    /// The requests that wait for a backend.
    pub queue: Arc<Queue>,
    /// How its clients stay with a backend, if they do.
    pub sticky: Option<Arc<Sticky>>,
    /// Whether workers share how many requests are in flight, because a pick reads it.
    pub shares_in_flight: Shared,
    /// Maximum number of requests in flight of one backend, if its backends have limits; each may have a lower one of its own.
    pub in_flight_limit: Option<u32>,
    /// Whether it learns from the latencies of its backends.
    pub learns_latency: bool,
    /// Number of reloads that changed the TLS settings, in the config or in the certificate files.
    tls_generation: u64,
    /// When the eligible set has to be built anew for backends in slow start.
    next_step: Mutex<Option<Instant>>,
}

impl Pool {
    /// Makes a pool, which has no eligible backend before the first [`Self::update`]. What outlives a reload is kept by the
    /// pool's name.
    pub fn new(settings: Settings, keep: &mut KeptBuilder) -> Arc<Self> {
        let name = format!("pool/{}", settings.name);
        let cursor = keep.get_or_insert(&name, Cursor::default);
        let tls_generation = TlsGeneration::of(settings.tls.as_ref(), &name, keep);
        let sticky = settings.sticky.as_ref();
        let sticky = sticky.map(|sticky| Arc::new(Sticky::new(sticky, &settings.name, keep)));
        let wakeup = keep.get_or_insert(WAKEUP, Wakeup::default);
        let adaptive = settings.adaptive;
        let enforced = (adaptive == Adaptive::On).then_some(u32::MAX);
        let in_flight_limit = settings.in_flight_per_backend.or(enforced);
        let has_limit = in_flight_limit.is_some();
        // Only requests that wait, and the adaptive limit, ask for it.
        let learns_latency = adaptive != Adaptive::Off || has_limit && settings.queue.is_some();
        let reads_in_flight = settings.strategy.reads().in_flight || has_limit || learns_latency;
        let hold_off = keep.get_or_insert(&name, HoldOff::default);
        Arc::new(Self {
            shares_in_flight: if reads_in_flight { Shared::Yes } else { Shared::No },
            in_flight_limit,
            learns_latency,
            traffic: keep.get_or_insert(&name, || TrafficCounters::new(&settings.name, settings.workers)),
            connections: keep.get_or_insert(&name, || ConnectionCounters::new(settings.workers)),
            queue: keep.get_or_insert(&name, Queue::default),
            budget: keep.get_or_insert(&name, || Budget::new(clock::now())),
            roster: keep.get_or_insert(&name, || {
                RosterCell::new(settings.workers, PoolWakeup::new(&wakeup))
            }),
            eligible: Arc::new(ArcSwap::from_pointee(EligibleSet::new(
                &Arc::default(),
                &settings.strategy,
                &cursor,
                FailOpen::No,
                &hold_off,
            ))),
            cursor,
            hold_off,
            affinity: Affinity::of(&settings.strategy),
            sticky,
            tls_generation,
            next_step: Mutex::default(),
            label: Label::new(&settings.name),
            settings,
            route: None,
        })
    }

    /// The same pool with other settings, for the `route` that overrides some: it shares backends, connections, budget and cursor.
    /// Settings that these depend on must be the same.
    #[must_use]
    pub fn with_settings(&self, settings: Settings, route: String) -> Arc<Self> {
        Arc::new(Self {
            settings,
            route: Some(route.into()),
            label: self.label.clone(),
            traffic: Arc::clone(&self.traffic),
            connections: Arc::clone(&self.connections),
            budget: Arc::clone(&self.budget),
            queue: Arc::clone(&self.queue),
            in_flight_limit: self.in_flight_limit,
            learns_latency: self.learns_latency,
            roster: Arc::clone(&self.roster),
            eligible: Arc::clone(&self.eligible),
            cursor: Arc::clone(&self.cursor),
            hold_off: Arc::clone(&self.hold_off),
            shares_in_flight: self.shares_in_flight,
            affinity: self.affinity.clone(),
            sticky: self.sticky.clone(),
            tls_generation: self.tls_generation,
            next_step: Mutex::default(),
        })
    }

    /// Replaces the backends, whose addresses differ from each other. Those that stay keep their health, counters and connections;
    /// removed ones get no new requests, and running requests end as usual. Control plane only; workers see it once the
    /// snapshot's cell is told that something has changed.
    pub fn update(&self, backends: &[BackendSettings]) -> RosterChange {
        let connections = ConnectionSettings::of(&self.settings);
        let change = self.roster.update(backends, connections, clock::now());
        self.refresh();
        change
    }

    /// Rebuilds the eligible set from the roster and the health, weight and drain state of its members. Control plane only.
    pub fn refresh(&self) {
        let Settings {
            strategy,
            slow_start,
            health_check,
            ..
        } = &self.settings;
        let roster = self.roster.load();
        let now = clock::now();
        let is_slow = ramp::follow(roster.members(), *slow_start, now);
        let step = slow_start.filter(|_| is_slow).map(slow_start::step);
        *self.next_step.lock().unwrap_or_else(PoisonError::into_inner) = step.map(|step| now + step);
        let fail_open = FailOpen::of(health_check);
        let mut eligible = EligibleSet::new(&roster, strategy, &self.cursor, fail_open, &self.hold_off);
        if let Some(sticky) = &self.sticky {
            eligible.stick(sticky, &self.eligible.load(), &self.cursor);
        }
        self.eligible.store(Arc::new(eligible));
        for member in roster.members() {
            member.limiter.adapt(self.settings.adaptive, &member.backend.load);
        }
    }

    /// Tells those who wait that the eligible backends have changed. Control plane only, once workers can see that.
    pub fn announce(&self) {
        let (roster, eligible) = (self.roster.load(), self.eligible.load());
        let is_known = roster.members().iter().any(|member| member.health.has_been_up());
        self.queue.backends_changed(!eligible.is_empty(), is_known);
    }

    /// Learns from an attempt at one of its backends that has ended. `random` are fresh uniform bits.
    pub fn learn(&self, member: &Member, outcome: &Outcome, now: Instant, random: u64) {
        let sample = Sample {
            latency: outcome.total_time,
            is_overload: outcome.says_overload(),
            in_flight: member.backend.load.in_flight.0.load(Ordering::Relaxed),
        };
        if sample.is_overload || outcome.is_success() {
            let mode = self.settings.adaptive;
            if !sample.is_overload {
                let idle = (mode != Adaptive::Off).then(|| member.limiter.idle_latency());
                self.queue.learn(sample.latency, idle.flatten(), now);
            }
            let load = &member.backend.load;
            if mode != Adaptive::Off && member.limiter.learn(sample, load, now, random) {
                self.queue.freed();
            }
        }
    }

    /// When [`Self::refresh`] is due for backends in slow start; `None` while there are none.
    pub fn next_step(&self) -> Option<Instant> {
        *self.next_step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its workers call the control plane to decide on ejections.
    pub fn wakeup(&self) -> &PoolWakeup {
        self.roster.wakeup()
    }

    /// Notes that a backend of the pool wants no requests for `time`.
    pub fn hold_off(&self, member: &Member, time: Duration, now: Instant) {
        self.hold_off.hold(&member.not_before, time, now);
    }

    /// The backends that are eligible now.
    pub fn eligible(&self) -> Arc<EligibleSet> {
        self.eligible.load_full()
    }

    /// The backends that it has now. For the control plane: requests use the roster of their eligible set.
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.load()
    }

    /// The removed backends whose requests still run.
    pub fn unfinished(&self) -> Vec<Arc<Member>> {
        self.roster.unfinished()
    }

    /// Closes the shared idle connections of backends that were removed a while ago, and forgets those without requests. Returns
    /// whether removed backends are left.
    pub fn release_removed(&self) -> bool {
        self.roster.release_removed(clock::now())
    }
}
