//! Evenkeel, with its defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Config, Notice, PID, Peer, Program, Setting, Setup, beside, version_of};
use crate::error::{Error, Result};
use crate::nonce;

/// The key of a pool with sticky sessions. Its secret protects nothing here.
const STICKY: &str = "sticky: { cookie: lb, secret: chaos-chaos-chaos-chaos-chaos-ch }";

/// The program that upgrades replace, in the folder of the run.
const PROGRAM: &str = "program";

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
        let urls: Vec<String> = setup
            .backends
            .iter()
            .map(|address| match variant {
                Some(number) => format!("{{ url: http://{address}, weight: {} }}", number % 3 + 1),
                None => format!("http://{address}"),
            })
            .collect();
        let urls = urls.join(", ");
        let is_sticky = setup.settings.contains(&Setting::StickyCookie);
        let mut text = "listen: 127.0.0.1:0\nadmin: off\n".to_owned();
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
        let script = match program {
            Program::Whole => "",
            Program::Exits => "#!/bin/sh\necho broken >&2\nexit 3\n",
            Program::Aborts => "#!/bin/sh\nkill -ABRT $$\n",
            Program::Hangs => "#!/bin/sh\nexec sleep 1000\n",
        };
        let (next, installed) = (folder.join("next-program"), folder.join(PROGRAM));
        // Written by another process: a child that is started meanwhile would inherit a descriptor that is open for writing,
        // and a file that is written to cannot be executed.
        let mut command = Command::new("sh");
        if program == Program::Whole {
            command.args(["-c", "cp \"$1\" \"$2\"", "sh"]).arg(&self.program);
        } else {
            command.args([
                "-c",
                "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"",
                "sh",
                script,
            ]);
        }
        if !command.arg(&next).status()?.success() {
            return Err(Error::new("cannot write the program"));
        }
        Ok(std::fs::rename(next, installed)?)
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
        };
        let found = lines(output).filter(|line| text(line, "msg").starts_with(beginning));
        Some(found.count())
    }

    fn failed_attempts(&self, output: &str) -> Option<u64> {
        let failed = lines(output).filter(|line| line.get("status").and_then(Value::as_u64) >= Some(500));
        Some(failed.filter_map(|line| line.get("attempts")?.as_u64()).sum())
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
        Setting::StickyCookie | Setting::Variant(_) => return None,
    };
    Some(line.to_owned())
}

fn lines(output: &str) -> impl Iterator<Item = Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}
