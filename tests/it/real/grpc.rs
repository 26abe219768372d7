//! gRPC clients and servers based on the common gRPC library, with the balancer between them: each kind of call ends as
//! it does without the balancer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::program::{command, file, find_python, run};
use crate::support::{Proxy, refusing_address};

/// Frequent probes.
const CHECK: &str = "interval: 100ms, healthy_after: 1, unhealthy_after: 1";

/// A self-signed certificate, in a folder of its own.
struct Certificate(PathBuf);

impl Certificate {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("evenkeel-grpc-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        fs::write(folder.join("cert.pem"), made.cert.pem()).expect("a file can be written");
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("a file can be written");
        Self(folder)
    }

    fn cert(&self) -> String {
        self.0.join("cert.pem").display().to_string()
    }

    fn key(&self) -> String {
        self.0.join("key.pem").display().to_string()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A program that exchanges lines of text with the test.
struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    /// Starts a program of `programs`.
    fn start(python: &Path, program: &str, arguments: &[&str]) -> Self {
        let mut child = command(python)
            .arg(file(&format!("programs/{program}")))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdin = child.stdin.take().expect("its input is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, stdin, stdout }
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it writes text");
        line
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").expect("it reads");
        self.read()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server of gRPC.
struct Server {
    _talk: Talk,
    plain: String,
    secure: String,
}

impl Server {
    /// Starts one; it listens when this returns.
    fn start(python: &Path, name: &str, certificate: Option<&Certificate>, options: &[&str]) -> Self {
        let (cert, key) = match certificate {
            Some(certificate) => (certificate.cert(), certificate.key()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let arguments = [&[name, &cert, &key], options].concat();
        let mut talk = Talk::start(python, "grpc_backend.py", &arguments);
        let line = talk.read();
        let (plain, secure) = line.trim().split_once(' ').expect("it says where it listens");
        Self {
            plain: format!("127.0.0.1:{plain}"),
            secure: format!("127.0.0.1:{secure}"),
            _talk: talk,
        }
    }
}

/// A balancer in front of gRPC backends without TLS, probed by gRPC, with more keys of `health_check`.
fn before(servers: &[&Server], keys: &str) -> Proxy {
    let mut builder = Proxy::before(&[]).config(&format!("health_check: {{ kind: grpc, {CHECK}{keys} }}"));
    for server in servers {
        builder = builder.backend(&format!("h2c://{}", server.plain));
    }
    builder.config("workers: 1\nqueue: off").start()
}

/// The client's final output.
fn client(python: &Path, what: &str, proxy: &Proxy, more: &[&str]) -> String {
    let (program, address) = (file("programs/grpc_client.py"), proxy.address().to_string());
    run(python, &[&[&*program, what, &address, "-"], more].concat())
}

fn counts(names: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in names.split_whitespace() {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

#[test]
fn each_kind_of_call_passes_with_and_without_tls_on_either_side() {
    let Some(python) = find_python("python") else {
        return;
    };
    let certificate = Certificate::new();
    let (cert, key) = (certificate.cert(), certificate.key());
    let server = Server::start(&python, "a", Some(&certificate), &[]);
    let program = file("programs/grpc_client.py");
    for is_front_secure in [false, true] {
        for backend in [
            format!("h2c://{}", server.plain),
            format!("https://{}", server.secure),
        ] {
            let mut builder = Proxy::before(&[]);
            if is_front_secure {
                builder = builder.listener(&format!(
                    "tls: {{ certificates: [{{ cert: '{cert}', key: '{key}' }}] }}"
                ));
            }
            let tls = if backend.starts_with("https") {
                format!("tls: {{ ca: '{cert}', server_name: localhost }}, ")
            } else {
                String::new()
            };
            let proxy = builder
                .config(&format!(
                    "health_check: {{ kind: grpc, {CHECK} }}\nroutes: [{{ pool: p }}]\npools:\n  p: {{ {tls}backends: ['{backend}'] }}"
                ))
                .start();
            let trusted = if is_front_secure { cert.as_str() } else { "-" };
            let address = proxy.address().to_string();
            run(&python, &[&program, "all", &address, trusted]);
            let line = proxy.wait_for_line(|line| line["path"] == "/test.Other/Echo");
            assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &12.into()));
            assert_eq!(proxy.count_so_far(|line| line["level"] == "WARN"), 0);
            proxy.wait_for_count(100, |line| {
                line["path"] == "/test.Test/Meet" && line["grpc_status"] == 0
            });
        }
    }
}

#[test]
fn calls_of_one_connection_are_balanced_individually() {
    let Some(python) = find_python("python") else {
        return;
    };
    let servers = ["a", "b"].map(|name| Server::start(&python, name, None, &[]));
    let proxy = before(&servers.each_ref(), "");
    let names = client(&python, "names", &proxy, &["100"]);
    assert_eq!(counts(&names), BTreeMap::from([("a", 50), ("b", 50)]));
}

#[test]
fn a_killed_server_fails_no_call_that_was_not_sent() {
    let Some(python) = find_python("python") else {
        return;
    };
    let a = Server::start(&python, "a", None, &[]);
    let b = Server::start(&python, "b", None, &[]);
    let proxy = before(&[&a, &b], "");
    let program = proxy.address().to_string();
    let mut talk = Talk::start(&python, "grpc_client.py", &["names-while-asked", &program, "-"]);
    assert_eq!(counts(&talk.ask("10")), BTreeMap::from([("a", 5), ("b", 5)]));
    drop(b);
    assert_eq!(counts(&talk.ask("40")), BTreeMap::from([("a", 40)]));
}

#[test]
fn goaway_of_a_server_fails_no_call() {
    let Some(python) = find_python("python") else {
        return;
    };
    let ages = [
        "grpc.max_connection_age_ms=150",
        "grpc.max_connection_age_grace_ms=10000",
    ];
    let server = Server::start(&python, "a", None, &ages);
    let proxy = before(&[&server], "");
    client(&python, "ages", &proxy, &["1.5"]);
}

#[test]
fn a_client_understands_local_responses() {
    let Some(python) = find_python("python") else {
        return;
    };
    let (address, _socket) = refusing_address();
    let proxy = Proxy::before(&[])
        .backend(&format!("h2c://{address}"))
        .config("health_check: { kind: none }")
        .start();
    assert_eq!(
        client(&python, "fails", &proxy, &[]),
        "UNAVAILABLE connect_failed: no connection to the backend\n"
    );
}

#[test]
fn health_follows_the_servers_status_of_the_service() {
    let Some(python) = find_python("python") else {
        return;
    };
    let server = Server::start(&python, "a", None, &[]);
    for (service, message) in [("down", "not serving"), ("other", "5")] {
        let proxy = before(&[&server], &format!(", service: {service}"));
        let line = proxy.wait_for_message(0, "Backend is down");
        assert!(
            line["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains(message)),
            "{line}"
        );
    }
    let proxy = before(&[&server], ", service: up");
    assert_eq!(client(&python, "names", &proxy, &["1"]), "a\n");
    let mark = proxy.mark();
    client(&python, "set-health", &proxy, &["up 2"]);
    proxy.wait_for_message(mark, "Backend is down");
    let failed = client(&python, "fails", &proxy, &[]);
    assert!(failed.starts_with("UNAVAILABLE no_backend: "), "{failed}");
}
