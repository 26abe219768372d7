//! Upgrades of the running binary, with real processes: a copy of the program that is replaced by another.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::http2::Http2;
use crate::support::{Backend, Gate, Proxy, Response, wait_until_within};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with a copy of the program, its config and its files. Removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-upgrade-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let folder = Self(folder);
        folder.install_program();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub(crate) fn install_program(&self) {
        self.install("cp \"$1\" \"$2\"", BINARY);
    }

    pub(crate) fn install_script(&self, script: &str) {
        let write = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        self.install(write, &format!("#!/bin/sh\n{script}\n"));
    }

    /// Writes the program in a process of its own: a process that another test starts meanwhile would inherit a descriptor that
    /// is open for writing, and a file that is written to cannot be executed.
    fn install(&self, write: &str, what: &str) {
        let next = self.text("next");
        let status = Command::new("sh")
            .args(["-c", write, "sh", what, &next])
            .status()
            .unwrap();
        assert!(status.success());
        fs::rename(next, self.path("program")).unwrap();
    }

    /// Starts the copy, after these words.
    pub(crate) fn start(&self, backend: &Backend, config: &str, before: &[&str]) -> Proxy {
        let builder = Proxy::before(&[backend]).config(config);
        fs::write(self.path("config.yaml"), builder.text()).unwrap();
        let (program, config, pid) = (self.text("program"), self.text("config.yaml"), self.text("pid"));
        let words = [&program, "run", "-c", &config, "--pid-file", &pid];
        builder.program(&[before, &words].concat()).start()
    }

    /// The process that serves, by its file.
    pub(crate) fn serving(&self) -> Option<Pid> {
        pid_of(&fs::read_to_string(self.path("pid")).ok()?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(pid) = self.serving() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn pid_of(text: &str) -> Option<Pid> {
    Pid::from_raw(text.trim().parse().ok()?)
}

pub(crate) fn upgrade(proxy: &Proxy) -> Output {
    let admin = proxy.admin().to_string();
    let words = ["ctl", "--admin", &admin, "--json", "upgrade"];
    Command::new(BINARY).args(words).output().unwrap()
}

/// One request on a connection of its own.
pub(crate) fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

pub(crate) fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    wait_until_within(DEADLINE, what, is_so);
}

fn exists(path: &Path) -> bool {
    path.exists()
}

#[test]
fn upgrades_under_load_fail_no_request_and_refuse_no_connection() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "workers: 2", &[]);
    let (address, is_over) = (proxy.address(), AtomicBool::new(false));
    let (asked, probed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let response = ask(address, "/").expect("a response");
                    assert!(response.ends_with("hello"), "{response}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                TcpStream::connect(address).expect("no connection is refused");
                probed.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut processes = vec![folder.serving()];
        for _ in 0..5 {
            let output = upgrade(&proxy);
            assert!(output.status.success(), "{output:?}");
            let response: Value = serde_json::from_slice(&output.stdout).unwrap();
            let serving = folder.serving();
            let id = serving.map(|pid| i64::from(pid.as_raw_nonzero().get()));
            assert_eq!(response["pid"].as_i64(), id);
            assert!(!processes.contains(&serving), "another process serves");
            processes.push(serving);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(asked.into_inner() > 5 && probed.into_inner() > 5);
    // The end of the last process, which holds the standard output that `proxy` waits for.
    drop(folder);
}

#[test]
fn a_listener_that_a_reload_has_added_is_passed_on() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    let added = "listeners: [{ address: 127.0.0.2:0 }]";
    let config = Proxy::before(&[&backend]).config(added);
    fs::write(folder.path("config.yaml"), config.text()).unwrap();
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    let line = proxy.wait_for_message(mark, "listening");
    let added: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    proxy.wait_for_message(mark, "reloaded");
    let output = upgrade(&proxy);
    assert!(output.status.success(), "{output:?}");
    for address in [proxy.address(), added] {
        assert!(ask(address, "/").unwrap().ends_with("hello"), "{address}");
    }
    drop(folder);
}

#[test]
fn a_new_process_that_cannot_serve_leaves_the_running_one_as_it_was() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "timeouts: { upgrade: 5s }", &[]);
    let before = folder.serving();
    for (script, reason) in [
        ("echo it is broken >&2; exit 3", "it is broken"),
        ("exit 3", "exit status: 3"),
        ("echo 'panicked at it' >&2; kill -ABRT $$", "panicked at it"),
        ("kill -ABRT $$", "signal: 6"),
        // Its child keeps the standard error open.
        ("sleep 1000 & echo \"it left $!\" >&2; exit 3", "it left"),
        ("exec sleep 1000", "`timeouts.upgrade`"),
    ] {
        folder.install_script(script);
        let output = upgrade(&proxy);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(shown.contains(reason), "{shown}");
        assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
        if let Some((_, left)) = shown.split_once("it left ") {
            let digits = left.split(|letter: char| !letter.is_ascii_digit()).next();
            kill_process(pid_of(digits.unwrap()).unwrap(), Signal::KILL).unwrap();
        }
    }
    folder.install_program();
    fs::write(folder.path("config.yaml"), "lisen: 1\n").unwrap();
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("unknown key `lisen`"), "{shown}");
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    assert_eq!(folder.serving(), before);
}

#[test]
fn the_file_at_the_path_of_the_start_is_run_although_the_running_one_was_renamed() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    fs::rename(folder.path("program"), folder.path("program.old")).unwrap();
    folder.install_script("echo the new file runs >&2; exit 3");
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("the new file runs"), "{shown}");
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    assert!(proxy.stop().success());
}

#[test]
fn the_new_process_serves_when_the_old_one_is_killed_meanwhile() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    let (before, address) = (folder.serving(), proxy.address());
    let (begun, go) = (folder.text("begun"), folder.text("go"));
    let program = format!("touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; exec {BINARY} \"$@\"");
    folder.install_script(&program);
    proxy.signal(Signal::USR2);
    wait_until("the new process starts", || exists(&folder.path("begun")));
    let second = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(shown.contains("another upgrade is running"), "{shown}");
    proxy.signal(Signal::KILL);
    fs::write(&go, "").unwrap();
    wait_until("the new process serves", || folder.serving() != before);
    assert!(ask(address, "/").unwrap().ends_with("hello"));
    // The end of the last process, which holds the standard output that `proxy` waits for.
    drop(folder);
    assert!(!proxy.wait().success(), "it was killed");
}

#[test]
fn the_service_manager_is_told_of_start_upgrade_and_stop() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let socket = UnixDatagram::bind(folder.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let variable = format!("NOTIFY_SOCKET={}", folder.text("notify"));
    let wait_for = |beginning: &str| {
        let mut message = [0; 512];
        loop {
            let count = socket.recv(&mut message).expect("a message");
            let text = String::from_utf8_lossy(&message[..count]).into_owned();
            if text.starts_with(beginning) {
                return text;
            }
        }
    };
    let config = "timeouts: { drain_delay: 2s }";
    let proxy = folder.start(&backend, config, &["env", &variable, "WATCHDOG_USEC=200000"]);
    wait_for("READY=1\n");
    wait_for("WATCHDOG=1");
    proxy.signal(Signal::HUP);
    assert!(wait_for("RELOADING=1\nMONOTONIC_USEC=").len() > 30);
    wait_for("READY=1\n");
    let output = upgrade(&proxy);
    assert!(output.status.success(), "{output:?}");
    wait_for("MAINPID=");
    let serving = folder.serving().unwrap();
    assert_ne!(serving, proxy.pid());
    kill_process(serving, Signal::TERM).unwrap();
    wait_for("STOPPING=1\n");
    wait_for("WATCHDOG=1");
}

#[test]
fn a_listener_that_the_new_config_does_not_have_is_closed_with_its_file() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let path = folder.path("socket");
    let tcp = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let listeners = format!(
        "listeners: [{{ address: 'unix:{}' }}, {{ address: '{tcp}' }}]",
        path.display()
    );
    let proxy = folder.start(&backend, &listeners, &[]);
    assert!(ask(tcp, "/").unwrap().ends_with("hello"));
    let mut open = UnixStream::connect(&path).unwrap();
    fs::write(folder.path("config.yaml"), Proxy::before(&[&backend]).text()).unwrap();
    let mark = proxy.mark();
    let output = upgrade(&proxy);
    assert!(output.status.success(), "{output:?}");
    open.set_read_timeout(Some(DEADLINE)).unwrap();
    open.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut response = String::new();
    open.read_to_string(&mut response).unwrap();
    assert!(response.ends_with("hello"), "{response}");
    proxy.wait_for_message(mark, "Stopped");
    assert!(!exists(&path));
    assert!(TcpStream::connect(tcp).is_err());
    kill_process(folder.serving().unwrap(), Signal::TERM).unwrap();
    assert!(proxy.wait().success());
}

#[test]
fn a_stop_accepts_for_the_drain_delay_while_it_is_not_ready() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "timeouts: { drain_delay: 2s }", &[]);
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "Stop requested");
    assert_eq!(proxy.get_admin("/readyz").status(), 503);
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    proxy.wait_for_message(mark, "Stopping");
    assert!(proxy.wait().success());
}

/// A program that waits until the file `go` exists, after it has written its id to `begun`.
pub(crate) fn waiting(folder: &Folder, then: &str) -> String {
    let (begun, go) = (folder.text("begun"), folder.text("go"));
    format!("echo $$ > {begun}.new; mv {begun}.new {begun}; while [ ! -e {go} ]; do sleep 0.05; done; {then}")
}

#[test]
fn a_stop_during_an_upgrade_ends_the_new_process_too() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    folder.install_script(&waiting(&folder, "exit 3"));
    proxy.signal(Signal::USR2);
    wait_until("the new process starts", || exists(&folder.path("begun")));
    let new = pid_of(&fs::read_to_string(folder.path("begun")).unwrap()).unwrap();
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "Stopping");
    assert!(test_kill_process(new).is_err(), "it has ended before the drain");
    assert!(proxy.wait().success());
    assert!(TcpStream::connect(proxy.address()).is_err());
}

#[test]
fn a_signal_to_reload_during_an_upgrade_has_effect_when_the_upgrade_fails() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    folder.install_script(&waiting(&folder, "exit 3"));
    let mark = proxy.mark();
    proxy.signal(Signal::USR2);
    wait_until("the new process starts", || exists(&folder.path("begun")));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "Reload postponed");
    fs::write(folder.path("go"), "").unwrap();
    proxy.wait_for_message(mark, "Upgrade failed");
    proxy.wait_for_message(mark, "Reloaded");
    assert!(proxy.stop().success());
}

#[test]
fn a_process_that_was_told_to_serve_is_not_killed_and_its_late_failure_is_shown() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "timeouts: { upgrade: 2s }", &[]);
    folder.install_script("printf r >&0; sleep 4; echo it failed late >&2; exit 4");
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        shown.contains("exit status: 4") && shown.contains("it failed late"),
        "{shown}"
    );
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    assert!(proxy.stop().success());
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_the_upgrade_before_the_new_process_serves() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let builder = Proxy::before(&[&backend]);
    fs::write(folder.path("config.yaml"), builder.text()).unwrap();
    fs::create_dir(folder.path("sub")).unwrap();
    let (program, config, pid) = (
        folder.text("program"),
        folder.text("config.yaml"),
        folder.text("sub/pid"),
    );
    let proxy = builder
        .program(&[&program, "run", "-c", &config, "--pid-file", &pid])
        .start();
    fs::rename(folder.path("sub"), folder.path("moved")).unwrap();
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("--pid-file") && shown.contains(&pid), "{shown}");
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    assert!(proxy.stop().success());
}

#[test]
fn a_config_from_standard_input_refuses_an_upgrade() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let builder = Proxy::before(&[&backend]);
    fs::write(folder.path("config.yaml"), builder.text()).unwrap();
    let script = format!("exec {BINARY} run -c - < {}", folder.text("config.yaml"));
    let proxy = builder.program(&["sh", "-c", &script]).start();
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("standard input"), "{shown}");
    assert!(proxy.stop().success());
}

#[test]
fn requests_of_both_versions_finish_in_the_old_process_which_holds_no_socket_then() {
    let (folder, gate) = (Folder::new(), Gate::default());
    let held = gate.clone();
    let backend = Backend::start(move |request| match request.start().contains("/held") {
        true => Response::ok("held").after(&held),
        false => Response::ok("hello"),
    });
    let proxy = folder.start(&backend, "health_check: { kind: none }", &[]);
    let (mut keep_alive, http2) = (proxy.client(), Http2::connect(proxy.address()));
    assert_eq!(keep_alive.get("/first").text(), "hello");
    assert_eq!(http2.get("/first").text(), "hello");
    keep_alive.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    let (response, _) = http2.send("GET", "/held", true);
    http2.run_beside(|| backend.wait_for_requests_where(2, |request| request.start().contains("/held")));
    let output = http2.run_beside(|| upgrade(&proxy));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(Http2::connect(proxy.address()).get("/second").text(), "hello");
    assert_eq!(proxy.get("/second").text(), "hello");
    kill_process(folder.serving().unwrap(), Signal::TERM).unwrap();
    wait_until("the new process ends", || folder.serving().is_none());
    wait_until("the port is closed", || {
        TcpStream::connect(proxy.address()).is_err()
    });
    wait_until("the admin port is closed", || {
        TcpStream::connect(proxy.admin()).is_err()
    });
    gate.open();
    let received = keep_alive.read();
    assert_eq!(
        (received.text(), received.field("connection")),
        ("held".to_owned(), Some("close"))
    );
    assert_eq!(http2.read(response).unwrap().text(), "held");
    assert!(proxy.wait().success());
}

#[test]
fn the_file_of_a_unix_listener_belongs_to_the_process_that_serves() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let path = folder.path("socket");
    let listeners = format!("listeners: [{{ address: 'unix:{}' }}]", path.display());
    let proxy = folder.start(&backend, &listeners, &[]);
    let ask = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("hello"), "{response}");
    };
    ask();
    folder.install_script("exit 3");
    assert_eq!(upgrade(&proxy).status.code(), Some(1));
    ask();
    folder.install_program();
    let mark = proxy.mark();
    assert!(upgrade(&proxy).status.success());
    proxy.wait_for_message(mark, "Stopped");
    ask();
    kill_process(folder.serving().unwrap(), Signal::TERM).unwrap();
    wait_until("the file is removed", || !exists(&path));
    assert!(proxy.wait().success());
}

#[test]
fn a_stop_cuts_none_of_500_requests() {
    let (folder, gate) = (Folder::new(), Gate::default());
    let held = gate.clone();
    let backend = Backend::start(move |_| Response::ok("hello").after(&held));
    let config = "health_check: { kind: none }\nlimits: { connections_per_client: none }";
    let proxy = folder.start(&backend, config, &[]);
    let connect = |_| {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stream
    };
    let streams: Vec<_> = (0..500).map(connect).collect();
    backend.wait_for_requests(500);
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "Stopping");
    gate.open();
    for mut stream in streams {
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("hello"), "{response}");
    }
    assert!(proxy.wait().success());
}
