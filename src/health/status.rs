//! The health status of one backend. The task that probes it writes the status; workers and the admin API read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::State;
use crate::clock;

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
    /// Number of successful probes in a row.
    pub successes: u32,
    /// Number of failed probes in a row.
    pub failures: u32,
}

/// The health of one backend. Lives as long as the backend, across reloads.
#[derive(Debug)]
pub struct Health {
    status: ArcSwap<Status>,
    is_eligible: AtomicBool,
    has_been_up: AtomicBool,
    is_probe_requested: AtomicBool,
    probe_requested: Notify,
}

impl Health {
    /// Creates the health of a backend that was not probed yet and is therefore eligible.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            status: ArcSwap::from_pointee(Status {
                state: State::Unknown,
                since: clock::now(),
                since_wall: clock::wall(),
                why: None,
                probed: None,
                successes: 0,
                failures: 0,
            }),
            is_eligible: AtomicBool::new(true),
            has_been_up: AtomicBool::new(false),
            is_probe_requested: AtomicBool::new(false),
            probe_requested: Notify::new(),
        })
    }

    /// Whether the backend may receive requests. Costs one relaxed load.
    pub fn is_eligible(&self) -> bool {
        self.is_eligible.load(Ordering::Relaxed)
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
