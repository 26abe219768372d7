//! Traefik (3.7 or newer), whose routes and services are in a file that it watches. It has no upgrade.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::output::{lines_with, logged_as_json, unreadable, version};
use super::source::STATIC;
use super::{Config, Notice, Peer, Place, Program, Running, Setting, Setup, Source, free_address};
use crate::error::{Error, Result};

/// In a folder of its own: it watches the whole folder.
const ROUTES: &str = "dynamic/routes.yaml";
/// What it says when it can take no more connections.
const NO_ROOM: &[&str] = &["too many open files"];
/// The time that a stop may take, unless a scenario is about it.
const DRAIN: Duration = Duration::from_secs(2);
/// Lines that wait for the file of the access log.
const LINES: u32 = 1_000;

#[derive(Debug)]
struct Traefik {
    source: Source,
}

pub(super) fn make(place: Place) -> Box<dyn Peer> {
    let source = Source::find("traefik", place);
    Box::new(Traefik { source })
}

impl Peer for Traefik {
    fn version(&self) -> String {
        version("Traefik", self.source.command().arg("version"))
    }

    fn root(&self) -> Option<&Path> {
        self.source.root()
    }

    fn config_name(&self) -> &'static str {
        "traefik.yaml"
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        let listen = setup.address.map_or_else(free_address, Ok)?;
        let admin = setup.admin()?;
        let log = setup.access_log().map(|path| self.source.inside(path));
        Ok(Config {
            text: main(
                [Some(listen), admin],
                &self.source.inside(setup.folder),
                log,
                setup.drain(),
            ),
            files: vec![(ROUTES, routes(setup)?)],
            address: Some(listen),
            http2: None,
            admin,
        })
    }

    fn install(&self, _: &Path, _: Program) -> Result<()> {
        Err(Error::not_offered(
            "Traefik cannot be replaced while it runs: it can only be restarted",
        ))
    }

    fn command(&self, config: &Path, _: &Path) -> Command {
        let mut command = self.source.command();
        let config = self.source.inside(config);
        command.arg(format!("--configFile={}", config.display()));
        command
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        Some(logged_as_json(output, "/RequestPath", "/DownstreamStatus"))
    }

    fn real_clock(&self) -> Option<&'static str> {
        self.source.is_static().then_some(STATIC)
    }

    fn notices(&self, output: &str, notice: Notice) -> Option<usize> {
        (notice == Notice::NoRoom).then(|| lines_with(output, NO_ROOM))
    }

    fn admin_paths(&self) -> &'static [&'static str] {
        &["/ping", "/metrics"]
    }

    fn unreadable_lines(&self, log: &str) -> Option<usize> {
        Some(unreadable(log))
    }

    fn reload(&self, _: &Running<'_>) -> Result<()> {
        // It watches its file.
        Ok(())
    }
}

/// The file with what does not change while it runs, for the addresses of clients and of the admin API.
fn main(
    [clients, admin]: [Option<SocketAddr>; 2],
    folder: &Path,
    access_log: Option<PathBuf>,
    drain: Option<Duration>,
) -> String {
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let access_log =
        access_log.map(|path| format!(", filePath: \"{}\", bufferingSize: {LINES}", path.display()));
    let (point, metrics) = match admin {
        None => (String::new(), ""),
        Some(_) => (
            format!("  admin: {{ address: \"{}\" }}\n", text(admin)),
            "ping: { entryPoint: admin }\nmetrics: { prometheus: { entryPoint: admin } }\n",
        ),
    };
    format!(
        "global: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n\
         log: {{ level: ERROR }}\n\
         accessLog: {{ format: json{} }}\n\
         {metrics}entryPoints:\n{point}  clients:\n    address: \"{}\"\n    \
         transport: {{ lifeCycle: {{ graceTimeOut: {}ms }} }}\n\
         providers:\n  file: {{ filename: {}/{ROUTES}, watch: true }}\n",
        access_log.unwrap_or_default(),
        text(clients),
        drain.unwrap_or(DRAIN).as_millis(),
        folder.display()
    )
}

fn routes(setup: &Setup<'_>) -> Result<String> {
    let (mut router, mut none, mut sticky, mut end) = (String::new(), "", "", "");
    for setting in setup.settings {
        match setting {
            Setting::Variant(number) => {
                router = format!("    variant: {{ rule: \"Path(`/variant-{number}`)\", service: none }}\n");
                none = "    none: { loadBalancer: { servers: [] } }\n";
            }
            Setting::Invalid => end = "  noSuchKey: 1\n",
            Setting::StickyCookie => sticky = "        sticky: { cookie: { name: lb } }\n",
            Setting::FirstByte(_)
            | Setting::HttpCheck
            | Setting::NoQueue
            | Setting::Admin
            | Setting::Drain(_)
            // It serves on all cores.
            | Setting::Workers(_)
            | Setting::Connections(_)
            | Setting::CheckInterval(_) => {}
            // It limits requests, and the connections of routes of TCP.
            Setting::Descriptors(_) if setup.connections().is_some() => {}
            other => return Err(other.not_offered_by("Traefik")),
        }
    }
    let first_byte = setup
        .first_byte()
        .map(|limit| format!(", responseHeaderTimeout: {}ms", limit.as_millis()));
    let first_byte = first_byte.unwrap_or_default();
    let interval = setup.check_interval();
    let mut text = format!(
        "http:\n  routers:\n    all: {{ rule: \"PathPrefix(`/`)\", service: all, middlewares: [retry] }}\n{router}  \
         middlewares:\n    retry: {{ retry: {{ attempts: 3, status: [\"502-504\"] }} }}\n  \
         serversTransports:\n    backends: {{ forwardingTimeouts: {{ dialTimeout: 1s{first_byte} }} }}\n  \
         services:\n{none}    all:\n      loadBalancer:\n        serversTransport: backends\n{sticky}        \
         healthCheck: {{ path: /, interval: {interval}ms, unhealthyInterval: {interval}ms, timeout: {interval}ms }}\n        servers:\n"
    );
    for (index, address) in setup.backends.iter().enumerate() {
        // A string takes everything.
        let _ = writeln!(
            text,
            "        - {{ url: \"http://{address}\", weight: {} }}",
            setup.weight(index)
        );
    }
    text.push_str(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, setup};
    use super::*;

    #[test]
    fn the_watched_file_has_each_setting() {
        let traefik = make(Place::default());
        let settings = [
            Setting::FirstByte(Duration::from_secs(1)),
            Setting::Variant(4),
            Setting::StickyCookie,
        ];
        let config = config(traefik.as_ref(), &settings);
        assert!(
            config
                .text
                .contains("filename: /run-of-a-test/dynamic/routes.yaml"),
            "{}",
            config.text
        );
        let text = &config.files[0].1;
        for line in [
            "    variant: { rule: \"Path(`/variant-4`)\", service: none }",
            "    backends: { forwardingTimeouts: { dialTimeout: 1s, responseHeaderTimeout: 1000ms } }",
            "        sticky: { cookie: { name: lb } }",
            "        - { url: \"http://127.0.0.1:7002\", weight: 3 }",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }

    #[test]
    fn checks_that_only_connect_and_upgrades_are_not_offered() {
        let traefik = make(Place::default());
        assert!(
            traefik
                .install(Path::new("/"), Program::Whole)
                .unwrap_err()
                .is_not_offered()
        );
        let settings = &[Setting::TcpCheck];
        assert!(traefik.config(&setup(settings)).unwrap_err().is_not_offered());
    }

    #[test]
    fn a_limit_of_connections_is_not_offered() {
        let traefik = make(Place::default());
        let descriptors = Setting::Descriptors(512);
        let error = traefik.config(&setup(&[descriptors])).unwrap_err();
        assert!(error.is_not_offered(), "{error}");
        // All that it takes is what there is.
        config(traefik.as_ref(), &[descriptors, Setting::Connections(9_000)]);
    }

    #[test]
    fn its_access_log_gives_nonce_and_status() {
        let line = r#"{"DownstreamStatus":200,"OriginStatus":200,"RequestPath":"/chaos/0b?size=1"}"#;
        assert_eq!(make(Place::default()).logged(line), Some(vec![(11, 200)]));
    }
}
