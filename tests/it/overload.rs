//! Overload (R1, R2): no file descriptor left, and thousands of clients that never complete a head. Busy connections
//! are unaffected, nothing spins, and new connections are accepted as soon as one closes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};

use crate::support::ability::skip;
use crate::support::{Backend, Client, DEADLINE, Gate, Proxy, Response};

/// Clock ticks per second, in which `/proc` counts CPU time.
const TICKS: u64 = 100;

const BUSY: &str = "GET /busy HTTP/1.1\r\nHost: test\r\n\r\n";

/// The fields of `/proc/PID/stat` from the state on.
fn stat(proxy: &Proxy) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", proxy.pid().as_raw_nonzero())).expect("it runs");
    // The name before it is in parentheses.
    stat.rsplit(") ").next().unwrap_or_default().to_owned()
}

/// CPU time of a process so far, in ticks.
fn cpu(proxy: &Proxy) -> u64 {
    let stat = stat(proxy);
    let times = stat.split(' ').skip(11).take(2);
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

/// Leaves a running balancer no descriptor: the lowest free number becomes its limit.
fn take_descriptors(proxy: &Proxy) {
    let folder = format!("/proc/{}/fd", proxy.pid().as_raw_nonzero());
    let open = fs::read_dir(folder).expect("it runs");
    let numbers: BTreeSet<u64> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    set_descriptors(proxy, (0..).find(|number| !numbers.contains(number)));
}

fn set_descriptors(proxy: &Proxy, current: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: current.or(maximum),
        maximum,
    };
    prlimit(Some(proxy.pid()), Resource::Nofile, limit).expect("a child's limits can be set");
}

/// A backend that responds to `/busy` with a first chunk at once and with the last one when the gate opens.
fn streaming(gate: &Gate) -> Backend {
    let its = gate.clone();
    Backend::start(move |request| match request.start() {
        "GET /busy" => Response::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .wait(&its)
            .send("4\r\nlast\r\n0\r\n\r\n"),
        _ => Response::ok("a"),
    })
}

fn begun(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(BUSY);
    client.read_until(|bytes| bytes.windows(5).any(|window| window == b"first"));
    client
}

/// Many pipelined requests that wait for nothing, ahead of a request of another client.
#[test]
fn requests_without_a_backend_yield_to_other_clients() {
    // More than are read at once.
    const MANY: usize = 600;
    let backend = Backend::start(|_| Response::ok("a"));
    let config = format!(
        "workers: 1\npools: {{ p: {{ backends: ['{}'] }} }}\nroutes: [{{ host: elsewhere, pool: p }}]",
        backend.url()
    );
    let proxy = Proxy::before(&[]).config(&config).start();
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/known").status(), 404);
    }
    proxy.signal(Signal::STOP);
    while !stat(&proxy).starts_with('T') {
        thread::yield_now();
    }
    // Whichever client is served first, the other is behind many requests.
    for (index, client) in clients.iter_mut().enumerate() {
        let (path, count) = if index == 2 { ("/many", MANY) } else { ("/one", 1) };
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").repeat(count));
    }
    proxy.signal(Signal::CONT);
    let lines = proxy.access_lines(5 + 4 + MANY);
    let before = lines.iter().rposition(|line| line["path"] == "/one");
    assert!(before.is_some_and(|before| before < MANY / 10), "{before:?}");
}

/// R2.
#[test]
fn without_descriptors_nothing_spins_and_busy_connections_continue() {
    let gate = Gate::default();
    let backend = streaming(&gate);
    let proxy = Proxy::before(&[&backend])
        .config("workers: 2\nhealth_check: { kind: http, path: /probe, interval: 1s }")
        .start();
    let mut working: Vec<Client> = (0..8).map(|_| begun(&proxy)).collect();
    take_descriptors(&proxy);
    // By then a running probe has released its descriptor, and the next one is not due.
    assert!(working[0].is_silent_for(Duration::from_millis(300)));
    take_descriptors(&proxy);
    // The kernel establishes them; they cannot be accepted, and there is no idle connection to evict.
    let mut waiting: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send("GET /late HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    proxy.wait_for_message(0, "Cannot accept new connections");
    let (began, before) = (clock::now(), cpu(&proxy));
    assert!(working[0].is_silent_for(Duration::from_secs(2)));
    let used = cpu(&proxy) - before;
    // The bound is 5% of a core; a loop that spins uses a whole one, or two.
    let bound = (began.elapsed().as_millis() as u64 * TICKS / 1000) / 10;
    assert!(used <= bound, "{used} ticks of CPU time, {bound} are allowed");
    let complaints = proxy.count_so_far(|line| {
        line["msg"].as_str() == Some("Cannot accept new connections; clients wait until one is closed")
    });
    assert!(complaints <= 10, "{complaints} lines in 2 s");
    let probes = || backend.requests(|request| request.start() == "GET /probe").len();
    let probed = probes();

    let began = clock::now();
    set_descriptors(&proxy, None);
    for client in &mut waiting {
        assert_eq!(client.read().text(), "a");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    gate.open();
    for client in &mut working {
        assert_eq!(client.read().text(), "firstlast");
    }
    // A backend that could not be probed is not considered unhealthy, and is probed again.
    backend.wait_for_requests_where(probed + 2, |request| request.start() == "GET /probe");
    assert_eq!(proxy.count_so_far(|line| line["error"] == "no_backend"), 0);
}

/// This is not the backend's fault: no probe is requested, and the backend is used again as soon as there is a
/// descriptor.
#[test]
fn without_a_descriptor_to_connect_the_request_fails_and_no_backend_is_blamed() {
    let backend = Backend::start(|_| {
        Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na")
    });
    let proxy = Proxy::before(&[&backend])
        .config("workers: 1\nhealth_check: { path: /probe, interval: 1h, unhealthy_after: 1 }")
        .start();
    let is_probe = |request: &crate::support::Request| request.start() == "GET /probe";
    backend.wait_for_request(is_probe);
    let mut client = proxy.client();
    assert_eq!(client.get("/x").text(), "a");
    // Its existing descriptors stay open, and the next one would have a greater number.
    set_descriptors(&proxy, Some(3));
    for _ in 0..3 {
        let told = client.get("/full");
        assert_eq!((told.status(), told.field("retry-after")), (503, Some("1")));
    }
    set_descriptors(&proxy, None);
    // As long as a requested probe could take.
    let began = clock::now();
    while began.elapsed() < Duration::from_millis(500) {
        assert_eq!(client.get("/x").text(), "a");
    }
    assert_eq!(proxy.access_line("/full")["error"], "no_descriptor");
    assert_eq!(
        backend.requests(is_probe).len(),
        1,
        "nobody has asked for another"
    );
    let metrics = proxy.get_admin("/metrics").text();
    let failures = metrics
        .lines()
        .find(|line| line.starts_with("evenkeel_backend_failures_total{"));
    assert!(failures.is_some_and(|line| line.ends_with(" 0")), "{failures:?}");
}

/// R2: an idle connection is evicted in favour of a new one.
#[test]
fn without_descriptors_the_longest_idle_connection_is_evicted() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("workers: 1\nhealth_check: { kind: none }")
        .start();
    let mut idle: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut idle {
        assert_eq!(client.get("/").text(), "a");
    }
    take_descriptors(&proxy);
    assert_eq!(proxy.get("/new").text(), "a");
    assert!(idle[0].read_to_end().is_empty(), "it had been idle for longest");
    assert_eq!(idle[2].get("/").text(), "a");
    set_descriptors(&proxy, None);
}

/// R2: probes do not depend on room for clients.
#[test]
fn probes_continue_at_the_connection_limit() {
    let gate = Gate::default();
    let backend = streaming(&gate);
    let proxy = Proxy::before(&[&backend])
        .config("workers: 1\nlimits: { connections: 2 }\nhealth_check: { kind: http, path: /probe, interval: 100ms }")
        .start();
    let _working = [begun(&proxy), begun(&proxy)];
    let mut waiting = proxy.client();
    waiting.send("GET /late HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.wait_for_message(0, "Cannot accept new connections");
    let is_probe = |request: &crate::support::Request| request.start() == "GET /probe";
    let probed = backend.requests(is_probe).len();
    backend.wait_for_requests_where(probed + 3, is_probe);
    gate.open();
}

/// R2: the last descriptors are reserved.
#[test]
fn probes_continue_when_clients_exhaust_descriptors() {
    let gate = Gate::default();
    let backend = streaming(&gate);
    let proxy = Proxy::before(&[&backend])
        .config("workers: 2\nlimits: { connections: 1000 }\nhealth_check: { kind: http, path: /probe, interval: 100ms }")
        .descriptors(128)
        .start();
    let mut all: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut all {
        client.send(BUSY);
    }
    proxy.wait_for_message(0, "Cannot accept new connections");
    let is_probe = |request: &crate::support::Request| request.start() == "GET /probe";
    let probed = backend.requests(is_probe).len();
    backend.wait_for_requests_where(probed + 5, is_probe);
    assert_eq!(
        proxy.get_admin("/readyz").status(),
        200,
        "the admin API has room too"
    );
    assert_eq!(proxy.count_so_far(|line| line["msg"] == "Backend is down"), 0);
    gate.open();
}

/// Connecting to the admin API requires no token.
#[test]
fn idle_and_slow_admin_connections_do_not_block_the_healthcheck() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let admin = proxy.admin();
    let idle = || TcpStream::connect_timeout(&admin, DEADLINE).expect("the admin API accepts");
    let _all: Vec<TcpStream> = (0..100).flat_map(|_| [idle(), slow_head(admin)]).collect();
    let healthcheck = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["healthcheck", "--admin", &admin.to_string()])
        .output()
        .expect("the program starts");
    assert!(healthcheck.status.success(), "{healthcheck:?}");
    assert_eq!(proxy.get_admin("/livez").status(), 200);
}

/// A connection with an incomplete head.
fn slow_head(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the listener accepts");
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nHos")
        .expect("the balancer takes the bytes");
    stream
}

/// Whether the balancer closed it. Reads what has arrived, without waiting.
fn was_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket can be polled");
    let mut response = [0; 16];
    matches!(stream.read(&mut response), Ok(count) if response[..count].starts_with(b"HTTP/1.1 408"))
}

/// R1: thousands of incomplete heads evict each other, the oldest first, and affect no complete request.
#[test]
fn thousands_of_incomplete_heads_do_not_affect_other_requests() {
    const SLOW: usize = 9_000;
    const ROOM: usize = 2_000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Each of them uses a descriptor of this process too.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .expect("a soft limit can be raised");
    if maximum.is_some_and(|maximum| maximum < 2 * SLOW as u64) {
        skip(&format!("no room for {SLOW} connections here"));
        return;
    }
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config(&format!(
            "workers: 2\nlimits: {{ connections: {ROOM} }}\ntimeouts: {{ client_header: 60s }}\n\
             health_check: {{ kind: none }}"
        ))
        .start();
    let mut slow = Vec::with_capacity(SLOW);
    let mut served = 0;
    for index in 0..SLOW {
        slow.push(slow_head(proxy.address()));
        if index % 50 == 0 {
            assert_eq!(proxy.get("/good").text(), "a", "after {index} slow heads");
            served += 1;
        }
    }
    assert_eq!(served, SLOW / 50);
    // All of them were accepted before this one.
    assert_eq!(proxy.get("/end").text(), "a");
    let is_good = |line: &serde_json::Value| line["status"] == 200;
    proxy.wait_for_count(served + 1, is_good);
    assert_eq!(proxy.count_so_far(is_good), served + 1);
    assert!(cpu(&proxy) > 0, "CPU time can be read");
    let closed: Vec<bool> = slow.iter_mut().map(was_closed).collect();
    let evicted = closed.iter().filter(|closed| **closed).count();
    assert!(evicted >= SLOW - ROOM - 10, "{evicted} had to go");
    let quarter = SLOW / 4;
    assert!(
        closed[..quarter].iter().all(|closed| *closed),
        "the first are gone"
    );
    assert!(
        closed[SLOW - ROOM / 4..].iter().all(|closed| !*closed),
        "the last are there"
    );
}
