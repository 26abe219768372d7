//! What one run simulates: the backends, the clients, and the settings of the pool.

use std::time::Duration;

use evenkeel_balance::admission::{Adaptive, QueueSettings};
use evenkeel_balance::health::{Thresholds, ejection};
use evenkeel_balance::retry::Policy;
use evenkeel_balance::strategy::Settings;

use crate::backend::Spec;
use crate::clock::Time;
use crate::defect::Defect;

/// One run, apart from its seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The strategy of the pool.
    pub strategy: Settings,
    /// The backends of the pool.
    pub backends: Vec<Spec>,
    /// When requests arrive.
    pub arrivals: Arrivals,
    /// Number of clients. Strategies with affinity see which client sends a request.
    pub clients: u64,
    /// Part of the requests that are not idempotent, from 0 to 1.
    pub non_idempotent: f64,
    /// Number of workers.
    pub workers: usize,
    /// The settings of the pool.
    pub pool: PoolSettings,
    /// A deliberate defect.
    pub defect: Option<Defect>,
    /// Requests that arrive before this time are not measured.
    pub measure_from: Time,
    /// No request arrives after this time.
    pub ends: Time,
}

/// Arrivals do not wait for responses (an open loop), so a slow pool gets no less load than a fast one.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// Requests per second.
    pub rate: f64,
    /// Bursts, if there are any.
    pub bursts: Option<Bursts>,
}

/// Periods with more requests.
#[derive(Debug, Clone, Copy)]
pub struct Bursts {
    /// The time from one burst to the next.
    pub every: Time,
    /// How long each takes.
    pub lasts: Time,
    /// How many times as many requests arrive.
    pub factor: f64,
}

impl Arrivals {
    /// Requests per second at a time.
    pub fn rate_at(&self, now: Time) -> f64 {
        let is_in_burst = |bursts: &Bursts| now.0 % bursts.every.0.max(1) < bursts.lasts.0;
        match self.bursts.filter(is_in_burst) {
            Some(bursts) => self.rate * bursts.factor,
            None => self.rate,
        }
    }
}

/// What decides beside the strategy. Each part that is `None` is not there.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// The retry policy.
    pub retry: Policy,
    /// Health checks.
    pub checks: Option<Checks>,
    /// Passive ejection.
    pub ejection: Option<ejection::Settings>,
    /// How long a backend that comes back gets less than its share.
    pub slow_start: Option<Time>,
    /// Where requests wait that no backend may take.
    pub queue: Option<QueueSettings>,
    /// Maximum number of requests in flight of one backend.
    pub in_flight_limit: Option<u32>,
    /// Whether each backend has a limit that follows its latency.
    pub adaptive: Adaptive,
    /// The timeout of one attempt.
    pub first_byte: Time,
}

impl PoolSettings {
    /// Maximum number of requests in flight of one backend, if backends have limits; each may have a lower one of its own.
    pub fn limit(&self) -> Option<u32> {
        let enforced = (self.adaptive == Adaptive::On).then_some(u32::MAX);
        self.in_flight_limit.or(enforced)
    }
}

/// Health checks.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    /// Interval and thresholds.
    pub thresholds: Thresholds,
    /// The timeout of one probe.
    pub timeout: Time,
}

impl Default for PoolSettings {
    /// The defaults of the config, except that an attempt times out after 2 s.
    fn default() -> Self {
        Self {
            retry: Policy::default(),
            checks: Some(Checks {
                thresholds: Thresholds {
                    interval: Duration::from_secs(10),
                    down_interval: Duration::from_secs(1),
                    healthy_after: 2,
                    unhealthy_after: 3,
                },
                timeout: Time::secs(2),
            }),
            ejection: Some(ejection::Settings::default()),
            slow_start: None,
            queue: Some(QueueSettings::default()),
            in_flight_limit: None,
            adaptive: Adaptive::Off,
            first_byte: Time::secs(2),
        }
    }
}
