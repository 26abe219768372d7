//! The situations in which strategies are compared. All have five backends with 40 slots together, which serve a request in 10 ms on
//! average: 4,000 requests a second at most. Settings are the defaults of the config, except that an attempt times out after 2 s.

use evenkeel_balance::strategy::Settings;

use crate::backend::{Mode, Spec};
use crate::clock::Time;
use crate::scenario::{Arrivals, Bursts, PoolSettings, Scenario};

/// One situation.
pub struct Situation {
    /// Its name in file names.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What happens, in a sentence or two.
    pub text: &'static str,
    /// Its scenario with this strategy.
    pub scenario: fn(Settings) -> Scenario,
}

/// All situations, in the order of the page.
pub static SITUATIONS: &[Situation] = &[
    Situation {
        name: "equal",
        title: "Equal backends",
        text: "Five equal backends at half of their capacity.",
        scenario: usual,
    },
    Situation {
        name: "slow",
        title: "One slow backend",
        text: "One of five backends becomes 20 times slower and stays so. Its health checks pass.",
        scenario: |strategy| one(strategy, Mode::Serving { slowness: 20.0 }),
    },
    Situation {
        name: "failing",
        title: "One backend fails fast",
        text: "One of five backends answers every request with 500 at once. Its health checks pass. A 500 is not retried.",
        scenario: |strategy| one(strategy, FAILING),
    },
    Situation {
        name: "failing_without_ejection",
        title: "One backend fails fast, ejection off",
        text: "The same with `ejection: off`.",
        scenario: |strategy| {
            let mut scenario = one(strategy, FAILING);
            scenario.pool.ejection = None;
            scenario
        },
    },
    Situation {
        name: "hanging",
        title: "One backend hangs",
        text: "One of five backends accepts connections and answers nothing for 30 s.",
        scenario: |strategy| {
            let mut scenario = one(strategy, Mode::Hanging);
            let changes = scenario.backends.iter_mut().map(|spec| &mut spec.changes);
            let hanging = changes.filter(|changes| !changes.is_empty());
            hanging.for_each(|changes| changes.push((BEGINS.plus(Time::secs(30)), Mode::HEALTHY)));
            scenario
        },
    },
    Situation {
        name: "unequal",
        title: "Unequal sizes, equal weights",
        text: "The backends have 2, 4, 8, 12 and 14 of the 40 slots, and no weights are configured.",
        scenario: |strategy| sized(strategy, |_| 1),
    },
    Situation {
        name: "weighted",
        title: "Unequal sizes, weights set",
        text: "The same with weights 2, 4, 8, 12 and 14.",
        scenario: |strategy| sized(strategy, |slots| slots),
    },
    Situation {
        name: "bursts",
        title: "Bursts",
        text: "1,200 requests a second, and 4,200, more than the capacity, for half a second in every five.",
        scenario: |strategy| {
            let mut scenario = usual(strategy);
            scenario.arrivals = Arrivals {
                rate: 1_200.0,
                bursts: Some(Bursts {
                    every: Time::secs(5),
                    lasts: Time::millis(500),
                    factor: 3.5,
                }),
            };
            scenario
        },
    },
    Situation {
        name: "restart",
        title: "Rolling restart",
        text: "One backend after the other stops for 5 s, and is 4 times slower in the first 2 s after its start. Requests that are cut \
               and not idempotent are not sent again: they are the errors.",
        scenario: restart,
    },
    Situation {
        name: "restart_slow_start",
        title: "Rolling restart, slow start",
        text: "The same with `slow_start: 5s`.",
        scenario: |strategy| {
            let mut scenario = restart(strategy);
            scenario.pool.slow_start = Some(Time::secs(5));
            scenario
        },
    },
];

const FAILING: Mode = Mode::Failing {
    status: 500,
    fails_probes: false,
};

/// When things begin to happen, and requests are measured from.
const BEGINS: Time = Time::secs(5);

/// When the last request arrives.
const ENDS: Time = Time::secs(65);

/// Nothing happens.
fn usual(strategy: Settings) -> Scenario {
    Scenario {
        strategy,
        backends: vec![Spec::usual(); 5],
        arrivals: Arrivals {
            rate: 2_000.0,
            bursts: None,
        },
        clients: 10_000,
        non_idempotent: 0.1,
        workers: 2,
        pool: PoolSettings::default(),
        defect: None,
        measure_from: BEGINS,
        ends: ENDS,
    }
}

/// One backend changes.
fn one(strategy: Settings, mode: Mode) -> Scenario {
    let mut scenario = usual(strategy);
    scenario.backends[2].changes = vec![(BEGINS, mode)];
    scenario
}

/// Backends of different sizes.
fn sized(strategy: Settings, weight: fn(u32) -> u32) -> Scenario {
    let mut scenario = usual(strategy);
    for (spec, slots) in scenario.backends.iter_mut().zip([2, 4, 8, 12, 14]) {
        (spec.slots, spec.weight) = (slots, weight(slots));
    }
    scenario
}

/// One backend after the other restarts.
fn restart(strategy: Settings) -> Scenario {
    let mut scenario = usual(strategy);
    for (spec, number) in scenario.backends.iter_mut().zip(0..) {
        let stops = Time::secs(10 + 10 * number);
        let starts = stops.plus(Time::secs(5));
        spec.changes = vec![
            (stops, Mode::Stopped),
            (starts, Mode::Serving { slowness: 4.0 }),
            (starts.plus(Time::secs(2)), Mode::HEALTHY),
        ];
    }
    scenario
}
