//! The health of one backend: its status by its checks, which the task that probes it writes, and its ejection, which the control
//! plane decides on. Workers and the admin API read both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use super::State;
use super::ejection::{Effect, Evidence, Signal};
use super::wakeup::PoolWakeup;
use crate::backend::Padded;
use crate::clock::{self, Instant};
use crate::retry::Outcome;

/// Results of probes that are kept.
pub(super) const MAX_CHECKS: usize = 20;

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// When it ended, by the monotonic clock.
    pub at: Instant,
    /// When it ended, by the wall clock.
    pub wall: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The HTTP status of the response, if there was one.
    pub status_code: Option<u16>,
    /// Why it failed; `None` when it succeeded.
    pub error: Option<Arc<str>>,
}

/// The health status of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The current state.
    pub state: State,
    /// When this state began, by the monotonic clock.
    pub since: Instant,
    /// When this state began, by the wall clock.
    pub since_wall: SystemTime,
    /// Why it is down: the error of the probe that changed the state; `None` unless it is down.
    pub why: Option<Arc<str>>,
    /// The last probe, if there was one.
    pub probed: Option<Probed>,
    /// The last probes, the latest first; at most [`MAX_CHECKS`].
    pub checks: Vec<Probed>,
    /// Number of successful probes in a row.
    pub successes: u32,
    /// Number of failed probes in a row.
    pub failures: u32,
}

impl Status {
    /// Whether the last check, if there was one, has succeeded.
    pub(super) fn may_respond(&self) -> bool {
        self.probed.as_ref().is_none_or(|probed| probed.error.is_none())
    }
}

/// The ejection of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// When it began, by the monotonic clock.
    pub since: Instant,
    /// When it began, by the wall clock.
    pub since_wall: SystemTime,
    /// When its trial begins, by the wall clock; `None` while it is on trial.
    pub until: Option<SystemTime>,
    /// Why.
    pub why: Arc<str>,
}

/// The health of one backend. Lives as long as the backend, across reloads.
#[derive(Debug)]
pub struct Health {
    /// What workers count for its ejection. On a cache line of its own, which is written after failures only.
    signal: Padded<Signal>,
    status: ArcSwap<Status>,
    is_eligible: AtomicBool,
    ejection: ArcSwapOption<Ejection>,
    ejections: AtomicU64,
    wakeup: Arc<PoolWakeup>,
    has_been_up: AtomicBool,
    is_probe_requested: AtomicBool,
    probe_requested: Notify,
}

impl Health {
    /// Creates the health of a backend that was not probed yet and is therefore eligible.
    pub fn new() -> Arc<Self> {
        Self::calling(Arc::default())
    }

    /// The same, for a backend of the pool that has this wake-up.
    pub fn calling(wakeup: Arc<PoolWakeup>) -> Arc<Self> {
        Arc::new(Self {
            signal: Padded(Signal::new(clock::now())),
            ejection: ArcSwapOption::empty(),
            ejections: AtomicU64::new(0),
            wakeup,
            status: ArcSwap::from_pointee(Status {
                state: State::Unknown,
                since: clock::now(),
                since_wall: clock::wall(),
                why: None,
                probed: None,
                checks: Vec::new(),
                successes: 0,
                failures: 0,
            }),
            is_eligible: AtomicBool::new(true),
            has_been_up: AtomicBool::new(false),
            is_probe_requested: AtomicBool::new(false),
            probe_requested: Notify::new(),
        })
    }

    /// Whether the backend may receive requests: its checks do not have it down, and it is not ejected.
    pub fn is_eligible(&self) -> bool {
        !self.is_down() && self.ejection.load().is_none()
    }

    /// Whether its checks have it down. Costs one relaxed load.
    pub fn is_down(&self) -> bool {
        !self.is_eligible.load(Ordering::Relaxed)
    }

    /// When a check last succeeded, if the last one did.
    pub fn last_good_check(&self) -> Option<Instant> {
        let status = self.status.load();
        let probed = status.probed.as_ref();
        probed
            .filter(|probed| probed.error.is_none())
            .map(|probed| probed.at)
    }

    /// Whether the last check, if there was one, does not say that it cannot respond.
    pub fn may_respond(&self) -> bool {
        self.status.load().may_respond()
    }

    /// Its ejection, if it is ejected.
    pub fn ejection(&self) -> Option<Arc<Ejection>> {
        self.ejection.load_full()
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// What workers count for its ejection.
    pub fn signal(&self) -> &Signal {
        &self.signal.0
    }

    /// Replaces its ejection. Called only by the control plane.
    pub fn set_ejection(&self, ejection: Option<Ejection>) {
        self.ejection.store(ejection.map(Arc::new));
    }

    /// Counts an ejection.
    pub fn count_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the outcome of an attempt as evidence for or against an ejection. Returns whether a failure was counted. Called by
    /// workers; a success costs one load while none fails.
    #[inline]
    pub fn weigh(&self, outcome: &Outcome) -> bool {
        match Evidence::of(outcome) {
            Evidence::Success if self.signal.0.is_quiet() => false,
            Evidence::None => false,
            evidence => self.weigh_news(evidence, outcome.total_time),
        }
    }

    #[cold]
    fn weigh_news(&self, evidence: Evidence, took: Duration) -> bool {
        let now = clock::now();
        let began = now.checked_sub(took).unwrap_or(now);
        let (effect, is_failure) = match evidence {
            Evidence::Failure(failure) => (self.signal.0.fail(failure, began), true),
            Evidence::Success | Evidence::None => (self.signal.0.succeed(began), false),
        };
        match effect {
            Effect::Decide => self.wakeup.call(),
            Effect::Counted if is_failure => self.wakeup.count(),
            Effect::Counted | Effect::Ignored => {}
        }
        is_failure && effect != Effect::Ignored
    }

    /// Whether a probe has found it up before.
    pub fn has_been_up(&self) -> bool {
        self.has_been_up.load(Ordering::Relaxed)
    }

    /// The current status.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Requests a probe at once, after a connect failure, reset or timeout of a request. Called by workers; costs one load if a
    /// probe was already requested.
    pub fn request_probe(&self) {
        let is_first = !self.is_probe_requested.load(Ordering::Relaxed)
            && !self.is_probe_requested.swap(true, Ordering::AcqRel);
        if is_first {
            self.probe_requested.notify_one();
        }
    }

    /// Waits until a worker requests a probe.
    pub(super) async fn probe_requested(&self) {
        while !self.is_probe_requested.load(Ordering::Acquire) {
            self.probe_requested.notified().await;
        }
    }

    /// Clears the request: a probe that begins now serves all requests before it.
    pub(super) fn clear_probe_request(&self) {
        self.is_probe_requested.store(false, Ordering::Release);
    }

    /// Replaces the status. Called only by the task that probes the backend.
    pub(super) fn set(&self, status: Status) {
        self.is_eligible
            .store(status.state.is_eligible(), Ordering::Relaxed);
        if status.state == State::Up {
            self.has_been_up.store(true, Ordering::Relaxed);
        }
        self.status.store(Arc::new(status));
    }
}
