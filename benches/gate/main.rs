//! The performance regression gate: compares instructions and system calls of the request path with budgets. Unlike times,
//! these counts do not vary with the load of the machine. `cargo bench --profile gate --bench gate` measures and checks;
//! with `-- --write` appended, the measured counts become the budgets.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer tool, where a failure may panic"
)]

mod budgets;
#[path = "../shared/folder.rs"]
mod folder;
mod parts;
mod policies;
#[path = "../shared/process.rs"]
mod process;
mod requests;
#[path = "../shared/rules.rs"]
mod rules;
mod tools;
#[path = "../../tests/steady/traffic.rs"]
mod traffic;

use std::error::Error;
use std::process::ExitCode;

use budgets::{Budgets, Conditions, Count};
use folder::Folder;

/// The argument with which the program runs itself under callgrind.
const PARTS: &str = "parts";
/// How often whole requests that exceed their budget are counted again.
const RECOUNTS: usize = 2;
/// The argument that `cargo bench` passes and `cargo test --all-targets` does not.
const BENCH: &str = "--bench";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == PARTS) {
        parts::run_all();
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == BENCH) {
        println!("not measured: run `cargo bench --profile gate --bench gate`");
        return ExitCode::SUCCESS;
    }
    let is_write = arguments.iter().any(|argument| argument == "--write");
    match gate(is_write) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("could not measure: {error}");
            ExitCode::from(2)
        }
    }
}

/// Instructions of whole requests. A busy machine raises some counts a little and never lowers them: if any exceeds its
/// budget, all are counted again, and the minimum is used.
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

/// Measures, and returns whether everything is within its budget.
fn gate(is_write: bool) -> Result<bool, Box<dyn Error>> {
    let conditions = Conditions::here()?;
    let folder = Folder::new("gate");
    let mut instructions = parts::count(&folder)?;
    instructions.extend(whole_requests(&folder)?);
    let calls = match requests::system_calls(&folder) {
        Ok(calls) => calls,
        Err(reason) => {
            println!("system calls not counted: {reason}");
            Vec::new()
        }
    };
    if is_write {
        Budgets::new(&conditions, &instructions).write()?;
        println!("wrote {}", budgets::PATH);
    }
    let budgets = Budgets::read()?;
    Ok(budgets.check(&conditions, &instructions) & requests::check_calls(&calls))
}
