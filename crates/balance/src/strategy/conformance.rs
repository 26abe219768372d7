//! Conformance tests that every strategy of the table has to pass, on generated sets of candidates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_assume, proptest};

use super::*;
use crate::rng::Rng;

/// Candidates with these weights.
pub(super) fn candidates(weights: &[u32]) -> Vec<Candidate> {
    weights
        .iter()
        .zip(1_u64..)
        .map(|(weight, number)| Candidate {
            identity: crate::rng::mix(number),
            load: Arc::default(),
            weight: *weight,
        })
        .collect()
}

fn context(tried: &[BackendId], random: u64) -> PickContext<'_> {
    PickContext {
        tried,
        in_flight_limit: None,
        key: Some(random),
        random,
        now: crate::clock::now(),
    }
}

fn built(entry: &Entry, candidates: &[Candidate]) -> Box<dyn Strategy> {
    (entry.build)(&Params::default(), candidates, &Arc::default())
}

/// How often each index is picked in `picks` picks.
fn counts(strategy: &dyn Strategy, candidates: &[Candidate], tried: &[BackendId], picks: u32) -> Vec<u32> {
    let mut counts = vec![0; candidates.len()];
    let mut rng = Rng::seeded(1);
    for _ in 0..picks {
        let index = strategy.pick(candidates, &context(tried, rng.bits())).unwrap();
        counts[index] += 1;
    }
    counts
}

#[test]
fn names_are_unique_and_found() {
    let names: BTreeMap<_, _> = STRATEGIES
        .iter()
        .map(|entry| (entry.name, entry.summary))
        .collect();
    assert_eq!(names.len(), STRATEGIES.len());
    for entry in STRATEGIES {
        assert!(std::ptr::eq(by_name(entry.name).unwrap(), entry));
        assert!(!entry.summary.is_empty() && !entry.summary.contains('\n'));
    }
    assert!(by_name("fastest").is_none());
}

proptest! {
    #[test]
    fn picks_an_allowed_candidate_whenever_there_is_one(
        members in prop::collection::vec((1_u32..=256, 0_u32..4, any::<bool>()), 0..60),
        limit in prop::option::of(1_u32..4),
        seed in any::<u64>(),
    ) {
        let weights: Vec<_> = members.iter().map(|(weight, ..)| *weight).collect();
        let candidates = candidates(&weights);
        let mut tried = Vec::new();
        for (candidate, (_, in_flight, is_tried)) in candidates.iter().zip(&members) {
            candidate.load.in_flight.0.store(*in_flight, Ordering::Relaxed);
            if *is_tried {
                tried.push(candidate.load.id);
            }
        }
        for entry in STRATEGIES {
            let strategy = built(entry, &candidates);
            let mut rng = Rng::seeded(seed);
            for _ in 0..20 {
                let context = PickContext { in_flight_limit: limit, ..context(&tried, rng.bits()) };
                let is_any = candidates.iter().any(|candidate| context.may_pick(candidate));
                match strategy.pick(&candidates, &context) {
                    Some(index) => prop_assert!(context.may_pick(&candidates[index]), "{}: {index}", entry.name),
                    None => prop_assert!(!is_any, "{}: picked none although some may be picked", entry.name),
                }
            }
        }
    }

    #[test]
    fn picks_the_only_candidate_left(
        count in 1_usize..300,
        left in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let candidates = candidates(&vec![1; count]);
        let left = left.index(count);
        let others = (0..count).filter(|index| *index != left);
        let tried: Vec<_> = others.map(|index| candidates[index].load.id).collect();
        for entry in STRATEGIES {
            let strategy = built(entry, &candidates);
            prop_assert_eq!(strategy.pick(&candidates, &context(&tried, seed)), Some(left), "{}", entry.name);
        }
    }

    #[test]
    fn round_robin_is_exact_by_weight_in_every_round(
        weights in prop::collection::vec(1_u32..=20, 1..12),
        start in any::<u64>(),
    ) {
        let candidates = candidates(&weights);
        let cursor = Arc::new(Cursor::default());
        cursor.first.0.store(start, Ordering::Relaxed);
        let strategy = (by_name("round_robin").unwrap().build)(&Params::default(), &candidates, &cursor);
        let total: u32 = weights.iter().sum();
        prop_assume!(start < u64::MAX - u64::from(total));
        prop_assert_eq!(counts(&*strategy, &candidates, &[], total), weights);
    }
}

#[test]
fn shares_follow_weights_when_all_are_idle() {
    for weights in [vec![1, 1, 1], vec![1, 3], vec![200, 50, 6], vec![2; 40]] {
        let candidates = candidates(&weights);
        let total: u32 = weights.iter().sum();
        for entry in STRATEGIES {
            let counts = counts(&*built(entry, &candidates), &candidates, &[], 40_000);
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = f64::from(40_000 * weight) / f64::from(total);
                // Five standard deviations of a fair draw.
                let slack = 5.0 * expected.sqrt();
                assert!(
                    (f64::from(*count) - expected).abs() <= slack,
                    "{} {weights:?}: {counts:?}",
                    entry.name
                );
            }
        }
    }
}

#[test]
fn further_attempts_spread_over_all_remaining_candidates() {
    let candidates = candidates(&[1, 1, 1, 1, 1]);
    let tried = [candidates[2].load.id];
    for entry in STRATEGIES {
        let counts = counts(&*built(entry, &candidates), &candidates, &tried, 8_000);
        assert_eq!(counts[2], 0, "{}", entry.name);
        for index in [0, 1, 3, 4] {
            assert!(counts[index].abs_diff(2_000) <= 220, "{}: {counts:?}", entry.name);
        }
    }
}

/// Two of four backends fail every request, so the backends left for a further attempt depend on the counter of first attempts.
#[test]
fn failing_backends_do_not_skew_the_share_of_the_others() {
    let candidates = candidates(&[1, 1, 1, 1]);
    let strategy = built(by_name("round_robin").unwrap(), &candidates);
    let mut served = [0_u32; 4];
    for _ in 0..4_000 {
        let mut tried = Vec::new();
        let served_by = loop {
            let index = strategy.pick(&candidates, &context(&tried, 0)).unwrap();
            if index >= 2 {
                break index;
            }
            tried.push(candidates[index].load.id);
        };
        served[served_by] += 1;
    }
    assert!(served[2].abs_diff(served[3]) <= 200, "{served:?}");
}

#[test]
fn round_robin_is_exact_when_many_threads_pick() {
    let candidates = candidates(&[1, 1, 1]);
    let strategy = built(by_name("round_robin").unwrap(), &candidates);
    let mut totals = [0; 3];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| counts(&*strategy, &candidates, &[], 375)))
            .collect();
        for thread in threads {
            for (total, count) in totals.iter_mut().zip(thread.join().unwrap()) {
                *total += count;
            }
        }
    });
    assert_eq!(totals, [1_000; 3]);
}

#[test]
fn least_requests_picks_the_least_loaded_for_its_weight() {
    let candidates = candidates(&[1, 1, 4]);
    let strategy = built(by_name("least_requests").unwrap(), &candidates);
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
fn least_requests_keeps_large_pools_level() {
    let candidates = candidates(&[1; 100]);
    let strategy = built(by_name("least_requests").unwrap(), &candidates);
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
    assert!(worst <= 106, "{worst}");
}

/// Counts the picks of each candidate with `in_flight` requests running all the time: before each pick a random one ends.
fn counts_under_load(candidates: &[Candidate], in_flight: usize, picks: u32) -> Vec<u32> {
    let strategy = built(by_name("least_requests").unwrap(), candidates);
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
fn least_requests_follows_weights_however_few_are_in_flight() {
    const PICKS: u32 = 50_000;
    for weights in [vec![100, 1], vec![1, 100, 1], vec![3, 1], vec![1, 1]] {
        let total: u32 = weights.iter().sum();
        for in_flight in [1, 2, 3, 5, 10, 40] {
            let counts = counts_under_load(&candidates(&weights), in_flight, PICKS);
            for (count, weight) in counts.iter().zip(&weights) {
                let (share, wanted) = (
                    f64::from(*count) / f64::from(PICKS),
                    f64::from(*weight) / f64::from(total),
                );
                // A heavy backend gets the share of its weight, a light one roughly.
                assert!(
                    (share - wanted).abs() < 0.1 && share > wanted / 3.0 && share < wanted * 3.0,
                    "{weights:?}, {in_flight} in flight: {counts:?}"
                );
            }
        }
    }
}

/// With more candidates than are all compared.
#[test]
fn least_requests_follows_weights_in_large_pools() {
    const PICKS: u32 = 50_000;
    let weights: Vec<u32> = (0..40).map(|index| if index < 4 { 100 } else { 10 }).collect();
    let wanted = 400.0 / 760.0;
    for in_flight in [1, 5, 20] {
        let counts = counts_under_load(&candidates(&weights), in_flight, PICKS);
        let heavy = f64::from(counts[..4].iter().sum::<u32>()) / f64::from(PICKS);
        assert!(
            (heavy - wanted).abs() < 0.08,
            "{in_flight} in flight: {heavy}, {wanted} is wanted"
        );
    }
}
