//! Envoy with a static listener and cluster, whose routes and endpoints it reads from files that it watches: it has no
//! reload. Its hot restart needs a program of its own around it, so upgrades are not measured.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::output::{days, lines_with, logged, negative_durations, version};
use super::{Config, Notice, Peer, Place, Program, Running, Setting, Setup, Source, free_address, wait};
use crate::client::{fetch, post};
use crate::error::{Error, Explain, Result};

const ROUTES: &str = "routes.yaml";
const ENDPOINTS: &str = "endpoints.yaml";
/// The file with the address of its admin API.
const ADMIN: &str = "admin-address";
/// How long it accepts new connections after it was told to drain.
const ACCEPTING: Duration = Duration::from_secs(5);
/// What it says when it can take no more connections.
const NO_ROOM: &[&str] = &[
    "Too many open files",
    "max active connections",
    "over active connection limit",
];
/// Descriptors that are no connections of clients: files, timers and queues of threads, and connections to backends.
const FILES: u64 = 112;
/// What is safe for every request: the backend has not processed it.
const ALWAYS: &str = "connect-failure,refused-stream,reset-before-request";
/// What is safe for idempotent requests.
const IDEMPOTENT: &str = "connect-failure,refused-stream,reset,gateway-error";

#[derive(Debug)]
struct Envoy {
    source: Source,
}

pub(super) fn make(place: Place) -> Box<dyn Peer> {
    let source = Source::find("envoy", place);
    Box::new(Envoy { source })
}

impl Peer for Envoy {
    fn version(&self) -> String {
        version("Envoy", self.source.command().arg("--version"))
    }

    fn root(&self) -> Option<&Path> {
        self.source.root()
    }

    fn config_name(&self) -> &'static str {
        "envoy.yaml"
    }

    fn config(&self, setup: &Setup<'_>) -> Result<Config> {
        for setting in setup.settings {
            match setting {
                Setting::FirstByte(_)
                | Setting::HttpCheck
                | Setting::TcpCheck
                | Setting::NoQueue
                | Setting::Variant(_)
                | Setting::Invalid
                | Setting::Admin
                | Setting::Drain(_)
                // It serves on all cores.
                | Setting::Workers(_)
                | Setting::Descriptors(_)
                | Setting::Connections(_)
                | Setting::CheckInterval(_)
                | Setting::OneAttempt => {}
                other => return Err(other.not_offered_by("Envoy")),
            }
        }
        let listen = setup.address.map_or_else(free_address, Ok)?;
        let admin = match setup.drain() {
            // It is told to drain by it.
            Some(_) => Some(free_address()?),
            None => setup.admin()?,
        };
        let mut text = bootstrap(listen, &self.source, setup);
        if let Some(address) = admin {
            let _ = writeln!(
                text,
                "admin: {{ ignore_global_conn_limit: true, address: {} }}",
                socket(address)
            );
        }
        text.push_str(&overload(setup));
        Ok(Config {
            text,
            files: vec![(ROUTES, routes(setup)), (ENDPOINTS, endpoints(setup))],
            address: Some(listen),
            http2: None,
            admin,
        })
    }

    fn install(&self, _: &Path, _: Program) -> Result<()> {
        Err(Error::not_offered(
            "the hot restart of Envoy needs its Python wrapper, which is not part of the program",
        ))
    }

    fn command(&self, config: &Path, folder: &Path) -> Command {
        let mut command = self.source.command();
        command.arg("-c").arg(self.source.inside(config));
        command.args(["--disable-hot-restart", "--log-level", "warning"]);
        command.args(["--drain-time-s", &ACCEPTING.as_secs().to_string()]);
        command.args([
            "--drain-strategy",
            "immediate",
            "--file-flush-interval-msec",
            "1000",
        ]);
        let admin = self.source.inside(&folder.join(ADMIN));
        command.arg("--admin-address-path").arg(admin);
        command
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        Some(logged(output))
    }

    /// By its admin API: it tells clients, and accepts new ones for [`ACCEPTING`]. When no connection is left, or at the end of
    /// `limit`, SIGTERM ends it.
    fn drain(&self, running: &Running<'_>, limit: Duration) -> Result<()> {
        let admin = fs::read_to_string(running.folder.join(ADMIN)).unwrap_or_default();
        let admin = admin
            .trim()
            .parse()
            .explain("Envoy does not say where its admin API is")?;
        post(admin, "/drain_listeners?graceful")?;
        let pid = running.pid;
        thread::Builder::new()
            .name("drain of Envoy".to_owned())
            .spawn(move || {
                thread::sleep(ACCEPTING);
                wait(limit.saturating_sub(ACCEPTING), || connections(admin) == Some(0));
                // It may have ended.
                let _ = kill_process(pid, Signal::TERM);
            })?;
        Ok(())
    }

    fn real_clock(&self) -> Option<&'static str> {
        Some(
            "its allocator, which is linked in, asks for the time before libfaketime is ready, and it does not start",
        )
    }

    fn notices(&self, output: &str, notice: Notice) -> Option<usize> {
        (notice == Notice::NoRoom).then(|| lines_with(output, NO_ROOM))
    }

    fn admin_paths(&self) -> &'static [&'static str] {
        &["/ready", "/stats"]
    }

    fn days(&self, log: &str) -> Option<usize> {
        Some(days(log))
    }

    fn negative_durations(&self, log: &str) -> Option<usize> {
        Some(negative_durations(log))
    }

    fn reload(&self, _: &Running<'_>) -> Result<()> {
        // It watches its files.
        Ok(())
    }
}

/// What it is started with. `path_config_source` watches the file: a rename over it is a reload.
fn bootstrap(listen: SocketAddr, source: &Source, setup: &Setup<'_>) -> String {
    let folder = source.inside(setup.folder);
    let folder = folder.display();
    let interval = setup.check_interval();
    let interval = format!("{}.{:03}", interval / 1_000, interval % 1_000);
    let (log, kind) = match setup.access_log() {
        Some(path) => (
            "file.v3.FileAccessLog",
            format!("path: \"{}\"", source.inside(path).display()),
        ),
        None => ("stream.v3.StdoutAccessLog", String::new()),
    };
    let ejection = if setup.settings.contains(&Setting::OneAttempt) {
        ""
    } else {
        "outlier_detection: {}"
    };
    let check = if setup.settings.contains(&Setting::TcpCheck) {
        "tcp_health_check: {}"
    } else {
        "http_health_check: { path: / }"
    };
    format!(
        r#"node: {{ id: chaos, cluster: chaos }}
static_resources:
  listeners:
  - name: clients
    address: {}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          use_remote_address: true
          upgrade_configs: [{{ upgrade_type: websocket }}]
          access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.{log}
              {kind}
              log_format: {{ text_format_source: {{ inline_string: "chaos %REQ(:PATH)% %RESPONSE_CODE% %DURATION% %START_TIME(%Y-%m-%d)%\n" }} }}
          rds:
            route_config_name: all
            config_source: {{ path_config_source: {{ path: {folder}/{ROUTES} }} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: all
    type: EDS
    eds_cluster_config: {{ eds_config: {{ path_config_source: {{ path: {folder}/{ENDPOINTS} }} }} }}
    lb_policy: ROUND_ROBIN
    connect_timeout: 1s
    circuit_breakers:
      thresholds: [{{ max_connections: 8192, max_pending_requests: 8192, max_requests: 8192, max_retries: 1024 }}]
    {ejection}
    health_checks:
    - timeout: 1s
      interval: {interval}s
      no_traffic_interval: {interval}s
      unhealthy_threshold: 3
      healthy_threshold: 2
      {check}
"#,
        socket(listen)
    )
}

/// An address as its JSON has it.
fn socket(address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}")
}

/// The most connections of clients, if a scenario is about them.
fn overload(setup: &Setup<'_>) -> String {
    let fitting = setup.descriptors().map(|count| count.saturating_sub(FILES));
    let Some(most) = setup.connections().or(fitting) else {
        return String::new();
    };
    format!(
        r#"overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: {most}
"#
    )
}

/// How many connections clients have, as the admin API says.
fn connections(admin: SocketAddr) -> Option<u64> {
    let stats = fetch(admin, "/stats?filter=^http.clients.downstream_cx_active$").ok()?;
    stats.trim().rsplit(' ').next()?.parse().ok()
}

fn routes(setup: &Setup<'_>) -> String {
    let mut variant = String::new();
    for setting in setup.settings {
        // A string takes everything.
        let _ = match setting {
            Setting::Variant(number) => writeln!(
                variant,
                "    - {{ match: {{ path: /variant-{number} }}, direct_response: {{ status: 404 }} }}"
            ),
            Setting::Invalid => writeln!(variant, "    no_such_field: 1"),
            _ => Ok(()),
        };
    }
    let per_try = setup
        .first_byte()
        .map(|limit| format!(", per_try_timeout: {}s", seconds(limit)));
    let per_try = per_try.unwrap_or_default();
    let retries = if setup.settings.contains(&Setting::OneAttempt) {
        0
    } else {
        2
    };
    let retry = |on: &str| {
        format!(
            "{{ retry_on: \"{on}\", num_retries: {retries}, host_selection_retry_max_attempts: 3{per_try}, \
             retry_host_predicate: [{{ name: envoy.retry_host_predicates.previous_hosts, typed_config: {{ \"@type\": \
             type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }} }}] }}"
        )
    };
    format!(
        r#"resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: all
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
{variant}    - match:
        prefix: /
        headers: [{{ name: ":method", string_match: {{ exact: GET }} }}]
      route: {{ cluster: all, timeout: 60s, retry_policy: {} }}
    - match: {{ prefix: / }}
      route: {{ cluster: all, timeout: 60s, retry_policy: {} }}
"#,
        retry(IDEMPOTENT),
        retry(ALWAYS)
    )
}

fn endpoints(setup: &Setup<'_>) -> String {
    let mut text = String::from(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  \
         cluster_name: all\n  endpoints:\n  - lb_endpoints:\n",
    );
    for (index, address) in setup.backends.iter().enumerate() {
        let _ = writeln!(
            text,
            "    - {{ load_balancing_weight: {}, endpoint: {{ address: {{ socket_address: \
             {{ address: {}, port_value: {} }} }} }} }}",
            setup.weight(index),
            address.ip(),
            address.port()
        );
    }
    text
}

/// A duration as its JSON has it.
fn seconds(limit: Duration) -> String {
    format!("{}.{:03}", limit.as_secs(), limit.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, setup};
    use super::*;

    #[test]
    fn routes_and_endpoints_are_files_of_their_own() {
        let envoy = make(Place::default());
        let settings = [
            Setting::FirstByte(Duration::from_millis(1_500)),
            Setting::Variant(4),
        ];
        let config = config(envoy.as_ref(), &settings);
        assert!(
            config.text.contains("path: /run-of-a-test/routes.yaml"),
            "{}",
            config.text
        );
        assert!(!config.text.contains("7001"), "{}", config.text);
        let [(ROUTES, routes), (ENDPOINTS, endpoints)] = &config.files[..] else {
            panic!("{:?}", config.files);
        };
        assert!(
            routes.contains("path: /variant-4") && routes.contains("per_try_timeout: 1.500s"),
            "{routes}"
        );
        assert!(
            endpoints.contains("load_balancing_weight: 2") && endpoints.contains("port_value: 7001"),
            "{endpoints}"
        );
    }

    #[test]
    fn a_mistake_is_in_the_file_that_is_watched() {
        let envoy = make(Place::default());
        let config = config(envoy.as_ref(), &[Setting::Invalid]);
        assert!(!config.text.contains("no_such_field"));
        assert!(config.files[0].1.contains("no_such_field"));
    }

    #[test]
    fn connections_have_a_limit_and_a_stop_an_admin_api() {
        let envoy = make(Place::default());
        let limited = config(envoy.as_ref(), &[Setting::Descriptors(512)]);
        assert!(
            limited.text.contains("max_active_downstream_connections: 400"),
            "{}",
            limited.text
        );
        assert_eq!(limited.admin, None);
        let stopped = config(envoy.as_ref(), &[Setting::Drain(Duration::from_secs(20))]);
        assert!(stopped.admin.is_some());
        assert!(!stopped.text.contains("overload_manager"), "{}", stopped.text);
        let one = config(envoy.as_ref(), &[Setting::OneAttempt]);
        assert!(!one.text.contains("outlier_detection"), "{}", one.text);
        assert!(one.files[0].1.contains("num_retries: 0"), "{}", one.files[0].1);
    }

    #[test]
    fn upgrades_are_not_offered() {
        let envoy = make(Place::default());
        assert!(
            envoy
                .install(Path::new("/"), Program::Whole)
                .unwrap_err()
                .is_not_offered()
        );
        let settings = &[Setting::UpgradeLimit(Duration::from_secs(1))];
        assert!(envoy.config(&setup(settings)).unwrap_err().is_not_offered());
    }
}
