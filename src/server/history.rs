//! Takes a sample of the traffic each second: the difference of the counters to the second before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::view::AppState;
use crate::admin::{PoolTraffic, Sample};
use crate::clock;
use crate::telemetry::metrics::{DURATION_BOUNDS, Histogram, WorkerCounters};

/// Interval of the samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Request durations by bucket; the last bucket has no bound.
type Buckets = [u64; DURATION_BOUNDS.len() + 1];

/// The counters at one time.
struct Totals {
    classes: [u64; 5],
    durations: Buckets,
    retries: u64,
    bytes_received: u64,
    bytes_sent: u64,
    pools: BTreeMap<String, PoolTraffic>,
}

/// Samples until it is dropped. The first sample has everything since the call.
pub(super) fn sample(state: Arc<AppState>) -> impl Future<Output = ()> {
    // Not once the task runs: requests may come before.
    let before = Totals::read(&state);
    samples(state, before)
}

async fn samples(state: Arc<AppState>, mut before: Totals) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.tick().await;
    loop {
        interval.tick().await;
        let now = Totals::read(&state);
        let sample = now.since(&before, &state);
        before = now;
        if let Ok(json) = serde_json::to_string(&sample) {
            state.samples.push(|_| json);
        }
    }
}

impl Totals {
    fn read(state: &AppState) -> Self {
        let sum = |value: fn(&WorkerCounters) -> u64| state.sum(value);
        let counters = state.counters.all();
        let durations = counters.iter().map(|counters| &counters.request_duration);
        let mut classes = [0; 5];
        for (class, count) in (1..).zip(&mut classes) {
            *count = state.sum(|counters| counters.requests(class));
        }
        Self {
            classes,
            durations: Histogram::merged(durations).0,
            retries: sum(WorkerCounters::retries),
            bytes_received: sum(|counters| counters.bytes_received.value()),
            bytes_sent: sum(|counters| counters.bytes_sent.value()),
            pools: pools(state),
        }
    }

    fn since(&self, before: &Self, state: &AppState) -> Sample {
        let mut classes = [0; 5];
        for (class, (now, before)) in classes.iter_mut().zip(self.classes.iter().zip(&before.classes)) {
            *class = now.saturating_sub(*before);
        }
        let mut durations: Buckets = [0; DURATION_BOUNDS.len() + 1];
        for (bucket, (now, before)) in durations
            .iter_mut()
            .zip(self.durations.iter().zip(&before.durations))
        {
            *bucket = now.saturating_sub(*before);
        }
        let pool = |(name, now): (&String, &PoolTraffic)| {
            // A pool that is new begins with what it has: nothing, or what it had before it was away.
            let before = before.pools.get(name).copied().unwrap_or(*now);
            let traffic = PoolTraffic {
                attempts: now.attempts.saturating_sub(before.attempts),
                failures: now.failures.saturating_sub(before.failures),
                queue: now.queue,
            };
            (name.clone(), traffic)
        };
        Sample {
            time: clock::wall().into(),
            requests: classes.iter().sum(),
            errors: classes[4],
            classes,
            p50_ms: quantile(&durations, 0.5),
            p90_ms: quantile(&durations, 0.9),
            p99_ms: quantile(&durations, 0.99),
            in_flight: state.sum(|counters| counters.requests_in_flight.value()),
            retries: self.retries.saturating_sub(before.retries),
            connections: state.sum(WorkerCounters::open_connections),
            bytes_received: self.bytes_received.saturating_sub(before.bytes_received),
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            pools: self.pools.iter().map(pool).collect(),
        }
    }
}

fn pools(state: &AppState) -> BTreeMap<String, PoolTraffic> {
    let snapshot = state.shared.snapshot();
    let traffic = snapshot.pools.iter().map(|pool| {
        let roster = pool.roster();
        let loads = || roster.members().iter().map(|member| &member.backend.load);
        let traffic = PoolTraffic {
            attempts: loads().map(|load| load.attempts()).sum(),
            failures: loads().map(|load| load.failures()).sum(),
            queue: pool.queue.depth() as u64,
        };
        (pool.settings.name.to_string(), traffic)
    });
    traffic.collect()
}

/// The duration, in milliseconds, that this part of the requests did not exceed. Within a bucket, durations are taken as evenly
/// spread. `None` without requests.
fn quantile(buckets: &Buckets, part: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = (total as f64 * part).max(1.0);
    let mut below = 0_u64;
    let mut low = 0.0;
    for (index, count) in buckets.iter().enumerate() {
        let high = DURATION_BOUNDS
            .get(index)
            .map_or(low, |micros| *micros as f64 / 1000.0);
        if (below + count) as f64 >= rank {
            let within = (rank - below as f64) / (*count).max(1) as f64;
            return Some(low + (high - low) * within);
        }
        below += count;
        low = high;
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_the_bucket_of_its_rank() {
        let mut buckets: Buckets = [0; DURATION_BOUNDS.len() + 1];
        assert_eq!(quantile(&buckets, 0.5), None);
        buckets[3] = 98;
        buckets[20] = 2;
        let bounds = |index: usize| {
            (
                DURATION_BOUNDS[index - 1] as f64 / 1000.0,
                DURATION_BOUNDS[index] as f64 / 1000.0,
            )
        };
        for (part, index) in [(0.5, 3), (0.98, 3), (0.99, 20), (1.0, 20)] {
            let (low, high) = bounds(index);
            let found = quantile(&buckets, part).unwrap();
            assert!((low..=high).contains(&found), "{part}: {found} in {low}..={high}");
        }
        let mut above: Buckets = [0; DURATION_BOUNDS.len() + 1];
        above[DURATION_BOUNDS.len()] = 1;
        assert_eq!(quantile(&above, 0.5), Some(60_000.0), "the highest bound");
    }
}
