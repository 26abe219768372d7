//! Why a backend could not be reached: the system error with the address, and the TLS error.

use super::{assert_says, before};
use crate::support::authority::{Authority, Folder, wanted};
use crate::support::reload::reloaded;
use crate::support::tls::Secured;
use crate::support::{Backend, Bare, Gate, Proxy, Response, refusing_address};

#[test]
fn a_connection_that_is_refused_names_address_and_reason() {
    let (address, _held) = refusing_address();
    let proxy = before(&[], "").backend(&format!("http://{address}")).start();
    assert_eq!(proxy.get("/x").status(), 503);
    let line = proxy.access_line("/x");
    assert_says(
        &line,
        "connect_failed",
        &format!("could not connect to {address}: connection refused"),
    );
}

/// Without it, whoever reads the line would have to ask what had been wrong with the backends then.
#[test]
fn a_pool_whose_backends_are_down_says_why_they_are() {
    let (address, _held) = refusing_address();
    let proxy = Proxy::before(&[])
        .config("workers: 1\nqueue: off\nhealth_check: { unhealthy_after: 1 }")
        .backend(&format!("http://{address}"))
        .start();
    proxy.wait_for_message(0, "backend is down");
    assert_eq!(proxy.get("/down").status(), 503);
    assert_says(
        &proxy.access_line("/down"),
        "no_backend",
        &format!("the only backend, http://{address}, is down: connection refused"),
    );
}

/// The request waits for a policy while a reload replaces the backends of its pool.
#[test]
fn a_pool_without_backends_is_explained_by_those_that_the_request_could_not_get() {
    let gate = Gate::default();
    let its = gate.clone();
    let auth = Backend::start(move |_| Response::ok("").after(&its));
    let config = |address: &str| {
        Proxy::before(&[]).config(&format!(
            "workers: 1\nqueue: off\nhealth_check: {{ kind: none }}\n\
             backends: [{{ url: 'http://{address}:1', drain: true }}]\n\
             route_defaults: {{ policies: [{{ forward_auth: {{ url: '{}/', timeout: 30s }} }}] }}",
            auth.url()
        ))
    };
    let proxy = config("127.0.0.1").start();
    let mut client = proxy.client();
    client.send("GET /waits HTTP/1.1\r\nHost: test\r\n\r\n");
    auth.wait_for_requests(1);
    reloaded(&proxy, &config("127.0.0.2"));
    gate.open();
    assert_eq!(client.read().status(), 503);
    assert_says(
        &proxy.access_line("/waits"),
        "no_backend",
        "the only backend, http://127.0.0.2:1, is drained",
    );
}

/// With the usual retries the request may wait for a backend, and gives up at once where none was ever up.
#[test]
fn a_wait_in_vain_keeps_the_reason_of_the_attempt_before() {
    let (address, _held) = refusing_address();
    let proxy = Proxy::before(&[])
        .config("workers: 1\nhealth_check: { kind: none }")
        .backend(&format!("http://{address}"))
        .start();
    assert_eq!(proxy.get("/x").status(), 503);
    assert_says(
        &proxy.access_line("/x"),
        "connect_failed",
        &format!("could not connect to {address}: connection refused"),
    );
}

#[test]
fn a_successful_retry_keeps_the_reason_of_the_first_attempt() {
    let (address, _held) = refusing_address();
    let backend = Backend::saying("fine");
    let config = "workers: 1\nhealth_check: { kind: none }";
    let proxy = Proxy::before(&[])
        .config(config)
        .backend(&format!("http://{address}"))
        .backend(&backend.url())
        .start();
    for number in 0..2 {
        let path = format!("/x{number}");
        assert_eq!(proxy.get(&path).text(), "fine");
        let line = proxy.access_line(&path);
        assert!(line.get("detail").is_none(), "{line}");
        if let Some(retry) = line["retries"].get(0) {
            assert_eq!(
                retry["detail"],
                format!("could not connect to {address}: connection refused")
            );
            return;
        }
    }
    panic!("neither request went to the first backend");
}

#[test]
fn a_name_that_does_not_resolve_is_reported() {
    let proxy = before(&[], "timeouts: { connect: 2s }")
        .backend("http://nowhere.invalid:80")
        .start();
    assert_eq!(proxy.get("/x").status(), 503);
    assert_says(
        &proxy.access_line("/x"),
        "connect_failed",
        "could not connect to http://nowhere.invalid:80: name does not resolve",
    );
}

#[test]
fn a_failed_handshake_names_the_reason() {
    let authority = Authority::new();
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &authority.pem());
    for (pair, why) in [
        (
            Authority::new().sign_for(&["localhost"]),
            "the certificate is not signed by a known authority (UnknownIssuer): set `tls.ca`, or let this machine trust the authority",
        ),
        (
            authority.sign_for(&["other.test"]),
            "the certificate is valid for other.test, not for localhost: set `tls.server_name`, or write one of its names in the URL",
        ),
        (
            authority.sign(&wanted(&["localhost"]).days(-2, -1)),
            "the certificate has expired",
        ),
    ] {
        let backend = Secured::start(&pair, None);
        let url = backend.url("localhost");
        let config = format!(
            "pools: {{ p: {{ backends: [\"{url}\"], tls: {{ ca: \"{ca}\" }} }} }}\nroutes: [{{ pool: p }}]"
        );
        let proxy = before(&[], &config).start();
        assert_eq!(proxy.get("/x").status(), 503);
        let line = proxy.access_line("/x");
        assert_says(
            &line,
            "connect_failed",
            &format!(
                "TLS handshake with 127.0.0.1:{} failed: {why}",
                url.rsplit(':').next().unwrap_or_default()
            ),
        );
    }
}

/// A TLS server behind `http://` is a common mistake: it refuses a plain request with an alert.
#[test]
fn a_backend_that_speaks_tls_behind_http_is_reported() {
    let authority = Authority::new();
    let backend = Secured::start(&authority.sign_for(&["localhost"]), None);
    let url = backend.url("localhost").replace("https://", "http://");
    let proxy = before(&[], "").backend(&url).start();
    assert_eq!(proxy.get("/x").status(), 502);
    assert_says(&proxy.access_line("/x"), "malformed_response", "use `https://`");
    let proxy = Proxy::before(&[])
        .config("health_check: { unhealthy_after: 1 }")
        .backend(&url)
        .start();
    let line = proxy.wait_for_message(0, "backend is down");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains("speaks TLS: use https:// instead of http://"),
        "{line}"
    );
}

#[test]
fn a_backend_that_does_not_speak_tls_is_reported() {
    let backend = Bare::start();
    let proxy = before(&[], &unverified(&backend)).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.accept().send("HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(client.read().status(), 503);
    assert_says(
        &proxy.access_line("/x"),
        "connect_failed",
        "the backend does not speak TLS at this address",
    );
}

/// A pool with this backend over TLS, without verification.
fn unverified(backend: &Bare) -> String {
    let url = backend.url().replace("http://", "https://");
    format!(
        "pools: {{ p: {{ backends: [\"{url}\"], tls: {{ danger_skip_verify: true }} }} }}\nroutes: [{{ pool: p }}]"
    )
}

#[test]
fn a_handshake_that_does_not_end_names_the_timeout() {
    let backend = Bare::start();
    let config = format!("timeouts: {{ connect: 300ms }}\n{}", unverified(&backend));
    let proxy = before(&[], &config).start();
    assert_eq!(proxy.get("/x").status(), 503);
    let address = backend.url().replace("http://", "");
    assert_says(
        &proxy.access_line("/x"),
        "connect_failed",
        &format!("the handshake with {address} did not end within timeouts.connect (300ms)"),
    );
}
