//! The regression gate: instructions and system calls of the request path against budgets, because they do not drift with
//! the machine's mood as times do. `cargo bench --profile gate --bench gate` measures and judges; with `-- --write`
//! behind it what was measured becomes the budget.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people who build, and a failure is a panic"
)]

mod budgets;
mod parts;
mod requests;
mod tools;
#[path = "../../tests/steady/traffic.rs"]
mod traffic;

use std::error::Error;
use std::process::ExitCode;

use budgets::{Budgets, Conditions, Count};
use tools::Folder;

/// The argument with which the program calls itself, to be counted.
const PARTS: &str = "parts";
/// How often whole requests that seem over their budget are counted again.
const RECOUNTS: usize = 2;
/// What `cargo bench` says, and `cargo test --all-targets` does not.
const BENCH: &str = "--bench";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == PARTS) {
        parts::run_all();
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == BENCH) {
        println!("nothing is measured without `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let is_write = arguments.iter().any(|argument| argument == "--write");
    match gate(is_write) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the gate could not measure: {error}");
            ExitCode::from(2)
        }
    }
}

/// Instructions of whole requests. A busy machine makes some a little dearer, never cheaper: where they seem over their
/// budget they are counted again, and the least counts.
fn whole_requests(folder: &Folder) -> Result<Vec<Count>, Box<dyn Error>> {
    let mut least = requests::instructions(folder)?;
    let Ok(budgets) = Budgets::read() else {
        return Ok(least);
    };
    for _ in 0..RECOUNTS {
        if least.iter().all(|count| budgets.allow(count)) {
            break;
        }
        for (kept, again) in least.iter_mut().zip(requests::instructions(folder)?) {
            kept.1 = kept.1.min(again.1);
        }
    }
    Ok(least)
}

/// Measures, and says whether everything is within its budget.
fn gate(is_write: bool) -> Result<bool, Box<dyn Error>> {
    let conditions = Conditions::here()?;
    let folder = Folder::new()?;
    let mut instructions = parts::count(&folder)?;
    instructions.extend(whole_requests(&folder)?);
    let calls = match requests::system_calls(&folder) {
        Ok(calls) => calls,
        Err(reason) => {
            println!("system calls are not counted: {reason}");
            Vec::new()
        }
    };
    if is_write {
        Budgets::new(&conditions, &instructions).write()?;
        println!("{} is written", budgets::PATH);
    }
    let budgets = Budgets::read()?;
    Ok(budgets.judge(&conditions, &instructions) & requests::judge_calls(&calls))
}
