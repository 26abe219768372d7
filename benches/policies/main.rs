//! The time that a rule adds to a request, in nanoseconds: whole requests through the real balancer, with the rule and without it.
//! `cargo bench --profile gate --bench policies` measures and prints; with `-- --write` appended, the table becomes a section of
//! docs/benchmarks.md. `--rounds N` sets the number of rounds.
//!
//! One balancer has a route for each rule, and two without any. A round sends a few requests to each route, in random order, and
//! reads the processor time of the worker thread between them. A rule's time is its difference from the routes without a rule of
//! the same round, so that what slows down the machine for longer than a few milliseconds does not count; the median over the
//! rounds disregards what disturbs single ones. The two routes without a rule are compared with each other as well: that
//! difference has to be 0, and shows how exact the others are.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a developer tool, where a failure may panic"
)]

mod balancer;
mod cases;
#[path = "../shared/folder.rs"]
mod folder;
mod load;
mod page;
#[path = "../shared/process.rs"]
mod process;
#[path = "../shared/rules.rs"]
mod rules;
mod statistics;

use std::process::ExitCode;

use balancer::Balancer;
use cases::Case;
use evenkeel_balance::rng::{Rng, below};
use folder::Folder;
use load::Client;
use statistics::Estimate;

/// The argument that `cargo bench` passes and `cargo test --all-targets` does not.
const BENCH: &str = "--bench";
/// Rounds, unless the command line says how many.
const ROUNDS: usize = 5_000;
/// Rounds that do not count, until buffers have grown and tokens are remembered.
const WARM_UP: usize = 100;
/// Requests of a route in a round, one batch after the other on all connections.
const BATCHES: usize = 4;

/// What was measured: the time of a request without a rule, and the difference of each case from it.
pub(crate) struct Measured {
    pub(crate) rounds: usize,
    pub(crate) plain: Estimate,
    pub(crate) added: Vec<(Case, Estimate)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == BENCH) {
        println!("not measured: run `cargo bench --profile gate --bench policies`");
        return ExitCode::SUCCESS;
    }
    let after = arguments
        .iter()
        .skip_while(|argument| *argument != "--rounds")
        .nth(1);
    let rounds = after.map_or(ROUNDS, |text| text.parse().expect("`--rounds` requires a number"));
    let text = page::table(&measure(rounds.max(10)));
    println!("{text}");
    if arguments.iter().any(|argument| argument == "--write") {
        page::write(&text);
        println!("wrote {}", page::PATH);
    }
    ExitCode::SUCCESS
}

fn measure(rounds: usize) -> Measured {
    let folder = Folder::new("policies");
    let cases = cases::all(&folder);
    let [balancer_core, load_core] = load::cores();
    // A process inherits the core of the thread that starts it.
    load::pin(balancer_core);
    let backend = load::listen();
    let config = rules::config(cases.iter().map(|case| &*case.keys), backend.port());
    let balancer = Balancer::start(&folder, &config);
    load::pin(load_core);
    backend.serve();
    let mut client = Client::connect(balancer.address());
    let requests: Vec<Vec<u8>> = (0..cases.len()).map(cases::request).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); cases.len()];
    let mut order: Vec<usize> = (0..cases.len()).collect();
    let mut rng = Rng::seeded(1);
    for round in 0..WARM_UP + rounds {
        shuffle(&mut order, &mut rng);
        for &case in &order {
            let request = requests.get(case).expect("each case has one");
            let before = balancer.worker_time();
            (0..BATCHES).for_each(|_| client.batch(request));
            let took = balancer.worker_time().saturating_sub(before);
            let each = took.as_nanos() as f64 / (BATCHES * load::CONNECTIONS) as f64;
            if round >= WARM_UP {
                times.get_mut(case).expect("each case has some").push(each);
            }
        }
    }
    compare(cases, &times)
}

/// The differences of all cases from the first two, which have no rule. That of the second is the difference from the first.
fn compare(cases: Vec<Case>, times: &[Vec<f64>]) -> Measured {
    let [first, second, ..] = times else {
        unreachable!("two cases have no rule");
    };
    let both: Vec<f64> = first
        .iter()
        .zip(second)
        .map(|(one, other)| (one + other) / 2.0)
        .collect();
    let difference = |times: &Vec<f64>, base: &[f64]| {
        let each = times.iter().zip(base).map(|(with, without)| with - without);
        Estimate::of(each.collect())
    };
    let control = difference(second, first);
    let rules = times.iter().skip(2).map(|times| difference(times, &both));
    let estimates: Vec<Estimate> = std::iter::once(control).chain(rules).collect();
    Measured {
        rounds: both.len(),
        added: cases.into_iter().skip(1).zip(estimates).collect(),
        plain: Estimate::of(both),
    }
}

fn shuffle(order: &mut [usize], rng: &mut Rng) {
    for last in (1..order.len()).rev() {
        order.swap(last, below(rng.bits(), last as u64 + 1) as usize);
    }
}
