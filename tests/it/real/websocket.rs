//! The WebSocket cases of the Autobahn suite, run by kosoku: each ends through the balancer as it does without it.

use std::time::Duration;

use super::backend::{Backend, Kind};
use super::program::{file, find_python, run_within};
use crate::support::Proxy;

/// The cases with compression take minutes. They run only if this variable is set.
const ALL: &str = "EVENKEEL_ALL_WEBSOCKET_CASES";

/// Skipped without it.
const SLOW: [&str; 2] = ["12.*", "13.*"];

/// All cases.
const LONGEST: Duration = Duration::from_secs(900);

/// Fewest cases without the slow ones; fewer mean that something did not run.
const FEWEST: usize = 300;

#[test]
fn each_websocket_case_ends_the_same_without_the_balancer() {
    let (Some(backend), Some(python)) = (Backend::start(Kind::Echo), find_python("python")) else {
        return;
    };
    let proxy = Proxy::before(&[]).backend(&backend.url()).start();
    let script = file("programs/websocket_cases.py");
    let slow: &[&str] = if std::env::var_os(ALL).is_some() {
        &[]
    } else {
        &SLOW
    };
    let results = |address: &str| run_within(LONGEST, &python, &[&[&script, address], slow].concat());
    let direct = results(backend.url().trim_start_matches("http://"));
    let balanced = results(&proxy.address().to_string());
    assert!(direct.lines().count() >= FEWEST, "{direct}");
    let different: Vec<_> = direct
        .lines()
        .zip(balanced.lines())
        .filter(|(direct, balanced)| direct != balanced)
        .collect();
    assert!(different.is_empty(), "{different:#?}");
    assert_eq!(direct.lines().count(), balanced.lines().count());
    // The cases must succeed: two equal failures would compare equal too.
    let passed = direct.lines().filter(|line| line.contains(" OK OK ")).count();
    assert!(passed * 10 >= direct.lines().count() * 9, "{direct}");
}
