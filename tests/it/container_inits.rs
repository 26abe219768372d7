//! Containers in which Evenkeel is not process 1, and the demo in a container.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::binary_upgrades::{BINARY, Folder, ask, upgrade, wait_until};
use crate::container_upgrades::{CONTAINER, STAYS, processes};
use crate::support::ability::{can_unshare, skip};
use crate::support::{Backend, Proxy};

/// A small init program, as tini and `docker run --init`: starts a child, passes SIGTERM and the signals of Evenkeel on to it, waits for
/// every process, and ends when this child ends, with its exit code.
const INIT: &str = r#"
import os, signal, sys
child = os.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, _: os.kill(child, number))
while True:
    ended, status = os.wait()
    if ended == child:
        sys.exit(os.waitstatus_to_exitcode(status) % 256)
"#;

/// A container whose process 1 is this init program.
struct Container {
    proxy: Proxy,
    folder: Folder,
    init: Pid,
}

impl Container {
    /// `None` where no container can be made.
    fn start(backend: &Backend) -> Option<Self> {
        if !can_unshare(&CONTAINER[1..]) {
            return None;
        }
        if Command::new("python3").arg("--version").output().is_err() {
            skip("there is no python3 here");
            return None;
        }
        let folder = Folder::new();
        fs::write(folder.path("init.py"), INIT).unwrap();
        let builder = Proxy::before(&[backend]).config("workers: 1\nhealth_check: { kind: none }");
        fs::write(folder.path("config.yaml"), builder.text()).unwrap();
        let (init, program) = (folder.text("init.py"), folder.text("program"));
        let (config, id) = (folder.text("config.yaml"), folder.text("id"));
        let words = [
            "python3",
            &init,
            &program,
            "run",
            "-c",
            &config,
            "--pid-file",
            &id,
        ];
        let proxy = builder.program(&[CONTAINER, &words].concat()).start();
        let init = child(proxy.pid());
        Some(Self { proxy, folder, init })
    }

    fn serving(&self) -> i32 {
        let text = fs::read_to_string(self.folder.path("id")).unwrap();
        text.trim().parse().unwrap()
    }
}

fn child(parent: Pid) -> Pid {
    let parent = parent.as_raw_nonzero().get();
    let mut all = processes().into_iter();
    all.find(|process| process.parent == parent).unwrap().pid
}

#[test]
fn under_an_init_program_the_container_goes_on_after_upgrades_and_ends_with_a_stop() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::start(&backend) else {
        return;
    };
    let proxy = &container.proxy;
    let mut before = container.serving();
    assert_ne!(before, 1);
    for message in [STAYS, "Stopped", "Stopped"] {
        let mark = proxy.mark();
        kill_process(container.init, Signal::USR2).unwrap();
        proxy.wait_for_message(mark, message);
        assert_ne!(container.serving(), before);
        before = container.serving();
        assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    }
    let mark = proxy.mark();
    kill_process(container.init, Signal::HUP).unwrap();
    proxy.wait_for_message(mark, "Reloaded");
    kill_process(container.init, Signal::TERM).unwrap();
    assert!(container.proxy.wait().success());
}

#[test]
fn under_an_init_program_the_container_fails_when_the_process_that_serves_is_killed() {
    let backend = Backend::saying("hello");
    let Some(container) = Container::start(&backend) else {
        return;
    };
    // The second new process is an orphan once the first has ended.
    for message in [STAYS, "Stopped"] {
        let mark = container.proxy.mark();
        assert!(upgrade(&container.proxy).status.success());
        container.proxy.wait_for_message(mark, message);
    }
    let serving = container.serving();
    let first = child(container.init).as_raw_nonzero().get();
    let mut process = None;
    wait_until("the first process has become its parent", || {
        let mut all = processes().into_iter();
        process = all.find(|process| process.parent == first && process.inner == serving);
        process.is_some()
    });
    kill_process(process.unwrap().pid, Signal::KILL).unwrap();
    assert_eq!(container.proxy.wait().code(), Some(137));
}

fn demo_in_container(before: &[&str]) -> Option<Proxy> {
    if !can_unshare(&CONTAINER[1..]) {
        return None;
    }
    let words = [
        BINARY,
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ];
    let words = [CONTAINER, before, &words, &["--backend-port", "0"]].concat();
    Some(Proxy::before(&[]).program(&words).start())
}

#[test]
fn a_demo_that_is_process_1_ends_cleanly_with_each_stop_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let Some(proxy) = demo_in_container(&[]) else {
            return;
        };
        let first = child(proxy.pid());
        let mark = proxy.mark();
        kill_process(first, Signal::USR2).unwrap();
        let line = proxy.wait_for_message(mark, "Upgrade refused");
        assert!(
            line["why"]
                .as_str()
                .unwrap()
                .contains("a demo cannot be upgraded"),
            "{line}"
        );
        let began = evenkeel::internals::clock::now();
        kill_process(first, signal).unwrap();
        assert!(proxy.wait().success(), "{signal:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "its drain");
    }
}

#[test]
fn a_demo_that_is_process_1_waits_for_orphans() {
    let folder = Folder::new();
    let go = folder.text("go");
    let script = format!("( (while [ ! -e {go} ]; do sleep 0.05; done) & ); exec \"$0\" \"$@\"");
    let Some(proxy) = demo_in_container(&["sh", "-c", &script]) else {
        return;
    };
    let first = child(proxy.pid());
    let children = || {
        let all = processes().into_iter();
        all.filter(|process| process.parent == first.as_raw_nonzero().get())
            .count()
    };
    assert_eq!(children(), 1);
    fs::write(folder.path("go"), "").unwrap();
    wait_until("the orphan is waited for", || children() == 0);
    kill_process(first, Signal::TERM).unwrap();
    assert!(proxy.wait().success());
}
