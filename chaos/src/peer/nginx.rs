//! nginx, with kept connections to the backends, which it does not have by default before 1.29.7. HTTP/2 has a port of
//! its own, as before 1.25.1. Its checks are passive only.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::output::{days, lines_with, logged, negative_durations, numbers, version};
use super::source::PROGRAM;
use super::{
    Config, Notice, PID, Peer, Place, Program, Running, Setting, Setup, Source, free_address, named, wait,
};
use crate::error::{Error, Explain, Result};
use crate::process::children;

/// The process that an upgrade has replaced, as long as it runs.
const OLD_PID: &str = "pid.oldbin";
const ACCESS_LOG: &str = "access.log";
const ERROR_LOG: &str = "error.log";
/// What it says when it can take no more connections.
const NO_ROOM: &[&str] = &["worker_connections are not enough", "Too many open files"];
/// Descriptors of a worker that are no connections: files, listeners, and a channel to each process.
const FILES: u64 = 32;
/// Connections of a worker, unless a scenario is about them.
const CONNECTIONS: u64 = 8_192;
/// Longest wait until the process that was replaced by the last upgrade has ended.
const REPLACED: Duration = Duration::from_secs(15);
/// Since this version an idle connection of a client can be kept for a while after a reload.
const KEEPS_IDLE: [u32; 3] = [1, 27, 4];

/// What only a program that is upgraded needs: nginx upgrades only if its parent has ended since it was started, as after it has become a daemon, which would leave
/// the group of its processes. So a shell starts it and ends, and the first one stays as long as a process runs.
const START: &str = "pid=$1; shift; \
    (\"$@\" & until [ -s \"$pid\" ] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done); \
    trap 'kill -TERM \"$(cat \"$pid\")\"' TERM; \
    while [ -e \"$pid\" ] || [ -e \"$pid.oldbin\" ]; do sleep 0.05 & wait $!; done";

#[derive(Debug)]
struct Nginx {
    source: Source,
}

pub(super) fn make(place: Place) -> Box<dyn Peer> {
    let source = Source::find("nginx", place);
    Box::new(Nginx { source })
}

impl Peer for Nginx {
    fn version(&self) -> String {
        version("nginx", self.source.command().arg("-v"))
    }

    fn root(&self) -> Option<&Path> {
        self.source.root()
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        let listen = setup.address.map_or_else(free_address, Ok)?;
        let http2 = setup.http2.map_or_else(free_address, Ok)?;
        let folder = self.source.inside(setup.folder);
        let folder = folder.display();
        let admin = setup.admin()?;
        let workers = setup
            .workers()
            .map_or("auto".to_owned(), |count| count.to_string());
        let mut text = format!(
            "daemon off;\nworker_processes {workers};\npid {folder}/{PID};\nerror_log {folder}/{ERROR_LOG};\n{}{}\
             events {{ worker_connections {}; }}\nhttp {{\n",
            variables(setup),
            shutdown(setup),
            connections(setup)
        );
        let access_log = setup.access_log().map(|path| self.source.inside(path));
        let access_log = access_log.unwrap_or_else(|| self.source.inside(&setup.folder.join(ACCESS_LOG)));
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            // A string takes everything.
            let _ = writeln!(text, "{kind}_temp_path {folder}/{kind};");
        }
        let _ = writeln!(
            text,
            "log_format chaos 'chaos $uri $status $request_time $time_iso8601';\naccess_log {} chaos;\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\nupstream all {{",
            access_log.display()
        );
        let has_one_attempt = setup.settings.contains(&Setting::OneAttempt);
        let (most, next) = if has_one_attempt {
            (0, "off")
        } else {
            (3, "error timeout http_502 http_503 http_504")
        };
        for (index, address) in setup.backends.iter().enumerate() {
            let _ = writeln!(
                text,
                "server {address} weight={} max_fails={most} fail_timeout=2s;",
                setup.weight(index)
            );
        }
        let _ = writeln!(
            text,
            "keepalive 32;\n}}\nserver {{\nlisten {listen};\nlisten {http2} http2;\n\
             proxy_connect_timeout 1s;\nproxy_next_upstream {next};"
        );
        if numbers(&self.version()) >= KEEPS_IDLE.to_vec() {
            text.push_str("keepalive_min_timeout 2s;\n");
        }
        for setting in setup.settings {
            let _ = writeln!(text, "{}", line(*setting)?);
        }
        text.push_str(
            "proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Connection $connection_upgrade;\nlocation / { proxy_pass http://all; }\n}\n",
        );
        if let Some(address) = admin {
            let _ = writeln!(
                text,
                "server {{ listen {address}; location / {{ stub_status; }} }}"
            );
        }
        text.push_str("}\n");
        Ok(Config {
            text,
            address: Some(listen),
            http2: Some(http2),
            admin,
            ..Config::default()
        })
    }

    fn install(&self, folder: &Path, program: Program) -> Result<()> {
        self.source.install(folder, program)
    }

    fn command(&self, config: &Path, folder: &Path) -> Command {
        let program = self.source.command_in(folder);
        let mut command = if folder.join(PROGRAM).exists() {
            let mut command = Command::new("sh");
            command.args(["-c", START, "sh"]).arg(folder.join(PID));
            command.arg(program.get_program()).args(program.get_args());
            command
        } else {
            program
        };
        // Without `-e` it writes to its own log before it has read the config.
        command
            .arg("-e")
            .arg(self.source.inside(folder).join("error.log"));
        command.arg("-c").arg(self.source.inside(config));
        command
    }

    fn main_process(&self, folder: &Path) -> Option<Pid> {
        named(folder)
    }

    fn logs(&self) -> &'static [&'static str] {
        &[ACCESS_LOG, ERROR_LOG]
    }

    fn has_checks(&self) -> bool {
        false
    }

    /// SIGTERM would end it at once.
    fn drain(&self, running: &Running<'_>, _: Duration) -> Result<()> {
        kill_process(running.pid, Signal::QUIT).explain("cannot signal the balancer")
    }

    fn notices(&self, output: &str, notice: Notice) -> Option<usize> {
        (notice == Notice::NoRoom).then(|| lines_with(output, NO_ROOM))
    }

    fn days(&self, log: &str) -> Option<usize> {
        Some(days(log))
    }

    fn negative_durations(&self, log: &str) -> Option<usize> {
        Some(negative_durations(log))
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        Some(logged(output))
    }

    /// USR2 starts the new program; once it runs, WINCH and QUIT end the old one.
    fn upgrade(&self, running: &Running<'_>, limit: Duration) -> Result<Option<Pid>> {
        let (before, folder) = (running.pid, running.folder);
        // As long as the process that it has replaced runs, a process ignores USR2.
        if !wait(REPLACED, || !folder.join(OLD_PID).exists()) {
            return Err(Error::new(
                "the process that was replaced by the last upgrade does not end",
            ));
        }
        let send = |signal| kill_process(before, signal).explain("cannot signal the balancer");
        send(Signal::USR2)?;
        let is_new = || named(folder).is_some_and(|pid| pid != before);
        if wait(limit, is_new) {
            send(Signal::WINCH)?;
            send(Signal::QUIT)?;
            return Ok(named(folder));
        }
        // One that hangs would keep the old one from upgrading ever again.
        for child in children(before).into_iter().filter(|child| !is_worker(*child)) {
            // It may have ended.
            let _ = kill_process(child, Signal::KILL);
        }
        if wait(REPLACED, || named(folder) == Some(before)) {
            return Ok(None);
        }
        Err(Error::new("nginx does not notice that the upgrade has failed"))
    }
}

fn is_worker(process: Pid) -> bool {
    let path = PathBuf::from(format!("/proc/{}/cmdline", process.as_raw_nonzero()));
    fs::read(path).is_ok_and(|line| line.starts_with(b"nginx: "))
}

/// The lines with the variables that its workers keep.
fn variables(setup: &Setup<'_>) -> String {
    let names = setup.extras.environment.iter().map(|(name, _)| name);
    names.map(|name| format!("env {name};\n")).collect()
}

/// The line with the longest time that a stop may take, if it is set.
fn shutdown(setup: &Setup<'_>) -> String {
    let limit = setup.drain().map(|limit| limit.as_millis());
    limit.map_or_else(String::new, |limit| {
        format!("worker_shutdown_timeout {limit}ms;\n")
    })
}

/// The most connections of a worker, those to backends included.
fn connections(setup: &Setup<'_>) -> u64 {
    let fitting = setup.descriptors().map(|count| count.saturating_sub(FILES));
    setup.connections().or(fitting).unwrap_or(CONNECTIONS)
}

fn line(setting: Setting) -> Result<String> {
    let text = match setting {
        Setting::FirstByte(limit) => format!("proxy_read_timeout {}ms;", limit.as_millis()),
        // It has neither checks nor a queue, and whoever upgrades it decides how long to wait: nothing to set.
        Setting::HttpCheck
        | Setting::TcpCheck
        | Setting::CheckInterval(_)
        | Setting::NoQueue
        | Setting::UpgradeLimit(_) => String::new(),
        // Set elsewhere.
        Setting::Admin
        | Setting::Drain(_)
        | Setting::Workers(_)
        | Setting::Descriptors(_)
        | Setting::Connections(_)
        | Setting::OneAttempt => String::new(),
        Setting::Variant(number) => format!("location /variant-{number} {{ return 404; }}"),
        Setting::Invalid => "no_such_directive on;".to_owned(),
        other => return Err(other.not_offered_by("nginx")),
    };
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, setup};
    use super::*;

    #[test]
    fn the_config_has_each_setting() {
        let nginx = make(Place::default());
        let text = config(
            nginx.as_ref(),
            &[Setting::FirstByte(Duration::from_secs(1)), Setting::Variant(4)],
        )
        .text;
        for line in [
            "server 127.0.0.1:7001 weight=2 max_fails=3 fail_timeout=2s;",
            "proxy_next_upstream error timeout http_502 http_503 http_504;",
            "proxy_read_timeout 1000ms;",
            "location /variant-4 { return 404; }",
            "access_log /run-of-a-test/access.log chaos;",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(
            config(nginx.as_ref(), &[Setting::Invalid])
                .text
                .contains("no_such_directive on;")
        );
    }

    #[test]
    fn a_limit_of_descriptors_leaves_some_for_files() {
        let nginx = make(Place::default());
        let text = |settings: &[Setting]| config(nginx.as_ref(), settings).text;
        let limited = text(&[
            Setting::Descriptors(512),
            Setting::Drain(Duration::from_secs(20)),
            Setting::OneAttempt,
        ]);
        for line in [
            "worker_shutdown_timeout 20000ms;",
            "events { worker_connections 480; }",
            "proxy_next_upstream off;",
        ] {
            assert!(
                limited.lines().any(|known| known.ends_with(line)),
                "{line} in {limited}"
            );
        }
        assert!(limited.contains("max_fails=0"), "{limited}");
        let many = text(&[Setting::Descriptors(512), Setting::Connections(9_000)]);
        assert!(many.contains("worker_connections 9000;"), "{many}");
    }

    #[test]
    fn what_it_does_not_have_is_not_offered() {
        let nginx = make(Place::default());
        let error = nginx.config(&setup(&[Setting::AdaptiveLimit])).unwrap_err();
        assert!(error.is_not_offered(), "{error}");
        assert!(error.to_string().contains("nginx"), "{error}");
    }
}
