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
    drive("nginx", true);
}

#[test]
fn haproxy_serves_reloads_and_upgrades() {
    drive("haproxy", true);
}

#[test]
fn envoy_serves_and_reads_changed_files() {
    drive("envoy", false);
}

#[test]
fn traefik_serves_and_reads_its_changed_file() {
    drive("traefik", false);
}

#[test]
fn caddy_serves_and_reloads() {
    drive("caddy", false);
}

#[test]
fn nginx_has_no_failed_request_while_nothing_happens() {
    be_calm("nginx");
}

#[test]
fn haproxy_has_no_failed_request_while_nothing_happens() {
    be_calm("haproxy");
}

/// Starts it, loads a valid config and an invalid one, and upgrades it if it has such a thing.
fn drive(name: &str, has_upgrade: bool) {
    let Some(peer) = installed(name) else { return };
    let (peer, folder) = (peer.as_ref(), Folder::new().unwrap());
    let backends = [Vec::new(), Vec::new()];
    let fleet = Fleet::start(&helper(), folder.path(), 1, &backends).unwrap();
    let addresses = fleet.addresses();
    if has_upgrade {
        peer.install(folder.path(), Program::Whole).unwrap();
    } else {
        let error = peer.install(folder.path(), Program::Whole).unwrap_err();
        assert!(error.is_not_offered(), "{error}");
    }
    let setup = Setup {
        backends: &addresses,
        settings: &[Setting::Variant(0)],
        folder: folder.path(),
        address: None,
        http2: None,
        extras: &Extras::default(),
    };
    let mut balancer = Balancer::start(peer, &helper(), &setup).unwrap();
    let address = balancer.address;
    let has = |variant: u64| status(address, &format!("/variant-{variant}")) != 200;
    assert!(!has(1));

    let load = |settings: &[Setting]| balancer.reload(peer, &addresses, settings).unwrap();
    load(&[Setting::Variant(1)]);
    wait_for(|| has(1));
    load(&[Setting::Variant(2), Setting::Invalid]);
    // Not all of them say that they have refused it. Traefik reads its file at most every 2 s.
    std::thread::sleep(Duration::from_secs(3));
    assert!(has(1) && !has(2), "{}", balancer.output());
    load(&[Setting::Variant(3)]);
    wait_for(|| has(3));

    if has_upgrade {
        upgrade(&mut balancer, peer, &addresses, folder.path());
    }
    balancer.stop().unwrap();
    drop(fleet);
    wait_for(|| processes_with(folder.path()) == 0);
}

fn upgrade(balancer: &mut Balancer, peer: &dyn Peer, addresses: &[SocketAddr], folder: &Path) {
    let address = balancer.address;
    balancer
        .write_config(peer, addresses, &[Setting::Variant(5)])
        .unwrap();
    assert!(balancer.upgrade(peer, LIMIT).unwrap(), "{}", balancer.output());
    wait_for(|| status(address, "/variant-5") != 200);
    for program in [Program::Exits, Program::Hangs] {
        peer.install(folder, program).unwrap();
        let is_replaced = balancer.upgrade(peer, Duration::from_millis(500)).unwrap();
        assert!(!is_replaced, "{program:?}: {}", balancer.output());
        assert_eq!(status(address, "/"), 200, "{program:?}");
    }
    peer.install(folder, Program::Whole).unwrap();
    assert!(balancer.upgrade(peer, LIMIT).unwrap(), "{}", balancer.output());
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
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
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
