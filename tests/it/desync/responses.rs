//! Hostile responses: what the client gets of them, and that no other client gets any of it.

use std::thread;

use super::bench::{Named, Outcome, try_all};
use super::corpora;
use super::requests::setting;
use super::table::{Case, Expected, read};
use crate::support::oracle::{
    Dice, Evidence, HOSTILE, Input, Kind, Meant, Route, Script, Violation, judge_response, mutate,
};

/// Default number of mutated responses; `EVENKEEL_DESYNC_COUNT` sets another one.
const COUNT: u64 = 2000;
/// Default seed; `EVENKEEL_DESYNC_SEED` sets another one.
const SEED: u64 = 1;
/// A body that does not fit into a few buffers.
const LARGE: usize = 100_000;

/// The hand-written table.
pub(super) fn cases() -> Vec<Case> {
    read(include_str!("responses.txt"))
}

/// The request that gets the response, and one after it, unless `is_alone`.
fn request(name: &str, is_alone: bool) -> Vec<u8> {
    let has = |flag: &str| name.contains(flag);
    let version = if has("[1.0]") { "1.0" } else { "1.1" };
    let (method, body) = if has("[early]") {
        ("POST", "a".repeat(LARGE))
    } else if has("[POST]") {
        ("POST", "hello".to_owned())
    } else if has("[HEAD]") {
        ("HEAD", String::new())
    } else {
        ("GET", String::new())
    };
    let length = match method {
        "POST" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let tail = match is_alone {
        true => "",
        false => "GET /tail HTTP/1.1\r\nHost: a\r\nX-Nonce: tail\r\n\r\n",
    };
    format!("{method} /hostile HTTP/{version}\r\nHost: a\r\n{length}\r\n{body}{tail}").into_bytes()
}

/// The input for which the backend sends `response`, with the bytes after `@@` later.
pub(super) fn input(name: &str, response: &[u8]) -> Input {
    let is_late = response.windows(2).any(|two| two == b"@@");
    let request = request(name, is_late);
    let method = request.split(|byte| *byte == b' ').next().unwrap_or_default();
    let split = response.windows(2).position(|two| two == b"@@");
    let (bytes, late) = split.map_or((response, &b""[..]), |at| (&response[..at], &response[at + 2..]));
    let mut script = Script {
        path: HOSTILE.to_vec(),
        bytes: bytes.to_vec(),
        closes: name.contains("[closes]"),
        is_early: name.contains("[early]"),
        late: late.to_vec(),
    };
    // The balancer would wait for a backend that sends no more.
    script.closes |= !Meant::read(&script, method).is_whole();
    Input {
        pieces: vec![request],
        script: Some(script),
        ..Input::default()
    }
}

#[test]
fn the_table_covers_every_class_of_response() {
    let cases = cases();
    for row in 1..=9 {
        let row = format!("P{row}");
        let count = cases.iter().filter(|case| case.row == row).count();
        assert!(count >= 3, "{row} has only {count}");
    }
    assert!(cases.iter().all(|case| !case.clause.is_empty()));
}

#[test]
fn hostile_responses_reach_the_client_completely_or_not_at_all() {
    let cases = cases();
    let inputs = cases
        .iter()
        .enumerate()
        .map(|(index, case)| (index.to_string(), input(&case.name, &case.bytes)));
    let judge = |name: &str, evidence: &Evidence| {
        let case = &cases[name.parse::<usize>().expect("an index")];
        let mut verdict = judge_response(evidence);
        let is_expected = match &case.expected {
            Expected::Either => true,
            Expected::Cut => verdict.is_cut,
            Expected::Statuses(statuses) => !verdict.is_cut && verdict.statuses.first() == statuses.first(),
        };
        if !is_expected {
            let text = format!(
                "{} {} ({}): expected {:?}, got {:?}",
                case.row, case.name, case.clause, case.expected, verdict.statuses
            );
            let kind = Kind::WrongResponse;
            verdict.violations.push(Violation { kind, text });
        }
        verdict
    };
    let outcome = try_all(Route::Plain, inputs, judge);
    outcome.check("responses");
    assert_eq!(outcome.forwarded, cases.len());
    assert!(outcome.refused > 40 && outcome.reused > 10, "{outcome:?}");
}

#[test]
fn responses_of_public_corpora_pass_the_oracle() {
    let inputs = corpora::responses().into_iter().flat_map(|case| {
        ["", "[HEAD]", "[1.0]"].map(|flag| {
            let name = format!("{} {flag}", case.name);
            let input = input(&name, &case.bytes);
            (name, input)
        })
    });
    try_all(Route::Plain, inputs, |_, evidence| judge_response(evidence)).check("corpora of responses");
}

#[test]
fn mutated_responses_pass_the_oracle() {
    let seed = setting("EVENKEEL_DESYNC_SEED", SEED);
    let count = setting("EVENKEEL_DESYNC_COUNT", COUNT);
    // Two balancers at a time: each has one worker.
    let lanes = [0, 1].map(|lane| {
        thread::spawn(move || {
            let bases = bases();
            let mut dice = Dice::seeded(seed.wrapping_mul(2).wrapping_add(lane));
            let inputs = (0..count / 2).map(move |number| mutated(&bases, number, &mut dice));
            try_all(Route::Plain, inputs, |_, evidence| judge_response(evidence))
        })
    });
    let mut outcome = Outcome::default();
    for lane in lanes {
        outcome.add(lane.join().expect("the lane ends"));
    }
    outcome.check(&format!(
        "responses, EVENKEEL_DESYNC_SEED={seed} EVENKEEL_DESYNC_COUNT={count}"
    ));
    assert!(outcome.refused * 10 > outcome.inputs, "{outcome:?}");
    assert!(outcome.refused * 10 < outcome.inputs * 9, "{outcome:?}");
}

/// The responses to mutate. Accepted ones are included several times.
pub(super) fn bases() -> Vec<Vec<u8>> {
    let mut bases = Vec::new();
    for case in cases().into_iter().filter(|case| case.bytes.len() < 4096) {
        let is_refused = case.expected == Expected::Statuses(vec![502]);
        bases.extend(vec![case.bytes; if is_refused { 1 } else { 4 }]);
    }
    bases.extend(corpora::responses().into_iter().map(|case| case.bytes));
    bases
}

pub(super) fn mutated(bases: &[Vec<u8>], number: u64, dice: &mut Dice) -> Named {
    let response = mutate(bases, dice);
    let flags = ["", "", "[HEAD]", "[POST]", "[1.0]", "[closes]", "[early]"];
    let name = format!("mutated response {number} {}", dice.one_of(&flags));
    let input = input(&name, &response);
    (name, input)
}
