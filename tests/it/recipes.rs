//! The examples of docs/routes.md and docs/policies.md do what these pages say: each test starts the config that stands below a
//! heading, with the addresses of scripted backends.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process;

use evenkeel::internals::clock;

use crate::support::{Backend, DEADLINE, Proxy, Received, Response, refusing_address};

const ROUTES: &str = include_str!("../../docs/routes.md");
const POLICIES: &str = include_str!("../../docs/policies.md");

/// Where the pool `app` of the pages is.
const APP: &str = "http://localhost:8001";

/// The example with this number below this heading of any level, with a pool `app` if it does not have one.
fn example(page: &str, heading: &str, number: usize) -> String {
    let (_, section) = page
        .split_once(&format!("# {heading}\n"))
        .expect("the page has the heading");
    let section = section.split("\n#").next().unwrap_or_default();
    let block = section.split("```yaml\n").nth(number + 1).expect("an example");
    let block = block.split("```").next().unwrap_or_default();
    match block.contains("pools:") {
        true => block.to_owned(),
        false => format!("{block}pools: {{ app: {{ backends: [{APP}] }} }}\n"),
    }
}

/// The balancer with an example in which these texts are replaced.
fn start(example: &str, replaced: &[(&str, &str)]) -> Proxy {
    let mut config = example.to_owned();
    for (text, by) in replaced {
        assert!(config.contains(text), "{text} is not in {config}");
        config = config.replace(text, by);
    }
    Proxy::before(&[]).config(&config).start()
}

/// Sends a request with this start line and these headers, beside `Host`.
fn ask(proxy: &Proxy, start: &str, headers: &[&str]) -> Received {
    let mut head = format!("{start} HTTP/1.1\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        head += "Host: app.test\r\n";
    }
    for header in headers {
        head += &format!("{header}\r\n");
    }
    proxy.client().send(head + "\r\n").read()
}

/// A file that a test made. It is removed when it is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-recipe-{}-{name}", process::id()));
        fs::write(&path, text).expect("the file can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Repeats a request until its response is as meant.
fn ask_until(is_meant: impl Fn(&Received) -> bool, mut ask: impl FnMut() -> Received) -> Received {
    let start = clock::now();
    loop {
        let got = ask();
        if is_meant(&got) {
            return got;
        }
        assert!(start.elapsed() < DEADLINE, "{} {}", got.status(), got.text());
    }
}

#[test]
fn canary_by_weight_and_by_cookie() {
    let (stable, canary) = (Backend::saying("stable"), Backend::saying("canary"));
    let proxy = start(
        &example(POLICIES, "Canary", 0),
        &[(APP, &stable.url()), ("http://localhost:8002", &canary.url())],
    );
    let mut client = proxy.client();
    let versions: Vec<Received> = (0..100).map(|_| client.get("/")).collect();
    let of_canary = versions
        .iter()
        .filter(|got| got.field("x-version") == Some("canary"));
    assert_eq!(of_canary.count(), 5);
    let opt_in = client.get("/canary");
    assert_eq!(opt_in.field("set-cookie"), Some("canary=1; Path=/"));
    for _ in 0..20 {
        assert_eq!(ask(&proxy, "GET /", &["Cookie: canary=1"]).text(), "canary");
        assert_eq!(ask(&proxy, "GET /", &["Cookie: a=b; canary=0"]).text(), "stable");
    }
}

#[test]
fn hsts_is_on_responses_of_backends_and_on_local_ones() {
    let app = Backend::saying("app");
    let proxy = start(&example(POLICIES, "HSTS", 0), &[(APP, &app.url())]);
    let expected = Some("max-age=63072000; includeSubDomains");
    assert_eq!(proxy.get("/").field("strict-transport-security"), expected);
    app.stop();
    let failed = proxy.get("/");
    assert!(failed.status() >= 500, "{}", failed.head);
    assert_eq!(failed.field("strict-transport-security"), expected);
}

#[test]
fn each_api_key_has_a_limit_of_its_own() {
    let app = Backend::saying("app");
    let proxy = start(&example(POLICIES, "API keys", 0), &[(APP, &app.url())]);
    assert_eq!(proxy.get("/").status(), 401);
    let ask = |key: &str| ask(&proxy, "GET /", &[&format!("X-Api-Key: {key}")]);
    let passed = (0..200).map(|_| ask("one")).take_while(|got| got.status() == 200);
    let passed: Vec<Received> = passed.collect();
    assert!((10..200).contains(&passed.len()), "{}", passed.len());
    assert!(passed[0].field("ratelimit").is_some(), "{:?}", passed[0].head);
    // A token may have come back since the last refusal.
    let refused = ask_until(|got| got.status() == 429, || ask("one"));
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(refused.field(name).is_some(), "{name}: {:?}", refused.head);
    }
    assert_eq!(ask("two").status(), 200);
}

#[test]
fn single_sign_on_lets_pass_denies_and_redirects() {
    let app = Backend::saying("app");
    let sso = Backend::start(|request| match request.field("cookie") {
        _ if request.start().contains("/ping") => Response::ok(""),
        _ if request.start().contains("/oauth2/") => Response::ok("login"),
        Some("session=good") => {
            Response::raw("HTTP/1.1 202 Accepted\r\nX-Auth-Request-User: alice\r\nContent-Length: 0\r\n\r\n")
        }
        Some(_) => Response::status(403, "no access"),
        None => Response::raw("HTTP/1.1 302 Found\r\nLocation: /oauth2/start\r\nContent-Length: 0\r\n\r\n"),
    });
    let proxy = start(
        &example(POLICIES, "Single sign-on", 0),
        &[(APP, &app.url()), ("http://localhost:4180", &sso.url())],
    );
    let forged = "X-Auth-Request-User: mallory";
    let got = ask(&proxy, "POST /x?y=1", &["Cookie: session=good", forged]);
    assert_eq!((got.status(), got.text().as_str()), (200, "app"));
    let forwarded = app.wait_for_request(|request| request.start().contains("/x"));
    assert_eq!(forwarded.field("x-auth-request-user"), Some("alice"));
    assert!(!forwarded.head.contains("mallory"), "{}", forwarded.head);
    let asked = sso.wait_for_request(|request| request.field("x-forwarded-uri") == Some("/x?y=1"));
    assert_eq!(
        (asked.start(), asked.field("x-forwarded-method")),
        ("GET /", Some("POST"))
    );
    let denied = ask(&proxy, "GET /denied", &["Cookie: session=bad"]);
    assert_eq!((denied.status(), denied.text().as_str()), (403, "no access"));
    assert_eq!(proxy.access_line("/denied")["error"], "forward_auth_denied");
    let redirected = proxy.get("/redirected");
    assert_eq!(
        (redirected.status(), redirected.field("location")),
        (302, Some("/oauth2/start"))
    );
    assert_eq!(proxy.access_line("/redirected")["error"], "forward_auth_redirect");
    assert_eq!(proxy.get("/oauth2/start").text(), "login");
}

#[test]
fn a_single_page_app_gets_its_preflight_response() {
    let app = Backend::saying("app");
    let proxy = start(&example(POLICIES, "A single-page app", 0), &[(APP, &app.url())]);
    let preflight = |origin: &str| {
        let origin = format!("Origin: {origin}");
        ask(
            &proxy,
            "OPTIONS /api/x",
            &[&origin, "Access-Control-Request-Method: PUT"],
        )
    };
    let got = preflight("https://app.example.com");
    assert_eq!(got.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET, POST, PUT, DELETE"),
        ("access-control-allow-headers", "Content-Type, Authorization"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(got.field(name), Some(value), "{name}");
    }
    let other = preflight("https://other.example.com");
    assert_eq!(
        (other.status(), other.field("access-control-allow-origin")),
        (204, None)
    );
    let got = ask(&proxy, "GET /api/x", &["Origin: https://app.example.com"]);
    assert_eq!(
        (got.text().as_str(), got.field("access-control-allow-origin")),
        ("app", Some("https://app.example.com"))
    );
    assert!(
        app.requests(|request| request.start().starts_with("OPTIONS"))
            .is_empty()
    );
}

#[test]
fn people_get_the_maintenance_page_and_programs_do_not() {
    let app = Backend::saying("app");
    let page = File::new("maintenance.html", "<h1>Back soon</h1>");
    let text = example(POLICIES, "Maintenance", 0);
    let replaced = [(APP, &*app.url()), ("pages/maintenance.html", page.path())];
    let proxy = start(&text, &replaced);
    let got = ask_until(
        |got| got.text() == "<h1>Back soon</h1>",
        || ask(&proxy, "GET /", &["Accept: text/html"]),
    );
    assert_eq!((got.status(), got.field("retry-after")), (503, Some("600")));
    assert!(
        got.field("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    let got = ask(&proxy, "GET /", &["Accept: application/json"]);
    assert_eq!((got.status(), got.field("retry-after")), (503, Some("600")));
    assert!(!got.text().contains("Back soon"), "{}", got.text());
    let of_office = start(&text, &[replaced[0], replaced[1], ("10.0.0.0/8", "127.0.0.0/8")]);
    assert_eq!(of_office.get("/").text(), "app");
}

#[test]
fn the_staff_needs_a_password() {
    let app = Backend::saying("app");
    let users = "alice:$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K\n";
    let users = File::new("staff.htpasswd", users);
    let proxy = start(
        &example(POLICIES, "A password for the staff", 0),
        &[(APP, &app.url()), ("staff.htpasswd", users.path())],
    );
    let got = ask_until(|got| got.status() == 401, || proxy.get("/admin"));
    let challenge = got.field("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Basic realm=\"staff\""), "{challenge}");
    // alice:open:sesame
    let password = "Authorization: Basic YWxpY2U6b3BlbjpzZXNhbWU=";
    let got = ask(&proxy, "GET /admin/x", &[password, "X-User: mallory"]);
    assert_eq!(got.text(), "app");
    let forwarded = app.wait_for_request(|request| request.start().contains("/admin/x"));
    assert_eq!(
        (forwarded.field("x-user"), forwarded.field("authorization")),
        (Some("alice"), None)
    );
    ask(&proxy, "GET /open", &["X-User: mallory"]);
    let forwarded = app.wait_for_request(|request| request.start().contains("/open"));
    assert_eq!(forwarded.field("x-user"), None);
}

/// Tokens for `alice` that expire in the year 2100: with the scope `read`, and with `read write`. The key exists nowhere else.
const READ: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLmNvbSIsImF1ZCI6ImFwaSIsInN1YiI6ImFsaWNlIiwiZXhwIjo0MTAyNDQ0ODAwLCJzY29wZSI6InJlYWQifQ.T-DoBx513_UB4dhp_-AfKiIOYShESTcKyVlO5QrZsx2TwZ5-RdcLwsHlds4xDFhyiKIrskXdK1KSqMtUHL9_BQ";
const WRITE: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLmNvbSIsImF1ZCI6ImFwaSIsInN1YiI6ImFsaWNlIiwiZXhwIjo0MTAyNDQ0ODAwLCJzY29wZSI6InJlYWQgd3JpdGUifQ.3Hd1iAz4gJZ5vjmd_dN19YyAhcCOmlaNGJ2UWgICUAbipYTnRNynVab5kqxZZd-gg1W7vZSRFXeGYA-IeV2gBA";
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"TlW2aamMH5toS5d1mbg3s5qFSO03iubJy2Stiz0anWY"}]}"#;

#[test]
fn tokens_of_an_issuer_allow_reading_and_with_a_scope_writing() {
    let app = Backend::saying("app");
    let issuer = Backend::saying(KEYS);
    let url = format!("{}/keys", issuer.url());
    let keys = ("https://issuer.example.com/.well-known/jwks.json", &*url);
    let text = example(POLICIES, "Tokens of an issuer", 0);
    let proxy = start(&text, &[(APP, &app.url()), keys]);
    let with = |start: &str, token: &str| {
        let token = format!("Authorization: Bearer {token}");
        let ask = || ask(&proxy, start, &[&token, "X-User: mallory"]);
        // Until the keys have been fetched, it is 503.
        ask_until(|got| got.status() != 503, ask)
    };
    assert_eq!(with("GET /read", READ).text(), "app");
    let forwarded = app.wait_for_request(|request| request.start() == "GET /read");
    assert_eq!(forwarded.field("x-user"), Some("alice"));
    let is_admitted = |line: &serde_json::Value| line["path"] == "/read" && line["status"] == 200;
    assert_eq!(proxy.wait_for_line(is_admitted)["user"], "alice");
    assert_eq!(with("POST /", READ).status(), 403);
    assert_eq!(with("POST /", WRITE).text(), "app");
    let forged = format!("{}.{}", &WRITE[..WRITE.len() - 87], &READ[READ.len() - 86..]);
    assert_eq!(with("GET /", &forged).status(), 401);
    let got = ask(&proxy, "GET /", &[]);
    let challenge = got.field("www-authenticate").unwrap_or_default();
    assert_eq!(got.status(), 401);
    assert!(challenge.starts_with("Bearer"), "{challenge}");
}

#[test]
fn a_shared_limit_works_on_while_its_store_is_away() {
    let app = Backend::saying("app");
    let (address, _held) = refusing_address();
    let text = example(POLICIES, "One limit for several instances", 0);
    let replaced = [(APP, app.url()), ("localhost:6379", address.to_string())];
    let [app, store] = replaced.each_ref().map(|(text, by)| (*text, &**by));
    let proxy = start(&text, &[app, store]);
    assert_eq!(proxy.get("/").text(), "app");
    let denying = start(&text, &[app, store, ("on_failure: allow", "on_failure: deny")]);
    let got = denying.get("/x");
    assert_eq!((got.status(), got.field("retry-after")), (503, Some("1")));
    assert_eq!(denying.access_line("/x")["error"], "limit_store_unavailable");
}

#[test]
fn responses_are_compressed_where_nothing_else_is_said() {
    let text = "All work and no play. ".repeat(1_000);
    let body = text.clone();
    let app = Backend::start(move |_| {
        let length = body.len();
        Response::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    });
    let proxy = start(
        &example(POLICIES, "Compressed responses", 0),
        &[(APP, &app.url())],
    );
    let got = ask(&proxy, "GET /", &["Accept-Encoding: gzip"]);
    assert_eq!(got.field("content-encoding"), Some("gzip"));
    let mut decoded = String::new();
    flate2::read::GzDecoder::new(&*got.body)
        .read_to_string(&mut decoded)
        .expect("it is valid gzip");
    assert_eq!(decoded, text);
    let got = ask(&proxy, "GET /login", &["Accept-Encoding: gzip"]);
    assert_eq!((got.field("content-encoding"), got.text()), (None, text));
}

#[test]
fn redirects_keep_what_is_not_written() {
    let app = Backend::saying("app");
    let proxy = start(&example(ROUTES, "Redirect", 0), &[(APP, &app.url())]);
    let got = ask(&proxy, "GET /a?b=c", &["Host: example.com"]);
    assert_eq!(
        (got.status(), got.field("location")),
        (308, Some("https://www.example.com/a?b=c"))
    );
    let got = ask(&proxy, "GET /old/a", &["Host: www.example.com"]);
    let location = got.field("location").unwrap_or_default();
    assert_eq!(got.status(), 302);
    assert!(location.ends_with("www.example.com/new/a"), "{location}");
    assert_eq!(ask(&proxy, "GET /", &["Host: www.example.com"]).text(), "app");
}

#[test]
fn a_route_responds_without_a_backend() {
    let app = Backend::saying("app");
    let page = File::new("gone.html", "<h1>Gone</h1>");
    let proxy = start(
        &example(ROUTES, "Respond", 0),
        &[(APP, &app.url()), ("gone.html", page.path())],
    );
    assert_eq!(proxy.get("/robots.txt").text(), "User-agent: *\nDisallow: /\n");
    let got = proxy.get("/gone/x");
    assert_eq!((got.status(), got.text().as_str()), (410, "<h1>Gone</h1>"));
    assert_eq!(
        (got.field("cache-control"), got.field("content-type")),
        (Some("no-store"), Some("text/html; charset=utf-8"))
    );
    assert_eq!(proxy.get("/").text(), "app");
}

#[test]
fn paths_and_hosts_are_rewritten() {
    let app = Backend::saying("app");
    let proxy = start(&example(ROUTES, "Path and host", 0), &[(APP, &app.url())]);
    for path in ["/api/users?a=1", "/shop/12", "/docs/any"] {
        assert_eq!(proxy.get(path).text(), "app");
    }
    let users = app.wait_for_request(|request| request.start() == "GET /users?a=1");
    assert_eq!(
        (users.field("x-forwarded-prefix"), users.field("host")),
        (Some("/api"), Some("test"))
    );
    app.wait_for_request(|request| request.start() == "GET /items/12");
    let docs = app.wait_for_request(|request| request.start() == "GET /index.html");
    let address = app.address().to_string();
    assert_eq!(
        (docs.field("host"), docs.field("x-forwarded-host")),
        (Some(&*address), Some("test"))
    );
}

#[test]
fn headers_are_set_with_variables() {
    let app =
        Backend::start(|_| Response::raw("HTTP/1.1 200 OK\r\nServer: secret\r\nContent-Length: 0\r\n\r\n"));
    let proxy = start(&example(ROUTES, "Headers", 0), &[(APP, &app.url())]);
    let got = ask(
        &proxy,
        "GET /x",
        &["X-Debug: 1", "X_Debug: 2", "X-Client: forged"],
    );
    assert_eq!(
        (got.field("x-served-by"), got.field("server")),
        (Some("app"), None)
    );
    let forwarded = app.wait_for_request(|request| request.start() == "GET /x");
    assert_eq!(
        (forwarded.field("x-client"), forwarded.field("x-tag")),
        (Some("127.0.0.1"), Some("edge"))
    );
    let id = forwarded.field("x-request-id");
    assert!(
        id.is_some() && forwarded.field("x-trace") == id,
        "{}",
        forwarded.head
    );
    assert!(
        !forwarded.head.to_lowercase().contains("debug"),
        "{}",
        forwarded.head
    );
    assert!(!forwarded.head.contains("forged"), "{}", forwarded.head);
    let proxy = start(&example(ROUTES, "Headers", 1), &[(APP, &app.url())]);
    proxy.get("/v1/users/42?version=2");
    let forwarded = app.wait_for_request(|request| request.start().starts_with("GET /v1/users/42"));
    assert_eq!(
        (forwarded.field("x-user-id"), forwarded.field("x-version")),
        (Some("42"), Some("2"))
    );
}

#[test]
fn requests_get_the_route_whose_conditions_hold() {
    let [app, users, beta] = ["app", "users", "beta"].map(Backend::saying);
    let text = example(ROUTES, "Matching", 0);
    let proxy = start(
        &text,
        &[
            (APP, &app.url()),
            ("http://localhost:8002", &users.url()),
            ("http://localhost:8003", &beta.url()),
        ],
    );
    let firefox = "User-Agent: Mozilla/5.0 Firefox/1";
    for (path, headers, expected) in [
        ("/v1/users/7", &["Host: api.example.com"][..], "users"),
        ("/v1/users/x", &["Host: api.example.com"], "app"),
        ("/?version=2", &["X-Beta: 1", firefox], "beta"),
        ("/", &["Host: example.com"], "app"),
    ] {
        assert_eq!(
            ask(&proxy, &format!("GET {path}"), headers).text(),
            expected,
            "{path}"
        );
    }
    let none = ask(&proxy, "GET /?version=1", &["X-Beta: 1", firefox]);
    assert_eq!(none.status(), 404);
}

#[test]
fn a_mirror_gets_copies() {
    let (app, shadow) = (Backend::saying("app"), Backend::saying("shadow"));
    let text = example(ROUTES, "Mirror", 0);
    let replaced = [
        ("http://localhost:8002", &*shadow.url()),
        ("percent: 10", "percent: 100"),
    ];
    let proxy = start(&text, &[(APP, &app.url()), replaced[0], replaced[1]]);
    assert_eq!(proxy.get("/copied").text(), "app");
    let copy = shadow.wait_for_request(|request| request.start() == "GET /copied");
    assert_eq!(
        (copy.field("host"), copy.field("x-evenkeel-mirrored")),
        (Some("test-shadow"), Some("1"))
    );
}

/// What the page says of all refusals.
#[test]
fn refusals_have_the_headers_of_the_route_and_the_form_that_the_client_asks_for() {
    let app = Backend::saying("app");
    let text = "routes: [{ path_prefix: /api, pool: app, policies: [{ body_limit: 1B }], \
                response_headers: { set: { X-All: all } } }]\n\
                pools: { app: { backends: ['http://localhost:8001'] } }\n";
    let proxy = start(text, &[(APP, &app.url())]);
    for (accept, kind) in [
        ("text/html", "text/html"),
        ("application/json", "application/problem+json"),
        ("*/*", "text/plain"),
    ] {
        let accept = format!("Accept: {accept}");
        let got = ask(&proxy, "POST /api", &["Content-Length: 2", &accept]);
        assert_eq!((got.status(), got.field("x-all")), (413, Some("all")));
        let found = got.field("content-type").unwrap_or_default();
        assert!(found.starts_with(kind), "{accept}: {found}");
    }
    let line = proxy.access_line("/api");
    assert_eq!(
        (&line["error"], &line["policy"]),
        (&"request_body_too_large".into(), &"*/api/body_limit".into())
    );
}
