//! Strategies over time, in front of backends that are slow, hang, fail and come back.

use super::simulation::{Behaviour, Simulation};
use super::*;

use Behaviour::{Fails, Responds};

fn peak_ewma(backends: usize) -> Simulation {
    Simulation::new(&settings("peak_ewma"), &vec![1; backends])
}

#[test]
fn no_strategy_starves_a_backend() {
    for settings in all() {
        let mut simulation = Simulation::new(&settings, &[1, 1, 1, 1, 1]);
        // A thousand times slower than the others, now and then.
        let behave = |index, now: u64| match (index, now % 60_000 < 2_000) {
            (2, true) => Responds(3_000),
            _ => Responds(3),
        };
        simulation.run(60_000, 5, &behave);
        let counts = simulation.run(120_000, 5, &behave);
        assert!(
            counts.iter().all(|count| *count > 0),
            "{}: {counts:?}",
            settings.name()
        );
    }
}

#[test]
fn a_slow_backend_gets_few_requests_and_its_share_once_it_is_fast_again() {
    let mut simulation = peak_ewma(4);
    let slow = |index, _| Responds(if index == 1 { 400 } else { 4 });
    let counts = simulation.run(20_000, 2, &slow);
    assert!(counts[1] < 50 && counts[1] > 0, "{counts:?}");
    let even = |_, _| Responds(4);
    simulation.run(90_000, 2, &even);
    let counts = simulation.run(10_000, 2, &even);
    assert!(counts[1] > 5_000 / 8, "{counts:?}");
}

/// A busy machine pauses in this way.
#[test]
fn pauses_that_all_backends_share_do_not_hide_the_slow_one() {
    let mut simulation = peak_ewma(3);
    // No response comes in the first 60 ms of a second.
    let behave = |index, now: u64| {
        let takes = if index == 1 { 100 } else { 5 };
        let in_second = (now + takes) % 1_000;
        Responds(takes + 60_u64.saturating_sub(in_second))
    };
    simulation.run(5_000, 3, &behave);
    let counts = simulation.run(30_000, 3, &behave);
    assert!(counts[1] < 100, "{counts:?}");
}

/// Both are drawn then: a draw of one alone would leave the slow one a part of the requests.
#[test]
fn the_slow_one_of_two_gets_few_requests() {
    let mut simulation = peak_ewma(2);
    let slow = |index, _| Responds(if index == 1 { 400 } else { 4 });
    let counts = simulation.run(20_000, 2, &slow);
    assert!(counts[1] < 50 && counts[1] > 0, "{counts:?}");
}

#[test]
fn backends_that_are_about_equally_fast_share_the_requests() {
    let mut simulation = peak_ewma(3);
    let nearly = |index, _| Responds(20 + index as u64);
    for every in [50, 10, 2] {
        let counts = simulation.run(30_000, every, &nearly);
        let total: u32 = counts.iter().sum();
        assert!(
            counts.iter().all(|count| *count > total / 5),
            "every {every} ms: {counts:?}"
        );
    }
}

#[test]
fn twice_the_latency_means_about_half_the_requests_under_load() {
    let mut simulation = peak_ewma(10);
    let behave = |index, _| Responds(if index < 5 { 100 } else { 200 });
    simulation.run(10_000, 1, &behave);
    let counts = simulation.run(20_000, 1, &behave);
    let fast = f64::from(counts[..5].iter().sum::<u32>()) / 20_000.0;
    assert!((0.6..0.85).contains(&fast), "{counts:?}");
}

#[test]
fn a_backend_that_hangs_gets_few_requests_before_any_of_them_fails() {
    let mut simulation = peak_ewma(5);
    let well = |_, _| Responds(5);
    simulation.run(10_000, 1, &well);
    let hangs = |index, _| if index == 3 { Fails(60_000) } else { Responds(5) };
    let counts = simulation.run(9_000, 1, &hangs);
    // 1,800 would be its share.
    assert!(counts[3] < 30, "{counts:?}");
    let later = simulation.run(40_000, 1, &hangs);
    assert!(later[3] < 100, "{later:?}");
}

#[test]
fn a_backend_that_fails_fast_does_not_attract_requests() {
    let mut simulation = peak_ewma(5);
    let behave = |index, _| if index == 0 { Fails(0) } else { Responds(10) };
    simulation.run(1_000, 1, &behave);
    let counts = simulation.run(20_000, 1, &behave);
    assert!(counts[0] < 100, "{counts:?}");
}

#[test]
fn a_new_backend_is_not_flooded_before_its_first_response() {
    let mut simulation = peak_ewma(3);
    let behave = |index, _| Responds(if index == 2 { 500 } else { 5 });
    let counts = simulation.run(400, 1, &behave);
    assert!(counts[2] < 5, "{counts:?}");
}

#[test]
fn heavier_backends_get_more_of_equally_fast_ones() {
    for every in [20, 2, 1] {
        let mut simulation = Simulation::new(&settings("peak_ewma"), &[1, 3, 6]);
        let counts = simulation.run(30_000, every, &|_, _| Responds(40));
        let total = f64::from(counts.iter().sum::<u32>());
        for (count, weight) in counts.iter().zip([0.1, 0.3, 0.6]) {
            let share = f64::from(*count) / total;
            assert!((share - weight).abs() < 0.1, "every {every} ms: {counts:?}");
        }
    }
}

#[test]
fn the_score_of_peak_ewma_grows_with_latency_and_load() {
    let simulation = Simulation::new(&settings("peak_ewma"), &[1, 2]);
    let candidates = &simulation.candidates;
    let strategy = built(&settings("peak_ewma"), candidates);
    let context = context(&[], 0);
    for candidate in candidates {
        let sample = crate::latency::Sample::Response(Duration::from_millis(100));
        candidate.load.latency.learn(sample, context.now);
        candidate.load.in_flight.0.store(3, Ordering::Relaxed);
    }
    let scores = [0, 1].map(|index| strategy.score(candidates, index, &context).unwrap());
    assert!(
        (scores[0] - 0.4).abs() < 1e-3 && (scores[1] - 0.2).abs() < 1e-3,
        "{scores:?}"
    );
}

/// `decay` is kept at the backends only while a strategy reads it.
#[test]
fn another_strategy_ends_the_measuring() {
    let candidates = candidates(&[1, 1]);
    built(&settings("peak_ewma"), &candidates);
    assert!(
        candidates
            .iter()
            .all(|candidate| candidate.load.latency.is_averaged())
    );
    built(&settings("round_robin"), &candidates);
    assert!(
        candidates
            .iter()
            .all(|candidate| !candidate.load.latency.is_averaged())
    );
}
