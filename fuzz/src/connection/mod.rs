//! Runs a whole client connection through the balancer: listener, request path, pool and real sockets on loopback, one
//! worker and one thread. The bytes of a run determine what the client sends and what the backends respond (`script`);
//! both ends are read with the reference parsers (`oracle`). A second client sends a request in the middle and must get
//! its own response, whatever happened to the backend connections.
//!
//! The runtime's clock advances only when nothing else can run, which detects the end of all activity. The balancer's
//! timers are advanced explicitly: at the end they let everything that still waits expire.

mod backend;
mod client;
mod oracle;
mod script;

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as FrontListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::internals::clock;
use evenkeel::internals::config::{self, Config};
use evenkeel::internals::listener::{self, Acceptor, ListedListener, ListenerList, SocketShares, WorkerSet};
use evenkeel::internals::net::{ListenAddress, StdListener};
use evenkeel::internals::proxy::{Snapshot, SnapshotCell, Worker};
use evenkeel::internals::telemetry::access_log::{LogBuffer, OnFull, Options};
use evenkeel::internals::telemetry::metrics::WorkerCounters;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::JoinSet;

use crate::input::Input;
use crate::reference::Response;
use backend::Seen;
use client::{Client, Got};
use script::{Leaving, Script};

/// Largest body with small limits.
const SMALL_BODY: u64 = 64;
/// Longer than every timeout in the config, and than what the listener adds to them.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// How often this time may pass until everything has ended: each attempt may take it once.
const ROUNDS: u32 = 64;

thread_local! {
    static RIG: RefCell<Option<Rig>> = const { RefCell::new(None) };
}

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    RIG.with_borrow_mut(|rig| rig.get_or_insert_with(Rig::new).run(&input));
}

/// State kept between runs.
struct Rig {
    runtime: LocalRuntime,
    stage: Rc<Stage>,
    /// With one backend, and with two.
    configs: [Config; 2],
    runs: u64,
}

/// The listeners of clients and backends.
struct Stage {
    front: FrontListener,
    address: SocketAddr,
    backends: Vec<Rc<TcpListener>>,
}

impl Rig {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let front = FrontListener::bind(loopback).expect("a port");
        front.set_nonblocking(true).expect("a socket of ours");
        let address = front.local_addr().expect("it is bound");
        let bind = || runtime.block_on(TcpListener::bind(loopback)).expect("a port");
        let backends = vec![Rc::new(bind()), Rc::new(bind())];
        let urls: Vec<String> = backends
            .iter()
            .map(|backend| format!("http://{}", backend.local_addr().expect("it is bound")))
            .collect();
        let stage = Stage {
            front,
            address,
            backends,
        };
        Self {
            runtime,
            stage: Rc::new(stage),
            configs: [config(&urls[..1]), config(&urls)],
            runs: 0,
        }
    }

    fn run(&mut self, input: &Input<'_>) {
        self.runs += 1;
        let script = Script::new(input);
        let config = &self.configs[usize::from(script.has_two_backends)];
        let snapshot = snapshot(config, input);
        let pools = snapshot.pools.clone();
        let (parts, leaving) = (script.client.clone(), script.leaving);
        let sent = parts.concat();
        let seen = Rc::new(RefCell::new(Seen::new(
            script,
            evenkeel_balance::rng::mix(self.runs),
        )));
        let play = play(
            Rc::clone(&self.stage),
            snapshot,
            Rc::clone(&seen),
            (parts, leaving),
        );
        let got = self.runtime.block_on(async {
            // A separate task is woken without a system call.
            let mut run = JoinSet::new();
            run.spawn_local(play);
            run.join_next()
                .await
                .expect("one was spawned")
                .expect("it does not panic")
        });
        for pool in &pools {
            for member in pool.roster().members() {
                assert_eq!(member.backend.load.total_in_flight(), 0);
            }
        }
        oracle::judge(&sent, &seen.borrow().attempts, &got, leaving == Leaving::Late);
    }
}

/// Runs the script and returns what the client received.
async fn play(
    stage: Rc<Stage>,
    snapshot: Snapshot,
    seen: Rc<RefCell<Seen>>,
    (parts, leaving): (Vec<Vec<u8>>, Leaving),
) -> Got {
    let mut backends = JoinSet::new();
    for listener in &stage.backends {
        backends.spawn_local(backend::serve(Rc::clone(listener), Rc::clone(&seen)));
    }
    let counters = Arc::new(WorkerCounters::default());
    let log = LogBuffer::new(None, OnFull::Drop, Options::default());
    let worker = Worker::new(
        0,
        SnapshotCell::new(snapshot),
        Arc::clone(&counters),
        log,
        Arc::default(),
    );
    let handle = WorkerSet::new(1, clock::instant()).handle(0);
    handle.join(clock::instant());
    let front = stage.front.try_clone().expect("a descriptor");
    let settings = Arc::new(listener::Settings {
        id: 0,
        address: ListenAddress::Ip(front.local_addr().expect("it has one")),
        proxy_protocol: false,
        http2: false,
        tls: None,
        redirect: None,
        half_close: evenkeel::internals::proxy::HalfClose::default(),
    });
    let acceptor = Acceptor::start(&worker, handle).expect("it listens");
    let sockets = SocketShares::new([(0, StdListener::Tcp(front))]);
    let list = ListenerList {
        generation: 1,
        next_id: 1,
        listeners: vec![ListedListener { settings, sockets }],
    };
    acceptor.apply(&list).await;

    let mut client = Client::connect(stage.address).await.expect("it is let in");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            pause().await;
        }
        client.send(part).await;
    }
    let mut client = Some(client);
    let mut got = None;
    match (leaving, &mut client) {
        (Leaving::HalfClosed, Some(client)) => client.half_close().await,
        (Leaving::Reset, _) => got = Some(leave(client.take()).await),
        _ => {}
    }
    settle(&seen).await;
    canary(stage.address, &seen).await;
    for round in 1..=ROUNDS {
        if acceptor.running() == 0 {
            break;
        }
        worker.wheel.advance(clock::instant() + PATIENCE * round);
        settle(&seen).await;
    }
    assert_eq!(acceptor.running(), 0, "a connection does not end");
    let got = match got {
        Some(got) => got,
        None => leave(client).await,
    };
    acceptor.stop().await;
    drop(acceptor);
    assert_eq!(worker.wheel.timers(), 0);
    assert_eq!(counters.connections_active.value(), 0);
    assert_eq!(counters.requests_in_flight.value(), 0);
    backends.shutdown().await;
    got
}

/// Another client sends a request over the same backend connections.
async fn canary(address: SocketAddr, seen: &RefCell<Seen>) {
    let canary = seen.borrow().canary.clone();
    let mut client = Client::connect(address).await.expect("it is let in");
    let request = format!("GET /canary HTTP/1.1\r\nHost: c\r\nX-Canary: {canary}\r\n\r\n");
    client.send(request.as_bytes()).await;
    settle(seen).await;
    let got = client.leave().await;
    let response = Response::read(&got.bytes, false, false);
    let is_its_own = response.is_some_and(|response| {
        (response.status, response.length, &response.body.payload[..])
            == (200, got.bytes.len(), canary.as_bytes())
    });
    assert!(is_its_own, "the canary got {}", got.bytes.escape_ascii());
}

async fn leave(client: Option<Client>) -> Got {
    match client {
        Some(client) => client.leave().await,
        None => Got::default(),
    }
}

fn config(backends: &[String]) -> Config {
    let text = format!(
        "listen: 127.0.0.1:1\nadmin: off\nhealth_check: off\nbackends: [{}]\n\
         timeouts: {{ connect: 1s, client_header: 1s, first_byte: 1s, request: 2s, progress: 1s, \
         stream_idle: 1s, tunnel_idle: 1s, client_idle: 1s, backend_idle: 1s }}\n",
        backends.join(", ")
    );
    let loaded = config::from_text(&text, "fuzz", std::path::Path::new("/"), &|_| None);
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

/// Built as a server does, with the limits of this run.
fn snapshot(config: &Config, input: &Input<'_>) -> Snapshot {
    let mut snapshot = evenkeel::internals::server::snapshot_of(config).expect("the config was checked");
    for pool in &snapshot.pools {
        pool.update(&pool.settings.backends);
    }
    snapshot.limits.message = input.limits();
    snapshot.limits.body = (input.options & 1 != 0).then_some(SMALL_BODY);
    snapshot
}

/// Waits until nothing moves; all pauses end at the same time.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Waits until nothing moves and no backend pauses.
async fn settle(seen: &RefCell<Seen>) {
    loop {
        pause().await;
        if seen.borrow().pausing == 0 {
            return;
        }
    }
}

/// Frees the port when the connection closes: otherwise thousands of runs per second would use up all ports.
fn reset_on_close(stream: &TcpStream) {
    // Fails only if the connection is gone already.
    let _ = stream.set_zero_linger();
}
