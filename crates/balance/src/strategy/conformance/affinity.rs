//! Strategies with affinity: those with a `key`.

use std::collections::HashMap;

use super::*;

const KEYS: u64 = 20_000;

fn with_affinity() -> impl Iterator<Item = Settings> {
    all()
        .into_iter()
        .filter(|settings| settings.entry.keys.iter().any(|key| key.name == "key"))
}

fn of_key(key: u64) -> PickContext<'static> {
    PickContext {
        key: Some(crate::rng::mix(key)),
        ..context(&[], key.wrapping_mul(31))
    }
}

/// The identities of the candidates that keys lead to.
fn owners(settings: &Settings, candidates: &[Candidate]) -> Vec<u64> {
    let strategy = built(settings, candidates);
    let owner = |key| candidates[strategy.pick(candidates, &of_key(key)).unwrap()].identity;
    (0..KEYS).map(owner).collect()
}

#[test]
fn a_key_stays_with_its_backend_and_few_others_move_when_one_leaves() {
    for (settings, count) in
        with_affinity().flat_map(|settings| [2, 10, 100].map(|count| (settings.clone(), count)))
    {
        let mut candidates = candidates(&vec![1; count]);
        let before = owners(&settings, &candidates);
        assert_eq!(before, owners(&settings, &candidates), "{}", settings.name());
        let gone = candidates.remove(count / 2).identity;
        let after = owners(&settings, &candidates);
        let rest = || before.iter().zip(&after).filter(|(before, _)| **before != gone);
        let moved = rest().filter(|(before, after)| before != after).count();
        let allowed = match settings.name() {
            "ring_hash" => 0,
            _ => rest().count() / 20,
        };
        assert!(
            moved <= allowed,
            "{}, {count}: {moved} of {}",
            settings.name(),
            rest().count()
        );
    }
}

#[test]
fn those_of_a_backend_that_leaves_go_to_all_others() {
    for settings in with_affinity() {
        let mut candidates = candidates(&[1; 10]);
        let before = owners(&settings, &candidates);
        let gone = candidates.remove(4).identity;
        let mut heirs = HashMap::<u64, u32>::new();
        for (_, after) in before
            .iter()
            .zip(owners(&settings, &candidates))
            .filter(|(before, _)| **before == gone)
        {
            *heirs.entry(after).or_default() += 1;
        }
        let most = heirs.values().max().unwrap();
        assert!(
            heirs.len() == 9 && u64::from(*most) < KEYS / 10 / 4,
            "{}: {heirs:?}",
            settings.name()
        );
    }
}

/// Another instance has its own ids of backends and may have them in another order.
#[test]
fn instances_agree_whatever_the_order_of_their_backends() {
    for settings in with_affinity() {
        let weights = [1, 5, 2, 1, 1, 3, 1, 1, 2, 1];
        let mut others = candidates(&weights);
        others.reverse();
        let (ours, theirs) = (
            owners(&settings, &candidates(&weights)),
            owners(&settings, &others),
        );
        let differ = ours
            .iter()
            .zip(&theirs)
            .filter(|(one, other)| one != other)
            .count();
        let allowed = match settings.name() {
            "ring_hash" => 0,
            _ => KEYS as usize / 50,
        };
        assert!(differ <= allowed, "{}: {differ}", settings.name());
    }
}

#[test]
fn a_backend_that_may_not_be_picked_is_replaced_by_the_same_one_each_time() {
    for settings in with_affinity() {
        let candidates = candidates(&[1; 5]);
        let strategy = built(&settings, &candidates);
        for key in 0..200 {
            let pick = |tried: &[BackendId], random| {
                let context = PickContext {
                    tried,
                    random,
                    ..of_key(key)
                };
                strategy.pick(&candidates, &context).unwrap()
            };
            let first = candidates[pick(&[], 1)].load.id;
            let second = pick(&[first], 2);
            assert_eq!(second, pick(&[first], 3), "{}", settings.name());
            assert_ne!(candidates[second].load.id, first, "{}", settings.name());
        }
    }
}

#[test]
fn requests_without_a_key_are_distributed_evenly() {
    let weights = [1, 3, 6];
    let candidates = candidates(&weights);
    for settings in with_affinity() {
        let strategy = built(&settings, &candidates);
        let mut rng = Rng::seeded(5);
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            let context = PickContext {
                key: None,
                ..context(&[], rng.bits())
            };
            counts[strategy.pick(&candidates, &context).unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!(
                count.abs_diff(2_000 * weight) < 400,
                "{}: {counts:?}",
                settings.name()
            );
        }
    }
}

#[test]
fn only_a_bounded_load_reads_the_requests_in_flight() {
    for settings in with_affinity() {
        let is_bounded = settings.params.decimal("load_factor").is_some();
        assert_eq!(settings.reads().in_flight, is_bounded, "{}", settings.name());
        let candidates = candidates(&[1, 2]);
        candidates[0].load.in_flight.0.store(2, Ordering::Relaxed);
        // 1.25 × (2 + 1) / 3 for a weight of 1.
        let score = built(&settings, &candidates).score(&candidates, 0, &of_key(0));
        assert_eq!(score, is_bounded.then_some(2.0 / 1.25), "{}", settings.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Most requests have the same key, and they end in any order.
    #[test]
    fn the_bound_holds_whatever_the_keys(
        weights in prop::collection::vec(1_u32..=5, 1..60),
        thousandths in 1_010_u32..3_000,
        seed in any::<u64>(),
    ) {
        let total_weight = f64::from(weights.iter().sum::<u32>());
        let factor = f64::from(thousandths) / 1_000.0;
        for name in ["ring_hash", "maglev"] {
            let candidates = candidates(&weights);
            let strategy = built(&with_load_factor(name, thousandths), &candidates);
            let mut rng = Rng::seeded(seed);
            let mut running = Vec::new();
            for step in 0..600 {
                let ends = if step < 300 { 0 } else { 2 };
                for _ in 0..ends.min(running.len()) {
                    let index: usize = running.swap_remove(crate::rng::below(rng.bits(), running.len() as u64) as usize);
                    candidates[index].load.in_flight.0.fetch_sub(1, Ordering::Relaxed);
                }
                let key = if crate::rng::below(rng.bits(), 10) < 8 { 1 } else { rng.bits() };
                let index = strategy.pick(&candidates, &PickContext { random: rng.bits(), ..of_key(key) }).unwrap();
                let in_flight = candidates[index].load.in_flight.0.fetch_add(1, Ordering::Relaxed) + 1;
                running.push(index);
                // With more than 16 candidates the sum may be old by as many requests as half of them have ended meanwhile.
                let stale = if weights.len() > 16 { weights.len() as f64 } else { 0.0 };
                let bound = factor * (running.len() as f64 + stale) * f64::from(weights[index]) / total_weight;
                prop_assert!(f64::from(in_flight) <= bound.ceil(), "{name}: {in_flight} of {}, {bound}", running.len());
            }
        }
    }
}

/// One key has all requests: without a bound its backend gets all of them.
#[test]
fn a_bound_spreads_a_key_with_many_requests_and_keeps_the_others() {
    for name in ["ring_hash", "maglev"] {
        let candidates = candidates(&[1; 1_000]);
        let strategy = built(&with_load_factor(name, 1_250), &candidates);
        for request in 0..5_000 {
            let context = PickContext {
                random: crate::rng::mix(request),
                ..of_key(7)
            };
            let index = strategy.pick(&candidates, &context).unwrap();
            candidates[index].load.in_flight.0.fetch_add(1, Ordering::Relaxed);
        }
        let most = candidates
            .iter()
            .map(|one| one.load.in_flight.0.load(Ordering::Relaxed))
            .max();
        assert!(most <= Some(7), "{name}: {most:?}");
        // A backend below the bound keeps its keys.
        let free = candidates
            .iter()
            .position(|one| one.load.in_flight.0.load(Ordering::Relaxed) == 0);
        let unbounded = built(&settings(name), &candidates);
        let kept = (0..KEYS).filter(|key| unbounded.pick(&candidates, &of_key(*key)) == free);
        for key in kept {
            assert_eq!(strategy.pick(&candidates, &of_key(key)), free, "{name}");
        }
    }
}
