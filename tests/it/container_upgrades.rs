//! Upgrades in a container: a pid namespace whose process 1 is the program.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::binary_upgrades::{BINARY, Folder, ask, upgrade, wait_until, waiting};
use crate::support::ability::can_unshare;
use crate::support::{Backend, Client, Gate, Proxy, Response};

/// What makes the rest of a command line process 1 of a container. It ends with the exit code of that.
pub(crate) const CONTAINER: &[&str] = &["unshare", "-r", "--pid", "--kill-child", "--mount-proc"];
/// What process 1 logs when another process serves and its own requests have ended.
pub(crate) const STAYS: &str = "Drained; stays as process 1";

/// The program as process 1 of a container.
pub(crate) struct Container {
    pub(crate) proxy: Proxy,
    folder: Folder,
    /// Process 1, as this process sees it.
    pub(crate) first: Pid,
}

/// A process of the container.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) parent: i32,
    /// Its id in the container.
    pub(crate) inner: i32,
    pub(crate) is_zombie: bool,
}

impl Container {
    /// Starts it after these words; `None` where no container can be made.
    pub(crate) fn start(backend: &Backend, config: &str, before: &[&str]) -> Option<Self> {
        if !can_unshare(&CONTAINER[1..]) {
            return None;
        }
        let folder = Folder::new();
        let builder = Proxy::before(&[backend]).config(config);
        fs::write(folder.path("config.yaml"), builder.text()).unwrap();
        let (program, config, id) = (
            folder.text("program"),
            folder.text("config.yaml"),
            folder.text("id"),
        );
        let words = [&program, "run", "-c", &config, "--pid-file", &id];
        let proxy = builder.program(&[CONTAINER, before, &words].concat()).start();
        let unshare = proxy.pid().as_raw_nonzero().get();
        let mut all = processes().into_iter();
        let first = all.find(|process| process.parent == unshare).unwrap().pid;
        Some(Self { proxy, folder, first })
    }

    /// A container that an upgrade has replaced once.
    pub(crate) fn replaced(backend: &Backend, config: &str) -> Option<Self> {
        let container = Self::start(backend, config, &[])?;
        let mark = container.proxy.mark();
        container.upgrade();
        container.proxy.wait_for_message(mark, STAYS);
        Some(container)
    }

    /// A container whose process 1 drains, and the requests that process 1 and the one that serves hold.
    fn draining(backend: &Backend) -> Option<(Self, [Client; 2])> {
        let container = Self::start(backend, UNPROBED, &[])?;
        let of_first = container.hold(backend, 1);
        container.upgrade_and_drain();
        let of_second = container.hold(backend, 2);
        Some((container, [of_first, of_second]))
    }

    /// The id of the process that serves, by its file.
    pub(crate) fn serving(&self) -> i32 {
        let text = fs::read_to_string(self.folder.path("id")).unwrap();
        text.trim().parse().unwrap()
    }

    /// All processes that have process 1 as an ancestor.
    pub(crate) fn family(&self) -> Vec<Process> {
        let mut family = vec![self.first.as_raw_nonzero().get()];
        let (mut rest, mut found) = (processes(), Vec::new());
        while let Some(at) = rest.iter().position(|process| family.contains(&process.parent)) {
            let process = rest.swap_remove(at);
            family.push(process.pid.as_raw_nonzero().get());
            found.push(process);
        }
        found
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.first, signal).unwrap();
    }

    /// Kills the process with this id in the container.
    pub(crate) fn kill(&self, inner: i32) {
        let family = self.family();
        let process = family.iter().find(|process| process.inner == inner);
        kill_process(process.unwrap().pid, Signal::KILL).unwrap();
    }

    pub(crate) fn upgrade(&self) {
        let before = self.serving();
        let output = upgrade(&self.proxy);
        assert!(output.status.success(), "{output:?}");
        let response: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(response["pid"], self.serving());
        assert_ne!(self.serving(), before);
    }

    /// The same, until the process that was replaced drains.
    pub(crate) fn upgrade_and_drain(&self) {
        let mark = self.proxy.mark();
        self.upgrade();
        self.proxy.wait_for_message(mark, "Stopping");
    }

    pub(crate) fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.proxy.wait()
    }

    /// A request that waits in the process that serves, for the `number`th response of the backend that waits.
    pub(crate) fn hold(&self, backend: &Backend, number: usize) -> Client {
        let mut client = self.proxy.client();
        client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
        backend.wait_for_requests_where(number, |request| request.start().contains("/held"));
        client
    }
}

/// All processes of the machine that can be read.
pub(crate) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| process(&entry.path())).collect()
}

fn process(folder: &Path) -> Option<Process> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim()
    };
    Some(Process {
        pid: Pid::from_raw(pid)?,
        parent: value("PPid:").parse().ok()?,
        inner: value("NSpid:").split_whitespace().last()?.parse().ok()?,
        is_zombie: value("State:").starts_with('Z'),
    })
}

/// The numbers of the sockets that listen on these ports.
fn listening(ports: &[u16]) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ends = ports.iter().map(|port| format!(":{port:04X}"));
    let ends: Vec<_> = ends.collect();
    let listens = |row: &Vec<&str>| row[3] == "0A" && ends.iter().any(|end| row[1].ends_with(end));
    rows.filter(listens)
        .map(|row| format!("socket:[{}]", row[9]))
        .collect()
}

fn descriptors(pid: Pid) -> Vec<String> {
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let links = fs::read_dir(folder).unwrap().flatten();
    links
        .filter_map(|link| Some(fs::read_link(link.path()).ok()?.to_string_lossy().into_owned()))
        .collect()
}

/// A backend that responds to `/held` when the gate opens.
pub(crate) fn holding(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::start(move |request| match request.start().contains("/held") {
        true => Response::ok("held").after(&gate),
        false => Response::ok("hello"),
    })
}

pub(crate) const UNPROBED: &str = "workers: 1\nhealth_check: { kind: none }";

#[test]
fn upgrades_of_process_1_and_of_those_after_it_fail_no_request() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::start(&backend, "workers: 2", &[]) else {
        return;
    };
    let (proxy, is_over, asked) = (&container.proxy, AtomicBool::new(false), AtomicUsize::new(0));
    assert_eq!(container.serving(), 1);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let response = ask(proxy.address(), "/").expect("a response");
                    assert!(response.ends_with("hello"), "{response}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mark = proxy.mark();
        container.upgrade();
        proxy.wait_for_message(mark, STAYS);
        for _ in 0..2 {
            let mark = proxy.mark();
            container.upgrade();
            proxy.wait_for_message(mark, "Stopped");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(asked.into_inner() > 5);
    wait_until("only process 1 and the one that serves are left", || {
        container.family().len() == 1
    });
    assert!(container.stop().success());
}

#[test]
fn process_1_holds_nothing_and_passes_signals_on() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::replaced(&backend, UNPROBED) else {
        return;
    };
    let (proxy, first) = (&container.proxy, container.first);
    let ports = [proxy.address().port(), proxy.admin().port()];
    let listening = listening(&ports);
    assert_eq!(listening.len(), 2);
    let held = descriptors(first);
    assert!(
        !held.iter().any(|descriptor| listening.contains(descriptor)),
        "{held:?}"
    );
    assert!(held.len() < 16, "{held:?}");
    wait_until("it has one thread", || {
        let tasks = format!("/proc/{}/task", first.as_raw_nonzero());
        fs::read_dir(tasks).unwrap().count() == 1
    });
    let mark = proxy.mark();
    container.signal(Signal::HUP);
    proxy.wait_for_message(mark, "Reloaded");
    container.signal(Signal::USR1);
    proxy.wait_for_message(mark, "Reopening log files");
    let before = container.serving();
    container.signal(Signal::USR2);
    proxy.wait_for_message(mark, "Stopped");
    assert_ne!(container.serving(), before);
    // The one that serves now is not a child of the first upgrade.
    let mark = proxy.mark();
    container.signal(Signal::HUP);
    proxy.wait_for_message(mark, "Reloaded");
    container.signal(Signal::INT);
    assert!(container.proxy.wait().success());
}

#[test]
fn a_stop_while_process_1_drains_cuts_no_request_of_either_process() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let Some((container, [mut of_first, mut of_second])) = Container::draining(&backend) else {
        return;
    };
    let mark = container.proxy.mark();
    container.signal(Signal::TERM);
    container.proxy.wait_for_message(mark, "Stopping");
    wait_until("the port is closed", || {
        TcpStream::connect(container.proxy.address()).is_err()
    });
    gate.open();
    assert_eq!(of_first.read().text(), "held");
    assert_eq!(of_second.read().text(), "held");
    assert!(container.proxy.wait().success());
}

#[test]
fn a_second_stop_aborts_the_requests_of_all_processes() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let Some((container, [_of_first, _of_second])) = Container::draining(&backend) else {
        return;
    };
    container.upgrade_and_drain();
    let _of_third = container.hold(&backend, 3);
    let mark = container.proxy.mark();
    container.signal(Signal::TERM);
    container.proxy.wait_for_message(mark, "Stopping");
    container.proxy.wait_for_count(2, |line| {
        line["msg"] == "Stop requested; this process drains already"
    });
    container.signal(Signal::TERM);
    assert!(container.proxy.wait().success());
    gate.open();
}

#[test]
fn the_container_fails_when_the_process_that_serves_is_killed() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::replaced(&backend, UNPROBED) else {
        return;
    };
    container.kill(container.serving());
    assert_eq!(container.proxy.wait().code(), Some(137));
    let messages = container.proxy.messages();
    assert!(
        messages.iter().any(|line| line.contains("exit code 137")),
        "{messages:?}"
    );
}

#[test]
fn the_container_fails_at_once_when_the_new_process_is_killed_while_process_1_drains() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let Some(container) = Container::start(&backend, UNPROBED, &[]) else {
        return;
    };
    let _held = container.hold(&backend, 1);
    container.upgrade_and_drain();
    container.kill(container.serving());
    assert_eq!(container.proxy.wait().code(), Some(137));
    gate.open();
}

#[test]
fn the_container_fails_at_once_when_a_later_process_is_killed_while_the_one_before_it_drains() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let Some(container) = Container::replaced(&backend, UNPROBED) else {
        return;
    };
    let _held = container.hold(&backend, 1);
    container.upgrade_and_drain();
    container.kill(container.serving());
    assert_eq!(container.proxy.wait().code(), Some(137));
    gate.open();
}

/// Process 1 drains, the first upgrade drains, the second one drains too, and the third one serves.
#[test]
fn the_end_of_a_process_that_drains_ends_no_request_of_those_before_it() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let Some((container, [mut of_first, mut of_second])) = Container::draining(&backend) else {
        return;
    };
    let second = container.serving();
    container.upgrade_and_drain();
    let _of_third = container.hold(&backend, 3);
    let third = container.serving();
    container.upgrade_and_drain();
    let before = container.family().len();
    container.kill(third);
    wait_until("its parent has seen that it has ended", || {
        let family = container.family();
        let ended = family.iter().find(|process| process.inner == third);
        family.len() < before || ended.is_some_and(|process| process.is_zombie)
    });
    // A signal that comes after the end of a child is handled after it.
    let mark = container.proxy.mark();
    container.signal(Signal::USR1);
    for _ in 0..3 {
        container.proxy.wait_for_message(mark, "Reopening log files");
    }
    assert!(ask(container.proxy.address(), "/").unwrap().ends_with("hello"));
    assert!(container.family().iter().any(|process| process.inner == second));
    gate.open();
    assert_eq!(of_first.read().text(), "held");
    assert_eq!(of_second.read().text(), "held");
    assert!(container.stop().success());
}

/// The one that served was the child of one that has ended, so only process 1 knows.
#[test]
fn the_container_fails_at_once_when_the_one_that_serves_is_killed_while_an_earlier_one_drains() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let Some(container) = Container::replaced(&backend, UNPROBED) else {
        return;
    };
    let _held = container.hold(&backend, 1);
    container.upgrade_and_drain();
    let mark = container.proxy.mark();
    container.upgrade();
    container.proxy.wait_for_message(mark, "Stopped");
    container.kill(container.serving());
    assert_eq!(container.proxy.wait().code(), Some(137));
    gate.open();
}

#[test]
fn a_new_process_that_cannot_serve_leaves_process_1_as_it_was() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::start(&backend, UNPROBED, &[]) else {
        return;
    };
    container.folder.install_script("echo it is broken >&2; exit 3");
    let output = upgrade(&container.proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("it is broken"), "{shown}");
    assert!(ask(container.proxy.address(), "/").unwrap().ends_with("hello"));
    assert_eq!(container.serving(), 1);
    container.folder.install_program();
    container.upgrade();
    assert!(container.stop().success());
}

#[test]
fn process_1_follows_the_successor_of_a_process_that_is_killed_during_its_upgrade() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::replaced(&backend, UNPROBED) else {
        return;
    };
    let (before, folder) = (container.serving(), &container.folder);
    folder.install_script(&waiting(folder, &format!("exec {BINARY} \"$@\"")));
    container.signal(Signal::USR2);
    wait_until("the new process starts", || folder.path("begun").exists());
    // It has been sent the sockets by then.
    let second = upgrade(&container.proxy);
    let shown = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(shown.contains("another upgrade is running"), "{shown}");
    container.kill(before);
    fs::write(folder.path("go"), "").unwrap();
    wait_until("the new process serves", || container.serving() != before);
    let address = container.proxy.address();
    assert!(ask(address, "/").unwrap().ends_with("hello"));
    assert!(container.stop().success());
}

#[test]
fn process_1_waits_for_orphans_before_and_after_an_upgrade() {
    let backend = Backend::saying("hello");
    // Two orphans, each until its file exists.
    let folder = std::env::temp_dir().join(format!("evenkeel-orphans-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.to_string_lossy();
    let orphan = |name: &str| format!("(while [ ! -e {path}/{name} ]; do sleep 0.05; done) &");
    let script = format!(
        "( {} {} ) ; exec \"$0\" \"$@\"",
        orphan("first"),
        orphan("second")
    );
    let Some(container) = Container::start(&backend, UNPROBED, &["sh", "-c", &script]) else {
        return;
    };
    let children = || {
        let first = container.first.as_raw_nonzero().get();
        let mut family = container.family();
        family.retain(|process| process.parent == first);
        family
    };
    assert_eq!(children().len(), 2);
    fs::write(folder.join("first"), "").unwrap();
    wait_until("the first orphan is waited for", || children().len() == 1);
    let mark = container.proxy.mark();
    container.upgrade();
    container.proxy.wait_for_message(mark, STAYS);
    fs::write(folder.join("second"), "").unwrap();
    wait_until("the second orphan is waited for", || children().len() == 1);
    assert!(!children()[0].is_zombie);
    fs::remove_dir_all(&folder).unwrap();
    assert!(container.stop().success());
}
