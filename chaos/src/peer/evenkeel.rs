//! Evenkeel, with its defaults.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::output::unreadable;
use super::source::{self, PROGRAM};
use super::{Config, Extras, Notice, PID, Peer, PemFiles, Program, Setting, Setup, beside, version_of};
use crate::error::Result;
use crate::nonce;

/// The key of a pool with sticky sessions. Its secret protects nothing here.
const STICKY: &str = "sticky: { cookie: lb, secret: chaos-chaos-chaos-chaos-chaos-ch }";

/// Bytes of the date at the beginning of a time.
const DATE: usize = 10;

#[derive(Debug)]
struct Evenkeel {
    program: PathBuf,
}

pub(super) fn make(path: Option<PathBuf>) -> Box<dyn Peer> {
    let program = path.unwrap_or_else(|| beside("evenkeel"));
    Box::new(Evenkeel { program })
}

impl Peer for Evenkeel {
    fn version(&self) -> String {
        version_of(Command::new(&self.program).arg("--version"))
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        let variant = setup.settings.iter().find_map(|setting| match setting {
            Setting::Variant(number) => Some(number),
            _ => None,
        });
        let scheme = match setup.settings.contains(&Setting::Http2Backends) {
            true => "h2c",
            false => "http",
        };
        let urls: Vec<String> = setup
            .backends
            .iter()
            .map(|address| match variant {
                Some(number) => format!("{{ url: {scheme}://{address}, weight: {} }}", number % 3 + 1),
                None => format!("{scheme}://{address}"),
            })
            .collect();
        let urls = urls.join(", ");
        let is_sticky = setup.settings.contains(&Setting::StickyCookie);
        let mut text = "listen: 127.0.0.1:0\n".to_owned();
        if !setup.settings.contains(&Setting::Admin) {
            text.push_str("admin: off\n");
        }
        extras(setup.extras, &mut text);
        // Stickiness is a key of a pool only.
        let pools = if is_sticky {
            format!("pools: {{ web: {{ {STICKY}, backends: [{urls}] }} }}\nroutes: [{{ pool: web }}]\n")
        } else if let Some(number) = variant {
            format!(
                "pools: {{ web: {{ backends: [{urls}] }} }}\n\
                 routes: [{{ path: /variant-{number}, respond: {{ status: 404 }} }}, {{ pool: web }}]\n"
            )
        } else {
            format!("backends: [{urls}]\n")
        };
        text.push_str(&pools);
        for line in setup.settings.iter().filter_map(line) {
            text.push_str(&line);
            text.push('\n');
        }
        Ok(Config {
            text,
            ..Config::default()
        })
    }

    fn install(&self, folder: &Path, program: Program) -> Result<()> {
        source::install(&self.program, folder, program)
    }

    fn command(&self, config: &Path, folder: &Path) -> Command {
        let installed = folder.join(PROGRAM);
        let program = if installed.exists() {
            &installed
        } else {
            &self.program
        };
        let mut command = Command::new(program);
        command.arg("run").arg("-c").arg(config);
        command.arg("--pid-file").arg(folder.join(PID));
        command
    }

    fn address(&self, output: &str) -> Option<SocketAddr> {
        let line = lines(output).find(|line| text(line, "msg") == "Listening")?;
        text(&line, "address").parse().ok()
    }

    fn state_changes(&self, output: &str, backend: SocketAddr) -> Option<usize> {
        let backend = format!("http://{backend}");
        let changes = lines(output).filter(|line| {
            let message = text(line, "msg");
            let is_change = message == "Backend is down" || message == "Backend is up";
            is_change && text(line, "backend") == backend
        });
        Some(changes.count())
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        let logged = lines(output).filter_map(|line| {
            let nonce = text(&line, "path").strip_prefix(nonce::PREFIX)?;
            let status = line.get("status")?.as_u64()?;
            Some((nonce::number(nonce)?, u16::try_from(status).ok()?))
        });
        Some(logged.collect())
    }

    fn notices(&self, output: &str, notice: Notice) -> Option<usize> {
        let beginning = match notice {
            Notice::Reloaded => "Reloaded",
            Notice::ReloadFailed => "Reload failed",
            Notice::Upgraded => "Upgraded",
            Notice::UpgradeFailed => "Upgrade failed",
            Notice::NoRoom => "Cannot accept new connections",
        };
        let found = lines(output).filter(|line| text(line, "msg").starts_with(beginning));
        Some(found.count())
    }

    fn failed_attempts(&self, output: &str) -> Option<u64> {
        let failed = lines(output).filter(|line| line.get("status").and_then(Value::as_u64) >= Some(500));
        Some(failed.filter_map(|line| line.get("attempts")?.as_u64()).sum())
    }

    fn has_listeners(&self) -> bool {
        true
    }

    fn admin(&self, output: &str) -> Option<SocketAddr> {
        let line = lines(output).find(|line| text(line, "msg") == "Admin API listening")?;
        text(&line, "address").parse().ok()
    }

    fn admin_paths(&self) -> &'static [&'static str] {
        &["/livez", "/metrics"]
    }

    fn drop_metric(&self, log: &Path) -> Option<String> {
        Some(format!(
            "evenkeel_log_lines_dropped_total{{log=\"{}\"}}",
            log.display()
        ))
    }

    fn unreadable_lines(&self, log: &str) -> Option<usize> {
        Some(unreadable(log))
    }

    fn days(&self, log: &str) -> Option<usize> {
        let requests = lines(log).filter(|line| line.get("status").is_some());
        let days = requests.filter_map(|line| text(&line, "time").get(..DATE).map(str::to_owned));
        Some(days.collect::<HashSet<_>>().len())
    }

    fn negative_durations(&self, log: &str) -> Option<usize> {
        let is_negative = |line: &Value| {
            let durations = ["latency_ms", "backend_ms"].map(|key| line.get(key).and_then(Value::as_f64));
            durations.into_iter().flatten().any(|duration| duration < 0.0)
        };
        Some(lines(log).filter(is_negative).count())
    }
}

/// The top-level lines of what only some scenarios set.
fn extras(extras: &Extras, text: &mut String) {
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if let Some(path) = &extras.access_log {
        line(format!("access_log: {{ path: \"{}\" }}", path.display()));
    }
    let listeners = extras.listeners.iter().map(|listener| match &listener.tls {
        None => format!("{{ address: {} }}", listener.address),
        Some(PemFiles { certificate, key }) => format!(
            "{{ address: {}, tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }} }}",
            listener.address,
            certificate.display(),
            key.display()
        ),
    });
    let listeners: Vec<String> = listeners.collect();
    if !listeners.is_empty() {
        line(format!("listeners: [{}]", listeners.join(", ")));
    }
}

/// The top-level line of a setting.
fn line(setting: &Setting) -> Option<String> {
    let line = match setting {
        Setting::FirstByte(limit) => {
            return Some(format!("timeouts: {{ first_byte: {}ms }}", limit.as_millis()));
        }
        Setting::HttpCheck => "health_check: { kind: http }",
        Setting::TcpCheck => "health_check: { kind: tcp }",
        Setting::NoQueue => "queue: off",
        Setting::AdaptiveLimit => "limits: { adaptive: on }",
        Setting::FastestFirst => "strategy: peak_ewma",
        Setting::UpgradeLimit(limit) => {
            return Some(format!("timeouts: {{ upgrade: {}ms }}", limit.as_millis()));
        }
        Setting::Invalid => "no_such_key: 1",
        Setting::Admin => "admin: 127.0.0.1:0",
        Setting::Drain(limit) => return Some(format!("timeouts: {{ drain: {}ms }}", limit.as_millis())),
        Setting::Workers(count) => return Some(format!("workers: {count}")),
        Setting::Connections(most) => return Some(format!("limits: {{ connections: {most} }}")),
        Setting::CheckInterval(interval) => {
            return Some(format!(
                "health_check: {{ interval: {}ms }}",
                interval.as_millis()
            ));
        }
        Setting::OneAttempt => "retry: off\nejection: off",
        // Its limit of connections follows that of descriptors by itself.
        Setting::Descriptors(_) | Setting::StickyCookie | Setting::Variant(_) | Setting::Http2Backends => {
            return None;
        }
    };
    Some(line.to_owned())
}

fn lines(output: &str) -> impl Iterator<Item = Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}
