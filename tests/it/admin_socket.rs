//! The admin API on a Unix socket: the commands that use it, who is named in the log, and the file.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Backend, DEADLINE, Proxy};

/// The path of a socket, deleted when dropped.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-admin-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Runs a command that asks the admin API at this socket.
fn run(path: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(words)
        .args(["--admin", &format!("unix:{}", path.display())])
        .env_remove("EVENKEEL_TOKEN")
        .output()
        .unwrap()
}

#[test]
fn a_variable_names_the_admin_api_of_commands_without_an_option() {
    let (place, backend) = (SocketPath::new(), Backend::saying("one"));
    let _proxy = Proxy::before(&[&backend]).admin_socket(&place.0).start();
    let with = |value: &str| {
        Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["ctl", "status"])
            .env("EVENKEEL_ADMIN", value)
            .env_remove("EVENKEEL_TOKEN")
            .output()
            .unwrap()
    };
    let output = with(&format!("unix:{}", place.0.display()));
    assert_eq!(code(&output), Some(0), "{output:?}");
    let output = with("nowhere");
    assert_eq!(code(&output), Some(2), "{output:?}");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(why.contains("the variable EVENKEEL_ADMIN is `nowhere`"), "{why}");
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn commands_reach_the_process_through_the_socket_and_the_log_names_the_user() {
    let (place, backend) = (SocketPath::new(), Backend::saying("one"));
    let proxy = Proxy::before(&[&backend]).admin_socket(&place.0).start();
    let mode = fs::metadata(&place.0).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let url = backend.url();
    for words in [
        &["healthcheck"][..],
        &["ctl", "status"],
        &["explain", "GET", "http://a.test/"],
        &["ctl", "drain", "default", &url],
    ] {
        let output = run(&place.0, words);
        assert_eq!(code(&output), Some(0), "{output:?}");
    }
    let line = proxy.wait_for_message(0, "Backend drained by an operator");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(line["by"], format!("unix socket, uid {uid}"));
    // Names of a page cannot lead here, and the file mode controls access.
    let mut stream = UnixStream::connect(&place.0).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
        .write_all(b"GET /api/v1/status HTTP/1.0\r\nHost: any.example\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 OK"), "{head}");
    let status: Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["pools"][0]["backends"][0]["state"], "draining");
    assert!(proxy.stop().success());
    assert!(!place.0.exists(), "it goes at the stop");
    let output = run(&place.0, &["ctl", "status"]);
    assert_eq!(code(&output), Some(3), "{output:?}");
}

#[test]
fn a_stale_socket_is_replaced() {
    let (place, backend) = (SocketPath::new(), Backend::saying("one"));
    drop(UnixListener::bind(&place.0).unwrap());
    assert!(place.0.exists(), "the standard library does not remove it");
    let output = run(&place.0, &["ctl", "status"]);
    assert_eq!(code(&output), Some(3), "{output:?}");
    let _proxy = Proxy::before(&[&backend]).admin_socket(&place.0).start();
    let output = run(&place.0, &["ctl", "status"]);
    assert_eq!(code(&output), Some(0), "{output:?}");
}
