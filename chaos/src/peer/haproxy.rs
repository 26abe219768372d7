//! HAProxy in master-worker mode, as Debian's unit runs it: a config, and the program of an upgrade, are checked before
//! the master is told to load them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::output::{days, lines_with, logged, negative_durations, version};
use super::{
    CONFIG, Config, Notice, OUTPUT, Peer, Place, Program, Running, Setting, Setup, Source, free_address, wait,
};
use crate::error::{Explain, Result};
use crate::process::Process;

/// What the master says when a worker serves.
const LOADED: &str = "Loading success";
/// What it says when it can take no more connections.
const NO_ROOM: &[&str] = &[
    "reached process FD limit",
    "reached system FD limit",
    "reached the configured maxconn",
    "reached system memory limit",
];
/// The most connections, unless a scenario is about them.
const CONNECTIONS: u64 = 8_192;
/// Longest time that the check of a config may take.
const CHECK: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
struct Haproxy {
    source: Source,
}

pub(super) fn make(place: Place) -> Box<dyn Peer> {
    let source = Source::find("haproxy", place);
    Box::new(Haproxy { source })
}

impl Peer for Haproxy {
    fn version(&self) -> String {
        version("HAProxy", self.source.command().arg("-v"))
    }

    fn root(&self) -> Option<&Path> {
        self.source.root()
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        let listen = setup.address.map_or_else(free_address, Ok)?;
        let folder = self.source.inside(setup.folder);
        let mut text = global(&folder, setup);
        let admin = setup.admin()?;
        if let Some(address) = admin {
            let _ = writeln!(
                text,
                "frontend admin\n    bind {address}\n    option dontlog-normal\n    \
                 http-request use-service prometheus-exporter if {{ path /metrics }}\n    stats enable\n    stats uri /"
            );
        }
        let _ = writeln!(text, "frontend clients\n    bind {listen}");
        if let (Some(descriptors), None) = (setup.descriptors(), setup.connections()) {
            // Its own limit is near half of the descriptors, and counts those of the admin API too.
            let _ = writeln!(text, "    maxconn {}", descriptors * 2 / 5);
        }
        for setting in setup.settings {
            match setting {
                Setting::Variant(number) => {
                    let _ = writeln!(
                        text,
                        "    http-request return status 404 if {{ path /variant-{number} }}"
                    );
                }
                Setting::Invalid => text.push_str("    no_such_keyword on\n"),
                Setting::FirstByte(_)
                | Setting::HttpCheck
                | Setting::TcpCheck
                | Setting::NoQueue
                | Setting::StickyCookie
                | Setting::UpgradeLimit(_)
                | Setting::Admin
                | Setting::Drain(_)
                | Setting::Workers(_)
                | Setting::Descriptors(_)
                | Setting::Connections(_)
                | Setting::CheckInterval(_)
                | Setting::OneAttempt => {}
                other => return Err(other.not_offered_by("HAProxy")),
            }
        }
        text.push_str("    default_backend all\nbackend all\n    balance roundrobin\n");
        text.push_str("    http-request disable-l7-retry unless METH_GET\n");
        if !setup.settings.contains(&Setting::TcpCheck) {
            text.push_str("    option httpchk GET /\n");
        }
        let is_sticky = setup.settings.contains(&Setting::StickyCookie);
        if is_sticky {
            text.push_str("    cookie lb insert indirect nocache\n");
        }
        let interval = setup.check_interval();
        let _ = writeln!(text, "    default-server check inter {interval}ms fall 3 rise 2");
        for (index, address) in setup.backends.iter().enumerate() {
            let weight = setup.weight(index);
            let cookie = if is_sticky {
                format!(" cookie s{index}")
            } else {
                String::new()
            };
            let _ = writeln!(text, "    server s{index} {address} weight {weight}{cookie}");
        }
        Ok(Config {
            text,
            address: Some(listen),
            admin,
            ..Config::default()
        })
    }

    fn install(&self, folder: &Path, program: Program) -> Result<()> {
        self.source.install(folder, program)
    }

    fn command(&self, config: &Path, folder: &Path) -> Command {
        let mut command = self.source.command_in(folder);
        command.arg("-W").arg("-f").arg(self.source.inside(config));
        command
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        Some(logged(output))
    }

    /// To a file only by its standard output.
    fn logs_to_stdout(&self) -> bool {
        true
    }

    /// SIGTERM would end it at once.
    fn drain(&self, running: &Running<'_>, _: Duration) -> Result<()> {
        kill_process(running.pid, Signal::USR1).explain("cannot signal the balancer")
    }

    fn notices(&self, output: &str, notice: Notice) -> Option<usize> {
        (notice == Notice::NoRoom).then(|| lines_with(output, NO_ROOM))
    }

    fn admin_paths(&self) -> &'static [&'static str] {
        &["/", "/metrics"]
    }

    fn drop_metric(&self, _: &Path) -> Option<String> {
        Some("haproxy_process_dropped_logs_total".to_owned())
    }

    fn days(&self, log: &str) -> Option<usize> {
        Some(days(log))
    }

    fn negative_durations(&self, log: &str) -> Option<usize> {
        Some(negative_durations(log))
    }

    fn reload(&self, running: &Running<'_>) -> Result<()> {
        if self.is_valid(running.folder, CHECK) {
            kill_process(running.pid, Signal::USR2).explain("cannot signal the balancer")?;
        }
        Ok(())
    }

    /// The same: the master replaces itself by the program at its path, and keeps its process id.
    fn upgrade(&self, running: &Running<'_>, limit: Duration) -> Result<Option<Pid>> {
        if !self.is_valid(running.folder, CHECK.min(limit)) {
            return Ok(None);
        }
        let loaded =
            || fs::read_to_string(running.folder.join(OUTPUT)).map_or(0, |text| text.matches(LOADED).count());
        let before = loaded();
        kill_process(running.pid, Signal::USR2).explain("cannot signal the balancer")?;
        let is_loaded = wait(limit, || loaded() > before);
        Ok(is_loaded.then_some(running.pid))
    }
}

impl Haproxy {
    /// Whether the installed program ends its check of the config with success, in time.
    fn is_valid(&self, folder: &Path, limit: Duration) -> bool {
        let mut command = self.source.command_in(folder);
        command
            .args(["-c", "-q", "-f"])
            .arg(self.source.inside(&folder.join(CONFIG)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command);
        process.is_ok_and(|mut process| process.wait(limit).is_ok_and(|status| status.success()))
    }
}

/// The sections `global` and `defaults`.
fn global(folder: &Path, setup: &Setup<'_>) -> String {
    let first_byte = setup.first_byte().unwrap_or(Duration::from_secs(30)).as_millis();
    let mut text = "global\n    mworker-max-reloads 1000\n".to_owned();
    let mut line = |line: String| {
        text.push_str("    ");
        text.push_str(&line);
        text.push('\n');
    };
    match (setup.connections(), setup.descriptors()) {
        // With strict limits it would refuse to start.
        (Some(most), Some(_)) => line(format!("no strict-limits\n    maxconn {most}")),
        // By default the limit follows that of descriptors.
        (None, Some(_)) => {}
        (most, None) => line(format!("maxconn {}", most.unwrap_or(CONNECTIONS))),
    }
    if let Some(count) = setup.workers() {
        line(format!("nbthread {count}"));
    }
    if let Some(limit) = setup.drain() {
        line(format!("hard-stop-after {}ms", limit.as_millis()));
    }
    line(format!(
        "stats socket {}/admin.sock mode 600 level admin expose-fd listeners\n    \
         log stdout len 2048 format raw local0\n\
         defaults\n    mode http\n    log global\n    log-format \"chaos %HPO %ST %Tt %[date,ltime(%Y-%m-%d)]\"\n    \
         timeout connect 1s\n    timeout client 60s\n    timeout server {first_byte}ms\n    \
         timeout http-keep-alive 60s\n    timeout tunnel 1h\n    timeout check 1s\n    \
         option idle-close-on-response",
        folder.display()
    ));
    if setup.settings.contains(&Setting::OneAttempt) {
        line("retries 0".to_owned());
    } else {
        // With one backend, retries wait for a second each: there is no other to be tried at once.
        let option = if setup.backends.len() > 1 {
            "redispatch 1"
        } else {
            "redispatch"
        };
        line(format!(
            "retries 3\n    option {option}\n    retry-on all-retryable-errors"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, setup};
    use super::*;

    #[test]
    fn the_config_has_each_setting() {
        let haproxy = make(Place::default());
        let settings = [
            Setting::FirstByte(Duration::from_secs(1)),
            Setting::Variant(4),
            Setting::StickyCookie,
        ];
        let text = config(haproxy.as_ref(), &settings).text;
        for line in [
            "    server s1 127.0.0.1:7002 weight 3 cookie s1",
            "    timeout server 1000ms",
            "    http-request return status 404 if { path /variant-4 }",
            "    option httpchk GET /",
            "    option redispatch 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        let text = config(haproxy.as_ref(), &[Setting::TcpCheck, Setting::Invalid]).text;
        assert!(
            !text.contains("httpchk") && text.contains("no_such_keyword"),
            "{text}"
        );
    }

    #[test]
    fn its_limit_follows_descriptors_unless_it_is_set() {
        let haproxy = make(Place::default());
        let text = |settings: &[Setting]| config(haproxy.as_ref(), settings).text;
        let limits = |text: &str| {
            let lines = text
                .lines()
                .filter(|line| line.contains("maxconn") || line.contains("strict"));
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(limits(&text(&[])), ["maxconn 8192"]);
        assert_eq!(limits(&text(&[Setting::Descriptors(512)])), ["maxconn 204"]);
        let many = text(&[Setting::Descriptors(512), Setting::Connections(9_000)]);
        assert_eq!(limits(&many), ["no strict-limits", "maxconn 9000"]);
        let one = text(&[Setting::OneAttempt, Setting::Drain(Duration::from_secs(20))]);
        assert!(one.contains("retries 0") && !one.contains("retry-on"), "{one}");
        assert!(one.contains("hard-stop-after 20000ms"), "{one}");
    }

    #[test]
    fn what_it_does_not_have_is_not_offered() {
        let haproxy = make(Place::default());
        let error = haproxy.config(&setup(&[Setting::FastestFirst])).unwrap_err();
        assert!(error.is_not_offered(), "{error}");
    }
}
