//! Hostile requests.

use std::thread;

use super::bench::{Named, Outcome, try_all};
use super::corpora;
use super::table::{Case, Expected, read};
use crate::support::oracle::{Dice, Evidence, Input, Kind, Mode, Route, Violation, judge_request, mutate};

/// Default number of mutated inputs; `EVENKEEL_DESYNC_COUNT` sets another one.
const COUNT: u64 = 4000;
/// Default seed; `EVENKEEL_DESYNC_SEED` sets another one.
const SEED: u64 = 1;

/// How the follow-up on the same connection begins.
const TAIL: &[u8] = b"GET /tail HTTP/1.1\r\nHost: tail\r\nX-Nonce: tail\r\n\r\n";

/// The hand-written table.
pub(super) fn cases() -> Vec<Case> {
    read(include_str!("requests.txt"))
}

/// A number from the environment.
pub(super) fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn the_table_covers_every_class_of_input() {
    let cases = cases();
    assert!(cases.len() >= 250, "{} cases", cases.len());
    for row in 1..=21 {
        let row = format!("F{row}");
        let count = cases.iter().filter(|case| case.row == row).count();
        assert!(count >= 3, "{row} has only {count}");
    }
    assert!(cases.iter().all(|case| !case.clause.is_empty()));
}

#[test]
fn hostile_requests_get_the_expected_response() {
    let cases = cases();
    let inputs = cases
        .iter()
        .enumerate()
        .map(|(index, case)| (index.to_string(), Input::new(&case.bytes)));
    let judge = |name: &str, evidence: &Evidence| {
        let case = &cases[name.parse::<usize>().expect("an index")];
        let mut verdict = judge_request(evidence);
        let expected = match &case.expected {
            Expected::Statuses(statuses) => statuses,
            Expected::Either | Expected::Cut => return verdict,
        };
        if *expected != verdict.statuses {
            let text = format!(
                "{} {} ({}): expected {expected:?}, got {:?}",
                case.row, case.name, case.clause, verdict.statuses
            );
            let kind = Kind::WrongResponse;
            verdict.violations.push(Violation { kind, text });
        }
        verdict
    };
    let outcome = try_all(Route::Plain, inputs, judge);
    outcome.check("table");
    assert!(outcome.forwarded > 40 && outcome.refused > 150, "{outcome:?}");
    assert!(outcome.reused > 40, "{outcome:?}");
}

#[test]
fn hostile_requests_do_not_affect_later_ones_however_backends_respond() {
    let inputs = cases().into_iter().flat_map(|case| {
        let pieces = vec![case.bytes.clone(), TAIL.to_vec()];
        let name = format!("{} {}", case.row, case.name);
        let input = move |mode| Input {
            pieces: pieces.clone(),
            mode,
            ..Input::default()
        };
        Mode::ALL.map(|mode| (name.clone(), input(mode)))
    });
    try_all(Route::Plain, inputs, |_, evidence| judge_request(evidence)).check("table with a request behind");
}

#[test]
fn a_refusal_does_not_wait_for_more_bytes() {
    let is_refused =
        |case: &Case| matches!(&case.expected, Expected::Statuses(all) if all.last() >= Some(&400));
    let inputs = cases().into_iter().filter(is_refused).map(|case| {
        let mut input = Input::new(&case.bytes);
        input.stays_open = true;
        (format!("{} {}", case.row, case.name), input)
    });
    let outcome = try_all(Route::Plain, inputs, |_, evidence| judge_request(evidence));
    outcome.check("refusals on connections that stay open");
    assert_eq!(outcome.refused, outcome.inputs);
}

#[test]
fn requests_of_public_corpora_pass_the_oracle() {
    let requests = corpora::requests();
    let inputs: Vec<Named> = requests
        .iter()
        .enumerate()
        .flat_map(|(index, case)| {
            let with_tail = Input::new(&[&case.bytes, TAIL].concat());
            let name = format!("{index} {}", case.name);
            [
                (name.clone(), Input::new(&case.bytes)),
                (format!("{name}, more behind"), with_tail),
            ]
        })
        .collect();
    let judge = |name: &str, evidence: &Evidence| {
        let mut verdict = judge_request(evidence);
        let index = name
            .split(' ')
            .next()
            .and_then(|index| index.parse::<usize>().ok());
        let case = &requests[index.expect("an index")];
        let status = verdict.statuses.first().copied();
        let is_alone = evidence.input.bytes() == case.bytes;
        if is_alone && !case.expected.allows(status) {
            let text = format!("expected {:?}, got {status:?}", case.expected);
            let kind = Kind::WrongResponse;
            verdict.violations.push(Violation { kind, text });
        }
        verdict
    };
    try_all(Route::Plain, inputs, judge).check("corpora");
}

#[test]
fn mutated_requests_pass_the_oracle() {
    let seed = setting("EVENKEEL_DESYNC_SEED", SEED);
    let count = setting("EVENKEEL_DESYNC_COUNT", COUNT);
    // Two balancers at a time: each has one worker.
    let lanes = [0, 1].map(|lane| {
        thread::spawn(move || {
            let bases = bases();
            let mut dice = Dice::seeded(seed.wrapping_mul(2).wrapping_add(lane));
            let inputs = (0..count / 2).map(move |number| {
                let name = format!("mutation {number} of lane {lane}, seed {seed}");
                (name, mutated(&bases, &mut dice))
            });
            try_all(Route::Plain, inputs, |_, evidence| judge_request(evidence))
        })
    });
    let mut outcome = Outcome::default();
    for lane in lanes {
        outcome.add(lane.join().expect("the lane ends"));
    }
    outcome.check(&format!(
        "EVENKEEL_DESYNC_SEED={seed} EVENKEEL_DESYNC_COUNT={count}"
    ));
    assert!(outcome.forwarded * 20 > outcome.inputs, "{outcome:?}");
    assert!(outcome.refused * 4 > outcome.inputs, "{outcome:?}");
}

/// The inputs to mutate. Accepted ones are included several times: a refused input rarely becomes acceptable.
pub(super) fn bases() -> Vec<Vec<u8>> {
    let mut bases = Vec::new();
    for case in cases().into_iter().filter(|case| case.bytes.len() < 4096) {
        let is_accepted =
            matches!(&case.expected, Expected::Statuses(statuses) if statuses.first() == Some(&200));
        bases.extend(vec![case.bytes; if is_accepted { 12 } else { 1 }]);
    }
    bases.extend(corpora::requests().into_iter().map(|case| case.bytes));
    bases
}

pub(super) fn mutated(bases: &[Vec<u8>], dice: &mut Dice) -> Input {
    let mut bytes = mutate(bases, dice);
    if dice.is_one_in(2) {
        bytes.extend_from_slice(TAIL);
    }
    let mode = if dice.is_one_in(2) {
        Mode::Length
    } else {
        *dice.one_of(&Mode::ALL)
    };
    Input {
        pieces: dice.pieces(&bytes),
        mode,
        ..Input::default()
    }
}
