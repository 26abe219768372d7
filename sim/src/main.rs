//! The command line of the simulator.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod arguments;

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use evenkeel_sim::check::Plan;
use evenkeel_sim::experiments;

/// Failures that are shown; more of them seldom say more.
const SHOWN: usize = 10;

fn main() -> ExitCode {
    if std::env::args()
        .skip(1)
        .any(|word| word == "--help" || word == "-h")
    {
        println!("{}", arguments::USAGE);
        return ExitCode::SUCCESS;
    }
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments { command, plan, trace }) => match (command, trace) {
            (Command::Check, Some(seed)) => show_trace(&plan, seed),
            (Command::Check, None) => check(&plan),
            (Command::Experiments, _) => experiments(&plan),
        },
        Err(message) => {
            eprintln!("{message}\n\n{}", arguments::USAGE);
            ExitCode::FAILURE
        }
    }
}

fn check(plan: &Plan) -> ExitCode {
    let failed = plan.run();
    for failed in failed.iter().take(SHOWN) {
        println!("{failed}");
    }
    let (seeds, steps) = (plan.seeds, plan.steps);
    match failed.first() {
        None => {
            println!("{seeds} seeds of {steps} steps each: no invariant was broken");
            ExitCode::SUCCESS
        }
        Some(first) => {
            println!("{} of {seeds} seeds broke an invariant", failed.len());
            println!(
                "`check --seed {} --steps {steps} --trace` shows the first of them",
                first.seed
            );
            ExitCode::FAILURE
        }
    }
}

/// Writes the results into the repository that this program was built from.
fn experiments(plan: &Plan) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match experiments::write(&root, experiments::SEED, plan.threads) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the results: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show_trace(plan: &Plan, seed: u64) -> ExitCode {
    let mut out = io::stdout().lock();
    for line in plan.trace(seed) {
        match writeln!(out, "{line}") {
            Ok(()) => {}
            // The reader, such as `head`, has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot write the trace: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match plan.run_seed(seed) {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}
