//! The client and the backends without a balancer in between: what they report must be what has happened.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a crate of tests: a failure is a panic"
)]

use std::path::PathBuf;
use std::time::Duration;

use evenkeel_chaos::backend::{Cut, CutEnd, CutPlace};
use evenkeel_chaos::client::{Class, Failure, Method, Plan, Record, Request};
use evenkeel_chaos::executions::Executions;
use evenkeel_chaos::fleet::Fleet;
use evenkeel_chaos::helper::Helper;
use evenkeel_chaos::{Folder, Rng, micros, sleep_until};

/// A backend, and the folder of its log.
fn backend(flags: &[&str]) -> (Fleet, Folder) {
    let folder = Folder::new().unwrap();
    let program = Helper::Binary(PathBuf::from(env!("CARGO_BIN_EXE_evenkeel-fault-backend")));
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    (
        Fleet::start(&program, folder.path(), 1, &[flags]).unwrap(),
        folder,
    )
}

/// Half a second of load on HTTP/1.1 connections.
fn plan(fleet: &Fleet, make: impl FnMut(u64, &mut Rng) -> Request + Send + 'static) -> Plan {
    let address = fleet.addresses()[0];
    let mut plan = Plan::new(address, 200, Duration::from_millis(500), 1).make(make);
    plan.timeout = Duration::from_secs(5);
    plan
}

fn alternate(number: u64) -> Request {
    let class = if number.is_multiple_of(3) {
        Class::NewConnection
    } else {
        Class::KeepAlive
    };
    let method = if number.is_multiple_of(2) {
        Method::Get
    } else {
        Method::Post
    };
    Request::new(class, method)
}

fn executed(records: &[Record], log: &Executions) -> usize {
    records.iter().map(|record| log.count(record.nonce)).sum()
}

#[test]
fn every_request_is_verified_and_executed_once() {
    let (fleet, _folder) = backend(&[]);
    let records = plan(&fleet, |number, _| alternate(number)).run().unwrap();
    assert_eq!(records.len(), 100);
    let failures: Vec<_> = records.iter().filter_map(|record| record.failure).collect();
    assert_eq!(failures, []);
    assert_eq!(executed(&records, &fleet.executions()), 100);
}

#[test]
fn every_cut_is_seen() {
    let (fleet, _folder) = backend(&[]);
    let records = plan(&fleet, |number, rng| {
        let mut request = alternate(number);
        request.behaviour.is_chunked = number % 4 < 2;
        request.behaviour.cut = Some(Cut {
            place: match number % 4 {
                0 => CutPlace::Head,
                1 => CutPlace::SizeLine,
                2 => CutPlace::Body,
                _ => CutPlace::LastChunk,
            },
            permille: rng.below(1_000),
            end: if number % 8 < 4 {
                CutEnd::Fin
            } else {
                CutEnd::Reset
            },
        });
        request
    });
    for record in records.run().unwrap() {
        let is_seen = matches!(record.failure, Some(Failure::Truncated | Failure::Closed));
        assert!(is_seen, "{record:?}");
    }
}

#[test]
fn a_stall_shows_in_the_latency_of_all_that_were_due() {
    let (mut fleet, _folder) = backend(&[]);
    fleet.freeze(0).unwrap();
    let load = plan(&fleet, |number, _| alternate(number)).start().unwrap();
    sleep_until(load.start + micros(Duration::from_millis(600)));
    fleet.thaw(0).unwrap();
    let records = load.finish().unwrap();
    let late = records.iter().filter(|record| record.latency() > 100_000).count();
    assert!(late > 50, "{late} of {} requests were late", records.len());
}

#[test]
fn a_killed_backend_leaves_a_log_of_what_it_has_begun() {
    let (mut fleet, _folder) = backend(&[]);
    let load = plan(&fleet, |number, _| {
        let mut request = alternate(number);
        request.behaviour.is_hanging = true;
        request
    });
    let load = load.start().unwrap();
    while fleet.executions().entries().len() < 20 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = fleet.kill(0).unwrap();
    let records = load.finish().unwrap();
    let log = fleet.executions();
    assert!(executed(&records, &log) >= 20);
    assert!(log.running_at(0, 0, killed).len() >= 20);
    assert!(records.iter().all(|record| !record.is_ok()));
}

#[test]
fn a_backend_that_is_stopped_finishes_and_comes_back_at_its_address() {
    let (mut fleet, _folder) = backend(&["--delay-ms", "50"]);
    let load = plan(&fleet, |_, _| Request::new(Class::NewConnection, Method::Post));
    let load = load.start().unwrap();
    std::thread::sleep(Duration::from_millis(250));
    fleet.terminate(0).unwrap();
    let records = load.finish().unwrap();
    let log = fleet.executions();
    let lost = records
        .iter()
        .filter(|record| !record.is_ok() && log.count(record.nonce) > 0);
    assert_eq!(lost.count(), 0, "it has dropped what it was executing");
    assert!(
        records
            .iter()
            .any(|record| record.failure == Some(Failure::Connect))
    );
    fleet.restart(0).unwrap();
    let records = plan(&fleet, |number, _| alternate(number)).run().unwrap();
    assert!(records.iter().all(Record::is_ok));
}
