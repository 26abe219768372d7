//! Random scenarios: everything follows from the seed. They are hostile rather than likely, so that a few thousand steps reach
//! empty budgets, empty sets and full backends.

use std::time::Duration;

use evenkeel_balance::admission::{Adaptive, QueueSettings};
use evenkeel_balance::health::{Thresholds, ejection};
use evenkeel_balance::retry::{Attempts, Cause, Hedge, HedgeAfter, Policy};
use evenkeel_balance::rng::{Rng, below, mix};
use evenkeel_balance::schema::Params;
use evenkeel_balance::strategy::{Entry, Settings};

use crate::backend::{Mode, Spec};
use crate::clock::Time;
use crate::defect::Defect;
use crate::sample::{happens, log_uniform, unit};
use crate::scenario::{Arrivals, Bursts, Checks, PoolSettings, Scenario};

/// Later than any run of the check.
const NEVER: Time = Time(u64::MAX / 4);

/// The scenario of a seed.
pub fn scenario(seed: u64, entry: &'static Entry, defect: Option<Defect>) -> Scenario {
    let mut rng = Rng::seeded(mix(seed ^ 0x5EED));
    let rate = log_uniform(&mut rng, 20.0, 5_000.0);
    // A few thousand steps take about this long.
    let horizon = Time::nanos(1e9 * 1_000.0 / rate);
    let count = 1 + below(rng.bits(), 8) as usize;
    // From a tenth to three times what the backends can do.
    let load = log_uniform(&mut rng, 0.1, 3.0);
    let are_alike = happens(&mut rng, 0.3);
    let alike = (1 + below(rng.bits(), 16) as u32, weight(&mut rng));
    let backends = (0..count).map(|_| {
        let (slots, weight) = match are_alike {
            true => alike,
            false => (1 + below(rng.bits(), 16) as u32, weight(&mut rng)),
        };
        let service = load * count as f64 * f64::from(slots) / rate;
        let mut changes = changes(&mut rng, horizon);
        if are_alike {
            let modes = [Mode::Stopped, Mode::HEALTHY];
            let modes = modes.into_iter().cycle();
            changes
                .iter_mut()
                .zip(modes)
                .for_each(|((_, mode), alike)| *mode = alike);
        }
        Spec {
            weight,
            slots,
            service: Time::nanos(service * 1e9),
            changes,
        }
    });
    let backends = backends.collect();
    let bursts = happens(&mut rng, 0.3).then(|| Bursts {
        every: part(&mut rng, horizon),
        lasts: part(&mut rng, Time(horizon.0 / 8)),
        factor: log_uniform(&mut rng, 2.0, 20.0),
    });
    Scenario {
        strategy: Settings {
            entry,
            params: Params::default(),
        },
        backends,
        arrivals: Arrivals { rate, bursts },
        clients: log_uniform(&mut rng, 1.0, 100_000.0) as u64,
        non_idempotent: [0.0, 0.1, 0.5][below(rng.bits(), 3) as usize],
        workers: 1 + below(rng.bits(), 4) as usize,
        pool: pool(&mut rng, horizon),
        defect,
        measure_from: Time::ZERO,
        ends: NEVER,
    }
}

fn pool(rng: &mut Rng, horizon: Time) -> PoolSettings {
    let causes = Cause::ALL.into_iter().filter(|_| happens(rng, 0.8));
    let causes = causes.collect();
    PoolSettings {
        retry: Policy {
            attempts: match below(rng.bits(), 4) {
                0 => Attempts::AtMost(1 + below(rng.bits(), 4) as u32),
                _ => Attempts::All,
            },
            causes,
            non_idempotent_503: happens(rng, 0.5),
            hedge: happens(rng, 0.3).then(|| hedge(rng, horizon)),
            ..Policy::default()
        },
        checks: happens(rng, 0.8).then(|| Checks {
            thresholds: Thresholds {
                interval: part(rng, horizon).duration() / 4 + Duration::from_millis(10),
                down_interval: part(rng, Time(horizon.0 / 8)).duration(),
                healthy_after: 1 + below(rng.bits(), 3) as u32,
                unhealthy_after: 1 + below(rng.bits(), 3) as u32,
            },
            timeout: part(rng, Time(horizon.0 / 8)),
        }),
        ejection: happens(rng, 0.7).then(|| ejection(rng, horizon)),
        slow_start: happens(rng, 0.4).then(|| part(rng, horizon)),
        queue: happens(rng, 0.7).then(|| QueueSettings {
            size: log_uniform(rng, 1.0, 200.0) as usize,
            timeout: part(rng, horizon).duration(),
        }),
        in_flight_limit: happens(rng, 0.3).then(|| 1 + below(rng.bits(), 30) as u32),
        adaptive: match below(rng.bits(), 5) {
            0 => Adaptive::On,
            1 => Adaptive::Observe,
            _ => Adaptive::Off,
        },
        first_byte: part(rng, horizon),
    }
}

fn hedge(rng: &mut Rng, horizon: Time) -> Hedge {
    let after = match happens(rng, 0.5) {
        true => HedgeAfter::Quantile(50 + below(rng.bits(), 50) as u8),
        false => HedgeAfter::Time(part(rng, Time(horizon.0 / 16)).duration()),
    };
    Hedge { after }
}

fn ejection(rng: &mut Rng, horizon: Time) -> ejection::Settings {
    let base = part(rng, Time(horizon.0 / 4)).duration();
    ejection::Settings {
        consecutive: 1 + below(rng.bits(), 8) as u32,
        failure_ratio: 1 + below(rng.bits(), 100) as u32,
        window: part(rng, horizon).duration(),
        min_requests: 1 + below(rng.bits(), 30) as u32,
        base,
        max: base * (1 + below(rng.bits(), 8) as u32),
        max_ejected: below(rng.bits(), 101) as u32,
        ..ejection::Settings::default()
    }
}

/// What happens to a backend: often nothing, seldom much.
fn changes(rng: &mut Rng, horizon: Time) -> Vec<(Time, Mode)> {
    let mut at = Time::ZERO;
    let mut changes = Vec::new();
    for _ in 0..below(rng.bits(), 6) {
        at = at.plus(part(rng, Time(horizon.0 / 3)));
        changes.push((at, mode(rng)));
    }
    changes
}

fn mode(rng: &mut Rng) -> Mode {
    const STATUSES: [u16; 6] = [404, 500, 502, 503, 503, 504];
    match below(rng.bits(), 9) {
        0 => Mode::Serving {
            slowness: log_uniform(rng, 1.0, 50.0),
        },
        1 | 2 => Mode::Failing {
            status: STATUSES[below(rng.bits(), STATUSES.len() as u64) as usize],
            fails_probes: happens(rng, 0.5),
        },
        3 => Mode::Erring { part: unit(rng) },
        4 => Mode::Hanging,
        5 | 6 => Mode::Stopped,
        _ => Mode::HEALTHY,
    }
}

/// Mostly small weights; large ones and equal ones too.
fn weight(rng: &mut Rng) -> u32 {
    match below(rng.bits(), 4) {
        0 => 1 + below(rng.bits(), 100) as u32,
        1 => 1 + below(rng.bits(), 5) as u32,
        _ => 1,
    }
}

fn part(rng: &mut Rng, of: Time) -> Time {
    Time::nanos(unit(rng) * of.0 as f64).max(Time::millis(1))
}
