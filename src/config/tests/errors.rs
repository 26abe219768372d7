//! What is said of bad configs: where, what, and what was probably meant.

use super::{bad, with};

/// Asserts that a text has exactly one error, at a line and column, whose rendering has all these words.
fn says(text: &str, span: (usize, usize), words: &[&str]) {
    let report = bad(text);
    let shown = report.to_string();
    assert_eq!(report.problems.len(), 1, "{text}\n{shown}");
    assert_eq!(report.problems[0].position, Some(span), "{text}\n{shown}");
    for word in words {
        assert!(shown.contains(word), "{word:?} is not in:\n{shown}");
    }
}

#[test]
fn shows_place_line_mark_and_suggestion() {
    assert_eq!(
        bad("listen: :8080\nbackend:\n  - http://a:1\nstratgey: round_robin # why\nbackends: [http://b:1]\n").to_string(),
        "\
c.yaml:2:1: error: unknown key `backend`
   2 | backend:
     | ^^^^^^^
     = did you mean `backends`?
     = keys of top level: listen, listeners, workers, admin, access_log, trusted_proxies, strategy, health_check, retry, timeouts, limits, backends, pools, routes

c.yaml:4:1: error: unknown key `stratgey`
   4 | stratgey: round_robin # why
     | ^^^^^^^^
     = did you mean `strategy`?
     = keys of top level: listen, listeners, workers, admin, access_log, trusted_proxies, strategy, health_check, retry, timeouts, limits, backends, pools, routes

2 errors"
    );
    assert_eq!(
        bad(&with("timeouts:\n\tconnect: 1s\n")).to_string(),
        "\
c.yaml:4:2: error: invalid YAML: tabs disallowed within this context (block indentation)
   4 |  connect: 1s
     |  ^
     = a line cannot be indented with tabs

1 error"
    );
    assert_eq!(
        bad(&with("health_check: { interval: 10 }\n")).to_string(),
        "\
c.yaml:3:27: error: `10` is not accepted for `interval`
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
fn refuses_files_that_are_no_config() {
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
    says("hello", (1, 1), &["expected a map here, found text"]);
    says("- a\n- b\n", (1, 1), &["found a list"]);
    says("listen: [", (1, 9), &["invalid YAML: this `[` is never closed"]);
    says("listen: :1\n---\nlisten: :2\n", (2, 1), &["second one begins"]);
    says("listen: 'half", (1, 9), &["invalid YAML"]);
    let report = bad("{}").to_string();
    assert!(
        report.contains("there is no listener") && report.contains("there is no backend"),
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
fn refuses_yaml_beyond_data() {
    says(&with("workers: !!int 1\n"), (3, 16), &["tags have no meaning"]);
    says(
        &with("workers: *many\n"),
        (3, 10),
        &["`*many` is an alias of nothing", "needs quotes"],
    );
    says(
        &with("retry: &r { causes: *r }\n"),
        (3, 21),
        &["part of what it stands for"],
    );
    says(
        &with("retry: { <<: { attempts: 1 } }\n"),
        (3, 10),
        &["merge keys are not read"],
    );
    says(&with("? [a]\n: 1\n"), (3, 3), &["a key is text"]);
    says(
        &with("listen: :8081\n"),
        (3, 1),
        &["the key `listen` comes a second time", "on line 1 already"],
    );
    says("%YAML 1.2\n---\nlisten: :1\n", (1, 1), &["invalid YAML"]);
}

#[test]
fn bounds_nesting_and_aliases() {
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
fn refuses_bad_addresses() {
    says(
        "listen: localhost:80\nbackends: [http://a:1]",
        (1, 9),
        &["did you mean `127.0.0.1:80`?"],
    );
    says(
        "listen: 0.0.0.0\nbackends: [http://a:1]",
        (1, 9),
        &["the port is missing", "`0.0.0.0:8080`"],
    );
    says(
        "listen: 99999\nbackends: [http://a:1]",
        (1, 9),
        &["`99999` is not accepted"],
    );
    says(
        "listen: [::1]:8080\nbackends: [http://a:1]",
        (1, 14),
        &["IPv6 address needs quotes"],
    );
    says(
        "listen: unix:run/\nbackends: [http://a:1]",
        (1, 9),
        &["names no socket file", "unix:/run/evenkeel.sock"],
    );
    says(
        "listen: []\nbackends: [http://a:1]",
        (1, 9),
        &["`listen` is empty"],
    );
    says(
        "listeners: [{ tls: off }]\nbackends: [http://a:1]",
        (1, 13),
        &["`address` is missing"],
    );
    says(
        "listeners: [0.0.0.0:80]\nbackends: [http://a:1]",
        (1, 13),
        &["expected a map", "address"],
    );
    let twice = "listen: 127.0.0.1:80\nlisteners: [{ address: 0.0.0.0:80 }]\nbackends: [http://a:1]";
    says(twice, (2, 24), &["overlaps with `127.0.0.1:80` on line 1"]);
    says(
        "listen: :9900\nbackends: [http://a:1]",
        (1, 9),
        &["overlaps with the admin API", "127.0.0.1:9900"],
    );
    says(
        &with("admin: 127.0.0.1:8080\n"),
        (3, 8),
        &["overlaps with the listener `:8080` on line 1"],
    );
}

#[test]
fn refuses_admin_that_is_open_to_others() {
    says(
        &with("admin: 0.0.0.0:9900\n"),
        (3, 8),
        &["can be reached from outside", "it needs a token"],
    );
    says(
        &with("admin: { address: ':9900' }\n"),
        (3, 19),
        &["needs a token"],
    );
    says(
        &with("admin: { address: ':9900', token: none }\n"),
        (3, 19),
        &["needs a token"],
    );
    says(
        &with("admin: { address: ':9900', token: }\n"),
        (3, 28),
        &["`token` has no value"],
    );
    says(&with("admin: on\n"), (3, 8), &["`on` is not accepted"]);
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
fn never_shows_what_a_variable_held() {
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
    says(
        &with("workers: ${NOT_SET}\n"),
        (3, 10),
        &["variable NOT_SET is not set"],
    );
    says(
        &with("workers: ${1}\n"),
        (3, 10),
        &["a variable is written ${NAME}"],
    );
}

#[test]
fn refuses_bad_backends() {
    let one = |backend: &str| format!("listen: :1\nbackends: [{backend}]\n");
    for (backend, words) in [
        ("localhost:8001", "did you mean `http://localhost:8001`?"),
        ("http://a:8001/api", "did you mean `http://a:8001`?"),
        ("http://a:0", "the port of `http://a:0`"),
        ("http://a:65536", "is not a number from 1 to 65535"),
        ("'http://'", "has no usable host"),
        ("'unix:'", "names no socket file"),
        ("unix:@app", "an abstract socket"),
        ("unix:/a, {url: unix:/a}", "the same as `unix:/a`"),
        ("htp://a:1", "did you mean `http`?"),
        ("[http://a:1]", "a list is not accepted here"),
        ("", "`backends` is empty"),
    ] {
        let shown = bad(&one(backend)).to_string();
        assert!(shown.contains(words), "{backend}\n{shown}");
        assert!(
            shown.contains("c.yaml:2:") && shown.ends_with("1 error"),
            "{shown}"
        );
    }
    says(
        &one("http://a:80, http://A"),
        (2, 25),
        &["the same as `http://a:80` on line 2", "use `weight`"],
    );
    says(
        &one("{ url: 'http://a:1', weight: -1 }"),
        (2, 41),
        &["`-1` is not accepted for `weight`", "from 0 to 256"],
    );
    says(
        &one("{ url: 'http://a:1', backup: yes }"),
        (2, 41),
        &["did you mean `true`?"],
    );
}

#[test]
fn refuses_bad_pools_and_routes() {
    let pools = |rest: &str| format!("listen: :1\npools: {{ api: {{ backends: [http://a:1] }} }}\n{rest}");
    says(
        &pools("routes: [{ pool: apl }]\n"),
        (3, 18),
        &["there is no pool `apl`", "did you mean `api`?", "pools: api"],
    );
    let shown = bad(&pools("")).to_string();
    assert!(
        shown.contains("there is no route\n     = write `routes: [{ pool: api }]`"),
        "{shown}"
    );
    says(
        &pools("routes: [{ pool: api, path_prefix: /a/ }, { pool: api, path_prefix: /a }]\n"),
        (3, 43),
        &["same requests"],
    );
    says(
        &pools("routes: [{ pool: api, path_prefix: a }]\n"),
        (3, 36),
        &["did you mean `/a`?"],
    );
    says(
        &pools("routes: [{ pool: api, path_prefix: /a/%2e%2E/b }]\n"),
        (3, 36),
        &["dot segments"],
    );
    says(
        &pools("routes: [{ pool: api, path_prefix: '/a?b' }]\n"),
        (3, 36),
        &["not at the query"],
    );
    says(
        &pools("routes: [{ pool: api, host: 'a:80' }]\n"),
        (3, 29),
        &["did you mean `a`?"],
    );
    says(
        &pools("routes: [{ pool: api, host: '*' }]\n"),
        (3, 29),
        &["leave `host` out"],
    );
    says(
        &pools("routes: [{ pool: api, host: 'a..b' }]\n"),
        (3, 29),
        &["not accepted for `host`"],
    );
    says(
        &pools("routes: [{ host: a }, { pool: api }]\n"),
        (3, 10),
        &["`pool` is missing in routes[]"],
    );
    says(
        &with("pools: { default: { backends: [http://b:1] } }\n"),
        (3, 10),
        &["makes a pool with this name already"],
    );
    says(
        &with("pools: { 'a b': { backends: [http://b:1] } }\nroutes: [{host: a, pool: a b}]"),
        (3, 10),
        &["no name for a pool"],
    );
    says(
        &with("pools: { b: { retry: off } }\n"),
        (3, 10),
        &["the pool `b` has no `backends`"],
    );
}

#[test]
fn refuses_bad_rules() {
    for (lines, column, words) in [
        ("strategy: least_conn\n", 11, "it is called `least_requests` here"),
        ("strategy: round-robin\n", 11, "did you mean `round_robin`?"),
        ("timeouts: { connect: 0s }\n", 22, "from 1ms to 24h"),
        ("timeouts: { connect: 25h }\n", 22, "from 1ms to 24h"),
        ("limits: { head: 64k }\n", 17, "did you mean `64KiB`?"),
        ("limits: { connections: 0 }\n", 24, "or auto"),
        ("limits: { body: nothing }\n", 17, "or none"),
        ("limits: { in_flight_per_backend: +5 }\n", 34, "not accepted"),
        ("retry: { attempts: every }\n", 20, "or all"),
        (
            "retry: { causes: [connect_failed] }\n",
            19,
            "did you mean `connect_failure`?",
        ),
        ("retry: { causes: 503 }\n", 18, "a list"),
        (
            "health_check: { kind: grpc, path: /a }\n",
            29,
            "only for `kind: http`",
        ),
        ("health_check: { service: a.B }\n", 17, "only for `kind: grpc`"),
        (
            "health_check: { kind: tcp, path: /a }\n",
            28,
            "only for `kind: http`, and the kind here is tcp",
        ),
        (
            "health_check: { path: healthz }\n",
            23,
            "did you mean `/healthz`?",
        ),
        ("health_check: { status: 399-200 }\n", 25, "from 100 to 599"),
        ("health_check: { status: [] }\n", 25, "not accepted"),
        ("health_check: on\n", 15, "expected a map"),
        (
            "access_log: access.log\n",
            13,
            "a file is written `{ path: access.log }`",
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
        ("pools: []\n", 8, "a list is not accepted"),
    ] {
        says(&with(lines), (3, column), &[words]);
    }
}

#[test]
fn refuses_addresses_of_socket_files_that_cannot_be() {
    let long = format!("listen: unix:/{}\nbackends: [http://a:1]", "x".repeat(107));
    says(&long, (1, 9), &["longer than the 107 bytes"]);
    let twice = "listen: ['unix:/run/e.sock', 'unix:/run/e.sock']\nbackends: [http://a:1]";
    says(twice, (1, 30), &["overlaps with", "on line 1"]);
    let admin = "listen: :1\nadmin: unix:/run/admin.sock\nbackends: [http://a:1]";
    says(
        admin,
        (2, 8),
        &["is not accepted for `admin`", "an IP address and a port"],
    );
}

#[test]
fn proxy_headers_need_somebody_who_may_send_them() {
    let listener = |address: &str, trusted: &str| {
        format!(
            "listeners: [{{ address: '{address}', proxy_protocol: true }}]\ntrusted_proxies: [{trusted}]\nbackends: [http://a:1]\n"
        )
    };
    for trusted in ["", "unix"] {
        says(
            &listener(":1", trusted),
            (1, 30),
            &["`trusted_proxies` names none", "[10.0.0.0/8]"],
        );
    }
    super::good(&listener(":1", "10.0.0.0/8"));
    super::good(&listener("unix:/run/e.sock", ""));
    let pool =
        "listen: :1\npools: { a: { backends: [http://a:1], send_proxy: true } }\nroutes: [{ pool: a }]\n";
    says(
        pool,
        (2, 51),
        &["is not accepted for `send_proxy`", "off, v1, v2"],
    );
}

#[test]
fn an_error_of_the_top_level_is_told_once() {
    let text = with(
        "timeouts: { connect: 1 }\npools: { b: { backends: [http://b:1] } }\nroutes: [{ host: b, pool: b }]\n",
    );
    says(&text, (3, 22), &["did you mean `1s`?"]);
}
