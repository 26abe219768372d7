//! What is known of one backend's health: written by the task that probes it, read by workers and the admin API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::clock;

/// Whether a backend is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not probed yet, or not to be probed: it is used.
    Unknown,
    /// It is used.
    Up,
    /// It gets no request.
    Down,
}

impl State {
    /// Whether a backend in this state is used.
    pub fn is_eligible(self) -> bool {
        self != Self::Down
    }

    /// As it stands in logs and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What the last probe gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// When it ended, by the monotonic clock.
    pub at: Instant,
    /// When it ended, by the wall clock.
    pub wall: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The status that the backend answered with, if it answered.
    pub status_code: Option<u16>,
    /// Why it failed; `None` when it succeeded.
    pub error: Option<Arc<str>>,
}

/// All that is known of one backend's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it is well.
    pub state: State,
    /// When it came into this state, by the monotonic clock.
    pub since: Instant,
    /// When it came into this state, by the wall clock.
    pub since_wall: SystemTime,
    /// Why it is down: the error of the probe that decided; `None` unless it is down.
    pub why: Option<Arc<str>>,
    /// The last probe, if there was one.
    pub probed: Option<Probed>,
    /// Probes in a row that succeeded.
    pub successes: u32,
    /// Probes in a row that failed.
    pub failures: u32,
}

/// The health of one backend. Lives as long as the backend, across reloads.
#[derive(Debug)]
pub struct Health {
    status: ArcSwap<Status>,
    is_eligible: AtomicBool,
    is_suspected: AtomicBool,
    suspected: Notify,
}

impl Health {
    /// Makes the health of a backend that was not probed yet: it is eligible.
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
            is_suspected: AtomicBool::new(false),
            suspected: Notify::new(),
        })
    }

    /// Whether the backend is to be used. One relaxed load.
    pub fn is_eligible(&self) -> bool {
        self.is_eligible.load(Ordering::Relaxed)
    }

    /// All that is known now.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Asks for a probe at once, after a connect failure, reset or timeout of a request. For workers: costs one load
    /// when a probe was asked for already.
    pub fn request_probe(&self) {
        let is_first =
            !self.is_suspected.load(Ordering::Relaxed) && !self.is_suspected.swap(true, Ordering::AcqRel);
        if is_first {
            self.suspected.notify_one();
        }
    }

    /// Waits until somebody suspects the backend.
    pub(super) async fn suspected(&self) {
        while !self.is_suspected.load(Ordering::Acquire) {
            self.suspected.notified().await;
        }
    }

    /// Lets suspicions count anew: a probe that begins now answers all before it.
    pub(super) fn clear_suspicion(&self) {
        self.is_suspected.store(false, Ordering::Release);
    }

    /// Replaces what is known. For the one task that probes.
    pub(super) fn set(&self, status: Status) {
        self.is_eligible
            .store(status.state.is_eligible(), Ordering::Relaxed);
        self.status.store(Arc::new(status));
    }
}
