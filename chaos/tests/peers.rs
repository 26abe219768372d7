//! The balancers that are installed on this machine, driven as the scenarios drive them: started, reloaded, upgraded.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a crate of tests: a failure is a panic"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_chaos::Folder;
use evenkeel_chaos::fleet::Fleet;
use evenkeel_chaos::helper::Helper;
use evenkeel_chaos::peer::{self, Balancer, Extras, Peer, Program, Setting, Setup};
use evenkeel_chaos::scenario::{Context, Scenario};

/// Longest wait for something to happen.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn nginx_serves_reloads_and_upgrades() {
    drive("nginx");
}

#[test]
fn haproxy_serves_reloads_and_upgrades() {
    drive("haproxy");
}

#[test]
fn nginx_has_no_failed_request_while_nothing_happens() {
    be_calm("nginx");
}

#[test]
fn haproxy_has_no_failed_request_while_nothing_happens() {
    be_calm("haproxy");
}

fn drive(name: &str) {
    let Some(peer) = installed(name) else { return };
    let (peer, folder) = (peer.as_ref(), Folder::new().unwrap());
    let backends = vec![Vec::new(), Vec::new()];
    let fleet = Fleet::start(&helper(), folder.path(), 1, &backends).unwrap();
    let addresses = fleet.addresses();
    peer.install(folder.path(), Program::Whole).unwrap();
    let setup = Setup {
        backends: &addresses,
        settings: &[Setting::Variant(0)],
        folder: folder.path(),
        address: None,
        http2: None,
        extras: &Extras::default(),
    };
    let mut balancer = Balancer::start(peer, &helper(), &setup).unwrap();
    assert_eq!(status(balancer.address, "/variant-1"), 200);

    balancer.reload(peer, &addresses, &[Setting::Variant(1)]).unwrap();
    wait_for(|| status(balancer.address, "/variant-1") == 404);
    let invalid = [Setting::Variant(2), Setting::Invalid];
    balancer.reload(peer, &addresses, &invalid).unwrap();
    assert_eq!(status(balancer.address, "/variant-2"), 200);

    balancer
        .write_config(peer, &addresses, &[Setting::Variant(3)])
        .unwrap();
    assert!(balancer.upgrade(peer, LIMIT).unwrap(), "{}", balancer.output());
    wait_for(|| status(balancer.address, "/variant-3") == 404);
    for program in [Program::Exits, Program::Hangs] {
        peer.install(folder.path(), program).unwrap();
        let is_replaced = balancer.upgrade(peer, Duration::from_millis(500)).unwrap();
        assert!(!is_replaced, "{program:?}: {}", balancer.output());
        assert_eq!(status(balancer.address, "/variant-3"), 404, "{program:?}");
    }
    peer.install(folder.path(), Program::Whole).unwrap();
    assert!(balancer.upgrade(peer, LIMIT).unwrap(), "{}", balancer.output());
    balancer.stop().unwrap();
    drop(fleet);
    wait_for(|| processes_with(folder.path()) == 0);
}

fn be_calm(name: &str) {
    let Some(peer) = installed(name) else { return };
    let context = Context {
        peer,
        helper: helper(),
        seed: 1,
        duration: Duration::from_secs(1),
        rate: 100,
        slack: 20,
        is_kept: false,
    };
    let report = Scenario::find("calm").unwrap().run(&context).unwrap();
    assert!(report.has_passed(), "\n{}", report.text());
    let seen = &report.json()["seen"];
    assert_eq!(seen["gets"]["failed"], 0, "{seen}");
    assert_eq!(
        seen["gets"]["all"].as_u64().unwrap() + seen["posts"]["all"].as_u64().unwrap(),
        100,
        "{seen}"
    );
}

/// The balancer, if its program is in `PATH`.
#[allow(clippy::print_stderr, reason = "says why a test was skipped")]
fn installed(name: &str) -> Option<Box<dyn Peer>> {
    let mut command = Command::new(name);
    command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
    if command.status().is_err() {
        eprintln!("skipped: {name} is not in PATH");
        return None;
    }
    Some(peer::peer(name, None).unwrap())
}

fn helper() -> Helper {
    Helper::Binary(PathBuf::from(env!("CARGO_BIN_EXE_evenkeel-fault-backend")))
}

/// The status of the response to a GET of this path; 0 without one.
fn status(address: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: chaos.test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let word = response.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// Processes whose command line names this folder.
fn processes_with(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap().as_bytes();
    let entries = fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let names = |line: &Vec<u8>| line.windows(folder.len()).any(|part| part == folder);
    lines.filter(names).count()
}

fn wait_for(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
