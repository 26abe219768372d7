//! The check itself: many random runs break no invariant, and every invariant is broken by a defect that is built in for it.

use evenkeel_sim::check::Plan;
use evenkeel_sim::defect::{DEFECTS, Defect};
use evenkeel_sim::invariant::INVARIANTS;

/// Far fewer than the documented command runs.
const SEEDS: u64 = 1_000;
const STEPS: u64 = 1_000;

/// A defect is looked for in so many seeds, and then in as many more, up to so many.
const DEFECT_SEEDS: u64 = 200;
const MOST_DEFECT_SEEDS: u64 = 4_000;

fn plan(seeds: u64, defect: Option<Defect>) -> Plan {
    Plan {
        first: 0,
        seeds,
        steps: STEPS,
        defect,
        strategy: None,
        threads: 2,
    }
}

#[test]
fn random_runs_break_no_invariant() {
    let failed = plan(SEEDS, None).run();
    let shown: Vec<_> = failed.iter().take(10).map(ToString::to_string).collect();
    assert!(
        failed.is_empty(),
        "{} of {SEEDS} seeds:\n{}",
        failed.len(),
        shown.join("\n")
    );
}

#[test]
fn every_defect_is_found_by_the_invariant_that_it_breaks() {
    for (defect, name, invariant) in DEFECTS {
        let batches = (0..MOST_DEFECT_SEEDS).step_by(DEFECT_SEEDS as usize);
        let mut failures = batches.flat_map(|first| {
            let plan = Plan {
                first,
                ..plan(DEFECT_SEEDS, Some(*defect))
            };
            plan.run()
        });
        let is_found = failures.any(|failed| failed.violation.invariant == *invariant);
        assert!(is_found, "{name} was not found as {invariant:?}");
    }
}

#[test]
fn every_invariant_has_a_defect_that_breaks_it() {
    for (invariant, name, sentence) in INVARIANTS {
        assert!(DEFECTS.iter().any(|(_, _, broken)| broken == invariant), "{name}");
        assert_eq!((invariant.name(), sentence.contains('\n')), (*name, false));
    }
}

#[test]
fn a_seed_repeats_its_run_and_its_trace_ends_with_the_failure() {
    let plan = plan(DEFECT_SEEDS, Some(Defect::MissesAnEnd));
    let failed = plan.run();
    let first = failed.first().expect("the defect is found");
    assert_eq!(plan.run_seed(first.seed).as_ref(), Some(first));
    let trace = plan.trace(first.seed);
    assert_eq!(trace, plan.trace(first.seed));
    assert!(trace.iter().any(|line| line.contains("goes to b")), "{trace:?}");
    assert_eq!(trace.last(), Some(&first.violation.to_string()));
}

#[test]
fn another_seed_is_another_run() {
    let plan = plan(1, None);
    assert_ne!(plan.trace(1), plan.trace(2));
}
