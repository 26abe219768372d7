//! The fault backend as a program.

use std::process::ExitCode;

use clap::Parser as _;
use evenkeel_chaos::backend::Options;

#[allow(clippy::print_stderr, reason = "the message of a program that cannot run")]
fn main() -> ExitCode {
    match Options::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evenkeel-fault-backend: {error}");
            ExitCode::FAILURE
        }
    }
}
