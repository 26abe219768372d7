//! nginx, with kept connections to the backends, which it does not have by default before 1.29.7. HTTP/2 has a
//! port of its own, as before 1.25.1.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Config, Notice, Peer, Program, Setting, Setup, free_address, version_of};
use crate::error::{Error, Result};

#[derive(Debug)]
struct Nginx {
    program: PathBuf,
}

pub(super) fn make(path: Option<PathBuf>) -> Box<dyn Peer> {
    let program = path.unwrap_or_else(|| PathBuf::from("nginx"));
    Box::new(Nginx { program })
}

impl Peer for Nginx {
    fn version(&self) -> String {
        version_of(Command::new(&self.program).arg("-v"))
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        let listen = setup.address.map_or_else(free_address, Ok)?;
        let http2 = setup.http2.map_or_else(free_address, Ok)?;
        let folder = setup.folder.display();
        let mut text =
            format!("daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\n");
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            // A string takes everything.
            let _ = writeln!(text, "{kind}_temp_path {folder}/{kind};");
        }
        let _ = writeln!(text, "access_log {folder}/access.log;\nupstream all {{");
        for address in setup.backends {
            let _ = writeln!(text, "server {address};");
        }
        let _ = writeln!(
            text,
            "keepalive 32;\n}}\nserver {{\nlisten {listen};\nlisten {http2} http2;"
        );
        for setting in setup.settings {
            let _ = writeln!(text, "{}", line(*setting)?);
        }
        text.push_str("proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n");
        text.push_str("location / { proxy_pass http://all; }\n}\n}\n");
        Ok(Config {
            text,
            address: Some(listen),
            http2: Some(http2),
        })
    }

    fn install(&self, _: &Path, _: Program) -> Result<()> {
        Err(Error::new("the upgrade of nginx is not measured here"))
    }

    fn command(&self, config: &Path, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // Without `-e` it writes to its own log before it has read the config.
        command
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-c")
            .arg(config);
        command
    }

    fn address(&self, _: &str) -> Option<SocketAddr> {
        None
    }

    fn state_changes(&self, _: &str, _: SocketAddr) -> Option<usize> {
        None
    }

    fn logged(&self, _: &str) -> Option<Vec<(u64, u16)>> {
        None
    }

    fn notices(&self, _: &str, _: Notice) -> Option<usize> {
        None
    }

    fn failed_attempts(&self, _: &str) -> Option<u64> {
        None
    }
}

fn line(setting: Setting) -> Result<String> {
    let text = match setting {
        Setting::FirstByte(limit) => format!("proxy_read_timeout {}ms;", limit.as_millis()),
        // It has neither checks nor a queue: nothing to set.
        Setting::HttpCheck | Setting::TcpCheck | Setting::NoQueue => String::new(),
        Setting::Variant(number) => format!("location /variant-{number} {{ return 404; }}"),
        Setting::Invalid => "no_such_directive on;".to_owned(),
        Setting::AdaptiveLimit | Setting::FastestFirst | Setting::StickyCookie | Setting::UpgradeLimit(_) => {
            return Err(Error::new(format!("nginx has no {setting:?}")));
        }
    };
    Ok(text)
}
