//! Messages about invalid configs: position, cause and suggestion.

use super::{bad, with};

/// Asserts that a text has exactly one error, at a line and column, and that its rendering contains all these words.
fn expect_error(text: &str, span: (usize, usize), words: &[&str]) {
    let report = bad(text);
    let shown = report.to_string();
    assert_eq!(report.problems.len(), 1, "{text}\n{shown}");
    assert_eq!(report.problems[0].position, Some(span), "{text}\n{shown}");
    for word in words {
        assert!(shown.contains(word), "{word:?} is not in:\n{shown}");
    }
}

#[test]
fn shows_position_excerpt_and_suggestion() {
    assert_eq!(
        bad("listen: :8080\nbackend:\n  - http://a:1\nstratgey: round_robin # why\nbackends: [http://b:1]\n").to_string(),
        "\
c.yaml:2:1: error: unknown key `backend`
   2 | backend:
     | ^^^^^^^
     = did you mean `backends`?
     = keys of top level: listen, listeners, workers, admin, access_log, guard, watch_config, trusted_proxies, strategy, health_check, ejection, slow_start, retry, queue, timeouts, limits, backends, pools, routes, route_defaults, policies, stores, tracing

c.yaml:4:1: error: unknown key `stratgey`
   4 | stratgey: round_robin # why
     | ^^^^^^^^
     = did you mean `strategy`?
     = keys of top level: listen, listeners, workers, admin, access_log, guard, watch_config, trusted_proxies, strategy, health_check, ejection, slow_start, retry, queue, timeouts, limits, backends, pools, routes, route_defaults, policies, stores, tracing

2 errors"
    );
    assert_eq!(
        bad(&with("timeouts:\n\tconnect: 1s\n")).to_string(),
        "\
c.yaml:4:2: error: invalid YAML: tabs disallowed within this context (block indentation)
   4 |  connect: 1s
     |  ^
     = tabs are not allowed as indentation: use spaces

1 error"
    );
    assert_eq!(
        bad(&with("health_check: { interval: 10 }\n")).to_string(),
        "\
c.yaml:3:27: error: invalid value `10` for `interval`
   3 | health_check: { interval: 10 }
     |                           ^^
     = did you mean `10s`?
     = accepted: a duration such as 250ms, 10s, 1m or 1h, from 1ms to 24h

1 error"
    );
}

#[test]
fn reports_all_errors_at_once() {
    let report = bad("\
listen: localhost:8080
workers: 0
admin: 0.0.0.0:9900
colour: blue
strategy: round-robin
trusted_proxies: [10.0.0.0/33]
timeouts: { connect: 25h, drain: -1s, conect: 1s }
limits: { head: 12, fields: many }
retry: { attempts: 0, causes: [sunshine, timout] }
health_check: { kind: icmp, path: healthz, status: 700, interval: soon }
pools:
  api:
    backends: [a:1, 'unix:', 'http://c:99999', {url: 'http://d:1', weight: 257}, {weight: 1}]
  empty: { backends: [] }
  half:
routes:
  - { pool: apo }
  - { host: 'x:80', pool: api }
");
    let lines: Vec<_> = report
        .problems
        .iter()
        .filter_map(|problem| problem.position)
        .map(|at| at.0)
        .collect();
    let expected = [
        1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 8, 9, 9, 9, 10, 10, 10, 10, 13, 13, 13, 13, 13, 14, 15, 17, 18,
    ];
    assert_eq!(lines, expected, "{report}");
    assert_eq!(report.errors(), expected.len());
}

#[test]
fn rejects_files_without_a_config() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "null\n", "~"] {
        let report = bad(text);
        assert_eq!(report.problems.len(), 1, "{text:?}");
        assert!(
            report
                .to_string()
                .starts_with("c.yaml: error: the config is empty"),
            "{report}"
        );
    }
    expect_error("hello", (1, 1), &["expected a map, found text"]);
    expect_error("- a\n- b\n", (1, 1), &["found a list"]);
    expect_error("listen: [", (1, 9), &["invalid YAML: this `[` is never closed"]);
    expect_error(
        "listen: :1\n---\nlisten: :2\n",
        (2, 1),
        &["a second one starts here"],
    );
    expect_error("listen: 'half", (1, 9), &["invalid YAML"]);
    let report = bad("{}").to_string();
    assert!(
        report.contains("the config has no listener") && report.contains("the config has no backend"),
        "{report}"
    );
    let report = bad("listen:\nbackends:\n").to_string();
    assert!(
        report.contains("c.yaml:1:1: error: `listen` has no value"),
        "{report}"
    );
    assert!(
        report.contains("c.yaml:2:1: error: `backends` has no value"),
        "{report}"
    );
    assert!(report.ends_with("2 errors"), "{report}");
}

#[test]
fn rejects_yaml_beyond_plain_data() {
    expect_error(
        &with("workers: !!int 1\n"),
        (3, 16),
        &["YAML tags are not supported"],
    );
    expect_error(
        &with("workers: *many\n"),
        (3, 10),
        &["unknown alias `*many`", "needs quotes"],
    );
    expect_error(
        &with("retry: &r { causes: *r }\n"),
        (3, 21),
        &["refers to a value that contains it"],
    );
    expect_error(
        &with("retry: { <<: { attempts: 1 } }\n"),
        (3, 10),
        &["merge keys are not supported"],
    );
    expect_error(&with("? [a]\n: 1\n"), (3, 3), &["a key must be text"]);
    expect_error(
        &with("listen: :8081\n"),
        (3, 1),
        &["duplicate key `listen`; first defined on line 1"],
    );
    expect_error("%YAML 1.2\n---\nlisten: :1\n", (1, 1), &["invalid YAML"]);
}

#[test]
fn limits_nesting_and_aliases() {
    let deep = with(&format!("retry: {}{}\n", "[".repeat(500), "]".repeat(500)));
    assert_eq!(bad(&deep).problems.len(), 1);
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let shown = bad(&laughs).to_string();
    assert!(shown.contains("more than 2000000 values"), "{shown}");
}

#[test]
fn rejects_invalid_addresses() {
    expect_error(
        "listen: localhost:80\nbackends: [http://a:1]",
        (1, 9),
        &["did you mean `127.0.0.1:80`?"],
    );
    expect_error(
        "listen: 0.0.0.0\nbackends: [http://a:1]",
        (1, 9),
        &["the port is missing", "`0.0.0.0:8080`"],
    );
    expect_error(
        "listen: 99999\nbackends: [http://a:1]",
        (1, 9),
        &["invalid value `99999`"],
    );
    expect_error(
        "listen: [::1]:8080\nbackends: [http://a:1]",
        (1, 14),
        &["IPv6 address needs quotes"],
    );
    expect_error(
        "listen: unix:run/\nbackends: [http://a:1]",
        (1, 9),
        &[
            "is not a valid Unix socket: the path must name a file",
            "unix:/run/evenkeel.sock",
        ],
    );
    expect_error(
        "listen: []\nbackends: [http://a:1]",
        (1, 9),
        &["`listen` is empty"],
    );
    expect_error(
        "listeners: [{ tls: off }]\nbackends: [http://a:1]",
        (1, 13),
        &["`address` is missing"],
    );
    expect_error(
        "listeners: [0.0.0.0:80]\nbackends: [http://a:1]",
        (1, 13),
        &["expected a map", "address"],
    );
    let twice = "listen: 127.0.0.1:80\nlisteners: [{ address: 0.0.0.0:80 }]\nbackends: [http://a:1]";
    expect_error(twice, (2, 24), &["overlaps with `127.0.0.1:80` on line 1"]);
    expect_error(
        "listen: :9900\nbackends: [http://a:1]",
        (1, 9),
        &["overlaps with the admin API", "127.0.0.1:9900"],
    );
    expect_error(
        &with("admin: 127.0.0.1:8080\n"),
        (3, 8),
        &["overlaps with the listener `:8080` on line 1"],
    );
}

#[test]
fn rejects_an_admin_api_that_others_can_reach_without_a_token() {
    expect_error(
        &with("admin: 0.0.0.0:9900\n"),
        (3, 8),
        &["is reachable from other machines and requires a `token`"],
    );
    expect_error(
        &with("admin: { address: ':9900' }\n"),
        (3, 19),
        &["requires a `token`"],
    );
    expect_error(
        &with("admin: { address: ':9900', token: none }\n"),
        (3, 19),
        &["requires a `token`"],
    );
    expect_error(
        &with("admin: { address: ':9900', token: }\n"),
        (3, 28),
        &["`token` has no value"],
    );
    expect_error(&with("admin: on\n"), (3, 8), &["invalid value `on`"]);
}

#[test]
fn never_shows_a_token() {
    for text in [
        "admin: { address: 0.0.0.0:99000, token: hush }",
        "admin: { address: 0.0.0.0:9900, tokne: hush }",
        "admin: { address: 0.0.0.0:9900, token: \"hush hush\" }",
        "admin: { address: 0.0.0.0:9900, token: hush, token: hush }",
        "admin: { address: 0.0.0.0:9900, token: [hush] }",
        "admin: { address: 0.0.0.0:9900, token: 'hush",
        "admin:\n  token: |\n    hush hush\n",
        "admin_token: hush",
        "listeners: [{ address: ':8081', token: hush }]",
        "pools: { a: { backends: ['http://me:hush@a:1'] } }",
        "pools: { a: { backends: ['http://hush@a:1/x', 'http://me:hush@'] } }",
    ] {
        let shown = bad(&with(text)).to_string();
        assert!(!shown.contains("hush"), "{text}\n{shown}");
    }
}

#[test]
fn never_shows_the_value_of_a_variable() {
    for text in [
        "workers: ${WRONG}",
        "strategy: ${WRONG}",
        "timeouts: { connect: '${WRONG}' }",
        "timeouts: { connect: '${PORT}' }",
        "pools: { a: { backends: ['${WRONG}', 'http://a:${WRONG}', 'http://a/${WRONG}', '${WRONG}://a', 'http://${WRONG}^'] } }",
        "routes: [{ host: '${WRONG}:1', path_prefix: '${WRONG}', pool: '${WRONG}' }]",
        "admin: '${WRONG}'",
        "access_log: '${WRONG}/x'",
        "health_check: { path: '${WRONG}', status: '${WRONG}' }",
        "retry: { causes: ['${WRONG}'] }",
        "trusted_proxies: ['${WRONG}']",
    ] {
        let shown = bad(&with(text)).to_string();
        assert!(
            !shown.contains("hush") && !shown.contains("48123"),
            "{text}\n{shown}"
        );
        assert!(shown.contains("${"), "{shown}");
    }
    expect_error(
        &with("workers: ${NOT_SET}\n"),
        (3, 10),
        &["variable NOT_SET is not set"],
    );
    expect_error(
        &with("workers: ${1}\n"),
        (3, 10),
        &["invalid variable: write it as ${NAME}"],
    );
}

#[test]
fn rejects_invalid_backends() {
    let one = |backend: &str| format!("listen: :1\nbackends: [{backend}]\n");
    for (backend, words) in [
        ("localhost:8001", "did you mean `http://localhost:8001`?"),
        ("http://a:8001/api", "did you mean `http://a:8001`?"),
        ("http://a:0", "the port of `http://a:0`"),
        ("http://a:65536", "must be a number from 1 to 65535"),
        ("'http://'", "has no valid host"),
        ("'unix:'", "is not a valid Unix socket: the path must name a file"),
        ("unix:@app", "an abstract socket"),
        ("unix:/a, {url: unix:/a}", "the same as `unix:/a`"),
        ("htp://a:1", "did you mean `http`?"),
        ("[http://a:1]", "found a list"),
        ("", "`backends` is empty"),
    ] {
        let shown = bad(&one(backend)).to_string();
        assert!(shown.contains(words), "{backend}\n{shown}");
        assert!(
            shown.contains("c.yaml:2:") && shown.ends_with("1 error"),
            "{shown}"
        );
    }
    expect_error(
        &one("http://a:80, http://A"),
        (2, 25),
        &["the same as `http://a:80` on line 2", "use `weight`"],
    );
    expect_error(
        &one("{ url: 'http://a:1', weight: -1 }"),
        (2, 41),
        &["invalid value `-1` for `weight`", "from 0 to 256"],
    );
    expect_error(
        &one("{ url: 'http://a:1', backup: yes }"),
        (2, 41),
        &["did you mean `true`?"],
    );
}

#[test]
fn a_route_with_an_invalid_condition_is_no_duplicate_of_another() {
    // Without the condition, it would equal the first one.
    for condition in ["method: get", "client_ip: x", "headers: { a: }"] {
        let shown = bad(&format!(
            "listen: :1\npools: {{ api: {{ backends: [http://a:1] }} }}\nroutes: [{{ pool: api }}, {{ pool: api, {condition} }}]\n"
        ))
        .to_string();
        assert!(
            shown.contains("\n1 error") && !shown.contains("duplicate route"),
            "{shown}"
        );
    }
}

#[test]
fn rejects_invalid_pools_and_routes() {
    let pools = |rest: &str| format!("listen: :1\npools: {{ api: {{ backends: [http://a:1] }} }}\n{rest}");
    expect_error(
        &pools("routes: [{ pool: apl }]\n"),
        (3, 18),
        &["unknown pool `apl`", "did you mean `api`?", "pools: api"],
    );
    let shown = bad(&pools("")).to_string();
    assert!(
        shown.contains("the config has no route\n     = write `routes: [{ pool: api }]`"),
        "{shown}"
    );
    expect_error(
        &pools("routes: [{ pool: api, path_prefix: /a/ }, { pool: api, path_prefix: /a }]\n"),
        (3, 43),
        &["duplicate route", "line 3", "`{ pool: api, path_prefix: /a/ }`"],
    );
    expect_error(
        &pools("routes: [{ pool: api, path_prefix: a }]\n"),
        (3, 36),
        &["did you mean `/a`?"],
    );
    expect_error(
        &pools("routes: [{ pool: api, path_prefix: /a/%2e%2E/b }]\n"),
        (3, 36),
        &["dot segments"],
    );
    expect_error(
        &pools("routes: [{ pool: api, path_prefix: '/a?b' }]\n"),
        (3, 36),
        &["matches the path only"],
    );
    expect_error(
        &pools("routes: [{ pool: api, host: 'a:80' }]\n"),
        (3, 29),
        &["did you mean `a`?"],
    );
    expect_error(
        &pools("routes: [{ pool: api, host: '*' }]\n"),
        (3, 29),
        &["omit `host`"],
    );
    expect_error(
        &pools("routes: [{ pool: api, host: 'a..b' }]\n"),
        (3, 29),
        &["for `host`"],
    );
    expect_error(
        &pools("routes: [{ host: a }, { pool: api }]\n"),
        (3, 10),
        &["a route requires one of `pool`, `split`, `redirect` and `respond`"],
    );
    expect_error(
        &with("pools: { default: { backends: [http://b:1] } }\n"),
        (3, 10),
        &["duplicate pool `default`"],
    );
    expect_error(
        &with("pools: { 'a b': { backends: [http://b:1] } }\nroutes: [{host: a, pool: a b}]"),
        (3, 10),
        &["is not a valid pool name"],
    );
    expect_error(
        &with("pools: { b: { retry: off } }\n"),
        (3, 10),
        &["pool `b` requires `backends`"],
    );
}

#[test]
fn rejects_a_header_that_a_route_has_in_two_cases() {
    expect_error(
        &with("routes: [{ headers: { X-Beta: present, x-beta: '1' }, pool: default }]\n"),
        (3, 40),
        &["`x-beta` is the same header as `X-Beta`", "remove one"],
    );
}

#[test]
fn rejects_invalid_settings() {
    for (lines, column, words) in [
        ("strategy: least_conn\n", 11, "it is called `least_requests` here"),
        ("strategy: round-robin\n", 11, "did you mean `round_robin`?"),
        ("timeouts: { connect: 0s }\n", 22, "from 1ms to 24h"),
        ("timeouts: { connect: 25h }\n", 22, "from 1ms to 24h"),
        ("limits: { head: 64k }\n", 17, "did you mean `64KiB`?"),
        ("limits: { connections: 0 }\n", 24, "or auto"),
        ("limits: { body: nothing }\n", 17, "or none"),
        (
            "limits: { in_flight_per_backend: +5 }\n",
            34,
            "invalid value `+5`",
        ),
        (
            "limits: { adaptive: auto }\n",
            21,
            "accepted: one of off, observe, on",
        ),
        ("queue: { size: 0 }\n", 16, "from 1 to 100000"),
        ("queue: { timeout: 0s }\n", 19, "from 1ms to 1h"),
        ("queue: { time: 5s }\n", 10, "keys of queue: size, timeout"),
        ("retry: { attempts: every }\n", 20, "or all"),
        (
            "retry: { causes: [connect_failed] }\n",
            19,
            "did you mean `connect_failure`?",
        ),
        ("retry: { causes: 503 }\n", 18, "a list"),
        (
            "health_check: { kind: grpc, path: /a, port: 1 }\n",
            29,
            "`path` requires `kind: http`",
        ),
        (
            "health_check: { service: a.B }\n",
            17,
            "`service` requires `kind: grpc`",
        ),
        (
            "health_check: { kind: tcp, path: /a }\n",
            28,
            "requires `kind: http`, but the kind is `tcp`",
        ),
        (
            "health_check: { path: healthz }\n",
            23,
            "did you mean `/healthz`?",
        ),
        ("health_check: { status: 399-200 }\n", 25, "from 100 to 599"),
        ("health_check: { status: [] }\n", 25, "found a list"),
        ("health_check: on\n", 15, "expected a map"),
        (
            "access_log: access.log\n",
            13,
            "write a file as `{ path: access.log }`",
        ),
        ("access_log: { on_full: blok }\n", 24, "did you mean `block`?"),
        ("access_log: { query: True }\n", 22, "did you mean `true`?"),
        (
            "trusted_proxies: [10.0.0.0/33]\n",
            19,
            "is not an IP address or CIDR block",
        ),
        ("trusted_proxies: 10.0.0.0/8\n", 18, "a list"),
        ("timeout: 3s\n", 1, "did you mean `timeouts`?"),
        ("weight: 3\n", 1, "`weight` is a key of backends[]"),
        ("pools: []\n", 8, "found a list"),
    ] {
        expect_error(&with(lines), (3, column), &[words]);
    }
}

#[test]
fn rejects_invalid_unix_sockets() {
    let long = format!("listen: unix:/{}\nbackends: [http://a:1]", "x".repeat(107));
    expect_error(&long, (1, 9), &["longer than 107 bytes"]);
    let twice = "listen: ['unix:/run/e.sock', 'unix:/run/e.sock']\nbackends: [http://a:1]";
    expect_error(twice, (1, 30), &["overlaps with", "on line 1"]);
    let same = "listen: unix:/run/e.sock\nadmin: unix:/run/e.sock\nbackends: [http://a:1]";
    expect_error(same, (2, 8), &["the admin API overlaps with the listener"]);
    let abstract_socket = "listen: :1\nadmin: { address: 'unix:@e' }\nbackends: [http://a:1]";
    expect_error(abstract_socket, (2, 19), &["abstract socket"]);
}

#[test]
fn proxy_protocol_requires_trusted_proxies_except_on_a_unix_socket() {
    let listener = |address: &str, trusted: &str| {
        format!(
            "listeners: [{{ address: '{address}', proxy_protocol: true }}]\ntrusted_proxies: [{trusted}]\nbackends: [http://a:1]\n"
        )
    };
    for trusted in ["", "unix"] {
        expect_error(
            &listener(":1", trusted),
            (1, 30),
            &[
                "`proxy_protocol: true` requires `trusted_proxies`",
                "[10.0.0.0/8]",
            ],
        );
    }
    super::good(&listener(":1", "10.0.0.0/8"));
    super::good(&listener("unix:/run/e.sock", ""));
    let pool =
        "listen: :1\npools: { a: { backends: [http://a:1], send_proxy: true } }\nroutes: [{ pool: a }]\n";
    expect_error(pool, (2, 51), &["for `send_proxy`", "off, v1, v2"]);
}

#[test]
fn an_error_of_the_top_level_is_reported_once() {
    let text = with(
        "timeouts: { connect: 1 }\npools: { b: { backends: [http://b:1] } }\nroutes: [{ host: b, pool: b }]\n",
    );
    expect_error(&text, (3, 22), &["did you mean `1s`?"]);
}

#[test]
fn values_from_elsewhere_have_a_suggestion() {
    let policy = |policy: &str| {
        with(&format!(
            "policies: {{ p: {{ {policy} }} }}\nroute_defaults: {{ policies: [p] }}\n"
        ))
    };
    for (key, meant) in [
        ("ip", "client_ip"),
        ("$remote_addr", "client_ip"),
        ("client-ip", "client_ip"),
        ("url", "uri"),
        ("hots", "host"),
        ("Header:X-Api-Key", "header.X-Api-Key"),
        ("cookies.a", "cookie.a"),
    ] {
        let limit = policy(&format!("rate_limit: {{ rate: 1/s, key: '{key}' }}"));
        let hint = format!("did you mean `{meant}`?");
        expect_error(&limit, (3, 48), &[&hint, "accepted: one of client_ip"]);
    }
    for on in ["on", "true"] {
        expect_error(
            &policy(&format!("compress: {on}")),
            (3, 28),
            &["did you mean `{}`?"],
        );
    }
    let maglev = with("strategy: { kind: maglev, key: source_ip }\n");
    expect_error(&maglev, (3, 32), &["did you mean `client_ip`?"]);
}

#[test]
fn a_wrong_family_of_forwarding_headers_is_named() {
    let pool = "listen: :1\npools: { a: { backends: [http://a:1], forwarded: [x-forwardd] } }\nroutes: [{ pool: a }]\n";
    expect_error(pool, (2, 51), &["for `forwarded`", "did you mean `x-forwarded`?"]);
}
