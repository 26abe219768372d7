//! What valid configs mean.

use std::path::Path;
use std::time::Duration;

use super::{bad, good, read, with};
use crate::admission::{Adaptive, QueueSettings};
use crate::config::{Config, Workers, print};
use crate::health::StatusRange;
use crate::net::{ListenAddress, ProxyVersion};
use crate::proxy::{HalfClose, TrustedProxies};
use crate::retry::{Attempts, Cause};
use crate::telemetry::access_log::{OnFull, Target};

const EVERYTHING: &str = r#"
listen: 127.0.0.1:8000
listeners:
  - address: 0.0.0.0:8080
    http2: false
    tls: none
    redirect_to_https: 8443
  - address: "[::1]:8081"
    redirect_to_https: true
    proxy_protocol: true
    client_half_close: serve
  - { address: "unix:run/e.sock", proxy_protocol: true }
workers: 3
admin: { address: 0.0.0.0:9900, token: "${TOKEN}" }
access_log: { path: log/access.json, on_full: block, query: true }
trusted_proxies: [10.0.0.0/8, 192.168.1.1, "fd00::/8", unix]
strategy: least_requests
health_check: { path: /healthz, status: [200-299, 304], interval: 5s, timeout: 1s, healthy_after: 1, unhealthy_after: 2 }
retry: { attempts: 2, causes: [reset, 502], non_idempotent_503: false, replay_limit: 1MiB, per_try_timeout: 3s, backoff: 10ms-1s, respect_retry_after: false, hedge: { after: 50ms } }
timeouts:
  connect: 2s
  client_header: 11s
  first_byte: 31s
  request: 61s
  progress: 32s
  stream_idle: 6m
  tunnel_idle: 2h
  client_idle: 62s
  backend_idle: 51s
  drain: 0s
limits:
  connections: 1000
  connections_per_client: 10
  requests_per_connection: 100
  head: 16KiB
  line: 8KiB
  fields: 50
  chunk_extensions: 1KiB
  trailers: 2KiB
  body: 10MB
  min_body_rate: 1KiB
  in_flight_per_backend: 7
  adaptive: observe
queue: { size: 10 }
backends: ["http://localhost:${PORT}"]
pools:
  api:
    strategy: round_robin
    sticky: off
    backends:
      - http://10.0.0.1:8001
      - { url: http://10.0.0.2:8001, weight: 3 }
      - { url: "http://[::1]:8001", backup: true }
      - unix:run/app.sock
      - { url: unix:/run/app.sock, weight: 2 }
    health_check: { kind: tcp, interval: 1m }
    retry: { attempts: all }
    timeouts: { connect: 250ms }
    limits: { in_flight_per_backend: none, adaptive: on }
    queue: { timeout: 1s }
    tls: off
    send_proxy: off
  quiet:
    backends: [http://c:1]
    send_proxy: v2
    health_check: off
    queue: off
    retry: off
routes:
  - { host: API.example.com, path_prefix: /v1/, pool: api }
  - { host: "*.example.com", pool: quiet }
"#;

/// Asserts that two configs are equal; compares strategies by name and tokens by presence.
fn assert_same(one: &Config, other: &Config) {
    assert_eq!(one.listeners, other.listeners);
    assert_eq!(one.workers, other.workers);
    let admin = |config: &Config| {
        config
            .admin
            .clone()
            .map(|admin| (admin.address, admin.token.is_some()))
    };
    assert_eq!(admin(one), admin(other));
    assert_eq!(one.access_log, other.access_log);
    assert_eq!(one.trusted_proxies, other.trusted_proxies);
    assert_eq!(one.timeouts, other.timeouts);
    assert_eq!(one.limits, other.limits);
    assert_eq!(one.routes, other.routes);
    assert_eq!(one.pools.len(), other.pools.len());
    for (one, other) in one.pools.iter().zip(&other.pools) {
        assert_eq!(
            (&one.name, one.strategy.name()),
            (&other.name, other.strategy.name())
        );
        assert_eq!(one.health_check, other.health_check);
        assert_eq!(one.retry, other.retry);
        assert_eq!(one.timeouts, other.timeouts);
        assert_eq!(one.in_flight_per_backend, other.in_flight_per_backend);
        assert_eq!((one.adaptive, one.queue), (other.adaptive, other.queue));
        assert_eq!(one.send_proxy, other.send_proxy);
        assert_eq!(
            (one.header_case, one.forwarded),
            (other.header_case, other.forwarded)
        );
        let spans = |settings: &crate::pool::Settings| {
            settings
                .backends
                .iter()
                .map(|backend| (backend.address.clone(), backend.weight, backend.is_backup))
                .collect::<Vec<_>>()
        };
        assert_eq!(spans(one), spans(other));
    }
}

#[test]
fn short_form_is_complete() {
    let config =
        good("listen: 0.0.0.0:8080\nbackends:\n  - http://localhost:8001\n  - http://localhost:8002\n");
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8080");
    assert_eq!(config.workers, Workers::Auto);
    let admin = config.admin.unwrap();
    assert_eq!(
        (admin.address, admin.token),
        (ListenAddress::Ip("127.0.0.1:9900".parse().unwrap()), None)
    );
    assert_eq!(config.access_log.sinks[0].target, Target::Stdout);
    assert_eq!(config.access_log.sinks[0].on_full, OnFull::Drop);
    assert!(!config.access_log.sinks[0].query);
    assert_eq!(config.trusted_proxies, TrustedProxies::default());
    assert_eq!(config.limits.message, crate::http1::Limits::default());
    assert_eq!(config.limits.connections, None);
    let pool = &config.pools[0];
    assert_eq!(
        (&*pool.name, pool.strategy.name(), pool.backends.len()),
        ("default", "round_robin", 2)
    );
    let check = &pool.health_check;
    assert_eq!(check.probe.unwrap().name, "http");
    assert_eq!((&check.path, &check.status), (&None, &None));
    assert_eq!(pool.health_check.interval, Duration::from_secs(10));
    assert_eq!(
        (pool.health_check.healthy_after, pool.health_check.unhealthy_after),
        (2, 3)
    );
    assert_eq!(pool.retry.attempts, Attempts::All);
    assert_eq!(
        pool.retry.causes.names().collect::<Vec<_>>(),
        ["connect_failure", "reset", "timeout", "503", "grpc_unavailable"]
    );
    assert!(pool.retry.non_idempotent_503);
    assert_eq!(pool.retry.replay_limit, 64 << 10);
    assert_eq!(pool.timeouts.connect, Duration::from_secs(1));
    assert_eq!(config.timeouts.drain, Duration::from_secs(30));
    let route = &config.routes[0];
    assert!(route.matcher.hosts.is_empty());
    assert_eq!(route.matcher.path.to_string(), "/");
    assert_eq!(&*route.pools()[0].name, "default");
}

#[test]
fn long_form_sets_everything() {
    let config = good(EVERYTHING);
    assert_eq!(config.listeners.len(), 4);
    assert_eq!(config.workers, Workers::Count(3));
    assert_eq!(
        config.admin.as_ref().and_then(|admin| admin.token.as_deref()),
        Some("correct-horse-battery")
    );
    assert_eq!(
        config.access_log.sinks[0].target,
        Target::File("/etc/evenkeel/log/access.json".into())
    );
    assert_eq!(config.access_log.sinks[0].on_full, OnFull::Block);
    assert!(config.access_log.sinks[0].query);
    assert_eq!(
        config.trusted_proxies.blocks[1],
        "192.168.1.1/32".parse().unwrap()
    );
    assert!(config.trusted_proxies.unix);
    assert_eq!(config.limits.body, Some(10_000_000));
    assert_eq!(config.limits.min_body_rate, Some(1024));
    assert_eq!(config.timeouts.drain, Duration::ZERO);
    assert_eq!(config.pools.len(), 3);
    assert_eq!(config.pools[0].backends[0].address.url, "http://localhost:48123");
    let expected = vec![
        StatusRange { from: 200, to: 299 },
        StatusRange { from: 304, to: 304 },
    ];
    let check = &config.pools[0].health_check;
    assert_eq!(check.probe.unwrap().name, "http");
    assert_eq!(
        (check.path.as_deref(), check.status.as_ref()),
        (Some("/healthz"), Some(&expected))
    );
    assert_eq!(config.pools[0].in_flight_per_backend, Some(7));
    let timeout = Duration::from_secs(5);
    assert_eq!(config.pools[0].queue, Some(QueueSettings { size: 10, timeout }));
    assert_eq!(config.pools[0].adaptive, Adaptive::Observe);
    assert_eq!(config.routes.len(), 3);
    assert_eq!(config.routes[0].matcher.hosts, ["api.example.com"]);
    assert_eq!(config.routes[0].matcher.path.to_string(), "/v1");
}

#[test]
fn unix_sockets_and_proxy_headers_belong_to_their_listener_and_pool() {
    let config = good(EVERYTHING);
    let proxied: Vec<bool> = config
        .listeners
        .iter()
        .map(|listener| listener.proxy_protocol)
        .collect();
    assert_eq!(proxied, [false, false, true, true]);
    let socket = ListenAddress::Unix("/etc/evenkeel/run/e.sock".into());
    assert_eq!(config.listeners[3].address, socket);
    let short = good("listen: ['unix:/run/e.sock', ':1']\nbackends: ['unix:/run/app.sock']\n");
    assert_eq!(
        short.listeners[0].address,
        ListenAddress::Unix("/run/e.sock".into())
    );
    let backend = &config.pools[1].backends[3].address;
    assert_eq!(backend.url, "unix:run/app.sock", "as configured");
    assert_eq!(
        backend.file.as_deref(),
        Some(Path::new("/etc/evenkeel/run/app.sock"))
    );
    let sent: Vec<_> = config
        .pools
        .iter()
        .map(|pool| (pool.send_proxy, pool.health_check.send_proxy))
        .collect();
    let v2 = Some(ProxyVersion::V2);
    assert_eq!(sent, [(None, None), (None, None), (v2, v2)]);
}

#[test]
fn half_closed_clients_are_aborted_unless_the_listener_serves_them() {
    let half_close = |config: Config| -> Vec<HalfClose> {
        let listeners = config.listeners.iter();
        listeners.map(|listener| listener.half_close).collect()
    };
    let (abort, serve) = (HalfClose::Abort, HalfClose::Serve);
    assert_eq!(half_close(good(EVERYTHING)), [abort, abort, serve, abort]);
    bad("listeners: [{ address: ':1', client_half_close: true }]\nbackends: [http://a:1]\n");
}

#[test]
fn warns_of_a_backend_that_is_a_listener() {
    let warned = |listen: &str, backend: &str| {
        let text = format!("listen: '{listen}'\nadmin: off\nbackends: ['{backend}']\n");
        let loaded = read(&text).expect("a config");
        let warnings = loaded.warnings.iter().map(|warning| warning.message.clone());
        warnings
            .filter(|message| message.contains("our own listener"))
            .count()
            == 1
    };
    for (listen, backend) in [
        (":80", "http://127.0.0.1"),
        (":8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.9.9.9:8080"),
        (":8080", "http://localhost:8080"),
        (":8080", "http://0.0.0.0:8080"),
        ("127.0.0.1:8080", "h2c://localhost:8080"),
        ("127.0.0.1:8080", "http://0.0.0.0:8080"),
        ("127.0.0.1:443", "https://127.0.0.1"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("[::1]:8080", "http://localhost:8080"),
        ("unix:/run/e.sock", "unix:/run/e.sock"),
    ] {
        assert!(warned(listen, backend), "{listen} {backend}");
    }
    for (listen, backend) in [
        (":8080", "http://127.0.0.1:8081"),
        (":8080", "http://10.0.0.1:8080"),
        (":8080", "http://[::1]:8080"),
        ("10.0.0.1:8080", "http://127.0.0.1:8080"),
        ("10.0.0.1:8080", "http://localhost:8080"),
        (":8080", "http://app.test:8080"),
        ("unix:/run/e.sock", "unix:/run/app.sock"),
        ("unix:/run/e.sock", "http://localhost:80"),
    ] {
        assert!(!warned(listen, backend), "{listen} {backend}");
    }
}

#[test]
fn pool_overrides_single_keys_of_the_top_level() {
    let config = good(EVERYTHING);
    let api = &config.pools[1];
    assert_eq!(api.strategy.name(), "round_robin");
    assert_eq!(api.health_check.probe.unwrap().name, "tcp");
    assert_eq!(api.health_check.interval, Duration::from_secs(60));
    assert_eq!(api.health_check.timeout, Duration::from_secs(1));
    assert_eq!(api.retry.attempts, Attempts::All);
    assert!(api.retry.causes.contains(Cause::Status(502)) && !api.retry.non_idempotent_503);
    assert_eq!(api.timeouts.connect, Duration::from_millis(250));
    assert_eq!(api.timeouts.first_byte, Duration::from_secs(31));
    assert_eq!(api.in_flight_per_backend, None);
    let timeout = Duration::from_secs(1);
    assert_eq!(api.queue, Some(QueueSettings { size: 10, timeout }));
    assert_eq!(api.adaptive, Adaptive::On);
    assert_eq!((api.backends[1].weight, api.backends[2].is_backup), (3, true));
    let quiet = &config.pools[2];
    assert_eq!(quiet.health_check.probe, None);
    assert_eq!(quiet.queue, None);
    assert_eq!(quiet.retry.attempts, Attempts::AtMost(1));
    assert_eq!(quiet.strategy.name(), "least_requests");
}

#[test]
fn written_defaults_change_nothing() {
    let short = good(&with(""));
    let written = with(
        "workers: auto\nadmin: 127.0.0.1:9900\naccess_log: { path: stdout }\nhealth_check: { path: none, status: auto }\n\
         retry: { attempts: all }\nlimits: { connections: auto, body: none, in_flight_per_backend: none }\n",
    );
    assert_same(&short, &good(&written));
}

#[test]
fn off_is_false_where_off_is_allowed() {
    for off in ["off", "\"off\"", "false"] {
        let config = good(&with(&format!(
            "admin: {off}\naccess_log: {off}\nhealth_check: {off}\nretry: {off}\n"
        )));
        assert!(config.admin.is_none());
        assert_eq!(config.access_log.sinks[0].target, Target::Off);
        assert_eq!(config.pools[0].health_check.probe, None);
        assert_eq!(config.pools[0].retry.attempts, Attempts::AtMost(1));
    }
}

#[test]
fn written_catch_all_route_replaces_the_route_of_the_short_form() {
    let text = with(
        "pools: { api: { backends: [http://b:1] } }\nroutes: [{ pool: api }, { host: a, pool: default }]\n",
    );
    let config = good(&text);
    let pools: Vec<_> = config
        .routes
        .iter()
        .map(|route| &*route.pools()[0].name)
        .collect();
    assert_eq!(pools, ["api", "default"]);
}

#[test]
fn aliases_repeat_the_value_of_their_anchor() {
    let config = good(&with(
        "health_check: &check { path: /up }\npools: { api: { backends: [http://b:1], health_check: *check } }\nroutes: [{ host: b, pool: api }]\n",
    ));
    assert_eq!(config.pools[0].health_check, config.pools[1].health_check);
}

#[test]
fn relative_path_starts_at_the_folder_of_the_config() {
    let config = good(&with("access_log: { path: ./stdout }\n"));
    let Target::File(path) = &config.access_log.sinks[0].target else {
        panic!("no file")
    };
    assert_eq!(path, Path::new("/etc/evenkeel/./stdout"));
}

#[test]
fn effective_config_reads_back_as_the_same() {
    for text in [
        with(""),
        EVERYTHING.to_owned(),
        with("admin: off\nhealth_check: off\naccess_log: { path: 'a ${PORT} \"b' }\n"),
    ] {
        let config = good(&text);
        let printed = print(&config);
        assert!(!printed.contains("correct-horse"), "{printed}");
        let again = good(&printed);
        assert_same(&config, &again);
        assert_eq!(print(&again), printed);
    }
}

/// What is printed of a config that has only a listener and a backend.
const DEFAULTS: &str = "\
listeners:
  - address: \"0.0.0.0:8080\"
    tls: off
    http2: true
    proxy_protocol: false
    redirect_to_https: false
    client_half_close: abort
workers: auto
admin:
  address: \"127.0.0.1:9900\"
  token: none
access_log:
  path: stdout
  format: json
  fields: default
  sample: off
  on_full: drop
  query: false
guard: off
watch_config: false
trusted_proxies: []
timeouts:
  client_header: 10s
  client_idle: 1m
  drain: 30s
  drain_delay: 0s
  upgrade: 1m
limits:
  connections: auto
  connections_per_client: none
  requests_per_connection: none
  head: 32KiB
  line: 16KiB
  fields: 100
  chunk_extensions: 4KiB
  trailers: 8KiB
  body: none
  min_body_rate: none
pools:
  default:
    strategy: round_robin
    sticky: off
    backends:
      - url: \"http://a:1\"
        weight: 1
        backup: false
        drain: false
    health_check:
      kind: http
      method: GET
      path: none
      status: auto
      port: backend
      interval: 10s
      down_interval: 1s
      timeout: 2s
      healthy_after: 2
      unhealthy_after: 3
      fail_open: false
    ejection:
      consecutive: 5
      failure_ratio: 50%
      window: 10s
      min_requests: 20
      base: 10s
      max: 5m
      max_ejected: 50%
      failures: [connect_failure, reset, timeout, 5xx]
    slow_start: off
    retry:
      attempts: all
      causes: [connect_failure, reset, timeout, 503, grpc_unavailable]
      non_idempotent_503: true
      replay_limit: 64KiB
      per_try_timeout: none
      backoff: 25ms-250ms
      respect_retry_after: true
      hedge: off
    timeouts:
      connect: 1s
      first_byte: 30s
      request: 1m
      progress: 30s
      stream_idle: 5m
      tunnel_idle: 1h
      backend_idle: 50s
    limits:
      in_flight_per_backend: none
      adaptive: off
    queue:
      size: 1024
      timeout: 5s
    tls: off
    send_proxy: off
    header_case: preserve
    forwarded: [x-forwarded]
routes:
  - path_prefix: /
    pool: default
";

#[test]
fn effective_config_has_every_default() {
    let printed = print(&good(&with("")));
    assert_eq!(printed, DEFAULTS);
}

#[test]
fn warns_of_probable_mistakes() {
    for (lines, words) in [
        (
            "pools: { api: { backends: [http://b:1] } }\n",
            "c.yaml:3:10: warning: no route uses pool `api`",
        ),
        (
            "admin: { token: short }\n",
            "c.yaml:3:17: warning: `token` is shorter",
        ),
        ("trusted_proxies: [10.1.2.3/8]\n", "did you mean `10.0.0.0/8`?"),
    ] {
        let loaded = read(&with(lines)).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.warnings.len(), 1, "{lines}");
        let shown = loaded.warnings[0].to_string();
        assert!(shown.contains(words), "{shown}");
        assert!(!shown.contains("short }"), "{shown}");
    }
    let weightless = "listen: :1\nbackends: [{ url: http://a:1, weight: 0 }]\n";
    let loaded = read(weightless).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings[0].message.contains("weight 0"));
}

#[test]
fn reports_missing_files_by_name() {
    let report = crate::config::load(Path::new("/nonexistent/c.yaml"))
        .err()
        .unwrap();
    assert!(
        report
            .to_string()
            .starts_with("/nonexistent/c.yaml: error: cannot be read: "),
        "{report}"
    );
    let report = crate::config::load(Path::new("/")).err().unwrap();
    assert!(report.to_string().contains("it is a folder"), "{report}");
    let report = crate::config::find_in(&["no/a.yaml", "no/b.yaml"], "name one")
        .unwrap_err()
        .to_string();
    assert!(
        report.contains("= name one\n")
            && report.contains("= looked for no/a.yaml\n")
            && report.contains("= looked for no/b.yaml\n"),
        "{report}"
    );
    assert!(!bad("").problems.is_empty());
}

#[test]
fn every_probe_is_described_in_the_reference() {
    let page = crate::config::reference::page();
    for probe in crate::health::PROBES {
        let wanted = format!("`{}` {}", probe.name, probe.summary);
        assert!(page.contains(&wanted), "{wanted}");
        for key in probe.keys {
            assert!(page.contains(&format!("| `{key}` |")), "{key}");
        }
    }
}

#[test]
fn a_strategy_is_a_name_or_a_map_with_its_parameters() {
    let config = good(&with("strategy: { kind: random }\n"));
    assert_eq!(config.pools[0].strategy.name(), "random");
    assert!(config.pools[0].strategy.params.is_empty());
    assert!(print(&config).contains("strategy: random\n"));
    let config = good(
        "listen: :1\nstrategy: random\npools: { p: { strategy: { kind: least_requests }, backends: http://a:1 } }\nroutes: [{ pool: p }]\n",
    );
    assert_eq!(config.pools[0].strategy.name(), "least_requests");
}

#[test]
fn a_pool_says_how_headers_are_written_and_which_name_the_client() {
    let config = good(
        "listen: :1\npools: { p: { backends: http://a:1, header_case: title, forwarded: [x-real-ip, forwarded] }, q: { backends: http://b:1, forwarded: [] } }\nroutes: [{ pool: p }, { host: q, pool: q }]\n",
    );
    let [p, q] = &config.pools[..] else { panic!() };
    assert_eq!(p.header_case, crate::pool::HeaderCase::Title);
    assert_eq!(
        p.forwarded.names().collect::<Vec<_>>(),
        ["forwarded", "x-real-ip"]
    );
    assert_eq!(q.forwarded, crate::pool::ForwardedHeaders::NONE);
    assert!(print(&config).contains("forwarded: [forwarded, x-real-ip]\n"));
    assert_same(&good(&print(&config)), &config);
}
