//! What a run measured: latencies and errors as clients saw them, and what the backends got.

use crate::clock::Time;
use crate::request::Request;

/// The measurements of one run.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Latencies of the requests that got a response below 500, in nanoseconds.
    latencies: Vec<u64>,
    /// Requests that got a status from 500 on.
    errors: u64,
    retries: u64,
    /// Attempts at each backend.
    attempts: Vec<u64>,
}

impl Stats {
    /// No measurements.
    pub fn new(backends: usize) -> Self {
        Self {
            attempts: vec![0; backends],
            ..Self::default()
        }
    }

    /// A request has ended.
    pub fn record(&mut self, request: &Request, now: Time, status: u16) {
        match status {
            500.. => self.errors += 1,
            _ => self.latencies.push(now.since(request.arrived).0),
        }
    }

    /// An attempt at a backend has begun.
    pub fn attempt(&mut self, member: usize) {
        self.attempts[member] += 1;
    }

    /// An attempt was followed by another.
    pub fn retry(&mut self) {
        self.retries += 1;
    }

    /// Number of requests.
    pub fn requests(&self) -> u64 {
        self.latencies.len() as u64 + self.errors
    }

    /// Part of the requests that got a status from 500 on.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.requests().max(1) as f64
    }

    /// Number of further attempts.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Attempts at each backend.
    pub fn attempts(&self) -> &[u64] {
        &self.attempts
    }

    /// The latencies at these parts of all, each from 0 to 1: the smallest one that is not exceeded by that part of the requests.
    pub fn quantiles<const N: usize>(&mut self, parts: [f64; N]) -> [Time; N] {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        parts.map(|part| {
            let rank = ((part * count as f64).ceil() as usize).clamp(1, count.max(1));
            Time(self.latencies.get(rank - 1).copied().unwrap_or(0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_rank_and_leave_out_errors() {
        let mut stats = Stats::new(1);
        for millis in (1..=100).rev() {
            stats.record(&Request::default(), Time::millis(millis), 200);
        }
        stats.record(&Request::default(), Time::millis(9_999), 503);
        assert_eq!(stats.quantiles([0.5, 0.99, 1.0]), [50, 99, 100].map(Time::millis));
        assert!((stats.error_rate() - 1.0 / 101.0).abs() < 1e-12);
    }
}
