//! Each signal in each phase of the process: none is lost, and none ends the process that is not meant to.

use std::fs;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::binary_upgrades::{Folder, pid_of, wait_until};
use crate::container_upgrades::processes;
use crate::support::{Backend, Client, Gate, Proxy, Response};

const STOPS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// It was told to stop, and `timeouts.drain_delay` passes.
    Delaying,
    /// It was told to stop, and waits for a new process that was told to serve.
    GivingUp,
    Draining,
}

/// What the signals that stop nothing do, by phase: the beginning of the message.
const TABLE: [(Phase, [(Signal, &str); 3]); 4] = [
    (
        Phase::Serving,
        [
            (Signal::USR1, "Reopening log files"),
            (Signal::HUP, "Reloaded"),
            (Signal::USR2, "Upgrade failed"),
        ],
    ),
    (Phase::Delaying, STOPPING),
    (Phase::GivingUp, STOPPING),
    (Phase::Draining, STOPPING),
];

const STOPPING: [(Signal, &str); 3] = [
    (Signal::USR1, "Reopening log files"),
    (Signal::HUP, "Reload ignored: this process is stopping"),
    (Signal::USR2, "Upgrade ignored: this process is stopping"),
];

/// A process in one of the phases, with a request that waits for its response.
struct Process {
    gate: Gate,
    _backend: Backend,
    held: Client,
    proxy: Proxy,
    folder: Folder,
}

impl Process {
    fn in_phase(phase: Phase) -> Self {
        let (folder, gate) = (Folder::new(), Gate::default());
        let its = gate.clone();
        let backend = Backend::start(move |_| Response::ok("held").after(&its));
        let delay = match phase {
            Phase::Delaying => "60s",
            _ => "0s",
        };
        let config =
            format!("health_check: {{ kind: none }}\ntimeouts: {{ drain_delay: {delay}, drain: 60s }}");
        let proxy = folder.start(&backend, &config, &[]);
        let mut held = proxy.client();
        held.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
        backend.wait_for_requests(1);
        let mark = proxy.mark();
        match phase {
            Phase::Serving => folder.install_script("exit 3"),
            Phase::Delaying => {
                proxy.signal(Signal::TERM);
                proxy.wait_for_message(mark, "Stop requested; still accepting");
            }
            Phase::GivingUp => {
                folder.install_script(&told(&folder));
                proxy.signal(Signal::USR2);
                wait_until("the new process is told to serve", || {
                    folder.path("begun").exists()
                });
                proxy.signal(Signal::TERM);
                proxy.wait_for_message(mark, "Stop requested; giving up the upgrade");
            }
            Phase::Draining => {
                proxy.signal(Signal::TERM);
                proxy.wait_for_message(mark, "Stopping; waiting");
            }
        }
        Self {
            gate,
            _backend: backend,
            held,
            proxy,
            folder,
        }
    }

    /// The new process of an upgrade.
    fn new_process(&self) -> Pid {
        pid_of(&fs::read_to_string(self.folder.path("begun")).unwrap()).unwrap()
    }
}

/// A program that says that it is ready, waits until it is told to serve, which comes after the JSON of the sockets, and then never says
/// that it does.
fn told(folder: &Folder) -> String {
    let begun = folder.text("begun");
    format!(
        "printf r >&0; last=; count=0\n\
         while [ $count -lt 5000 ]; do\n\
         byte=$(dd bs=1 count=1 2>/dev/null); [ \"$last$byte\" = '+s' ] && break; last=$byte; count=$((count + 1))\n\
         done\n\
         echo $$ > {begun}.new; mv {begun}.new {begun}; while :; do sleep 0.05; done"
    )
}

#[test]
fn a_signal_that_stops_nothing_is_acted_on_in_each_phase_and_cuts_no_request() {
    for (phase, signals) in TABLE {
        let mut process = Process::in_phase(phase);
        for (signal, message) in signals {
            let mark = process.proxy.mark();
            process.proxy.signal(signal);
            process.proxy.wait_for_message(mark, message);
        }
        process.gate.open();
        assert_eq!(process.held.read().text(), "held", "{phase:?}");
        if phase != Phase::Draining {
            process.proxy.signal(Signal::TERM);
        }
        assert!(process.proxy.wait().success(), "{phase:?}");
    }
}

#[test]
fn each_stop_signal_drains_and_the_next_one_ends_the_process_in_each_phase() {
    for (phase, _) in TABLE {
        for signal in STOPS {
            let process = Process::in_phase(phase);
            let mark = process.proxy.mark();
            if phase == Phase::Serving {
                process.proxy.signal(signal);
                process.proxy.wait_for_message(mark, "Stopping; waiting");
            }
            process.proxy.signal(signal);
            process.proxy.wait_for_message(mark, "Stopping now; aborting");
            assert!(process.proxy.wait().success(), "{phase:?} {signal:?}");
            if phase == Phase::GivingUp {
                let new = process.new_process();
                wait_until("the new process has ended too", || {
                    test_kill_process(new).is_err()
                });
            }
            process.gate.open();
        }
    }
}

/// The new process of an upgrade waits for its first probes, for at most 3 s.
#[test]
fn a_signal_during_the_start_is_acted_on_once_the_process_serves_and_a_stop_at_once() {
    for (signal, message) in [
        (Signal::USR1, "Reopening log files"),
        (Signal::HUP, "Reloaded"),
        (Signal::TERM, "Stop requested during the start"),
        (Signal::INT, "Stop requested during the start"),
        (Signal::QUIT, "Stop requested during the start"),
    ] {
        let (folder, gate) = (Folder::new(), Gate::default());
        let its = gate.clone();
        let backend = Backend::start(move |_| Response::ok("").after(&its));
        let config = "health_check: { interval: 60s, timeout: 30s }";
        let proxy = folder.start(&backend, config, &[]);
        backend.wait_for_requests(1);
        let mark = proxy.mark();
        proxy.signal(Signal::USR2);
        backend.wait_for_requests(2);
        let mut all = processes().into_iter();
        let new = all.find(|process| process.parent == proxy.pid().as_raw_nonzero().get());
        kill_process(new.unwrap().pid, signal).unwrap();
        if !STOPS.contains(&signal) {
            gate.open();
        }
        proxy.wait_for_message(mark, message);
        if STOPS.contains(&signal) {
            let line = proxy.wait_for_message(mark, "Upgrade failed");
            assert!(line["why"].as_str().unwrap().contains("exit status: 0"), "{line}");
            gate.open();
            assert!(proxy.stop().success());
        }
        // The end of the last process, which holds the standard output that `proxy` waits for.
        drop(folder);
    }
}
