//! The file server of Python's standard library with default options: one request per connection.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::program::find;
use crate::support::Proxy;

/// Frequent probes.
const CHECK: &str = "health_check: { interval: 200ms, healthy_after: 1, unhealthy_after: 1 }";

/// A file server with a folder of its own.
struct Python {
    folder: PathBuf,
    port: u16,
    child: Child,
    /// Open as long as the server writes to it.
    _stdout: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a server whose file `/who` contains `name`.
    fn start(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("evenkeel-python-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        fs::write(folder.join("who"), name).expect("a file can be written");
        let (child, stdout, port) = serve(&folder, 0);
        Self {
            folder,
            port,
            child,
            _stdout: stdout,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    fn kill(&mut self) {
        // It may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again at the same address.
    fn restart(&mut self) {
        let (child, stdout, port) = serve(&self.folder, self.port);
        assert_eq!(port, self.port);
        (self.child, self._stdout) = (child, stdout);
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Serves `folder` on `port`, or on a free port for 0; it listens when this returns.
fn serve(folder: &Path, port: u16) -> (Child, BufReader<ChildStdout>, u16) {
    let mut child = Command::new("python3")
        .args(["-u", "-m", "http.server", &port.to_string()])
        .args(["--bind", "127.0.0.1", "--directory"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it says where it listens");
    let mut words = line.split_whitespace().skip_while(|&word| word != "port");
    let port = words.nth(1).and_then(|port| port.parse().ok());
    let port = port.unwrap_or_else(|| panic!("no port: {line:?}"));
    (child, stdout, port)
}

/// A balancer in front of these servers.
fn before(servers: &[&Python]) -> Proxy {
    let mut builder = Proxy::before(&[]).config(CHECK).config("workers: 1");
    for server in servers {
        builder = builder.backend(&server.url());
    }
    builder.start()
}

#[test]
fn all_respond_equally_often() {
    if find("python3").is_none() {
        return;
    }
    let (a, b, c) = (Python::start("a"), Python::start("b"), Python::start("c"));
    let proxy = before(&[&a, &b, &c]);
    let mut client = proxy.client();
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let received = client.get("/who");
        assert_eq!(received.status(), 200);
        *counts.entry(received.text()).or_insert(0) += 1;
    }
    let even = ["a", "b", "c"].map(|name| (name.to_owned(), 10));
    assert_eq!(counts, BTreeMap::from(even));
}

#[test]
fn head_and_missing_files_are_forwarded() {
    if find("python3").is_none() {
        return;
    }
    let server = Python::start("who");
    let proxy = before(&[&server]);
    let mut client = proxy.client();
    let head = client
        .send("HEAD /who HTTP/1.1\r\nHost: test\r\n\r\n")
        .read_head();
    assert_eq!((head.status(), head.field("content-length")), (200, Some("3")));
    // It uses the same connection: no bytes of a body may come before it.
    let missing = client.get("/nothing");
    assert_eq!(missing.status(), 404);
    assert!(missing.text().contains("File not found"), "{}", missing.text());
    assert_eq!(client.get("/who").text(), "who");
}

#[test]
fn a_large_file_arrives_unchanged() {
    if find("python3").is_none() {
        return;
    }
    let server = Python::start("who");
    let bytes: Vec<u8> = (0..5_u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(server.folder.join("large"), &bytes).expect("a file can be written");
    let proxy = before(&[&server]);
    let received = proxy.get("/large");
    assert_eq!(received.status(), 200);
    assert_eq!(received.body.len(), bytes.len());
    assert!(received.body == bytes, "as many bytes, but others");
}

#[test]
fn a_killed_server_fails_no_request_and_comes_back() {
    if find("python3").is_none() {
        return;
    }
    let (a, mut b) = (Python::start("a"), Python::start("b"));
    let proxy = before(&[&a, &b]);
    let mark = proxy.mark();
    b.kill();
    let mut client = proxy.client();
    for _ in 0..20 {
        let received = client.get("/who");
        assert_eq!((received.status(), received.text().as_str()), (200, "a"));
    }
    let down = proxy.wait_for_message(mark, "Backend is down");
    assert!(
        down["backend"].as_str().is_some_and(|url| b.url().contains(url)),
        "{down}"
    );
    for _ in 0..20 {
        assert_eq!(client.get("/who").status(), 200);
    }
    let mark = proxy.mark();
    b.restart();
    proxy.wait_for_message(mark, "Backend is up");
    let names: Vec<String> = (0..10).map(|_| client.get("/who").text()).collect();
    assert!(names.contains(&"b".to_owned()), "{names:?}");
}
