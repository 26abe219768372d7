//! The orders of backends.

use std::cmp::Ordering;

use super::rates::Rate;
use crate::admin::{BackendState, BackendStatus};

/// How backends are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As in the config.
    Config,
    /// Those that get no requests first.
    State,
    /// The most attempts per second first.
    Attempts,
    /// The largest share of failures first.
    Failures,
    /// The slowest first.
    Latency,
    /// The most requests in flight first.
    InFlight,
}

impl Order {
    const ALL: [Self; 6] = [
        Self::Config,
        Self::State,
        Self::Attempts,
        Self::Failures,
        Self::Latency,
        Self::InFlight,
    ];

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::State => "state",
            Self::Attempts => "requests",
            Self::Failures => "failures",
            Self::Latency => "p99",
            Self::InFlight => "in flight",
        }
    }

    /// The one after this one; the first after the last.
    pub(super) fn next(self) -> Self {
        let mut all = Self::ALL.into_iter().cycle().skip_while(|order| *order != self);
        all.nth(1).unwrap_or(Self::Config)
    }

    /// Which of two backends comes first.
    pub(super) fn compare(
        self,
        (one, its_rate): (&BackendStatus, Option<Rate>),
        (other, other_rate): (&BackendStatus, Option<Rate>),
    ) -> Ordering {
        let (its_rate, other_rate) = (its_rate.unwrap_or_default(), other_rate.unwrap_or_default());
        match self {
            Self::Config => Ordering::Equal,
            Self::State => urgency(one).cmp(&urgency(other)),
            Self::Attempts => descending(its_rate.attempts, other_rate.attempts),
            Self::Failures => descending(share(its_rate), share(other_rate)),
            Self::Latency => descending(p99(one), p99(other)),
            Self::InFlight => other.in_flight.cmp(&one.in_flight),
        }
    }
}

/// The share of attempts that failed.
pub(super) fn share(rate: Rate) -> f64 {
    let attempts = rate.attempts.max(rate.failures);
    if attempts > 0.0 {
        rate.failures / attempts
    } else {
        0.0
    }
}

fn p99(backend: &BackendStatus) -> f64 {
    backend.latency_ms.map_or(0.0, |latency| latency.p99)
}

fn descending(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}

fn urgency(backend: &BackendStatus) -> u8 {
    match backend.state {
        BackendState::Down => 0,
        BackendState::Ejected => 1,
        BackendState::Draining => 2,
        _ if !backend.eligible => 3,
        BackendState::Unknown => 4,
        BackendState::Up => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_reached_and_the_first_follows_the_last() {
        let mut order = Order::Config;
        for expected in Order::ALL {
            assert_eq!(order, expected);
            order = order.next();
        }
        assert_eq!(order, Order::Config);
    }
}
