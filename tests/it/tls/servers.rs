//! TLS to the servers that policies ask, and to the stores of shared limits. They trust the authorities of the machine, which
//! `SSL_CERT_FILE` replaces, or those that `ca` names.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use evenkeel::internals::clock;
use rustix::process::Signal;

use super::Bench;
use crate::support::ability::skip;
use crate::support::authority::Authority;
use crate::support::tls::Secured;
use crate::support::{Backend, Builder, DEADLINE, Proxy};

/// How often a port is chosen: between the choice and the start of the server, another process may take it.
const PORTS: usize = 5;

/// A balancer that trusts only this authority, with one route with the policy `p`.
fn trusting(bench: &Bench, backend: &Backend, policy: &str) -> Builder {
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let url = backend.url();
    Proxy::before(&[]).env("SSL_CERT_FILE", &ca).config(&format!(
        "workers: 1\nhealth_check: off\npools: {{ main: {{ backends: ['{url}'] }} }}\n\
         policies: {{ p: {policy} }}\nroutes: [{{ pool: main, policies: [p] }}]\n"
    ))
}

/// A balancer on a machine that trusts none of the servers, with one route with the policy `p`. The authority is in the file `ca.pem`.
fn distrusting(bench: &Bench, backend: &Backend, policy: &str) -> Builder {
    let stranger = bench.folder.write("stranger.pem", &Authority::new().pem());
    trusting(bench, backend, policy).env("SSL_CERT_FILE", &stranger)
}

/// Reloads, and waits for this beginning of a message.
fn reload(proxy: &Proxy, message: &str) {
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, message);
}

/// A `redis-server` that only accepts TLS; ends with the test.
struct Store {
    child: Child,
    port: u16,
}

impl Store {
    /// Starts one with this certificate, whose files are in the folder; `None` when the program is missing or has no TLS.
    fn start(bench: &Bench, name: &str) -> Option<Self> {
        for _ in 0..PORTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let file = |end: &str| bench.folder.file(&format!("{name}.{end}"));
            let (number, ca) = (
                port.to_string(),
                bench.folder.write("its.pem", &bench.authority.pem()),
            );
            let child = Command::new("redis-server")
                .args([
                    "--port",
                    "0",
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(["--requirepass", "correct horse", "--tls-auth-clients", "no"])
                .args(["--tls-port", &number, "--tls-cert-file", &file("pem")])
                .args(["--tls-key-file", &file("key"), "--tls-ca-cert-file", &ca])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let Ok(child) = child else {
                skip("`redis-server` is not installed");
                return None;
            };
            let mut store = Self { child, port };
            if store.wait_until_open() {
                return Some(store);
            }
        }
        skip("`redis-server` does not start with TLS");
        None
    }

    /// Whether it accepts connections before it ends.
    fn wait_until_open(&mut self) -> bool {
        let start = clock::now();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect_timeout(&address, DEADLINE).is_err() {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < DEADLINE, "redis-server does not listen");
        }
        true
    }

    /// Its URL with this host.
    fn url(&self, host: &str) -> String {
        format!("rediss://:correct%20horse@{host}:{}/0", self.port)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn forward_auth_asks_a_server_that_it_can_verify() {
    let bench = Bench::new();
    let backend = Backend::saying("backend");
    let auth = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let policy = format!("{{ forward_auth: {{ url: '{}/check' }} }}", auth.url("localhost"));
    let proxy = trusting(&bench, &backend, &policy).start();
    for _ in 0..2 {
        assert_eq!(proxy.get("/").text(), "backend");
    }
}

#[test]
fn forward_auth_fails_closed_when_it_cannot_verify_the_server() {
    let bench = Bench::new();
    let backend = Backend::saying("backend");
    for (pair, why) in [
        (Authority::new().sign_for(&["localhost"]), "UnknownIssuer"),
        (
            bench.authority.sign_for(&["other.test"]),
            "valid for other.test, not for localhost",
        ),
    ] {
        let auth = Secured::start(&pair, None);
        let policy = format!("{{ forward_auth: {{ url: '{}/check' }} }}", auth.url("localhost"));
        let proxy = trusting(&bench, &backend, &policy).start();
        assert_eq!(proxy.get("/refused").status(), 503);
        let line = proxy.access_line("/refused");
        assert_eq!(line["error"], "forward_auth_unavailable");
        let detail = line["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why), "{line}");
    }
    assert!(backend.requests(|_| true).is_empty());
}

#[test]
fn a_server_is_verified_with_the_authorities_that_the_policy_names() {
    let bench = Bench::new();
    let backend = Backend::saying("backend");
    let auth = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let ca = bench.folder.file("ca.pem");
    for (key, status) in [(format!(", ca: '{ca}'"), 200), (String::new(), 503)] {
        let url = auth.url("localhost");
        let policy = format!("{{ forward_auth: {{ url: '{url}/check'{key} }} }}");
        let proxy = distrusting(&bench, &backend, &policy).start();
        assert_eq!(proxy.get("/").status(), status, "{policy}");
    }
}

#[test]
fn keys_are_fetched_from_a_server_with_the_authorities_that_the_policy_names() {
    let bench = Bench::new();
    let backend = Backend::saying("backend");
    let issuer = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let ca = bench.folder.file("ca.pem");
    for (key, expected) in [
        (format!(", ca: '{ca}'"), "not a JSON Web Key Set"),
        (String::new(), "UnknownIssuer"),
    ] {
        let url = issuer.url("localhost");
        let policy = format!("{{ jwt: {{ jwks: '{url}/keys'{key} }} }}");
        let proxy = distrusting(&bench, &backend, &policy).start();
        // What the server says is not a set of keys: it was read.
        let line = proxy.wait_for_message(0, "could not load the data of a policy");
        assert!(
            line["error"].as_str().unwrap_or_default().contains(expected),
            "{line}"
        );
    }
}

#[test]
fn a_replaced_file_of_authorities_is_read_at_a_reload() {
    let bench = Bench::new();
    let backend = Backend::saying("backend");
    let auth = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let ca = bench.folder.write("own.pem", &Authority::new().pem());
    let url = auth.url("localhost");
    let policy = format!("{{ forward_auth: {{ url: '{url}/check', ca: '{ca}' }} }}");
    let proxy = distrusting(&bench, &backend, &policy).start();
    assert_eq!(proxy.get("/").status(), 503);
    bench.folder.write("own.pem", &bench.authority.pem());
    reload(&proxy, "reloaded");
    assert_eq!(proxy.get("/").status(), 200);
    bench.folder.write("own.pem", "nothing");
    reload(&proxy, "reload failed");
    assert_eq!(proxy.get("/").status(), 200, "what was read before stays");
}

#[test]
fn a_limit_is_shared_through_a_store_with_tls() {
    let bench = Bench::new();
    bench.put("store", &["localhost"]);
    let Some(store) = Store::start(&bench, "store") else {
        return;
    };
    let backend = Backend::saying("backend");
    let policy = "{ rate_limit: { rate: 1/h, burst: 40, shared: limits, on_failure: deny } }";
    let url = store.url("localhost");
    // One by the authorities of the machine, one by those of a file.
    let ca = bench.folder.file("ca.pem");
    let proxies = [
        trusting(&bench, &backend, policy).config(&format!("stores: {{ limits: {{ redis: '{url}' }} }}\n")),
        distrusting(&bench, &backend, policy).config(&format!(
            "stores: {{ limits: {{ redis: '{url}', ca: '{ca}' }} }}\n"
        )),
    ]
    .map(Builder::start);
    let start = clock::now();
    // The requests that both admit in turns, until both refuse.
    let (mut admitted, mut refusing) = (0, 0);
    while refusing < 2 {
        assert!(
            start.elapsed() < DEADLINE,
            "the limit is not shared: {admitted} admitted"
        );
        refusing = 0;
        for proxy in &proxies {
            match proxy.get("/").status() {
                200 => admitted += 1,
                429 => refusing += 1,
                // Until it is connected.
                status => assert_eq!(status, 503),
            }
        }
    }
    // Not twice the burst, as without a store.
    assert!((40..80).contains(&admitted), "{admitted}");
}

#[test]
fn a_store_that_cannot_be_verified_is_away() {
    let bench = Bench::new();
    bench.put("store", &["other.test"]);
    let Some(store) = Store::start(&bench, "store") else {
        return;
    };
    let backend = Backend::saying("backend");
    let policy = "{ rate_limit: { rate: 1/s, shared: limits, on_failure: deny } }";
    let config = format!(
        "stores: {{ limits: {{ redis: '{}' }} }}\n",
        store.url("localhost")
    );
    let proxy = trusting(&bench, &backend, policy).config(&config).start();
    let line = proxy.wait_for_message(0, "limit store unavailable");
    let error = line["error"].as_str().unwrap_or_default();
    assert!(error.contains("not valid for name"), "{line}");
    assert!(!line.to_string().contains("horse"), "{line}");
    assert_eq!(proxy.get("/").status(), 503);
}
