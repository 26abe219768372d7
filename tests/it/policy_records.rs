//! What policies leave in the access log and in the metrics.

use crate::support::{Backend, Proxy};

/// A balancer with a route for each policy: `/office` is for others, `/staff` needs a password, `/web` is for a page of another
/// origin, and every other path has no policies.
fn start(backend: &Backend) -> Proxy {
    let url = backend.url();
    let config = format!(
        "limits: {{ body: 1GiB }}
pools: {{ api: {{ backends: [{url}] }} }}
policies:
  office: {{ ip: {{ deny: [127.0.0.0/8] }} }}
  staff: {{ basic_auth: {{ users: {{ alice: '$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K' }} }} }}
  web: {{ cors: {{ origins: ['https://app.test'], methods: [PUT] }} }}
routes:
  - {{ path_prefix: /office, pool: api, policies: [office, staff] }}
  - {{ path_prefix: /staff, pool: api, policies: [staff] }}
  - {{ path_prefix: /web, pool: api, policies: [web] }}
  - {{ path_prefix: /, pool: api }}
"
    );
    Proxy::before(&[]).config(&config).start()
}

/// The decisions of a policy with this outcome; `None` without a sample.
fn decisions(proxy: &Proxy, policy: &str, outcome: &str) -> Option<u64> {
    let metrics = proxy.get_admin("/metrics").text();
    let sample = format!("evenkeel_policy_decisions_total{{policy=\"{policy}\",outcome=\"{outcome}\"}} ");
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(&sample));
    values.next().and_then(|value| value.parse().ok())
}

/// The status of a request with these lines.
fn ask(proxy: &Proxy, lines: &str) -> u16 {
    let mut client = proxy.client();
    client
        .send(format!("{lines}\r\nHost: test\r\n\r\n"))
        .read()
        .status()
}

#[test]
fn a_refusal_names_its_policy_and_is_counted() {
    let backend = Backend::saying("all");
    let proxy = start(&backend);
    assert_eq!(ask(&proxy, "GET /office HTTP/1.1"), 403);
    let line = proxy.access_line("/office");
    assert_eq!(
        (&line["error"], &line["policy"]),
        (&"ip_denied".into(), &"office".into())
    );
    assert!(line.get("user").is_none(), "{line}");
    assert_eq!(decisions(&proxy, "office", "refused"), Some(1));
    assert_eq!(decisions(&proxy, "office", "passed"), Some(0));
    // The policies after it were not asked.
    assert_eq!(decisions(&proxy, "staff", "refused"), Some(0));
}

#[test]
fn a_user_is_logged_and_the_wait_for_the_password_is_counted() {
    let backend = Backend::saying("all");
    let proxy = start(&backend);
    // alice:open:sesame
    let lines = "GET /staff HTTP/1.1\r\nAuthorization: Basic YWxpY2U6b3BlbjpzZXNhbWU=";
    assert_eq!(ask(&proxy, lines), 200);
    let line = proxy.access_line("/staff");
    assert_eq!(line["user"], "alice", "{line}");
    assert!(
        line.get("policy").is_none() && line.get("error").is_none(),
        "{line}"
    );
    let count = |outcome| decisions(&proxy, "staff", outcome);
    assert_eq!(
        (count("waited"), count("passed"), count("refused")),
        (Some(1), Some(1), Some(0))
    );
    assert_eq!(ask(&proxy, "GET /staff/x HTTP/1.1"), 401);
    let line = proxy.access_line("/staff/x");
    assert_eq!(
        (&line["error"], &line["policy"]),
        (&"unauthorized".into(), &"staff".into())
    );
    assert_eq!(count("refused"), Some(1));
}

#[test]
fn a_preflight_request_is_no_refusal() {
    let backend = Backend::saying("all");
    let proxy = start(&backend);
    let lines = "OPTIONS /web HTTP/1.1\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: PUT";
    assert_eq!(ask(&proxy, lines), 204);
    let line = proxy.access_line("/web");
    assert_eq!(line["policy"], "web", "{line}");
    assert!(line.get("error").is_none(), "{line}");
    assert_eq!(decisions(&proxy, "web", "responded"), Some(1));
    assert_eq!(decisions(&proxy, "web", "refused"), Some(0));
}

#[test]
fn a_route_without_policies_leaves_neither() {
    let backend = Backend::saying("all");
    let proxy = start(&backend);
    assert_eq!(ask(&proxy, "GET /x HTTP/1.1"), 200);
    let line = proxy.access_line("/x");
    assert!(
        line.get("user").is_none() && line.get("policy").is_none(),
        "{line}"
    );
    for policy in ["office", "staff", "web"] {
        assert_eq!(decisions(&proxy, policy, "passed"), Some(0), "{policy}");
    }
}

#[test]
fn a_request_that_is_refused_before_its_policies_has_its_route_in_the_log() {
    let backend = Backend::saying("all");
    let proxy = start(&backend);
    let length = "Content-Length: 9999999999999";
    for (lines, status, path, route) in [
        (
            format!("POST /staff HTTP/1.1\r\n{length}"),
            413,
            "/staff",
            "*/staff",
        ),
        (format!("POST /none HTTP/1.1\r\n{length}"), 413, "/none", "*/"),
        (
            "OPTIONS /web HTTP/1.1\r\nMax-Forwards: 0".to_owned(),
            200,
            "/web",
            "*/web",
        ),
    ] {
        assert_eq!(ask(&proxy, &lines), status);
        let line = proxy.access_line(path);
        assert_eq!(line["route"], route, "{line}");
    }
}
