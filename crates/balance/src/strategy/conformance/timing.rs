//! What a pick costs with 1,000 backends:
//! `cargo test --release -p evenkeel-balance picks_are_fast -- --ignored --nocapture`.

use std::hint::black_box;

use super::*;

const BACKENDS: usize = 1_000;
const PICKS: u32 = 100_000;
const ROUNDS: u32 = 9;
/// Nanoseconds that a pick may cost.
const ALLOWED: f64 = 150.0;

/// Those whose picks touch nothing that grows with the number of backends.
const FAST: [&str; 3] = ["two_choices", "ring_hash", "maglev"];

/// The median over the rounds, in nanoseconds.
fn cost(strategy: &dyn Strategy, candidates: &[Candidate], context: &PickContext<'_>) -> f64 {
    let mut rng = Rng::seeded(2);
    let mut round = || {
        let start = crate::clock::now();
        for _ in 0..PICKS {
            let bits = rng.bits();
            let context = PickContext {
                key: Some(bits),
                random: bits,
                ..*context
            };
            black_box(strategy.pick(black_box(candidates), black_box(&context)));
        }
        (crate::clock::now() - start).as_secs_f64() * 1e9 / f64::from(PICKS)
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[test]
#[ignore = "measures times: it needs an optimised build and an idle machine"]
fn picks_are_fast() {
    for settings in all() {
        let weights: Vec<u32> = (0..BACKENDS as u32).map(|index| 1 + index % 3).collect();
        let candidates = candidates(&weights);
        let strategy = built(&settings, &candidates);
        let usual = context(&[], 0);
        let busy = |every: usize| {
            for (index, candidate) in candidates.iter().enumerate() {
                let in_flight = if index.is_multiple_of(every) { 9 } else { 2 };
                candidate.load.in_flight.0.store(in_flight, Ordering::Relaxed);
            }
        };
        let idle = cost(&*strategy, &candidates, &usual);
        busy(3);
        let full = PickContext {
            in_flight_limit: Some(9),
            ..usual
        };
        let full = cost(&*strategy, &candidates, &full);
        let tried: Vec<BackendId> = candidates.iter().step_by(3).map(|one| one.load.id).collect();
        let tried = cost(
            &*strategy,
            &candidates,
            &PickContext {
                tried: &tried,
                ..usual
            },
        );
        let factor = settings
            .params
            .decimal("load_factor")
            .map_or(String::new(), |factor| format!(" {factor}"));
        println!(
            "{}{factor}: {idle:.0} ns, a third full {full:.0} ns, a third tried {tried:.0} ns",
            settings.name()
        );
        let is_fast = idle.max(full) <= ALLOWED;
        assert!(is_fast || !FAST.contains(&settings.name()), "{}", settings.name());
    }
}
