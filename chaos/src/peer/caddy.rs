//! Caddy with a config in JSON, which is replaced by its admin API, as `caddy reload` does. It has no upgrade.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::output::{lines_with, logged_as_json, unreadable, version};
use super::source::STATIC;
use super::{CONFIG, Config, Notice, Peer, Place, Program, Running, Setting, Setup, Source, free_address};
use crate::error::{Error, Explain, Result};

/// Where its admin API listens.
const SOCKET: &str = "admin.sock";
/// What it says when it can take no more connections. A request to a backend that fails for this reason has the same text.
const NO_ROOM: &[&str] = &["Accept error"];
/// Longest time that the admin API may take.
const LOAD: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Caddy {
    source: Source,
}

pub(super) fn make(place: Place) -> Box<dyn Peer> {
    let source = Source::find("caddy", place);
    Box::new(Caddy { source })
}

impl Peer for Caddy {
    fn version(&self) -> String {
        version("Caddy", self.source.command().arg("version"))
    }

    fn root(&self) -> Option<&Path> {
        self.source.root()
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        let listen = setup.address.map_or_else(free_address, Ok)?;
        let folder = self.source.inside(setup.folder);
        let admin = setup.admin()?;
        let admin_listen = match admin {
            Some(address) => address.to_string(),
            None => format!("unix/{}/{SOCKET}", folder.display()),
        };
        let mut config = json!({
            "admin": { "listen": admin_listen, "config": { "persist": false } },
            "apps": { "http": http(listen, setup)? },
        });
        if let (Some(path), Some(config)) = (setup.access_log(), config.as_object_mut()) {
            let path = self.source.inside(path);
            let lines = json!({
                "writer": { "output": "file", "filename": path, "roll": false },
                "include": ["http.log.access"],
            });
            let other = json!({ "exclude": ["http.log.access"] });
            let logs = json!({ "logs": { "access": lines, "default": other } });
            config.insert("logging".to_owned(), logs);
        }
        Ok(Config {
            text: config.to_string(),
            address: Some(listen),
            admin,
            ..Config::default()
        })
    }

    fn install(&self, _: &Path, _: Program) -> Result<()> {
        Err(Error::not_offered(
            "Caddy cannot be replaced while it runs: `caddy upgrade` restarts it",
        ))
    }

    fn command(&self, config: &Path, folder: &Path) -> Command {
        // It has files of its own in the home folder.
        let mut command = Command::new("env");
        command.arg(format!("HOME={}", self.source.inside(folder).display()));
        let program = self.source.command();
        command.arg(program.get_program()).args(program.get_args());
        command.arg("run").arg("--config").arg(self.source.inside(config));
        command
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        // An error has a line of its own besides.
        let lines = output
            .lines()
            .filter(|line| line.contains(r#""msg":"handled request""#));
        let lines: Vec<&str> = lines.collect();
        Some(logged_as_json(&lines.join("\n"), "/request/uri", "/status"))
    }

    fn real_clock(&self) -> Option<&'static str> {
        self.source.is_static().then_some(STATIC)
    }

    fn notices(&self, output: &str, notice: Notice) -> Option<usize> {
        (notice == Notice::NoRoom).then(|| lines_with(output, NO_ROOM))
    }

    fn admin_paths(&self) -> &'static [&'static str] {
        &["/config/", "/metrics"]
    }

    fn unreadable_lines(&self, log: &str) -> Option<usize> {
        Some(unreadable(log))
    }

    fn reload(&self, running: &Running<'_>) -> Result<()> {
        let config = std::fs::read(running.folder.join(CONFIG))?;
        let mut stream =
            UnixStream::connect(running.folder.join(SOCKET)).explain("cannot connect to the admin API")?;
        stream.set_read_timeout(Some(LOAD))?;
        let head = format!(
            "POST /load HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            config.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&config)?;
        let mut response = String::new();
        stream
            .read_to_string(&mut response)
            .explain("the admin API does not respond")?;
        // An invalid config is refused with 400.
        Ok(())
    }
}

fn http(listen: SocketAddr, setup: &Setup<'_>) -> Result<Value> {
    let servers = json!({ "clients": server(listen, setup)? });
    Ok(match setup.drain() {
        Some(limit) => json!({ "servers": servers, "grace_period": format!("{}ms", limit.as_millis()) }),
        None => json!({ "servers": servers }),
    })
}

fn server(listen: SocketAddr, setup: &Setup<'_>) -> Result<Value> {
    let mut routes = Vec::new();
    let mut policy = json!({ "policy": "round_robin" });
    // No limit, as by default.
    let mut first_byte = "0s".to_owned();
    let mut is_queueing = true;
    for setting in setup.settings {
        match setting {
            Setting::FirstByte(limit) => first_byte = format!("{}ms", limit.as_millis()),
            Setting::NoQueue => is_queueing = false,
            Setting::StickyCookie => policy = json!({ "policy": "cookie", "name": "lb" }),
            Setting::Variant(number) => {
                let weights: Vec<u64> = (0..setup.backends.len())
                    .map(|index| setup.weight(index))
                    .collect();
                policy = json!({ "policy": "weighted_round_robin", "weights": weights });
                routes.push(json!({
                    "match": [{ "path": [format!("/variant-{number}")] }],
                    "handle": [{ "handler": "static_response", "status_code": 404 }],
                }));
            }
            Setting::Invalid => routes.push(json!({ "handle": [{ "handler": "no_such_handler" }] })),
            // It serves on all cores.
            Setting::HttpCheck
            | Setting::Admin
            | Setting::Drain(_)
            | Setting::Workers(_)
            | Setting::Connections(_)
            | Setting::CheckInterval(_) => {}
            // It has no limit of connections.
            Setting::Descriptors(_) if setup.connections().is_some() => {}
            other => return Err(other.not_offered_by("Caddy")),
        }
    }
    let balancing = if is_queueing {
        json!({ "selection_policy": policy, "try_duration": "5s" })
    } else {
        json!({ "selection_policy": policy, "retries": 2 })
    };
    let upstreams = setup.backends.iter();
    let upstreams: Vec<Value> = upstreams
        .map(|address| json!({ "dial": address.to_string() }))
        .collect();
    routes.push(json!({ "handle": [{
        "handler": "reverse_proxy",
        "upstreams": upstreams,
        "transport": { "protocol": "http", "dial_timeout": "1s", "response_header_timeout": first_byte },
        "load_balancing": balancing,
        "health_checks": {
            "active": { "uri": "/", "interval": format!("{}ms", setup.check_interval()), "timeout": "1s", "passes": 2, "fails": 3 },
            "passive": { "fail_duration": "2s", "max_fails": 3 },
        },
        // Otherwise a reload closes WebSockets.
        "stream_close_delay": "1h",
    }] }));
    Ok(json!({
        "listen": [listen.to_string()],
        "protocols": ["h1", "h2c"],
        "automatic_https": { "disable": true },
        "logs": {},
        "routes": routes,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, setup};
    use super::*;

    fn proxy(settings: &[Setting]) -> Value {
        let caddy = make(Place::default());
        let config: Value = serde_json::from_str(&config(caddy.as_ref(), settings).text).unwrap();
        let routes = &config["apps"]["http"]["servers"]["clients"]["routes"];
        routes.as_array().unwrap().last().unwrap()["handle"][0].clone()
    }

    #[test]
    fn the_config_has_each_setting() {
        let found = proxy(&[Setting::FirstByte(Duration::from_secs(1)), Setting::Variant(4)]);
        assert_eq!(found["transport"]["response_header_timeout"], "1000ms");
        assert_eq!(found["upstreams"][1]["dial"], "127.0.0.1:7002");
        assert_eq!(
            found["load_balancing"]["selection_policy"]["weights"],
            json!([2, 3])
        );
        assert_eq!(found["load_balancing"]["try_duration"], "5s");
        let found = proxy(&[Setting::NoQueue]);
        assert_eq!(found["load_balancing"]["try_duration"], Value::Null);
        assert_eq!(found["load_balancing"]["retries"], 2);
    }

    #[test]
    fn checks_that_only_connect_and_upgrades_are_not_offered() {
        let caddy = make(Place::default());
        assert!(
            caddy
                .install(Path::new("/"), Program::Whole)
                .unwrap_err()
                .is_not_offered()
        );
        let settings = &[Setting::TcpCheck];
        assert!(caddy.config(&setup(settings)).unwrap_err().is_not_offered());
    }

    #[test]
    fn a_limit_of_connections_is_not_offered() {
        let caddy = make(Place::default());
        let descriptors = Setting::Descriptors(512);
        let error = caddy.config(&setup(&[descriptors])).unwrap_err();
        assert!(error.is_not_offered(), "{error}");
        // All that it takes is what there is.
        config(caddy.as_ref(), &[descriptors, Setting::Connections(9_000)]);
    }

    #[test]
    fn its_access_log_gives_nonce_and_status() {
        let line = r#"{"msg":"handled request","request":{"uri":"/chaos/0b?size=1"},"status":502}"#;
        let error = r#"{"msg":"connection refused","request":{"uri":"/chaos/0b?size=1"},"status":502}"#;
        let output = format!("{error}\n{line}\n");
        assert_eq!(make(Place::default()).logged(&output), Some(vec![(11, 502)]));
    }
}
