//! Evenkeel, with its defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Config, Peer, Setting, Setup, beside, version_of};
use crate::error::Result;
use crate::nonce;

/// The key of a pool with sticky sessions. Its secret protects nothing here.
const STICKY: &str = "sticky: { cookie: lb, secret: chaos-chaos-chaos-chaos-chaos-ch }";

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
        let urls: Vec<String> = setup
            .backends
            .iter()
            .map(|address| format!("http://{address}"))
            .collect();
        let urls = urls.join(", ");
        let is_sticky = setup.settings.contains(&Setting::StickyCookie);
        let mut text = "listen: 127.0.0.1:0\nadmin: off\n".to_owned();
        // Stickiness is a key of a pool only.
        let pools = if is_sticky {
            format!("pools: {{ web: {{ {STICKY}, backends: [{urls}] }} }}\nroutes: [{{ pool: web }}]\n")
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

    fn command(&self, config: &Path, _: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("-c").arg(config);
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
        Setting::StickyCookie => return None,
    };
    Some(line.to_owned())
}

fn lines(output: &str) -> impl Iterator<Item = Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}
