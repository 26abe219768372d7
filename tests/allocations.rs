//! Checks that in the steady state a request allocates nothing, in the worker or anywhere else in the process. This is
//! a separate test binary, because a process has one allocator. Client and backend run in the same process and allocate
//! nothing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a crate of tests: a failure is a panic"
)]

#[path = "steady/traffic.rs"]
mod traffic;

use std::alloc::System;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use evenkeel::internals::config;
use evenkeel::internals::net::ListenAddress;
use evenkeel::internals::server::{self, Launch, Plan, Running};
use rustix::process::{Signal, getpid, kill_process};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use traffic::{Client, DEADLINE, WebSocket, exchanges};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests until every buffer has grown and every thread has set up what it waits on. Their log lines fill several
/// batches.
const WARM_UP: usize = 1_000;
/// Requests per round: more than one batch of the log and many ticks of the worker.
const COUNTED: usize = 1_000;
/// Rounds, of which the best counts: if the log writer gets no CPU for a while, one more buffer is allocated.
const ROUNDS: usize = 3;

#[test]
fn requests_in_the_steady_state_allocate_nothing() {
    let log = std::env::temp_dir().join(format!("evenkeel-allocations-{}.log", std::process::id()));
    let (address, balancer) = start_balancer(traffic::start_backend(), &log);
    let mut client = Client::connect(address);
    let found = exchanges().map(|exchange| {
        client.repeat(&exchange, WARM_UP);
        (exchange.name, allocations(|| client.repeat(&exchange, COUNTED)))
    });
    let mut socket = WebSocket::open(address);
    socket.repeat(WARM_UP);
    let of_messages = allocations(|| socket.repeat(COUNTED));

    drop((client, socket));
    kill_process(getpid(), Signal::TERM).expect("this process runs");
    balancer.join().expect("it ends without a panic");
    let lines = std::fs::read(&log).expect("the access log is there");
    std::fs::remove_file(&log).expect("it is there");
    let lines = lines.iter().filter(|byte| **byte == b'\n').count();
    // One of them opened the WebSocket.
    let requests = 1 + found.len() * (WARM_UP + ROUNDS * COUNTED);
    assert_eq!(lines, requests, "requests that were logged");
    assert!(
        found.iter().all(|(_, rounds)| rounds.contains(&0)),
        "allocations in each round of {COUNTED} requests: {found:?}"
    );
    assert!(
        of_messages.contains(&0),
        "allocations in each round of {COUNTED} messages of a WebSocket: {of_messages:?}"
    );
}

/// Allocations in each round of `work`.
fn allocations(mut work: impl FnMut()) -> [usize; ROUNDS] {
    [(); ROUNDS].map(|()| {
        let region = Region::new(ALLOCATOR);
        work();
        let stats = region.change();
        stats.allocations + stats.reallocations
    })
}

/// Runs the balancer in a thread of this process, with one worker, access log and counters enabled.
fn start_balancer(backend: SocketAddr, log: &Path) -> (SocketAddr, JoinHandle<()>) {
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: off\nworkers: 1\naccess_log: {{ path: {}, on_full: block }}\n\
         health_check: {{ kind: none }}\nbackends:\n  - http://{backend}\n",
        log.display()
    );
    let loaded = config::from_text(&text, "test", Path::new("."), &|_| None);
    let plan = Plan {
        config: loaded.unwrap_or_else(|report| panic!("{report}")).config,
        source: None,
        source_name: "test".to_owned(),
        pid_file: None,
        launch: Launch::take(),
        no_upgrade: None,
    };
    let (started, start) = mpsc::sync_channel(1);
    let balancer = thread::spawn(move || {
        let on_start = |running: &Running| {
            started.send(running.addresses.clone()).expect("the test waits");
        };
        server::run(plan, on_start).expect("it starts");
    });
    let addresses = start.recv_timeout(DEADLINE).expect("it starts");
    let address = addresses.first().and_then(ListenAddress::ip);
    (address.expect("it has a listener"), balancer)
}
