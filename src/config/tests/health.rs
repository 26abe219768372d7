//! Health checks, ejection and slow start: what their keys mean.

use std::time::Duration;

use super::{good, read, with};

#[test]
fn ejection_is_on_by_default_and_a_pool_overrides_single_keys_of_it() {
    let config = good(
        "listen: :1
ejection: { consecutive: 7, failures: [5xx] }
slow_start: 30s
pools:
  a: { backends: http://a:1, ejection: { failure_ratio: 80%, max_ejected: 10% } }
  b: { backends: http://b:1, ejection: off, slow_start: off }
  c: { backends: http://c:1 }
routes: [{ pool: a }, { host: b, pool: b }, { host: c, pool: c }]
",
    );
    let [a, b, c] = &config.pools[..] else { panic!() };
    let ejection = a.ejection.unwrap();
    assert_eq!(
        (ejection.consecutive, ejection.failure_ratio, ejection.max_ejected),
        (7, 80, 10)
    );
    assert_eq!(ejection.failures.names().collect::<Vec<_>>(), ["5xx"]);
    assert_eq!((b.ejection, b.slow_start), (None, None));
    assert_eq!(c.slow_start, Some(Duration::from_secs(30)));
    let off = good(
        "listen: :1\nejection: off\npools: { a: { backends: http://a:1 }, b: { backends: http://b:1, ejection: {} } }\nroutes: [{ pool: a }, { host: b, pool: b }]\n",
    );
    assert_eq!(off.pools[0].ejection, None);
    assert!(off.pools[1].ejection.is_some());
}

#[test]
fn a_health_check_has_the_keys_of_its_request() {
    let check = "health_check: { method: POST, host: app.internal, headers: { X-Probe: yes }, body: { contains: ok }, port: 9000, down_interval: 2s, fail_open: true }\n";
    let check = good(&with(check)).pools[0].health_check.clone();
    assert_eq!((check.method.name(), check.port), ("POST", Some(9000)));
    assert_eq!(check.host.as_deref(), Some("app.internal"));
    assert_eq!(check.headers, [("X-Probe".to_owned(), "yes".to_owned())]);
    assert!(check.body.unwrap().is_in(b"all ok"));
    assert!(check.fail_open && check.down_interval == Duration::from_secs(2));
}

#[test]
fn errors_name_the_key_and_what_is_accepted() {
    for (keys, message) in [
        ("ejection: { failure_ratio: 50 }", "did you mean `50%`?"),
        ("ejection: { max_ejected: 0% }", "a percentage from 1% to 100%"),
        (
            "ejection: { failures: [] }",
            "to disable ejection, write `ejection: off`",
        ),
        ("ejection: { failures: ['503'] }", "did you mean `5xx`?"),
        ("outlier_detection: {}", "`ejection`"),
        ("health_check: { headers: { Host: a } }", "use `host`"),
        (
            "health_check: { headers: { 'a b': c } }",
            "is not a valid header name",
        ),
        (
            "health_check: { method: HEAD, body: { contains: a } }",
            "its responses have no body",
        ),
        (
            "health_check: { body: {} }",
            "either `contains` with a text, or `regex`",
        ),
        (
            "health_check: { body: { regex: '(' } }",
            "invalid value for `regex`",
        ),
        (
            "health_check: { kind: tcp, body: { contains: a } }",
            "`body` requires `kind: http`",
        ),
        (
            "health_check: { host: 'http://a/' }",
            "a host with an optional port",
        ),
        (
            "health_check: { port: 70000 }",
            "invalid value `70000` for `port`",
        ),
    ] {
        let report = read(&with(&format!("{keys}\n")))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(report.contains(message), "{keys}: {report}");
    }
}

#[test]
fn warns_of_a_grpc_probe_of_a_backend_that_gets_requests_over_http1() {
    let warnings = |lines: &str| {
        let loaded = read(&with(lines)).unwrap_or_else(|report| panic!("{report}"));
        loaded.warnings
    };
    for (lines, words) in [
        (
            "health_check: { kind: grpc }\n",
            "c.yaml:2:1: warning: backend http://a:1 gets requests over HTTP/1.1, but",
        ),
        (
            "pools: { api: { health_check: { kind: grpc }, backends: [https://b:1, http://b:2] } }\nroutes: [{ host: a, pool: api }]\n",
            "= gRPC without TLS is `h2c://`, with TLS `https://`",
        ),
    ] {
        let all = warnings(lines);
        assert_eq!(all.len(), 1, "{lines}");
        assert!(all[0].to_string().contains(words), "{}", all[0]);
    }
    // What is probed on a port of its own may speak HTTP/2.
    for lines in [
        "health_check: { kind: grpc, port: 9 }\n",
        "health_check: { kind: http }\n",
    ] {
        assert!(warnings(lines).is_empty(), "{lines}");
    }
}
