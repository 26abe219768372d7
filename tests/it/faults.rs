//! Short forms of the scenarios of `chaos/`: backends that are killed, hang, restart and cut their responses under load.
//! `docs/reliability.md` says what each is about; `evenkeel-chaos` runs the long forms.

use std::path::PathBuf;
use std::time::Duration;

use evenkeel_chaos::helper::{self, Helper};
use evenkeel_chaos::peer;
use evenkeel_chaos::scenario::{Context, Scenario};

use crate::support::ability::skip;

/// What limits that depend on timing are multiplied with: the machine runs other tests at the same time.
const SLACK: u64 = 20;

/// The name of [`becomes_a_helper_when_started_as_one`].
const HELPER: &str = "faults::becomes_a_helper_when_started_as_one";

/// Runs a scenario against this build. It must reach all its goals.
fn run(name: &str, seconds: u64, rate: u64) {
    let this = std::env::current_exe().unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_evenkeel"));
    let context = Context {
        peer: peer::peer("evenkeel", Some(program)).unwrap(),
        helper: Helper::Test(this, HELPER.to_owned()),
        seed: 1,
        duration: Duration::from_secs(seconds),
        rate,
        slack: SLACK,
        is_kept: false,
    };
    let report = Scenario::find(name).unwrap().run(&context).unwrap();
    if let Some(reason) = report.skipped() {
        skip(&format!("`{name}` was not run: {reason}"));
    }
    assert!(report.has_passed(), "\n{}", report.text());
}

/// Backends are this binary, started again with this test alone. In all other runs there is nothing to do.
#[test]
fn becomes_a_helper_when_started_as_one() {
    helper::help();
}

#[test]
fn killed_backends_cost_no_idempotent_request() {
    run("kill", 5, 150);
}

#[test]
fn a_cut_response_is_never_taken_for_whole() {
    run("cut", 4, 150);
}

#[test]
fn a_response_that_is_cut_over_http2_is_never_taken_for_whole() {
    run("cut-http2", 4, 150);
}

#[test]
fn connections_that_close_when_they_are_used_cost_no_idempotent_request() {
    run("keepalive-race", 4, 200);
}

#[test]
fn failing_every_other_moment_costs_no_request() {
    run("flapping", 5, 150);
}

#[test]
fn a_hanging_backend_is_noticed() {
    run("hang", 8, 150);
}

#[test]
fn a_hanging_backend_that_passes_its_checks_is_noticed() {
    run("hang-tcp", 8, 150);
}

#[test]
fn the_restart_of_a_lone_backend_costs_no_request() {
    run("lone-restart", 10, 100);
}

#[test]
fn an_outage_is_refused_at_once_and_ends_soon() {
    run("all-down", 9, 100);
}

#[test]
fn overload_leaves_most_of_the_capacity() {
    run("overload", 10, 240);
}

#[test]
fn a_slow_backend_does_not_slow_down_the_pool() {
    run("slow-backend", 8, 150);
}

#[test]
fn sticky_clients_stay_while_another_backend_restarts() {
    run("sticky", 8, 400);
}

#[test]
fn reloads_cost_no_request_and_cut_nothing() {
    run("reload", 8, 100);
}

#[test]
fn upgrades_cost_no_request_and_refuse_no_connection() {
    run("upgrade", 20, 100);
}

#[test]
fn a_stop_cuts_nothing_that_is_under_way() {
    run("drain", 10, 20);
}

#[test]
fn clients_that_take_all_descriptors_stop_neither_others_nor_checks() {
    run("descriptors", 10, 40);
}

#[test]
fn a_log_on_a_full_file_system_costs_no_request() {
    run("log-full", 18, 250);
}

#[test]
fn a_log_whose_reader_has_stopped_costs_no_request() {
    run("log-blocked", 18, 250);
}

#[test]
fn jumps_of_the_clock_change_no_timeout() {
    run("clock", 12, 100);
}
