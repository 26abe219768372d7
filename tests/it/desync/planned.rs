//! The same inputs through a route that changes path, headers and bodies.

use std::cell::Cell;

use super::bench::try_all;
use super::{requests, responses};
use crate::support::oracle::{Dice, Input, Route, judge_request, judge_response};

/// Default number of mutated inputs; `EVENKEEL_DESYNC_COUNT` sets another one.
const COUNT: u64 = 1500;
/// Default seed; `EVENKEEL_DESYNC_SEED` sets another one.
const SEED: u64 = 1;

#[test]
fn hostile_requests_pass_the_oracle_behind_a_plan() {
    let inputs = requests::cases()
        .into_iter()
        .map(|case| (format!("{} {}", case.row, case.name), Input::new(&case.bytes)));
    let outcome = try_all(Route::Planned, inputs, |_, evidence| judge_request(evidence));
    outcome.check("table, planned");
    assert!(outcome.forwarded > 40 && outcome.refused > 150, "{outcome:?}");
}

#[test]
fn mutated_requests_pass_the_oracle_behind_a_plan() {
    let seed = requests::setting("EVENKEEL_DESYNC_SEED", SEED);
    let count = requests::setting("EVENKEEL_DESYNC_COUNT", COUNT);
    let bases = requests::bases();
    let mut dice = Dice::seeded(seed);
    let inputs = (0..count).map(|number| {
        let name = format!("mutation {number}, seed {seed}, planned");
        (name, requests::mutated(&bases, &mut dice))
    });
    let outcome = try_all(Route::Planned, inputs, |_, evidence| judge_request(evidence));
    outcome.check(&format!(
        "planned, EVENKEEL_DESYNC_SEED={seed} EVENKEEL_DESYNC_COUNT={count}"
    ));
    assert!(outcome.forwarded * 20 > outcome.inputs, "{outcome:?}");
}

#[test]
fn hostile_responses_pass_the_oracle_behind_a_plan() {
    let inputs = responses::cases().into_iter().flat_map(|case| {
        let input = responses::input(&case.name, &case.bytes);
        [
            (case.name.clone(), input.clone()),
            (format!("{} [gzip]", case.name), compressible(input)),
        ]
    });
    let compressed = Cell::new(0);
    let outcome = try_all(Route::Planned, inputs, |_, evidence| {
        let coding = b"Content-Encoding: gzip";
        let is_compressed = evidence.got.windows(coding.len()).any(|part| part == coding);
        compressed.set(compressed.get() + usize::from(is_compressed));
        judge_response(evidence)
    });
    outcome.check("responses, planned");
    assert!(outcome.refused > 80, "{outcome:?}");
    assert!(compressed.get() > 20, "only {} were compressed", compressed.get());
}

#[test]
fn mutated_responses_pass_the_oracle_behind_a_plan() {
    let seed = requests::setting("EVENKEEL_DESYNC_SEED", SEED);
    let count = requests::setting("EVENKEEL_DESYNC_COUNT", COUNT);
    let bases = responses::bases();
    let mut dice = Dice::seeded(seed);
    let inputs = (0..count).map(|number| {
        let (name, input) = responses::mutated(&bases, number, &mut dice);
        let input = match dice.is_one_in(2) {
            true => compressible(input),
            false => input,
        };
        (name, input)
    });
    let outcome = try_all(Route::Planned, inputs, |_, evidence| judge_response(evidence));
    outcome.check(&format!(
        "responses, planned, EVENKEEL_DESYNC_SEED={seed} EVENKEEL_DESYNC_COUNT={count}"
    ));
    assert!(outcome.refused * 10 > outcome.inputs, "{outcome:?}");
}

/// The same input from a client that accepts gzip, with a type that is compressed.
fn compressible(mut input: Input) -> Input {
    let script = input.script.as_mut().expect("a response");
    insert_after(&mut input.pieces[0], b"Host: a\r\n", b"Accept-Encoding: gzip\r\n");
    insert_after(&mut script.bytes, b"\r\n", b"Content-Type: text/css\r\n");
    input
}

fn insert_after(bytes: &mut Vec<u8>, line: &[u8], new: &[u8]) {
    if let Some(at) = bytes.windows(line.len()).position(|part| part == line) {
        let at = at + line.len();
        bytes.splice(at..at, new.iter().copied());
    }
}
