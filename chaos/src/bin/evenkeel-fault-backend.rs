//! The fault backend as a program: by its flags, or as the helper of a run.

use std::process::ExitCode;

use clap::Parser as _;
use evenkeel_chaos::backend::Options;
use evenkeel_chaos::helper;

#[allow(clippy::print_stderr, reason = "the message of a program that cannot run")]
fn main() -> ExitCode {
    helper::help();
    match Options::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evenkeel-fault-backend: {error}");
            ExitCode::FAILURE
        }
    }
}
