//! Strategies that balance by requests in flight.

use super::*;
use crate::latency::Sample;

/// The strategies that compare requests in flight; those of `peak_ewma` have the same latency here.
const IN_FLIGHT: [&str; 3] = ["least_requests", "two_choices", "peak_ewma"];

/// The strategies that compare nothing but the requests in flight.
const BY_LOAD: [&str; 2] = ["least_requests", "two_choices"];

#[test]
fn least_requests_picks_the_least_loaded_for_its_weight() {
    let candidates = candidates(&[1, 1, 4]);
    let strategy = built(&settings("least_requests"), &candidates);
    for (in_flight, expected) in [
        ([3, 1, 20], 1),
        ([2, 2, 6], 2),
        ([5, 1, 1], 2),
        ([5, 1, 8], 1),
        ([0, 9, 9], 0),
    ] {
        for (candidate, count) in candidates.iter().zip(in_flight) {
            candidate.load.in_flight.0.store(count, Ordering::Relaxed);
        }
        for random in 0..50 {
            assert_eq!(
                strategy.pick(&candidates, &context(&[], random)),
                Some(expected),
                "{in_flight:?}"
            );
        }
    }
}

#[test]
fn large_pools_stay_level() {
    for name in BY_LOAD {
        let candidates = candidates(&[1; 100]);
        let strategy = built(&settings(name), &candidates);
        let mut rng = Rng::seeded(3);
        for _ in 0..10_000 {
            let index = strategy.pick(&candidates, &context(&[], rng.bits())).unwrap();
            candidates[index].load.in_flight.0.fetch_add(1, Ordering::Relaxed);
        }
        let loads = candidates
            .iter()
            .map(|candidate| candidate.load.in_flight.0.load(Ordering::Relaxed));
        let worst = loads.max().unwrap();
        // Random choice alone would reach about 130.
        assert!(worst <= 106, "{name}: {worst}");
    }
}

/// Counts the picks of each candidate with `in_flight` requests running all the time: before each pick a random one ends.
fn counts_under_load(name: &str, candidates: &[Candidate], in_flight: usize, picks: u32) -> Vec<u32> {
    let strategy = built(&settings(name), candidates);
    for candidate in candidates {
        let sample = Sample::Response(Duration::from_millis(5));
        candidate.load.latency.learn(sample, crate::clock::now());
    }
    let mut rng = Rng::seeded(4);
    let mut running = Vec::new();
    let mut counts = vec![0; candidates.len()];
    for _ in 0..picks {
        if running.len() == in_flight {
            let index = running.swap_remove(crate::rng::below(rng.bits(), in_flight as u64) as usize);
            let count: &Candidate = &candidates[index];
            count.load.in_flight.0.fetch_sub(1, Ordering::Relaxed);
        }
        let index = strategy.pick(candidates, &context(&[], rng.bits())).unwrap();
        candidates[index].load.in_flight.0.fetch_add(1, Ordering::Relaxed);
        running.push(index);
        counts[index] += 1;
    }
    counts
}

#[test]
fn shares_follow_weights_however_few_are_in_flight() {
    const PICKS: u32 = 50_000;
    for weights in [vec![100, 1], vec![1, 100, 1], vec![3, 1], vec![1, 1]] {
        let total: u32 = weights.iter().sum();
        for (name, in_flight) in IN_FLIGHT
            .iter()
            .flat_map(|name| [1, 2, 3, 5, 10, 40].map(|number| (*name, number)))
        {
            let counts = counts_under_load(name, &candidates(&weights), in_flight, PICKS);
            for (count, weight) in counts.iter().zip(&weights) {
                let (share, wanted) = (
                    f64::from(*count) / f64::from(PICKS),
                    f64::from(*weight) / f64::from(total),
                );
                // A heavy backend gets the share of its weight, a light one roughly.
                assert!(
                    (share - wanted).abs() < 0.1 && share > wanted / 3.0 && share < wanted * 3.0,
                    "{name} {weights:?}, {in_flight} in flight: {counts:?}"
                );
            }
        }
    }
}

/// With more candidates than `least_requests` compares.
#[test]
fn shares_follow_weights_in_large_pools() {
    const PICKS: u32 = 50_000;
    let weights: Vec<u32> = (0..40).map(|index| if index < 4 { 100 } else { 10 }).collect();
    let wanted = 400.0 / 760.0;
    for (name, in_flight) in IN_FLIGHT
        .iter()
        .flat_map(|name| [1, 5, 20].map(|number| (*name, number)))
    {
        let counts = counts_under_load(name, &candidates(&weights), in_flight, PICKS);
        let heavy = f64::from(counts[..4].iter().sum::<u32>()) / f64::from(PICKS);
        assert!(
            (heavy - wanted).abs() < 0.08,
            "{name}, {in_flight} in flight: {heavy}, {wanted} is wanted"
        );
    }
}

#[test]
fn scores_are_the_requests_in_flight_for_the_weight() {
    let candidates = candidates(&[1, 4]);
    candidates[1].load.in_flight.0.store(6, Ordering::Relaxed);
    for name in BY_LOAD {
        let strategy = built(&settings(name), &candidates);
        let scores = [0, 1, 2].map(|index| strategy.score(&candidates, index, &context(&[], 0)));
        assert_eq!(scores, [Some(0.0), Some(1.5), None]);
    }
}
