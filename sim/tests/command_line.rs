//! The program as a shell would run it.
#![allow(clippy::expect_used, reason = "a crate of tests: a failure is a panic")]

use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_evenkeel-sim"))
}

/// As in `evenkeel-sim check --seed 17 --trace | head`.
#[test]
fn a_reader_that_leaves_ends_the_trace_without_a_panic() {
    let mut traced = program();
    traced.args(["check", "--seed", "17", "--trace"]);
    let mut child = traced
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
}

#[test]
fn help_is_no_error() {
    for option in ["--help", "-h"] {
        let output = program().arg(option).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{option}: {text}");
        assert!(text.starts_with("usage: evenkeel-sim check"), "{option}: {text}");
    }
}
