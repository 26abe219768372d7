//! Implements [`View`]: what the admin API shows, from snapshots, atomics and the control plane's own state.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::all_counters::AllCounters;
use super::certificates::{self, ActiveCertificate, days_left};
use super::listeners::Running;
use crate::admin::{
    BackendState, BackendStatus, CertificateStatus, CheckStatus, ConfigStatus, ConnectionsStatus, Explained,
    LatencyStatus, PoolStatus, ProcessStatus, Question, QueueStatus, Readiness, RejectedLimitStatus,
    RejectedStatus, ReloadOutcome, ReloadStatus, RequestsStatus, RollbackStatus, Status, Time, View,
};
use crate::clock::{self, Instant};
use crate::config::{self, Config};
use crate::discovery::Ages;
use crate::explain;
use crate::health::Probed;
use crate::pool::{Member, Pool, Sticky};
use crate::proxy::{self, SnapshotCell};
use crate::telemetry::metrics::{
    self, BackendSample, CertificateSample, PoolSample, ProcessSample, ProcessUsage, TrafficCounters,
    WorkerCounters,
};
use crate::telemetry::{Feed, LogLevel, Logs, Rejected, RejectedFrom, RejectedRing};

/// State of the process that the admin API shows.
pub(super) struct AppState {
    pub(super) shared: Arc<SnapshotCell>,
    /// How old what the sources say is.
    pub(super) ages: Ages,
    pub(super) counters: AllCounters,
    pub(super) logs: Arc<Mutex<Option<Logs>>>,
    pub(super) listeners: watch::Receiver<Arc<[Running]>>,
    pub(super) started: (Instant, SystemTime),
    pub(super) config_state: Mutex<ConfigState>,
    /// The traffic of each of the last seconds.
    pub(super) samples: Arc<Feed>,
}

/// State that changes at a reload and at the stop.
pub(super) struct ConfigState {
    pub(super) readiness: Readiness,
    pub(super) config_text: String,
    /// The text of the config that the last reload replaced.
    pub(super) previous_text: Option<String>,
    /// The active config.
    pub(super) config: Arc<Config>,
    pub(super) source: String,
    pub(super) config_loaded: SystemTime,
    pub(super) last_reload: Option<ReloadStatus>,
    pub(super) reloads_succeeded: u64,
    pub(super) reloads_failed: u64,
    pub(super) reloads_rolled_back: u64,
    /// Until when the active config is guarded.
    pub(super) guarded_until: Option<Time>,
    /// The rollback that is being made.
    pub(super) rollback: Option<RollbackStatus>,
    /// The last one, until another reload succeeds.
    pub(super) rolled_back: Option<RollbackStatus>,
}

impl ConfigState {
    pub(super) fn new(config: &Config, source: String) -> Self {
        Self {
            readiness: Readiness::Ready,
            config_text: config::print(config),
            previous_text: None,
            config: Arc::new(config.clone()),
            source,
            config_loaded: clock::wall(),
            last_reload: None,
            reloads_succeeded: 0,
            reloads_failed: 0,
            reloads_rolled_back: 0,
            guarded_until: None,
            rollback: None,
            rolled_back: None,
        }
    }

    /// Records the config that a reload activates, and its text.
    pub(super) fn activate(&mut self, config: &Arc<Config>, text: String) {
        self.config = Arc::clone(config);
        self.previous_text = Some(std::mem::replace(&mut self.config_text, text));
    }

    /// Records the end of a rollback.
    pub(super) fn rolled_back(&mut self, is_done: bool) {
        let now = clock::wall();
        let rollback = self.rollback.take().filter(|_| is_done);
        let Some(rollback) = rollback else { return };
        self.config_loaded = now;
        self.reloads_rolled_back += 1;
        self.rolled_back = Some(RollbackStatus {
            time: now.into(),
            ..rollback
        });
    }

    /// Records the result of a reload.
    pub(super) fn reloaded(&mut self, outcome: &ReloadOutcome) {
        let now = clock::wall();
        let errors = match outcome {
            Ok(_) => {
                self.config_loaded = now;
                self.reloads_succeeded += 1;
                self.rolled_back = None;
                Vec::new()
            }
            Err(errors) => {
                self.reloads_failed += 1;
                errors.clone()
            }
        };
        self.last_reload = Some(ReloadStatus {
            time: now.into(),
            errors,
        });
    }
}

impl AppState {
    pub(super) fn config_state(&self) -> MutexGuard<'_, ConfigState> {
        self.config_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn logs(&self) -> MutexGuard<'_, Option<Logs>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest lines of the operations log.
    pub(super) fn events(&self) -> Arc<Feed> {
        self.logs()
            .as_ref()
            .map_or_else(|| Arc::new(Feed::new(1)), Logs::events)
    }

    /// The level of the operations log.
    pub(super) fn log_level(&self) -> LogLevel {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let level = logs.as_ref().map(Logs::level);
        level.unwrap_or_else(|| tracing::Level::INFO.into())
    }

    fn certificates(&self) -> Vec<ActiveCertificate> {
        certificates::active(&self.listeners.borrow(), &self.shared)
    }

    pub(super) fn sum(&self, value: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.counters.sum(value)
    }
}

impl View for AppState {
    fn readiness(&self) -> Readiness {
        self.config_state().readiness.clone()
    }

    fn status(&self) -> Status {
        let config_state = self.config_state();
        let (instant, wall) = self.started;
        let process = ProcessStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: wall.into(),
            uptime_seconds: clock::now().saturating_duration_since(instant).as_secs(),
            ready: config_state.readiness == Readiness::Ready,
            workers: self.counters.serving() as u32,
            listeners: self
                .listeners
                .borrow()
                .iter()
                .map(|(address, _)| address.clone())
                .collect(),
            connections: ConnectionsStatus {
                active: self.sum(WorkerCounters::open_connections),
                accepted: self.sum(|counters| counters.connections_accepted.value()),
            },
            requests: RequestsStatus {
                in_flight: self.sum(|counters| counters.requests_in_flight.value()),
                total: self.sum(|counters| (0..=5).map(|class| counters.requests(class)).sum()),
            },
            config: ConfigStatus {
                source: config_state.source.clone(),
                loaded: config_state.config_loaded.into(),
                last_reload: config_state.last_reload.clone(),
                guarded_until: config_state.guarded_until.clone(),
                rolled_back: config_state.rolled_back.clone(),
            },
        };
        Status {
            process,
            pools: self
                .shared
                .snapshot()
                .pools
                .iter()
                .map(|pool| pool_status(pool))
                .collect(),
            certificates: self.certificates().iter().map(certificate_status).collect(),
        }
    }

    fn metrics(&self) -> metrics::Snapshot {
        let snapshot = self.shared.snapshot();
        let lines_dropped = self.logs().as_ref().map(Logs::lines_dropped);
        let config_state = self.config_state();
        metrics::Snapshot {
            threads: self.counters.all(),
            pools: snapshot.pools.iter().map(|pool| pool_sample(pool)).collect(),
            routes: routes_of(&snapshot),
            policies: snapshot.policies.clone(),
            sources: self.ages.list(clock::now()),
            logs: lines_dropped.unwrap_or_default(),
            certificates: self.certificates().iter().map(certificate_sample).collect(),
            process: ProcessSample {
                version: env!("CARGO_PKG_VERSION"),
                usage: ProcessUsage::read(),
                started: self.started.1,
                workers: self.counters.serving() as u64,
                config_loaded: config_state.config_loaded,
                reloads_succeeded: config_state.reloads_succeeded,
                reloads_failed: config_state.reloads_failed,
                spans: Arc::clone(&snapshot.spans),
                reloads_rolled_back: config_state.reloads_rolled_back,
            },
        }
    }

    fn rejected(&self) -> Vec<RejectedStatus> {
        let counters = self.counters.all();
        let rings = counters.iter().map(|counters| &counters.rejected);
        let rejected = RejectedRing::merged(rings);
        rejected.into_iter().map(rejected_status).collect()
    }

    fn config(&self) -> String {
        self.config_state().config_text.clone()
    }

    fn previous_config(&self) -> Option<String> {
        self.config_state().previous_text.clone()
    }

    fn explain(&self, question: &Question) -> Result<Explained, String> {
        let config = Arc::clone(&self.config_state().config);
        let explained = explain::explain(question, &config, &self.shared.snapshot());
        let explanation = explained.map_err(|error| error.to_string())?;
        let text = explain::text(&explanation);
        Ok(Explained { explanation, text })
    }
}

fn rejected_status(rejected: Rejected) -> RejectedStatus {
    RejectedStatus {
        time: rejected.time.into(),
        from: match rejected.from {
            RejectedFrom::Client => "client",
            RejectedFrom::Backend => "backend",
        }
        .to_owned(),
        peer: rejected.peer.text().into_owned(),
        error: rejected.error.to_owned(),
        code: rejected.code.to_owned(),
        rule: rejected.rule.to_owned(),
        line: rejected.line,
        header: rejected.header.map(String::from),
        offset: rejected.offset,
        limit: rejected.limit.map(|limit| RejectedLimitStatus {
            key: limit.key.map(str::to_owned),
            value: limit.value,
            came: limit.came,
        }),
        detail: rejected.detail.into(),
        excerpt: rejected.excerpt.into(),
    }
}

fn certificate_status(known: &ActiveCertificate) -> CertificateStatus {
    let certificate = &known.certificate;
    let days_left = days_left(certificate.expires, clock::wall());
    CertificateStatus {
        names: certificate.names.clone(),
        cert: certificate.files.cert.display().to_string(),
        key: certificate.files.key.display().to_string(),
        shown_by: known.shown_by.clone(),
        valid_from: certificate.begins.into(),
        expires: certificate.expires.into(),
        days_left: days_left.unwrap_or(0),
        expired: days_left.is_none(),
    }
}

fn certificate_sample(known: &ActiveCertificate) -> CertificateSample {
    CertificateSample {
        file: known.certificate.files.cert.display().to_string(),
        expires: known.certificate.expires,
    }
}

fn pool_status(pool: &Pool) -> PoolStatus {
    let roster = pool.roster();
    let members = roster.members().iter();
    let removed = pool.unfinished();
    PoolStatus {
        name: pool.settings.name.to_string(),
        strategy: pool.settings.strategy.name().to_owned(),
        sticky: pool.sticky.as_deref().map(|sticky| match sticky {
            Sticky::Cookie(cookie) => format!("cookie {}", cookie.name()),
            Sticky::Header(affinity) => affinity.key().to_string(),
        }),
        retry_tokens: pool.budget.tokens(clock::now()),
        eligible: pool.eligible().len() as u64,
        queue: queue_status(pool),
        backends: members
            .map(|member| backend_status(member))
            .chain(removed.iter().map(|member| removed_status(member)))
            .collect(),
    }
}

fn queue_status(pool: &Pool) -> QueueStatus {
    let status = pool.queue.status();
    QueueStatus {
        depth: status.depth as u64,
        waited_ms: status.waited_p99.map(|wait| wait.as_secs_f64() * 1000.0),
    }
}

/// The status of a removed backend whose requests still run.
fn removed_status(member: &Member) -> BackendStatus {
    BackendStatus {
        eligible: false,
        state: BackendState::Draining,
        why: Some("removed".to_owned()),
        ejected_until: None,
        ..backend_status(member)
    }
}

pub(super) fn backend_status(member: &Member) -> BackendStatus {
    let backend = &member.backend;
    let health = member.health.status();
    let condition = member.condition();
    BackendStatus {
        url: backend.address.url.clone(),
        name: member.name().map(|name| name.to_string()),
        eligible: member.is_eligible(),
        state: condition.state.into(),
        why: condition.why.as_deref().map(str::to_owned),
        since: condition.since.into(),
        ejected_until: condition.ejected_until.map(Time::from),
        last_check: health.probed.as_ref().map(check_status),
        checks: health.checks.iter().map(check_status).collect(),
        weight: backend.weight.load(Ordering::Relaxed),
        effective_weight: member.effective_weight(),
        backup: backend.is_backup.load(Ordering::Relaxed),
        in_flight: u64::from(backend.load.total_in_flight()),
        attempts: backend.load.attempts(),
        failures: backend.load.failures(),
        latency_ms: backend
            .load
            .latency
            .summary(clock::now())
            .map(|times| LatencyStatus {
                p50: times.p50.as_secs_f64() * 1000.0,
                p99: times.p99.as_secs_f64() * 1000.0,
            }),
        adaptive_limit: member.limiter.limit(),
    }
}

fn check_status(probed: &Probed) -> CheckStatus {
    CheckStatus {
        time: Time::from(probed.wall),
        duration_ms: probed.took.as_secs_f64() * 1000.0,
        healthy: probed.error.is_none(),
        status: probed.status_code,
        reason: probed.error.as_deref().map(str::to_owned),
    }
}

/// The counters of the routes. Routes may share them.
fn routes_of(snapshot: &proxy::Snapshot) -> Vec<Arc<TrafficCounters>> {
    let mut seen = HashSet::new();
    let routes = snapshot.routes.iter().map(|route| &route.traffic);
    routes
        .filter(|traffic| seen.insert(traffic.name()))
        .cloned()
        .collect()
}

fn pool_sample(pool: &Pool) -> PoolSample {
    let sample = |member: &Arc<Member>| {
        let state = BackendState::from(member.condition().state);
        let (backend, load) = (&member.backend, &member.backend.load);
        BackendSample {
            url: backend.address.url.clone(),
            is_up: matches!(state, BackendState::Up | BackendState::Unknown),
            is_eligible: member.is_eligible(),
            is_ejected: state == BackendState::Ejected,
            ejections: member.health.ejections(),
            is_silent: member.is_silent(),
            silences: member.silences(),
            weight: backend.weight.load(Ordering::Relaxed),
            in_flight: u64::from(load.total_in_flight()),
            adaptive_limit: u64::from(member.limiter.limit().unwrap_or(0)),
            attempts: load.attempts(),
            failures: load.failures(),
            traffic: Arc::clone(&member.traffic),
            connections_shared_idle: member.shared_idle.len() as u64,
        }
    };
    PoolSample {
        name: pool.settings.name.to_string(),
        queue_depth: pool.queue.depth() as u64,
        traffic: Arc::clone(&pool.traffic),
        connections: Arc::clone(&pool.connections),
        backends: pool.roster().members().iter().map(sample).collect(),
    }
}
