//! Sticky sessions: clients stay with a backend by a cookie or by a header, over failures of other backends, retries, drains and
//! reloads.

use std::collections::BTreeMap;
use std::thread;

use crate::support::http2::{Http2, request};
use crate::support::{Backend, Client, DEADLINE, Proxy, Received, Request, Response};

/// Probes are requests too.
const NO_CHECKS: &str = "health_check: { kind: none }";
const CLIENTS: usize = 1000;
const COOKIE: &str = "{ cookie: lb, secret: correct-horse-battery }";

/// A browser: keeps its cookie.
#[derive(Debug, Clone, Default)]
struct Browser {
    cookie: Option<String>,
}

impl Browser {
    /// Requests `path`, and keeps the cookie that the response sets.
    fn get(&mut self, client: &mut Client, path: &str) -> Received {
        let cookie = self.cookie.as_ref();
        let line = cookie.map_or_else(String::new, |cookie| format!("Cookie: a=b; lb={cookie}\r\n"));
        let received = client
            .send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{line}\r\n"))
            .read();
        if let Some(cookie) = set_cookie(&received) {
            self.cookie = Some(cookie);
        }
        received
    }

    /// The backend that responds.
    fn backend(&mut self, client: &mut Client) -> String {
        let received = self.get(client, "/");
        assert_eq!(received.status(), 200, "{received:?}");
        received.text()
    }
}

/// The value of the cookie that a response sets.
fn set_cookie(received: &Received) -> Option<String> {
    let field = received.field("set-cookie")?;
    let value = field.strip_prefix("lb=").expect("no other cookie is set");
    Some(value.split(';').next().unwrap_or_default().to_owned())
}

fn three() -> [Backend; 3] {
    ["one", "two", "three"].map(Backend::saying)
}

/// A pool of these backends.
fn pool(backends: &[&Backend], sticky: &str, more: &str) -> String {
    let urls: Vec<String> = backends.iter().map(|backend| backend.url()).collect();
    let urls = urls.join(", ");
    format!("pools:\n  web: {{ sticky: {sticky}, backends: [{urls}] }}\nroutes: [{{ pool: web }}]\n{more}")
}

fn start(backends: &[&Backend], sticky: &str, more: &str) -> Proxy {
    Proxy::before(&[]).config(&pool(backends, sticky, more)).start()
}

fn saying_on(text: &'static str, address: std::net::SocketAddr) -> Backend {
    Backend::start_on(address, Response::nothing(), move |_: &Request| {
        Response::ok(text)
    })
}

#[test]
fn clients_stay_while_another_backend_fails_and_comes_back() {
    let [one, two, three] = three();
    let checks = "health_check: { kind: tcp, interval: 50ms }\nworkers: 2";
    let proxy = start(&[&one, &two, &three], COOKIE, checks);
    let mut client = proxy.client();
    let mut browsers = vec![Browser::default(); CLIENTS];
    let ask = |browsers: &mut [Browser], client: &mut Client| -> Vec<String> {
        browsers
            .iter_mut()
            .map(|browser| browser.backend(client))
            .collect()
    };
    let first = ask(&mut browsers, &mut client);
    let cookies: Vec<_> = browsers.iter().map(|browser| browser.cookie.clone()).collect();
    assert!(browsers.iter().all(|browser| browser.cookie.is_some()));
    let of_one = first.iter().filter(|backend| *backend == "one").count();
    assert!((300..370).contains(&of_one), "{of_one}");
    // Nobody moves while all are up, and nobody gets another cookie.
    assert_eq!(ask(&mut browsers, &mut client), first);
    let after: Vec<_> = browsers.iter().map(|browser| browser.cookie.clone()).collect();
    assert_eq!(after, cookies);

    let address = one.address();
    let url = one.url();
    one.stop();
    let second = ask(&mut browsers, &mut client);
    for (before, after) in first.iter().zip(&second) {
        match before.as_str() {
            "one" => assert_ne!(after, "one"),
            _ => assert_eq!(after, before),
        }
    }
    let mark = proxy.mark();
    let _back = saying_on("one", address);
    proxy.wait_for_line_from(mark, |line| {
        line["backend"] == url.as_str() && line["msg"] == "Backend is up"
    });
    assert_eq!(ask(&mut browsers, &mut client), second, "nobody moves back");
    let new = ask(&mut vec![Browser::default(); 30], &mut client);
    assert!(new.contains(&"one".to_owned()), "new clients use it again");
}

#[test]
fn the_cookie_has_its_attributes_and_is_passed_on() {
    let backend = Backend::saying("one");
    let proxy = start(
        &[&backend],
        "{ cookie: lb, max_age: 1h, same_site: strict, secret: correct-horse-battery }",
        NO_CHECKS,
    );
    let mut client = proxy.client();
    let mut browser = Browser::default();
    let received = browser.get(&mut client, "/first");
    let field = received.field("set-cookie").unwrap();
    let (value, attributes) = field.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; Max-Age=3600; HttpOnly; SameSite=Strict");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
    assert!(value.bytes().all(is_plain), "no address: {value}");
    let received = browser.get(&mut client, "/second");
    assert_eq!(received.field("set-cookie"), None, "it is set once");
    let request = backend.wait_for_request(|request| request.start() == "GET /second");
    let cookie = format!("a=b; {value}");
    assert_eq!(request.field("cookie"), Some(cookie.as_str()));
}

#[test]
fn a_cookie_that_names_no_backend_is_replaced() {
    let backends = three();
    let proxy = start(&backends.each_ref(), COOKIE, NO_CHECKS);
    let mut client = proxy.client();
    let mut known = Browser::default();
    let backend = known.backend(&mut client);
    let valid = known.cookie.clone().unwrap();
    let mut forged = valid.clone();
    forged.replace_range(20..21, if valid.ends_with('A') { "B" } else { "_" });
    if forged == valid {
        forged.replace_range(20..21, "-");
    }
    let long = "A".repeat(2000);
    for garbage in [
        "",
        "x",
        "127.0.0.1:80",
        "../../etc",
        "%00%0d%0a",
        "\"",
        &forged,
        &long,
    ] {
        let mut browser = Browser {
            cookie: Some(garbage.to_owned()),
        };
        browser.backend(&mut client);
        assert_ne!(browser.cookie.as_deref(), Some(garbage), "{garbage:?}");
    }
    // An old cookie of another path may come first, and quotation marks are allowed.
    for cookie in [format!("x; lb={valid}"), format!("\"{valid}\"")] {
        let mut browser = Browser { cookie: Some(cookie) };
        let received = browser.get(&mut client, "/");
        assert_eq!(
            (received.text(), received.field("set-cookie")),
            (backend.clone(), None)
        );
    }
}

#[test]
fn instances_with_one_secret_agree_and_a_random_one_is_its_own() {
    let backends = three();
    let start = |sticky| start(&backends.each_ref(), sticky, NO_CHECKS);
    let (first, second) = (start(COOKIE), start(COOKIE));
    let mut browser = Browser::default();
    let backend = browser.backend(&mut first.client());
    let cookie = browser.cookie.clone();
    let mut at_second = second.client();
    for _ in 0..4 {
        assert_eq!(browser.backend(&mut at_second), backend);
    }
    assert_eq!(browser.cookie, cookie);
    browser.backend(&mut start("{ cookie: lb }").client());
    assert_ne!(browser.cookie, cookie);
}

#[test]
fn a_closed_idle_connection_does_not_move_a_client() {
    let closing = |text: &'static str| {
        Backend::start(move |request| match request.start() {
            "GET /close" => Response::ok(text).close(),
            _ if request.turn > 0 => Response::nothing().close(),
            _ => Response::ok(text),
        })
    };
    let backends = ["one", "two", "three"].map(closing);
    let proxy = start(
        &backends.each_ref(),
        COOKIE,
        "health_check: { kind: none }\nworkers: 1",
    );
    let mut client = proxy.client();
    let mut browser = Browser::default();
    let backend = browser.backend(&mut client);
    for _ in 0..6 {
        let received = browser.get(&mut client, "/");
        assert_eq!(
            (received.text(), received.field("set-cookie")),
            (backend.clone(), None)
        );
    }
}

#[test]
fn a_retry_renews_the_cookie() {
    let failing = |text: &'static str| {
        Backend::start(move |request| match request.field("x-fail") {
            Some(name) if name == text => Response::status(503, "no"),
            _ => Response::ok(text),
        })
    };
    let backends = ["one", "two"].map(failing);
    let proxy = start(&backends.each_ref(), COOKIE, NO_CHECKS);
    let mut client = proxy.client();
    let mut browser = Browser::default();
    let backend = browser.backend(&mut client);
    let cookie = browser.cookie.clone().unwrap();
    let received = client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nX-Fail: {backend}\r\nCookie: lb={cookie}\r\n\r\n"
        ))
        .read();
    assert_eq!(received.status(), 200);
    assert_ne!(received.text(), backend);
    browser.cookie = set_cookie(&received);
    assert_ne!(browser.cookie.as_ref(), Some(&cookie));
    assert_eq!(browser.backend(&mut client), received.text());
}

#[test]
fn clients_of_http2_stay_too() {
    let backends = three();
    let proxy = start(&backends.each_ref(), COOKIE, NO_CHECKS);
    let client = Http2::connect(proxy.address());
    let got = client.get("/");
    let cookie = got.field("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    for _ in 0..4 {
        let mut asking = request("GET", "/");
        // In HTTP/2 each cookie may be a header of its own (RFC 9113 §8.2.3).
        asking.headers_mut().append("cookie", "a=b".parse().unwrap());
        asking.headers_mut().append("cookie", cookie.parse().unwrap());
        let again = client.ask(asking, b"").unwrap();
        assert_eq!((again.text(), again.field("set-cookie")), (got.text(), None));
    }
}

#[test]
fn a_header_chooses_the_backend_without_a_cookie() {
    let [one, two, three] = three();
    let proxy = start(&[&one, &two, &three], "{ header: X-Session }", NO_CHECKS);
    let mut client = proxy.client();
    let mut ask = |session: usize| {
        let received = client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: test\r\nX-Session: {session}\r\n\r\n"
            ))
            .read();
        assert_eq!((received.status(), received.field("set-cookie")), (200, None));
        received.text()
    };
    let first: Vec<String> = (0..60).map(&mut ask).collect();
    let mut counts = BTreeMap::new();
    first
        .iter()
        .for_each(|backend| *counts.entry(backend).or_insert(0) += 1);
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert_eq!((0..60).map(&mut ask).collect::<Vec<_>>(), first);
    one.stop();
    let second: Vec<String> = (0..60).map(&mut ask).collect();
    for (before, after) in first.iter().zip(&second) {
        assert!(before == after || before == "one", "{before} to {after}");
    }
    // Requests without the header are balanced as in any pool.
    let mut client = proxy.client();
    let others: Vec<String> = (0..4).map(|_| client.get("/").text()).collect();
    assert!(others.contains(&"two".to_owned()) && others.contains(&"three".to_owned()));
}

#[test]
fn a_client_stays_in_its_part_of_a_split() {
    let [one, two, three] = three();
    let config = format!(
        "pools:
  stable: {{ sticky: {COOKIE}, backends: [{}, {}] }}
  canary: {{ sticky: {COOKIE}, backends: [{}] }}
routes: [{{ split: {{ stable: 1, canary: 1 }} }}]
{NO_CHECKS}",
        one.url(),
        two.url(),
        three.url()
    );
    let proxy = Proxy::before(&[]).config(&config).start();
    let mut client = proxy.client();
    let mut browsers = vec![Browser::default(); 40];
    let first: Vec<_> = browsers
        .iter_mut()
        .map(|browser| browser.backend(&mut client))
        .collect();
    let canary = first.iter().filter(|backend| *backend == "three").count();
    assert_eq!(canary, 20, "shares of new clients are exact");
    for _ in 0..3 {
        let again: Vec<_> = browsers
            .iter_mut()
            .map(|browser| browser.backend(&mut client))
            .collect();
        assert_eq!(again, first);
    }
    // A client whose backend is gone stays in its part.
    one.stop();
    for (browser, before) in browsers.iter_mut().zip(&first) {
        let after = browser.backend(&mut client);
        assert_eq!(after == "three", before == "three", "{before} to {after}");
    }
}

#[test]
fn sessions_of_many_workers_are_the_same() {
    let backends = three();
    let proxy = start(
        &backends.each_ref(),
        COOKIE,
        "health_check: { kind: none }\nworkers: 4",
    );
    let mut browser = Browser::default();
    let backend = browser.backend(&mut proxy.client());
    thread::scope(|scope| {
        for _ in 0..8 {
            let (mut browser, backend, proxy) = (browser.clone(), backend.clone(), &proxy);
            scope.spawn(move || {
                let start = evenkeel::internals::clock::now();
                let mut client = proxy.client();
                for _ in 0..20 {
                    assert_eq!(browser.backend(&mut client), backend);
                }
                assert!(start.elapsed() < DEADLINE);
            });
        }
    });
}
