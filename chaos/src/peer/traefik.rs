//! Traefik (3.7 or newer), whose routes and services are in a file that it watches. It has no upgrade.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::output::{logged_as_json, version};
use super::{Config, Peer, Place, Program, Running, Setting, Setup, Source, free_address};
use crate::error::{Error, Result};

/// In a folder of its own: it watches the whole folder.
const ROUTES: &str = "dynamic/routes.yaml";

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
        Ok(Config {
            text: main(listen, &self.source.inside(setup.folder)),
            files: vec![(ROUTES, routes(setup)?)],
            address: Some(listen),
            http2: None,
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

    fn reload(&self, _: &Running<'_>) -> Result<()> {
        // It watches its file.
        Ok(())
    }
}

fn main(listen: SocketAddr, folder: &Path) -> String {
    format!(
        "global: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n\
         log: {{ level: ERROR }}\n\
         accessLog: {{ format: json }}\n\
         entryPoints:\n  clients:\n    address: \"{listen}\"\n    \
         transport: {{ lifeCycle: {{ graceTimeOut: 2s }} }}\n\
         providers:\n  file: {{ filename: {}/{ROUTES}, watch: true }}\n",
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
            Setting::FirstByte(_) | Setting::HttpCheck | Setting::NoQueue => {}
            other => return Err(other.not_offered_by("Traefik")),
        }
    }
    let first_byte = setup
        .first_byte()
        .map(|limit| format!(", responseHeaderTimeout: {}ms", limit.as_millis()));
    let first_byte = first_byte.unwrap_or_default();
    let mut text = format!(
        "http:\n  routers:\n    all: {{ rule: \"PathPrefix(`/`)\", service: all, middlewares: [retry] }}\n{router}  \
         middlewares:\n    retry: {{ retry: {{ attempts: 3, status: [\"502-504\"] }} }}\n  \
         serversTransports:\n    backends: {{ forwardingTimeouts: {{ dialTimeout: 1s{first_byte} }} }}\n  \
         services:\n{none}    all:\n      loadBalancer:\n        serversTransport: backends\n{sticky}        \
         healthCheck: {{ path: /, interval: 1s, unhealthyInterval: 1s, timeout: 1s }}\n        servers:\n"
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
    use std::time::Duration;

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
    fn its_access_log_gives_nonce_and_status() {
        let line = r#"{"DownstreamStatus":200,"OriginStatus":200,"RequestPath":"/chaos/0b?size=1"}"#;
        assert_eq!(make(Place::default()).logged(line), Some(vec![(11, 200)]));
    }
}
