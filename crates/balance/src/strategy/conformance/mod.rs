//! Conformance tests that every strategy of the table has to pass, on generated sets of candidates.

mod affinity;
mod in_flight;
mod simulated;
mod simulation;
mod timing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_assume, proptest};

use super::*;
use crate::rng::Rng;
use crate::schema::Value;

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

/// The strategy of this name with its defaults.
fn settings(name: &str) -> Settings {
    Settings {
        entry: by_name(name).unwrap(),
        params: Params::default(),
    }
}

/// All strategies with their defaults, and those with a load factor with one too. A new row is tested without being mentioned.
fn all() -> Vec<Settings> {
    let mut all: Vec<_> = STRATEGIES.iter().map(|entry| settings(entry.name)).collect();
    for entry in STRATEGIES {
        if entry.keys.iter().any(|key| key.name == "load_factor") {
            all.push(with_load_factor(entry.name, 1_250));
        }
    }
    all
}

/// All strategies for one seed of eight, and otherwise those that are built fast: an unoptimised Maglev takes long to fill its table.
fn all_or_fast(seed: u64) -> impl Iterator<Item = Settings> {
    let is_wanted = move |settings: &Settings| seed.is_multiple_of(8) || settings.name() != "maglev";
    all().into_iter().filter(is_wanted)
}

/// The strategy of this name with a load factor in thousandths.
fn with_load_factor(name: &str, thousandths: u32) -> Settings {
    let mut settings = settings(name);
    settings.params.set("load_factor", Value::Decimal(thousandths));
    settings
}

fn built(settings: &Settings, candidates: &[Candidate]) -> Box<dyn Strategy> {
    settings.build(candidates, &Arc::default())
}

/// How far the share of a candidate may be from that of its weight, as a part of it, beside chance. Only a ring is uneven by design.
fn unevenness(settings: &Settings, weight: u32) -> f64 {
    match settings.name() {
        "ring_hash" => 4.0 / f64::from(weight * 256).sqrt(),
        _ => 0.0,
    }
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
    #![proptest_config(ProptestConfig::with_cases(64))]

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
        for settings in all_or_fast(seed) {
            let strategy = built(&settings, &candidates);
            let mut rng = Rng::seeded(seed);
            for _ in 0..20 {
                let context = PickContext { in_flight_limit: limit, ..context(&tried, rng.bits()) };
                let is_any = candidates.iter().any(|candidate| context.may_pick(candidate));
                match strategy.pick(&candidates, &context) {
                    Some(index) => prop_assert!(context.may_pick(&candidates[index]), "{}: {index}", settings.name()),
                    None => prop_assert!(!is_any, "{}: picked none although some may be picked", settings.name()),
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
        for settings in all_or_fast(seed) {
            let strategy = built(&settings, &candidates);
            prop_assert_eq!(strategy.pick(&candidates, &context(&tried, seed)), Some(left), "{}", settings.name());
        }
    }

    #[test]
    fn every_window_of_round_robin_is_exact_by_weight_and_none_is_bursty(
        weights in prop::collection::vec(1_u32..=20, 1..12),
        start in any::<u64>(),
    ) {
        let candidates = candidates(&weights);
        let cursor = Arc::new(Cursor::default());
        cursor.first.0.store(start, Ordering::Relaxed);
        let strategy = settings("round_robin").build(&candidates, &cursor);
        let total: u32 = weights.iter().sum();
        prop_assume!(start < u64::MAX - 3 * u64::from(total));
        let picks: Vec<usize> = (0..3 * total).map(|_| strategy.pick(&candidates, &context(&[], 0)).unwrap()).collect();
        for (index, weight) in weights.iter().enumerate() {
            // Its picks so far.
            let mut sums = vec![0_u32];
            sums.extend(picks.iter().scan(0, |sum, pick| {
                *sum += u32::from(*pick == index);
                Some(*sum)
            }));
            for (from, sum) in sums.iter().enumerate() {
                for (length, later) in sums[from..].iter().enumerate().take(total as usize + 1) {
                    let exact = f64::from(*weight) * length as f64 / f64::from(total);
                    let found = f64::from(later - sum);
                    prop_assert!((found - exact).abs() < 2.0, "{length} from {from}: {found}, {exact} is exact");
                    prop_assert!(length != total as usize || later - sum == *weight);
                }
            }
        }
    }
}

#[test]
fn shares_follow_weights_when_all_are_idle() {
    for weights in [vec![1, 1, 1], vec![1, 3], vec![200, 50, 6], vec![2; 40]] {
        let candidates = candidates(&weights);
        let total: u32 = weights.iter().sum();
        for settings in all() {
            let counts = counts(&*built(&settings, &candidates), &candidates, &[], 40_000);
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = f64::from(40_000 * weight) / f64::from(total);
                // Five standard deviations of a fair draw.
                let slack = 5.0 * expected.sqrt() + unevenness(&settings, *weight) * expected;
                assert!(
                    (f64::from(*count) - expected).abs() <= slack,
                    "{} {weights:?}: {counts:?}",
                    settings.name()
                );
            }
        }
    }
}

#[test]
fn further_attempts_spread_over_all_remaining_candidates() {
    let candidates = candidates(&[1, 1, 1, 1, 1]);
    let tried = [candidates[2].load.id];
    for settings in all() {
        let counts = counts(&*built(&settings, &candidates), &candidates, &tried, 8_000);
        assert_eq!(counts[2], 0, "{}", settings.name());
        let slack = 220 + (2_000.0 * unevenness(&settings, 1)) as u32;
        for index in [0, 1, 3, 4] {
            assert!(
                counts[index].abs_diff(2_000) <= slack,
                "{}: {counts:?}",
                settings.name()
            );
        }
    }
}

/// Two of four backends fail every request, so the backends left for a further attempt depend on the counter of first attempts.
#[test]
fn failing_backends_do_not_skew_the_share_of_the_others() {
    let candidates = candidates(&[1, 1, 1, 1]);
    let strategy = built(&settings("round_robin"), &candidates);
    let mut served = [0_u32; 4];
    for _ in 0..4_000 {
        let mut tried = Vec::new();
        let served_by = loop {
            let index = strategy.pick(&candidates, &context(&tried, 0)).unwrap();
            if index >= 2 {
                break index;
            }
            tried.push(candidates[index].load.id);
            tried.sort_unstable();
        };
        served[served_by] += 1;
    }
    assert!(served[2].abs_diff(served[3]) <= 200, "{served:?}");
}

#[test]
fn round_robin_is_exact_when_many_threads_pick() {
    let candidates = candidates(&[1, 1, 1]);
    let strategy = built(&settings("round_robin"), &candidates);
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
