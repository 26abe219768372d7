//! Envoy with a static listener and cluster, whose routes and endpoints it reads from files that it watches: it has no
//! reload. Its hot restart needs a program of its own around it, so upgrades are not measured.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::output::{logged, version};
use super::{Config, Peer, Place, Program, Running, Setting, Setup, Source, free_address};
use crate::error::{Error, Result};

const ROUTES: &str = "routes.yaml";
const ENDPOINTS: &str = "endpoints.yaml";
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
                | Setting::Invalid => {}
                other => return Err(other.not_offered_by("Envoy")),
            }
        }
        let listen = setup.address.map_or_else(free_address, Ok)?;
        Ok(Config {
            text: bootstrap(listen, &self.source.inside(setup.folder), setup),
            files: vec![(ROUTES, routes(setup)), (ENDPOINTS, endpoints(setup))],
            address: Some(listen),
            http2: None,
        })
    }

    fn install(&self, _: &Path, _: Program) -> Result<()> {
        Err(Error::not_offered(
            "the hot restart of Envoy needs its Python wrapper, which is not part of the program",
        ))
    }

    fn command(&self, config: &Path, _: &Path) -> Command {
        let mut command = self.source.command();
        command.arg("-c").arg(self.source.inside(config));
        command.args(["--disable-hot-restart", "--log-level", "warning"]);
        command
    }

    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>> {
        Some(logged(output))
    }

    fn reload(&self, _: &Running<'_>) -> Result<()> {
        // It watches its files.
        Ok(())
    }
}

/// What it is started with. `path_config_source` watches the file: a rename over it is a reload.
fn bootstrap(listen: SocketAddr, folder: &Path, setup: &Setup<'_>) -> String {
    let folder = folder.display();
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
    address: {{ socket_address: {{ address: {}, port_value: {} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          use_remote_address: true
          upgrade_configs: [{{ upgrade_type: websocket }}]
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {{ text_format_source: {{ inline_string: "chaos %REQ(:PATH)% %RESPONSE_CODE%\n" }} }}
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
    outlier_detection: {{}}
    health_checks:
    - timeout: 1s
      interval: 1s
      no_traffic_interval: 1s
      unhealthy_threshold: 3
      healthy_threshold: 2
      {check}
"#,
        listen.ip(),
        listen.port()
    )
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
    let retry = |on: &str| {
        format!(
            "{{ retry_on: \"{on}\", num_retries: 2, host_selection_retry_max_attempts: 3{per_try}, \
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
