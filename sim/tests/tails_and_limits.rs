//! Hedging and the adaptive limit in likely situations: what they are for, and what they must not cost. Random runs, which check
//! their invariants, are in `invariants.rs`.

#![allow(clippy::expect_used, reason = "a crate of tests: a failure is a panic")]

use std::time::Duration;

use evenkeel_balance::admission::Adaptive;
use evenkeel_balance::retry::{Hedge, HedgeAfter, Policy};
use evenkeel_balance::schema::Params;
use evenkeel_balance::strategy::{Settings, by_name};
use evenkeel_sim::backend::{Mode, Spec};
use evenkeel_sim::clock::Time;
use evenkeel_sim::scenario::{Arrivals, PoolSettings, Scenario};
use evenkeel_sim::stats::Stats;
use evenkeel_sim::world::{Checked, World};

const SEED: u64 = 7;
/// Requests a second.
const RATE: f64 = 400.0;
/// When the last request arrives.
const ENDS: Time = Time::secs(60);

/// Four backends that serve 8 requests at a time, each in 10 ms on average.
fn scenario(pool: PoolSettings) -> Scenario {
    Scenario {
        strategy: Settings {
            entry: by_name("round_robin").expect("it is there"),
            params: Params::default(),
        },
        backends: vec![Spec::usual(); 4],
        arrivals: Arrivals {
            rate: RATE,
            bursts: None,
        },
        clients: 1_000,
        non_idempotent: 0.0,
        workers: 2,
        pool,
        defect: None,
        measure_from: Time::ZERO,
        ends: ENDS,
    }
}

/// Runs a scenario to its end. No invariant may break.
fn run(scenario: &Scenario) -> Stats {
    let mut world = World::new(scenario, SEED, Checked::Yes);
    world.run(u64::MAX).expect("no invariant is broken");
    world.into_stats()
}

fn hedged(after: HedgeAfter) -> PoolSettings {
    PoolSettings {
        retry: Policy {
            hedge: Some(Hedge { after }),
            ..Policy::default()
        },
        ..PoolSettings::default()
    }
}

/// Attempts for which no request has arrived.
fn further(stats: &Stats) -> u64 {
    stats.attempts().iter().sum::<u64>() - stats.requests()
}

/// What the budget of a run has at most: 100 tokens, 10 a second and a fifth of the requests.
fn budget(stats: &Stats) -> u64 {
    100 + 10 * 70 + stats.requests() / 5
}

#[test]
fn hedges_cut_the_latency_that_one_slow_backend_causes() {
    let slow = |pool| {
        let mut scenario = scenario(pool);
        scenario.backends[1].changes = vec![(Time::secs(5), Mode::Serving { slowness: 5.0 })];
        run(&scenario)
    };
    let mut without = slow(PoolSettings::default());
    let mut with = slow(hedged(HedgeAfter::Time(Duration::from_millis(60))));
    let [without_p99, with_p99] = [&mut without, &mut with].map(|stats| stats.quantiles([0.99])[0]);
    assert!(
        with_p99.0 * 3 < without_p99.0 * 2,
        "{with_p99} s, {without_p99} s without"
    );
    assert_eq!(further(&without), 0);
    assert!(
        further(&with) > 0 && further(&with) <= budget(&with),
        "{}",
        further(&with)
    );
}

#[test]
fn hedges_add_no_more_than_the_budget_when_all_backends_are_slow() {
    let mut scenario = scenario(hedged(HedgeAfter::Quantile(95)));
    for spec in &mut scenario.backends {
        spec.changes = vec![(Time::secs(5), Mode::Serving { slowness: 4.0 })];
    }
    let stats = run(&scenario);
    assert!(stats.error_rate() < 0.01, "{}", stats.error_rate());
    assert!(
        further(&stats) > 0 && further(&stats) <= budget(&stats),
        "{}",
        further(&stats)
    );
}

#[test]
fn requests_that_must_not_be_sent_twice_are_not_hedged() {
    let mut scenario = scenario(hedged(HedgeAfter::Time(Duration::from_millis(1))));
    scenario.non_idempotent = 1.0;
    assert_eq!(further(&run(&scenario)), 0);
}

#[test]
fn an_adaptive_limit_keeps_the_latency_of_a_slow_phase_and_recovers_after_it() {
    let phase = |adaptive, from, ends| {
        let mut scenario = scenario(PoolSettings {
            adaptive,
            ..PoolSettings::default()
        });
        for spec in &mut scenario.backends {
            // They can serve half of the requests then.
            spec.changes = vec![
                (Time::secs(10), Mode::Serving { slowness: 16.0 }),
                (Time::secs(40), Mode::HEALTHY),
            ];
        }
        (scenario.measure_from, scenario.ends) = (from, ends);
        run(&scenario)
    };
    let during = |adaptive| phase(adaptive, Time::secs(25), Time::secs(40));
    let [mut with, without] = [Adaptive::On, Adaptive::Off].map(during);
    // Without a limit the backends work on requests that have timed out.
    assert!(without.error_rate() > 0.9, "{}", without.error_rate());
    let p99 = with.quantiles([0.99])[0];
    assert!(p99 < Time::secs(1), "{p99} s");
    // The backends can serve 200 of 400 a second. Limits that are still being found leave a part of that unused.
    let served = with.requests() as f64 * (1.0 - with.error_rate());
    assert!(served >= 0.7 * 200.0 * 15.0, "{served}");

    let mut after = phase(Adaptive::On, Time::secs(45), ENDS);
    let p99 = after.quantiles([0.99])[0];
    assert!(after.error_rate() < 0.001, "{}", after.error_rate());
    assert!(p99 < Time::millis(100), "{p99} s");
}
