//! Measures whole requests through the real balancer process. It runs with different numbers of requests; the difference of
//! the counts divided by the difference of the requests is the cost of one request, without start and shutdown. Periodic
//! work of the balancer is subtracted, otherwise requests would cost more on a slow machine.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::budgets::Count;
use crate::folder::Folder;
use crate::process::{BALANCER, LISTENING, Process};
use crate::traffic::{self, Client, Exchange, WebSocket, exchanges};
use crate::{rules, tools};

/// Requests of each kind at the start of every run, until buffers have grown.
const WARM_UP: usize = 500;
/// Additional requests in the run that measures one kind.
const COUNTED: usize = 3_000;
/// Additional duration of the run that measures the periodic work.
const PAUSE: Duration = Duration::from_secs(2);

/// Allowed socket calls per request: one read and one write on each side.
const SOCKET_CALLS: f64 = 4.0;
/// Allowed calls of `epoll_wait` for a request without concurrent ones: for the client's bytes and for the backend's.
const EPOLL_WAITS: f64 = 2.0;
/// Socket calls per request that the shutdown of a run may add.
const SOCKET_SLACK: f64 = 0.1;
/// Calls per request that ticks and log writes may add on a slow machine, where a request takes longer.
const CLOCK_SLACK: f64 = 0.5;

/// What a run does after the warm-up requests.
#[derive(Debug, Clone, Copy)]
enum Load {
    Nothing,
    Pause,
    /// Requests of the kind with this index.
    Requests(usize),
    /// Messages of a WebSocket, there and back.
    Messages,
}

/// Instructions of one request of each kind, all threads together.
pub(crate) fn instructions(folder: &Folder) -> Result<Vec<Count>, Box<dyn Error>> {
    let backend = traffic::start_backend();
    let mut counts = of_plain(folder, backend)?;
    counts.extend(of_rules(folder, backend));
    Ok(counts)
}

/// A run under callgrind: its instructions, and how long it took.
type Run = (f64, f64);

fn run(folder: &Folder, name: &str, config: &Path, exchanges: &[Exchange], load: Load) -> Run {
    let out = folder.path().join(format!("requests.{name}"));
    let duration = drive(tools::callgrind(&out, &[], BALANCER), config, exchanges, load);
    let count = tools::instructions(&out).expect("callgrind has counted");
    (count as f64, duration.as_secs_f64())
}

/// Those of requests without any rule, and of WebSocket messages.
fn of_plain(folder: &Folder, backend: SocketAddr) -> Result<Vec<Count>, Box<dyn Error>> {
    let config = config(folder, backend);
    let exchanges = exchanges();
    let run = |name: &str, load: Load| run(folder, name, &config, &exchanges, load);
    // Two at a time: more would only compete for the cores.
    let [nothing, pause] = both(|| run("nothing", Load::Nothing), || run("pause", Load::Pause));
    let [get, post] = both(|| run("0", Load::Requests(0)), || run("1", Load::Requests(1)));
    let [chunked, messages] = both(|| run("2", Load::Requests(2)), || run("3", Load::Messages));
    let per_second = (pause.0 - nothing.0) / (pause.1 - nothing.1);
    let names = exchanges
        .iter()
        .map(|exchange| format!("request: {}", exchange.name));
    let names = names.chain(["WebSocket: message there and back".to_owned()]);
    let counts = names.zip([get, post, chunked, messages]);
    let counts = counts.map(|(name, run)| (name, each(run, nothing, per_second)));
    Ok(counts.collect())
}

/// Those of a GET with each rule, through one balancer that has a route for each.
fn of_rules(folder: &Folder, backend: SocketAddr) -> Vec<Count> {
    let all = rules::all(folder);
    let config = rules::config(all.iter().map(|rule| &*rule.keys), backend.port());
    let config = folder.write("rules.yaml", &config);
    let token = format!("Authorization: Bearer {}\r\n", rules::token());
    let exchanges: Vec<Exchange> = all
        .iter()
        .enumerate()
        .map(|(index, rule)| traffic::get(rule.name, &format!("/{index}/small"), &token))
        .collect();
    let run = |name: String, load: Load| run(folder, &name, &config, &exchanges, load);
    let one = |index: usize| run(format!("rule.{index}"), Load::Requests(index));
    let [nothing, pause] = both(
        || run("rules.nothing".into(), Load::Nothing),
        || run("rules.pause".into(), Load::Pause),
    );
    let [header_there, header_back] = both(|| one(0), || one(1));
    let [list, limit] = both(|| one(2), || one(3));
    let per_second = (pause.0 - nothing.0) / (pause.1 - nothing.1);
    let runs = [header_there, header_back, list, limit, one(4)];
    let counts = all.iter().zip(runs);
    let counts = counts.map(|(rule, run)| {
        (
            format!("request: GET with {}", rule.name),
            each(run, nothing, per_second),
        )
    });
    counts.collect()
}

/// The instructions of each request of a run, without those of a run without them and without periodic work.
fn each((count, duration): Run, nothing: Run, per_second: f64) -> f64 {
    let periodic = per_second * (duration - nothing.1);
    (count - nothing.0 - periodic) / COUNTED as f64
}

/// System calls of a small GET by name, all threads together.
///
/// # Errors
/// Why they cannot be counted on this machine.
pub(crate) fn system_calls(folder: &Folder) -> Result<Vec<Count>, Box<dyn Error>> {
    let probe = tools::strace(&folder.path().join("probe"), "true").output();
    let probe = probe.map_err(|error| format!("strace: {error}"))?;
    if !probe.status.success() || !probe.stderr.is_empty() {
        return Err(String::from_utf8_lossy(&probe.stderr).trim().to_owned().into());
    }
    let config = config(folder, traffic::start_backend());
    let exchanges = exchanges();
    let run = |name: &str, load: Load| {
        let out = folder.path().join(format!("calls.{name}"));
        drive(tools::strace(&out, BALANCER), &config, &exchanges, load);
        tools::system_calls(&out).expect("strace has counted")
    };
    let [nothing, get] = both(|| run("nothing", Load::Nothing), || run("0", Load::Requests(0)));
    Ok(difference(&get, &nothing))
}

fn difference(more: &BTreeMap<String, u64>, base: &BTreeMap<String, u64>) -> Vec<Count> {
    let each = |(name, count): (&String, &u64)| {
        let before = base.get(name).copied().unwrap_or_default();
        (name.clone(), count.saturating_sub(before) as f64 / COUNTED as f64)
    };
    more.iter().map(each).collect()
}

/// The purpose of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Socket,
    Epoll,
    Other,
}

impl Class {
    fn of(name: &str) -> Self {
        let begins_with = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        match name {
            _ if begins_with(&["epoll_"]) => Self::Epoll,
            _ if begins_with(&["recv", "send", "accept", "getsock", "setsock"]) => Self::Socket,
            // A plain `write` is a log write.
            "connect" | "readv" | "shutdown" | "socket" | "splice" | "writev" => Self::Socket,
            _ => Self::Other,
        }
    }
}

/// Prints the calls by name, and returns whether they are within their limits.
pub(crate) fn check_calls(calls: &[Count]) -> bool {
    if calls.is_empty() {
        return true;
    }
    println!("\nsystem calls of a small GET");
    for (name, count) in calls.iter().filter(|(_, count)| *count >= 0.001) {
        println!("  {name:<38} {count:>12.3}");
    }
    let mut is_within = true;
    for (what, class, allowed, slack) in [
        ("on sockets", Class::Socket, SOCKET_CALLS, SOCKET_SLACK),
        ("epoll", Class::Epoll, EPOLL_WAITS, CLOCK_SLACK),
        ("others", Class::Other, 0.0, CLOCK_SLACK),
    ] {
        let of_class = calls.iter().filter(|(name, _)| Class::of(name) == class);
        let count: f64 = of_class.map(|(_, count)| count).sum();
        let is_over = count > allowed + slack;
        let result = if is_over { "  OVER" } else { "" };
        println!("{what:<40} {count:>12.3} of {}{result}", allowed + slack);
        is_within &= !is_over;
    }
    is_within
}

/// Writes a config with one worker and no periodic work except ticks. The access log is encoded and written to /dev/null.
fn config(folder: &Folder, backend: SocketAddr) -> PathBuf {
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: off\nworkers: 1\naccess_log: {{ path: /dev/null, on_full: block }}\n\
         health_check: {{ kind: none }}\nbackends:\n  - http://{backend}\n"
    );
    folder.write("evenkeel.yaml", &text)
}

/// Starts the balancer as `command`, sends requests one after the other, and waits for its end. Returns the time since it
/// began to listen.
fn drive(mut command: Command, config: &Path, exchanges: &[Exchange], load: Load) -> Duration {
    command.process_group(0);
    let (mut process, [address]) = Process::start(command, config, [LISTENING]);
    let started = clock::now();
    let mut client = Client::connect(address);
    for exchange in exchanges {
        client.repeat(exchange, WARM_UP);
    }
    let mut socket = WebSocket::open(address);
    socket.repeat(WARM_UP);
    match load {
        Load::Nothing => {}
        Load::Pause => thread::sleep(PAUSE),
        Load::Requests(kind) => {
            let exchange = exchanges.get(kind).expect("there is such a kind");
            client.repeat(exchange, COUNTED);
        }
        Load::Messages => socket.repeat(COUNTED),
    }
    drop((client, socket));
    let duration = clock::now().saturating_duration_since(started);
    let group = i32::try_from(process.0.id()).ok().and_then(Pid::from_raw);
    // Signals the whole group, because strace does not forward signals.
    kill_process_group(group.expect("a child has an id"), Signal::TERM).expect("it runs");
    let status = process.0.wait().expect("a child can be waited for");
    assert!(status.success(), "the balancer ended with {status}");
    duration
}

fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T) -> [T; 2] {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        [one.join().expect("no panic"), other]
    })
}
