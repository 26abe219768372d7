//! What operators do with one backend over the admin API: drain, ready and weight.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Backend, Client, Gate, Proxy, Received, Response};

const NO_CHECKS: &str = "health_check: { kind: none }\nworkers: 2";

/// Sends a request with this body to the admin API.
pub(crate) fn admin(proxy: &Proxy, start: &str, body: &str) -> (u16, Value) {
    let received = admin_with(proxy, start, "Content-Type: application/json\r\n", body);
    let value = serde_json::from_slice(&received.body).unwrap_or(Value::Null);
    (received.status(), value)
}

fn admin_with(proxy: &Proxy, start: &str, lines: &str, body: &str) -> Received {
    let address = proxy.admin();
    let length = body.len();
    Client::connect(address)
        .send(format!(
            "{start} HTTP/1.1\r\nHost: {address}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
        ))
        .read()
}

/// The path of a backend, by its name or its URL.
fn path(backend: &str, action: &str) -> String {
    let backend = backend.replace(':', "%3A").replace('/', "%2F");
    format!("/api/v1/pools/web/backends/{backend}/{action}")
}

fn statuses(proxy: &Proxy) -> Vec<Value> {
    let status: Value = serde_json::from_str(&proxy.get_admin("/api/v1/status").text()).unwrap();
    status["pools"][0]["backends"].as_array().unwrap().clone()
}

/// A pool of two backends, the first of which is called `one`.
fn config(backends: &[Backend; 2], first: &str, sticky: &str) -> String {
    let [one, two] = backends.each_ref().map(Backend::url);
    format!(
        "pools:\n  web:\n    {sticky}\n    backends: [{{ url: '{one}', name: one{first} }}, '{two}']\nroutes: [{{ pool: web }}]\n{NO_CHECKS}"
    )
}

fn two() -> [Backend; 2] {
    ["one", "two"].map(Backend::saying)
}

fn start(backends: &[Backend; 2], first: &str, sticky: &str) -> Proxy {
    Proxy::before(&[])
        .config(&config(backends, first, sticky))
        .start()
}

/// Who responds to this number of requests, sorted.
fn ask(proxy: &Proxy, count: usize) -> String {
    let mut client = proxy.client();
    let mut texts: Vec<String> = (0..count).map(|_| client.get("/").text()).collect();
    texts.sort_unstable();
    texts.join(" ")
}

fn reload(proxy: &Proxy, config: &str) {
    proxy.write_config(&format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{config}"));
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "Reloaded");
}

#[test]
fn a_drained_backend_finishes_its_requests_and_gets_no_new_ones() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let one = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("one").after(&waiting),
        _ => Response::ok("one"),
    });
    let backends = [one, Backend::saying("two")];
    let proxy = start(&backends, "", "");
    // One of these two requests waits at the first backend.
    let mut slow: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    backends[0].wait_for_request(|request| request.start() == "GET /slow");
    let (status, backend) = admin(&proxy, &format!("POST {}", path("one", "drain")), "");
    assert_eq!(status, 200, "{backend}");
    assert_eq!(
        (&backend["state"], &backend["name"], &backend["in_flight"]),
        (&json!("draining"), &json!("one"), &json!(1))
    );
    assert_eq!(ask(&proxy, 4), "two two two two");
    gate.open();
    let mut texts: Vec<String> = slow.iter_mut().map(|client| client.read().text()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["one", "two"]);
    let line = proxy.wait_for_message(0, "Backend drained by an operator");
    assert_eq!(
        (&line["pool"], &line["backend"]),
        (&json!("web"), &json!(backends[0].url()))
    );
    assert!(line["by"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    let (status, backend) = admin(&proxy, &format!("POST {}", path(&backends[0].url(), "ready")), "");
    assert_eq!((status, &backend["state"]), (200, &json!("unknown")));
    assert_eq!(ask(&proxy, 4), "one one two two");
}

/// It began when both could get it.
#[test]
fn a_request_that_waits_for_a_policy_does_not_go_to_a_backend_that_is_drained_meanwhile() {
    let gate = Gate::default();
    let its = gate.clone();
    let auth = Backend::start(move |_| Response::ok("").after(&its));
    let backends = two();
    let policy = format!(
        "route_defaults: {{ policies: [{{ forward_auth: {{ url: '{}/', timeout: 30s }} }}] }}",
        auth.url()
    );
    let config = format!("{}\n{policy}", config(&backends, "", ""));
    let proxy = Proxy::before(&[]).config(&config).start();
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    auth.wait_for_requests(4);
    assert_eq!(
        admin(&proxy, &format!("POST {}", path("one", "drain")), "").0,
        200
    );
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read().text(), "two");
    }
}

#[test]
fn a_weight_is_set_at_once() {
    let backends = two();
    let proxy = start(&backends, "", "");
    let put = format!("PUT {}", path("one", "weight"));
    let (status, backend) = admin(&proxy, &put, r#"{"weight": 3}"#);
    assert_eq!((status, &backend["weight"]), (200, &json!(3)));
    assert_eq!(ask(&proxy, 4), "one one one two");
    let shown = statuses(&proxy);
    let latency = &shown[0]["latency_ms"];
    let times = (latency["p50"].as_f64().unwrap(), latency["p99"].as_f64().unwrap());
    assert!(0.0 < times.0 && times.0 <= times.1, "{latency}");
    assert_eq!(admin(&proxy, &put, r#"{"weight": 0}"#).0, 200);
    assert_eq!(ask(&proxy, 2), "two two");
    for body in [
        "",
        "{}",
        r#"{"weight": 257}"#,
        r#"{"weight": -1}"#,
        r#"{"weight": 1.5}"#,
        r#"{"weight": "1"}"#,
        r#"{"weight": 1, "x": 1}"#,
        "3",
    ] {
        let (status, error) = admin(&proxy, &put, body);
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("invalid_request")),
            "{body}"
        );
    }
    assert_eq!(ask(&proxy, 2), "two two", "nothing has changed");
}

#[test]
fn what_an_operator_changed_survives_a_reload_that_does_not_name_it() {
    let backends = two();
    let proxy = start(&backends, "", "");
    admin(&proxy, &format!("POST {}", path("one", "drain")), "");
    admin(
        &proxy,
        &format!("PUT {}", path(&backends[1].url(), "weight")),
        r#"{"weight": 5}"#,
    );
    reload(
        &proxy,
        &(config(&backends, "", "") + "\ntimeouts: { connect: 2s }"),
    );
    let shown = backends_of(&proxy);
    assert_eq!(shown, [("draining".to_owned(), 1), ("unknown".to_owned(), 5)]);
    assert_eq!(ask(&proxy, 2), "two two");
    // The config names another state: that counts.
    reload(&proxy, &config(&backends, ", weight: 2", ""));
    assert_eq!(backends_of(&proxy)[0], ("draining".to_owned(), 2));
    reload(&proxy, &config(&backends, ", weight: 2, drain: true", ""));
    admin(&proxy, &format!("POST {}", path("one", "ready")), "");
    reload(
        &proxy,
        &config(&backends, ", weight: 2, drain: true", "header_case: title"),
    );
    assert_eq!(backends_of(&proxy)[0], ("unknown".to_owned(), 2));
    admin(&proxy, &format!("POST {}", path("one", "drain")), "");
    reload(&proxy, &config(&backends, ", weight: 2", ""));
    assert_eq!(
        backends_of(&proxy)[0],
        ("unknown".to_owned(), 2),
        "`drain` is gone from the config"
    );
}

/// State and weight of each backend.
fn backends_of(proxy: &Proxy) -> Vec<(String, u64)> {
    let shown = statuses(proxy);
    let state = |backend: &Value| {
        (
            backend["state"].as_str().unwrap().to_owned(),
            backend["weight"].as_u64().unwrap(),
        )
    };
    shown.iter().map(state).collect()
}

#[test]
fn a_draining_backend_keeps_the_clients_that_stay_with_it() {
    let backends = two();
    let proxy = start(
        &backends,
        "",
        "sticky: { cookie: lb, secret: correct-horse-battery }",
    );
    let mut client = proxy.client();
    let mut cookies = Vec::new();
    for _ in 0..10 {
        let received = client.get("/");
        let cookie = received.field("set-cookie").unwrap();
        cookies.push((cookie.split(';').next().unwrap().to_owned(), received.text()));
    }
    admin(&proxy, &format!("POST {}", path("one", "drain")), "");
    let ask_with = |client: &mut Client, cookie: &str| {
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"
            ))
            .read()
    };
    for (cookie, backend) in &cookies {
        let received = ask_with(&mut client, cookie);
        assert_eq!((&received.text(), received.field("set-cookie")), (backend, None));
    }
    assert_eq!(
        ask(&proxy, 6),
        "two two two two two two",
        "it gets no new clients"
    );
    // Once it is gone, its clients move.
    let [one, _two] = backends;
    one.stop();
    for (cookie, _) in &cookies {
        assert_eq!(ask_with(&mut client, cookie).text(), "two");
    }
}

#[test]
fn a_backend_that_the_config_drains_gets_no_requests() {
    let backends = two();
    let proxy = start(&backends, ", drain: true", "");
    assert_eq!(ask(&proxy, 3), "two two two");
    assert_eq!(backends_of(&proxy)[0].0, "draining");
}

#[test]
fn unknown_backends_and_foreign_pages_change_nothing() {
    let backends = two();
    let proxy = start(&backends, "", "");
    let (status, error) = admin(&proxy, &format!("POST {}", path("three", "drain")), "");
    assert_eq!((status, &error["code"]), (404, &json!("unknown_backend")));
    assert_eq!(error["backends"], json!(["one", backends[1].url()]));
    let (status, error) = admin(&proxy, "POST /api/v1/pools/none/backends/one/drain", "");
    assert_eq!((status, &error["code"]), (404, &json!("unknown_pool")));
    let post = format!("POST {}", path("one", "drain"));
    for lines in [
        "Origin: http://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(admin_with(&proxy, &post, lines, "").status(), 403, "{lines}");
    }
    let put = format!("PUT {}", path("one", "weight"));
    let form = "Content-Type: text/plain\r\n";
    assert_eq!(admin_with(&proxy, &put, form, r#"{"weight": 0}"#).status(), 415);
    assert_eq!(proxy.get_admin(&path("one", "drain")).status(), 405);
    assert_eq!(ask(&proxy, 2), "one two");
}

/// The running process and the command say the same of the same state.
#[test]
fn a_live_explanation_is_that_of_the_config() {
    let backends = two();
    let config = config(&backends, ", weight: 2", "strategy: least_requests");
    let proxy = Proxy::before(&[]).config(&config).start();
    let file = std::env::temp_dir().join(format!("evenkeel-explain-{}.yaml", std::process::id()));
    std::fs::write(
        &file,
        format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{config}"),
    )
    .unwrap();
    let command = |more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["explain", "--json", "POST", "http://a.test/x?y=1", "-H", "X-A: 1"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let offline = command(&["-c", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        offline["pools"][0]["backends"][0]["score"],
        json!(0.0),
        "{offline}"
    );
    assert_eq!(command(&["--admin", &proxy.admin().to_string()]), offline);
    let by_url = "GET /api/v1/explain?method=POST&url=http%3A%2F%2Fa.test%2Fx%3Fy%3D1&header=X-A:+1";
    assert_eq!(admin(&proxy, by_url, ""), (200, offline.clone()));
    let body =
        r#"{"method":"POST","url":"http://a.test/x?y=1","headers":{"X-A":"1"},"client_ip":"127.0.0.1"}"#;
    assert_eq!(admin(&proxy, "POST /api/v1/explain", body), (200, offline));
    // What an operator does shows at once.
    admin(&proxy, &format!("POST {}", path("one", "drain")), "");
    let (_, drained) = admin(&proxy, by_url, "");
    assert_eq!(
        drained["pools"][0]["backends"][0]["why"],
        json!("drained"),
        "{drained}"
    );
    for (start, body) in [
        ("GET /api/v1/explain", ""),
        ("GET /api/v1/explain?url=/x&nothing=1", ""),
        ("GET /api/v1/explain?url=nonsense", ""),
        ("GET /api/v1/explain?url=http://a/&format=xml", ""),
        ("POST /api/v1/explain", "{}"),
    ] {
        let (status, error) = admin(&proxy, start, body);
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("invalid_request")),
            "{start}"
        );
    }
}
