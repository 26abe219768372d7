//! Explanations of requests, for configs whose routes do everything that routes can do.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use evenkeel_balance::policy;

use super::asked::Asked;
use super::*;
use crate::config::{self, Config};
use crate::proxy::{Action, PolicySettings, PoolUse, RouteSettings};
use crate::router::{Matcher, PathMatcher, PathPattern};
use crate::schema::{ANY, Params, Value};
use crate::server::snapshot_of;

const CONFIG: &str = "
listeners: [{ address: 127.0.0.1:8080 }, { address: 127.0.0.1:8081 }]
pools:
  api:
    backends: [http://10.0.0.1:8001, { url: http://10.0.0.2:8002, backup: true }]
    retry: { attempts: 2 }
  canary: { backends: [http://10.0.0.3:8003] }
routes:
  - { host: api.test, path_prefix: /v1, pool: api }
  - { host: '*.test', pool: api }
  - { path_prefix: /other, pool: api }
";

fn config() -> Config {
    let loaded = config::from_text(CONFIG, "test.yaml", Path::new("/"), &|_| None);
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

fn params(values: Vec<(&'static str, Value)>) -> Params {
    let mut params = Params::default();
    for (key, value) in values {
        params.set(key, value);
    }
    params
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A map from names to texts.
fn texts(items: &[(&str, &str)]) -> Value {
    let items = items
        .iter()
        .map(|(name, value)| ((*name).to_owned(), text(value)));
    Value::Section(params(vec![(ANY, Value::Named(items.collect()))]))
}

fn policy(name: &str, kind: &str, params: Params) -> Arc<PolicySettings> {
    Arc::new(PolicySettings {
        name: name.into(),
        entry: policy::by_name(kind).unwrap(),
        params,
    })
}

fn arguments(method: &str, url: &str) -> Question {
    Question {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        client_ip: IpAddr::from([127, 0, 0, 1]),
        listener: None,
    }
}

fn explained(arguments: &Question, config: &Config) -> Explanation {
    let snapshot = snapshot_of(config).unwrap();
    fill(&snapshot, config);
    explain(arguments, config, &snapshot).unwrap_or_else(|error| panic!("{error}"))
}

/// The text for `GET url`.
fn shown(url: &str, config: &Config) -> String {
    text::render(&explained(&arguments("GET", url), config))
}

#[track_caller]
fn assert_shows(shown: &str, lines: &[&str]) {
    let mut rest = shown.lines();
    for line in lines {
        assert!(
            rest.any(|shown| shown == *line),
            "no line {line:?}, or not in this order, in\n{shown}"
        );
    }
}

#[test]
fn shows_the_route_why_others_lost_and_the_pool() {
    let shown = shown("http://api.test/v1/users?a=1", &config());
    let expected = "\
GET http://api.test/v1/users?a=1
  from 127.0.0.1 by listener 127.0.0.1:8080

Routes
  api.test/v1  chosen
  *.test/      a more specific route matched
  */other      path /other does not match

Action
  goes to pool api

Request to the backend
  GET /v1/users?a=1
  Host: api.test

Pool api, strategy round_robin
  http://10.0.0.1:8001  weight 1
  http://10.0.0.2:8002  weight 1, backup; no candidate: backup not needed
";
    assert!(shown.starts_with(expected), "{shown}");
    assert_shows(&shown, &["  retry.attempts        2", "Limits"]);
    assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
}

#[test]
fn says_that_no_route_matches() {
    let mut config = config();
    config.routes.truncate(1);
    let shown = shown("http://b.test/", &config);
    let line = "  No route matches: the client gets a 404 response with the error `no_route`.";
    assert_shows(&shown, &[line, "  api.test/v1  host does not match"]);
    assert!(!shown.contains("Action"), "{shown}");
}

#[test]
fn counts_routes_that_lost_for_the_same_reason() {
    let mut config = config();
    for index in 0..50 {
        let mut route = config.routes[0].clone();
        route.matcher.hosts = vec![format!("host{index}.test")];
        config.routes.push(route);
    }
    let asked = arguments("GET", "http://api.test/v1");
    let explanation = explained(&asked, &config);
    assert_eq!(explanation.routes.len(), 53);
    assert_shows(
        &text::render(&explanation),
        &["  and 30 more routes whose host does not match"],
    );
}

#[test]
fn a_condition_that_does_not_hold_is_named() {
    let mut config = config();
    config.routes[0].matcher.conditions.methods = vec!["POST".to_owned()];
    config.routes[1].matcher.conditions.listeners = vec![1];
    let mut asked = arguments("GET", "http://api.test/v1");
    let explanation = explained(&asked, &config);
    let outcomes: Vec<_> = explanation.routes.iter().map(|route| route.outcome).collect();
    assert_eq!(outcomes, ["condition", "condition", "path"]);
    asked.listener = Some("127.0.0.1:8081".to_owned());
    assert_eq!(explained(&asked, &config).route.as_deref(), Some("*.test/"));
}

#[test]
fn policies_are_listed_in_the_order_in_which_they_act() {
    let mut config = config();
    let block = Value::List(vec![text("10.0.0.0/8")]);
    config.routes[0].policies = vec![
        policy("small", "body_limit", params(vec![("", Value::Size(1 << 20))])),
        policy("office", "ip", params(vec![("allow", block)])),
    ];
    let mut asked = arguments("GET", "http://api.test/v1");
    let explanation = explained(&asked, &config);
    let listed: Vec<_> = explanation
        .policies
        .iter()
        .map(|policy| (&*policy.policy, policy.kind))
        .collect();
    assert_eq!(listed, [("office", "ip"), ("small", "body_limit")]);
    assert_shows(
        &text::render(&explanation),
        &[
            "  office  ip: responds to this request with 403 ip_denied",
            "  small   body_limit",
        ],
    );
    assert_eq!(explanation.body_limit.as_deref(), Some("1MiB"));
    asked.client_ip = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(explained(&asked, &config).policies[0].responds, None);
}

#[test]
fn the_request_to_the_backend_is_rewritten() {
    let mut config = config();
    let route = &mut config.routes[0];
    route.rewrite = Some(params(vec![
        ("path_prefix", text("/")),
        ("host", text("inner.test")),
    ]));
    let set = texts(&[
        ("X-Env", "prod"),
        ("X-Who", "${client_ip} $${b} ${request_id}:${client_port}"),
        ("X-Via", "${route} ${pool} ${backend}"),
        ("X-Gone", "${header.X-None}"),
    ]);
    let remove = Value::List(vec![text("X-Debug")]);
    route.request_headers = Some(params(vec![("set", set), ("remove", remove)]));
    route.response_headers = Some(params(vec![("add", texts(&[("X-Host", "${host}")]))]));
    route.mirror = Some(params(vec![("pool", text("canary")), ("percent", text("10"))]));
    let shown = shown("http://api.test/v1/users?a=1", &config);
    assert_shows(
        &shown,
        &[
            "Request to the backend",
            "  GET /users?a=1",
            "  Host: inner.test",
            "  set    X-Forwarded-Prefix: /v1",
            "  remove X-Debug",
            "  set    X-Env: prod",
            "  set    X-Who: 127.0.0.1 ${b} ${request_id}:${client_port}",
            "  set    X-Via: api.test/v1 api ${backend}",
            "  remove X-Gone",
            "  10 % of requests are copied to pool canary",
            "Changes of the response",
            "  add    X-Host: api.test",
        ],
    );
}

#[test]
fn groups_of_the_path_and_the_only_backend_are_known() {
    let mut config = config();
    let pattern = PathPattern::new("/users/(?<id>[0-9]+)").unwrap();
    let matcher = Matcher {
        path: PathMatcher::Regex(pattern),
        ..Matcher::default()
    };
    let mut route = RouteSettings::to_pool(matcher, &"canary".into());
    let set = texts(&[("X-Id", "${path.id}"), ("X-To", "${backend}")]);
    route.request_headers = Some(params(vec![("set", set)]));
    config.routes.push(route);
    let shown = shown("http://c/users/42", &config);
    assert_shows(
        &shown,
        &["  set    X-Id: 42", "  set    X-To: http://10.0.0.3:8003"],
    );
}

#[test]
fn a_split_shows_weights_and_all_pools() {
    let mut config = config();
    let weights = vec![
        ("api".to_owned(), Value::Count(95)),
        ("canary".to_owned(), Value::Count(5)),
    ];
    let uses = ["api", "canary"].map(|name| PoolUse {
        name: name.into(),
        settings: None,
    });
    config.routes[0].action = Action::Split(params(vec![(ANY, Value::Named(weights))]), uses.into());
    let shown = shown("http://api.test/v1", &config);
    assert_shows(
        &shown,
        &[
            "  goes to one of these pools",
            "  api     weight 95 of 100",
            "  canary  weight 5 of 100",
            "Pool api, strategy round_robin",
            "Pool canary, strategy round_robin",
        ],
    );
}

#[test]
fn redirects_and_responses_show_what_the_client_gets() {
    let mut config = config();
    config.routes[0].action = Action::Redirect(params(vec![
        ("scheme", Value::Word("https")),
        ("status", Value::Word("308")),
    ]));
    let redirected = shown("http://api.test/v1?a=1", &config);
    assert_shows(
        &redirected,
        &["  is redirected with status 308 to", "  https://api.test/v1?a=1"],
    );
    assert!(!redirected.contains("Request to the backend"), "{redirected}");
    config.routes[0].action = Action::Respond(params(vec![
        ("status", Value::Count(403)),
        ("body", text("no\n")),
    ]));
    let responded = shown("http://api.test/v1", &config);
    assert_shows(
        &responded,
        &["  gets a response with status 403 and 3 bytes of body"],
    );
}

#[test]
fn the_explanation_is_json_too() {
    let asked = arguments("GET", "http://api.test/v1");
    let value = serde_json::to_value(explained(&asked, &config())).unwrap();
    assert_eq!(value["route"], "api.test/v1");
    assert_eq!(value["action"]["kind"], "pool");
    assert_eq!(value["forwarded"]["target"], "/v1");
    assert_eq!(value["pools"][0]["backends"][1]["backup"], true);
    assert_eq!(value["pools"][0]["settings"]["retry.attempts"], "2");
    assert_eq!(value["routes"][1]["outcome"], "less_specific");
}

const STICKY: &str = "
listen: 127.0.0.1:8080
pools:
  web:
    strategy: least_requests
    sticky: { cookie: lb, secret: correct-horse-battery }
    limits: { in_flight_per_backend: 2 }
    backends:
      - http://10.0.0.1:8001
      - { url: http://10.0.0.2:8001, name: two }
      - { url: http://10.0.0.3:8001, drain: true }
      - { url: http://10.0.0.4:8001, weight: 0 }
      - { url: http://10.0.0.5:8001, backup: true }
routes: [{ pool: web }]
";

fn sticky_config() -> Config {
    let loaded = config::from_text(STICKY, "test.yaml", Path::new("/"), &|_| None);
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

#[test]
fn each_backend_has_a_score_or_the_reason_why_it_is_no_candidate() {
    let config = sticky_config();
    let snapshot = snapshot_of(&config).unwrap();
    fill(&snapshot, &config);
    let roster = snapshot.pools[0].roster();
    let [first, second, ..] = roster.members() else {
        panic!("backends")
    };
    let begin = |member: &crate::pool::Member| member.backend.load.begin(0, crate::backend::Shared::Yes);
    begin(first);
    begin(first);
    begin(second);
    let asked = arguments("GET", "http://a.test/");
    let value = serde_json::to_value(explain(&asked, &config, &snapshot).unwrap()).unwrap();
    let backends = value["pools"][0]["backends"].as_array().unwrap().clone();
    let why: Vec<_> = backends.iter().map(|backend| backend["why"].as_str()).collect();
    assert_eq!(
        why,
        [
            Some("at its limit: 2"),
            None,
            Some("drained"),
            Some("weight 0"),
            Some("backup not needed")
        ]
    );
    assert_eq!(backends[1]["score"], 1.0);
    assert_eq!(backends[1]["name"], "two");
    assert!(backends[0].get("score").is_none());
    begin(second);
    let value = serde_json::to_value(explain(&asked, &config, &snapshot).unwrap()).unwrap();
    assert_eq!(
        value["pools"][0]["backends"][4]["candidate"], true,
        "the others are at their limit"
    );
}

#[test]
fn the_sticky_cookie_decides() {
    let config = sticky_config();
    let snapshot = snapshot_of(&config).unwrap();
    fill(&snapshot, &config);
    let pool = &snapshot.pools[0];
    let roster = pool.roster();
    let sticky = |index: usize, cookie: Option<&str>| {
        let mut asked = arguments("GET", "http://a.test/");
        let own = pool.eligible();
        let value = own.cookie_value(roster.members()[index].backend.id).unwrap();
        let own = String::from_utf8(value.text().to_vec()).unwrap();
        asked.headers = vec![format!("Cookie: lb={}", cookie.unwrap_or(&own))];
        let value = serde_json::to_value(explain(&asked, &config, &snapshot).unwrap()).unwrap();
        value["pools"][0]["sticky"].clone()
    };
    assert_eq!(sticky(0, None)["backend"], "http://10.0.0.1:8001");
    assert_eq!(sticky(2, None)["backend"], "http://10.0.0.3:8001", "draining");
    let gone = sticky(3, None);
    assert_eq!(
        gone["why"],
        "the cookie names http://10.0.0.4:8001, which is weight 0"
    );
    assert_eq!(
        sticky(0, Some("x"))["why"],
        "the cookie names no backend of this pool"
    );
    assert_eq!(sticky(0, Some("x"))["by"], "cookie lb");
}

#[test]
fn a_post_is_retried_only_where_that_is_safe() {
    let mut asked = arguments("POST", "http://api.test/v1");
    let of = |asked: &Question, cause: &str| {
        let value = serde_json::to_value(explained(asked, &config())).unwrap();
        let mut retries = value["pools"][0]["retries"].as_array().unwrap().iter();
        retries.find(|retry| retry["cause"] == cause).unwrap().clone()
    };
    assert_eq!(of(&asked, "connect_failure")["retried"], true);
    assert_eq!(of(&asked, "503")["retried"], true);
    assert_eq!(of(&asked, "reset")["why"], "the request is not idempotent");
    assert_eq!(of(&asked, "502")["why"], "not in retry.causes");
    asked.headers = vec!["Idempotency-Key: 8e03978e".to_owned()];
    assert_eq!(of(&asked, "reset")["retried"], true);
}

#[test]
fn the_queue_of_a_pool_is_shown() {
    let queues = [
        (
            "{ size: 7, timeout: 2s }",
            serde_json::json!({ "queue.size": "7", "queue.timeout": "2s" }),
        ),
        ("off", serde_json::json!({ "queue": "off" })),
    ];
    for (queue, expected) in queues {
        let lines = format!("listen: :80\nbackends: [http://a:1]\nqueue: {queue}");
        let loaded = config::from_text(&lines, "c.yaml", Path::new("/"), &|_| None);
        let config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
        let value = serde_json::to_value(explained(&arguments("GET", "http://x/"), &config)).unwrap();
        let settings = value["pools"][0]["settings"].as_object().unwrap().iter();
        let shown: serde_json::Map<_, _> = settings
            .filter(|(key, _)| key.starts_with("queue"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(serde_json::Value::Object(shown), expected, "{queue}");
    }
}

#[test]
fn a_path_alone_takes_its_host_from_a_header() {
    let mut asked = arguments("GET", "/v1/x#fragment");
    asked.headers = vec!["host: api.test".to_owned()];
    assert_eq!(explained(&asked, &config()).route.as_deref(), Some("api.test/v1"));
}

#[test]
fn what_is_not_a_request_is_refused() {
    let config = config();
    let error = |arguments: &Question| {
        Asked::new(arguments, &config)
            .err()
            .map(|error| error.to_string())
    };
    let has = |arguments: &Question, words: &str| {
        let error = error(arguments).unwrap();
        assert!(error.contains(words), "{error}");
    };
    has(&arguments("GET", "api.test/v1"), "is not a URL");
    has(&arguments("GET", "/v1"), "`missing_host`");
    has(&arguments("G T", "http://a/"), "`bad_request_line`");
    let mut asked = arguments("GET", "http://a/");
    asked.headers = vec!["X-One".to_owned()];
    has(&asked, "has no colon");
    asked.headers = vec!["X-One: 1\r\nX-Two: 2".to_owned()];
    has(&asked, "contains a control character");
    has(
        &arguments("GET", "http://a/\r\nX-One: 1"),
        "contains a control character",
    );
    asked.headers.clear();
    asked.listener = Some(":9".to_owned());
    has(&asked, "its listeners are 127.0.0.1:8080, 127.0.0.1:8081");
}

#[test]
fn every_key_of_a_route_is_explained() {
    let text = "
listen: 127.0.0.1:8080
pools:
  api: { backends: [http://10.0.0.1:8001] }
  canary: { backends: [http://10.0.0.3:8001] }
policies:
  office: { ip: { allow: [10.0.0.0/8] } }
  per_client: { rate_limit: { rate: 100/s, burst: 200, key: client_ip } }
  small: { body_limit: 1MiB }
  squeeze: { compress: {} }
routes:
  - name: api
    host: '*.api.test'
    path_prefix: /v1
    split: { api: 95, canary: 5 }
    rewrite: { path_prefix: /internal, host: backend }
    request_headers: { set: { X-Who: '${client_ip} ${request_id}' } }
    timeouts: { first_byte: 3s }
    policies: [small, squeeze, per_client, office]
  - { name: canary, path_prefix: /v1, headers: { X-Canary: '1' }, pool: canary }
";
    let loaded = config::from_text(text, "test.yaml", Path::new("/"), &|_| None);
    let config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
    let mut asked = arguments("GET", "http://a.api.test/v1/x?a=1");
    asked.headers = vec!["X-Canary: 1".to_owned()];
    asked.client_ip = IpAddr::from([10, 0, 0, 1]);
    let shown = text::render(&explained(&asked, &config));
    let expected = "\
GET http://a.api.test/v1/x?a=1
  from 10.0.0.1 by listener 127.0.0.1:8080

Routes
  api     chosen
  canary  a more specific route matched

Policies, in the order in which they act
  office      ip
  per_client  rate_limit
  small       body_limit
  squeeze     compress

Action
  goes to one of these pools
  api     weight 95 of 100
  canary  weight 5 of 100

Request to the backend
  GET /internal/x?a=1
  Host: that of the backend
  set    X-Who: 10.0.0.1 ${request_id}

Pool api, strategy round_robin
  http://10.0.0.1:8001  weight 1

  When an attempt fails by
  connect_failure   not retried: no attempts are left
  reset             not retried: no attempts are left
  timeout           not retried: no attempts are left
  502               not retried: not in retry.causes
  503               not retried: no attempts are left
  504               not retried: not in retry.causes
  grpc_unavailable  not retried: no attempts are left

  timeouts.connect      1s
  timeouts.first_byte   3s
";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(
        shown.ends_with("\nLimits\n  body of the request  1MiB\n"),
        "{shown}"
    );
}
