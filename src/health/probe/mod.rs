//! Probes: one health-check request or connection to one backend. The table names them, one file each; what they share is
//! here.

mod grpc;
mod http;
mod http2;
mod http_body;
mod settings;
mod tcp;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

pub use settings::{Check, ProbeMethod, StatusRange};

use crate::backend::{Backend, Scheme};
use crate::clock::{self, Instant};
use crate::http1::Malformed;
use crate::net::{DialError, ProxyHeader, Secured, Stream, connect_at};
use crate::tls::Offer;

/// A running probe.
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A row of the table of probes.
pub struct Probe {
    /// Its name in the config.
    pub name: &'static str,
    /// One line for the docs, with the name as its subject.
    pub summary: &'static str,
    /// The keys of `health_check` that it uses beside those of every check.
    pub keys: &'static [&'static str],
    /// Whether it only says something of backends that get requests over HTTP/2.
    pub needs_http2: bool,
    run: for<'a> fn(&'a Backend, &'a Check) -> Running<'a>,
}

impl Probe {
    /// Whether it uses this key of `health_check`.
    pub fn uses(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}

impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Probe {}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All probes that the config accepts, in the order in which the docs list them. The first is the default.
pub static PROBES: &[Probe] = &[
    Probe {
        name: "http",
        summary: "sends a request and checks the status of the response",
        keys: &["method", "path", "host", "headers", "status", "body"],
        needs_http2: false,
        run: http::run,
    },
    Probe {
        name: "tcp",
        summary: "opens a connection and closes it",
        keys: &[],
        needs_http2: false,
        run: tcp::run,
    },
    Probe {
        name: "grpc",
        summary: "calls `grpc.health.v1` over HTTP/2",
        keys: &["service"],
        needs_http2: true,
        run: grpc::run,
    },
];

/// The value of `health_check.kind` for backends that are not probed.
pub const NOT_PROBED: &str = "none";

/// All values of `health_check.kind`: the names of [`PROBES`], then [`NOT_PROBED`].
pub const KINDS: &[&str] = &kinds::<{ PROBES.len() + 1 }>();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn kinds<const COUNT: usize>() -> [&'static str; COUNT] {
    let mut kinds = [NOT_PROBED; COUNT];
    let mut index = 0;
    while index < PROBES.len() {
        kinds[index] = PROBES[index].name;
        index += 1;
    }
    kinds
}

/// All values of `health_check.kind` and what they do, for the docs.
pub const DESCRIPTION: &str = match str::from_utf8(&DESCRIBED) {
    Ok(text) => text,
    Err(_) => "",
};

const DESCRIBED: [u8; described::<0>().1] = described().0;

/// What follows the descriptions of the probes.
const OF_NOT_PROBED: &str = "`none` disables probes: every backend counts as up.";

/// The first bytes of the description, and how many there are in all.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn described<const LENGTH: usize>() -> ([u8; LENGTH], usize) {
    const fn put<const LENGTH: usize>(
        (mut out, mut at): ([u8; LENGTH], usize),
        text: &str,
    ) -> ([u8; LENGTH], usize) {
        let mut index = 0;
        while index < text.len() {
            if at < LENGTH {
                out[at] = text.as_bytes()[index];
            }
            (index, at) = (index + 1, at + 1);
        }
        (out, at)
    }
    let (mut out, mut index) = (([0; LENGTH], 0), 0);
    while index < PROBES.len() {
        out = put(put(out, "`"), PROBES[index].name);
        out = put(put(put(out, "` "), PROBES[index].summary), ", ");
        index += 1;
    }
    put(out, OF_NOT_PROBED)
}

/// The probe with this name; `None` for [`NOT_PROBED`].
pub fn by_name(name: &str) -> Option<&'static Probe> {
    PROBES.iter().find(|probe| probe.name == name)
}

/// The `User-Agent` of probes.
const USER_AGENT: &str = "evenkeel-health-check";

/// Why a probe failed. The text is the reason in logs and the API.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection was established.
    #[error(transparent)]
    Connect(#[from] DialError),
    /// The connection was established, but no response came in time.
    #[error("no response within {0:?}")]
    TimedOut(Duration),
    /// The connection ended before a status line.
    #[error("connection closed before a response")]
    Closed,
    /// The connection failed before a status line.
    #[error("connection failed before a response: {0}")]
    Io(#[from] io::Error),
    /// The response has no valid HTTP/1 status line.
    #[error("response is not HTTP/1.1")]
    Malformed,
    /// The backend speaks HTTP/2 where HTTP/1 is expected.
    #[error("{}", Malformed::Http2Response)]
    Http2,
    /// The backend speaks TLS where plain HTTP is expected.
    #[error("{}", Malformed::TlsResponse)]
    Tls,
    /// The status does not count as healthy, and the response says that the backend expects TLS.
    #[error("status {0}: the backend expects TLS: use https:// instead of http:// for it")]
    StatusOfTls(u16),
    /// The backend does not speak HTTP/2, which its URL asks for.
    #[error("response is not HTTP/2: if the backend speaks HTTP/1.1, use http:// instead of h2c:// for it")]
    NotHttp2,
    /// The backend does not speak HTTP/2 in TLS, which the check asks for.
    #[error(
        "response is not HTTP/2: a backend with an https:// URL has to offer h2 in its TLS handshake (ALPN) for this check"
    )]
    NotHttp2OverTls,
    /// The gRPC service reports a status other than `SERVING`.
    #[error("gRPC service is not serving")]
    NotServing,
    /// The response has no `grpc-status`.
    #[error("response has no gRPC status")]
    NoGrpcStatus,
    /// The gRPC call failed with this status.
    #[error("gRPC status {0}")]
    Grpc(String),
    /// The body of the response does not contain what it must.
    #[error("status {0}, but the body does not match")]
    Body(u16),
    /// The status of the response does not count as healthy.
    #[error("status {0}")]
    Status(u16),
}

impl ProbeError {
    /// Whether the error does not concern the backend, because this process had no descriptor or local port for the probe.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_ours())
    }
}

/// The outcome of a probe.
#[derive(Debug)]
pub struct Outcome {
    /// The status of an HTTP probe or `None` for other probes; or why it failed.
    pub result: Result<Option<u16>, ProbeError>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    fn new(started: Instant, result: Result<Option<u16>, ProbeError>) -> Self {
        let took = crate::clock::now() - started;
        Self { result, took }
    }

    /// The HTTP status of the response, healthy or not, if there was one.
    pub fn status_code(&self) -> Option<u16> {
        match &self.result {
            Ok(status) => *status,
            Err(ProbeError::Status(status) | ProbeError::StatusOfTls(status) | ProbeError::Body(status)) => {
                Some(*status)
            }
            Err(_) => None,
        }
    }
}

/// Probes a backend once, at its current addresses, within `check.timeout` for everything. A check without a probe succeeds at
/// once.
pub async fn probe(backend: &Backend, check: &Check) -> Outcome {
    match check.probe {
        Some(probe) => (probe.run)(backend, check).await,
        None => Outcome::new(clock::now(), Ok(None)),
    }
}

/// Limits a probe, including the connect, to the timeout of the check.
async fn within<T>(
    check: &Check,
    probe: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    let bounded = timeout(check.timeout, probe).await;
    bounded.unwrap_or(Err(ProbeError::TimedOut(check.timeout)))
}

/// Connects as requests do. A connect timeout is reported as a connect error.
async fn dial(backend: &Backend, check: &Check) -> Result<Stream, ProbeError> {
    let address = &backend.address;
    let tls = check.tls.as_deref().filter(|_| address.scheme == Scheme::Https);
    let secured = tls.map(|tls| Secured {
        tls,
        host: &address.host,
        offer: Offer::Both,
    });
    // A probe has no client.
    let mut proxy_header = Vec::new();
    if let Some(version) = check.send_proxy {
        ProxyHeader::Local.write(version, &mut proxy_header);
    }
    // Probes may use the reserved descriptors: that is what they are reserved for.
    Ok(connect_at(backend, check.port, &proxy_header, secured, check.timeout).await?)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::super::scripted::{Script, Scripted, check};
    use super::*;
    use crate::backend::Address;

    #[test]
    fn names_are_unique_and_found() {
        let names = PROBES.iter().map(|probe| probe.name);
        assert!(names.chain([NOT_PROBED]).eq(KINDS.iter().copied()));
        assert_eq!((KINDS[0], KINDS.last()), ("http", Some(&"none")));
        for probe in PROBES {
            assert!(std::ptr::eq(by_name(probe.name).unwrap(), probe));
            assert!(!probe.summary.is_empty() && !probe.summary.contains('\n'));
        }
        assert_eq!(by_name(NOT_PROBED), None);
    }

    const OK: Script = Script::Response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

    /// The status from a probe of a backend with this script, or the reason of its failure.
    async fn probed(script: Script, check: &Check) -> Result<Option<u16>, String> {
        let scripted = Scripted::start(script).await;
        let outcome = probe(&scripted.backend(), check).await;
        outcome.result.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn sends_the_authority_of_the_backend() {
        let mut scripted = Scripted::start(OK).await;
        probe(&scripted.backend(), &check(Some("/healthz?full=1")))
            .await
            .result
            .unwrap();
        let wanted = format!(
            "GET /healthz?full=1 HTTP/1.1\r\nHost: {}\r\nUser-Agent: evenkeel-health-check\r\nConnection: close\r\n\r\n",
            scripted.address,
        );
        assert_eq!(scripted.request().await, wanted);
        probe(&scripted.backend(), &check(None)).await.result.unwrap();
        assert!(scripted.request().await.starts_with("GET / HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn configured_statuses_are_healthy() {
        let status = |code: &'static str| Script::Response(code);
        let (found, missing) = (status("HTTP/1.1 302 x\r\n\r\n"), status("HTTP/1.1 404 x\r\n\r\n"));
        let failing = status("HTTP/1.1 500 x\r\n\r\n");
        assert_eq!(probed(found, &check(Some("/"))).await, Ok(Some(302)));
        assert_eq!(probed(missing, &check(Some("/"))).await, Err("status 404".into()));
        assert_eq!(probed(missing, &check(None)).await, Ok(Some(404)));
        assert_eq!(probed(failing, &check(None)).await, Err("status 500".into()));
        let ranges = vec![
            StatusRange { from: 200, to: 200 },
            StatusRange { from: 500, to: 500 },
        ];
        let ranged = Check {
            status: Some(ranges),
            ..check(None)
        };
        assert_eq!(probed(failing, &ranged).await, Ok(Some(500)));
        assert_eq!(probed(found, &ranged).await, Err("status 302".into()));
    }

    #[tokio::test]
    async fn errors_name_what_failed() {
        let short = Check {
            timeout: Duration::from_millis(50),
            ..check(None)
        };
        assert_eq!(
            probed(Script::Hang, &short).await,
            Err("no response within 50ms".into())
        );
        assert_eq!(
            probed(Script::Response(""), &check(None)).await,
            Err("connection closed before a response".into())
        );
        assert_eq!(
            probed(Script::Response("HTTP/1.1 200"), &check(None)).await,
            Err("connection closed before a response".into())
        );
        assert_eq!(
            probed(Script::Response("hello\r\n"), &check(None)).await,
            Err("response is not HTTP/1.1".into())
        );
    }

    /// gRPC servers send SETTINGS before they have read anything, and some close the connection after it (RFC 9113 §3.4).
    #[tokio::test]
    async fn http2_on_an_http_backend_is_recognised() {
        let settings = "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let goaway = "\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        for script in [
            Script::Response("\0\0\0\x04\0\0\0\0\0"),
            Script::Response(settings),
            Script::ResponseAndHang(settings),
            Script::Response(goaway),
        ] {
            let reason = probed(script, &check(None)).await.unwrap_err();
            assert!(
                reason.contains("seems to speak HTTP/2") && reason.contains("h2c://"),
                "{reason}"
            );
        }
        for other in ["\0\0\x06\x04", "\0\0\x06\x04\x01\0\0\0\0"] {
            let reason = probed(Script::Response(other), &check(None)).await;
            assert_eq!(reason, Err("connection closed before a response".into()));
        }
    }

    /// A TLS server sends an alert to plain HTTP, or responds in HTTP and says what it expects.
    #[tokio::test]
    async fn tls_on_an_http_backend_is_recognised() {
        let alert = "\x15\x03\x03\0\x02\x02\x32";
        for script in [Script::Response(alert), Script::ResponseAndHang(alert)] {
            let reason = probed(script, &check(None)).await;
            let expected = "the backend speaks TLS: use https:// instead of http:// for it";
            assert_eq!(reason, Err(expected.into()));
        }
        let refused = Script::Response(
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        );
        let scripted = Scripted::start(refused).await;
        let outcome = probe(&scripted.backend(), &check(Some("/"))).await;
        assert_eq!(outcome.status_code(), Some(400));
        let reason = outcome.result.unwrap_err().to_string();
        let expected = "status 400: the backend expects TLS: use https:// instead of http:// for it";
        assert_eq!(reason, expected);
        // A status that counts as healthy stays so, whatever the response says.
        assert_eq!(probed(refused, &check(None)).await, Ok(Some(400)));
    }

    #[tokio::test]
    async fn endless_interim_responses_are_limited() {
        let endless: &'static str = "HTTP/1.1 103 x\r\n\r\n".repeat(1 << 13).leak();
        assert_eq!(
            probed(Script::Response(endless), &check(None)).await,
            Err("response is not HTTP/1.1".into())
        );
    }

    #[tokio::test]
    async fn the_tcp_probe_needs_only_a_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let backend = Backend::new(Address::parse(&format!("http://{address}")).unwrap(), 1, false);
        let tcp = Check {
            probe: by_name("tcp"),
            ..check(None)
        };
        assert!(matches!(probe(&backend, &tcp).await.result, Ok(None)));
    }

    #[tokio::test]
    async fn a_backend_that_refuses_or_has_no_address_fails() {
        // The port of a bound socket that does not listen refuses connections, and no other process can take it.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let backend = Backend::new(Address::parse(&format!("http://{address}")).unwrap(), 1, false);
        let tcp = Check {
            probe: by_name("tcp"),
            ..check(None)
        };
        for check in [&tcp, &check(None)] {
            let error = probe(&backend, check).await.result.unwrap_err();
            assert_eq!(error.to_string(), "connection refused");
        }
        backend.resolved.store(Vec::new().into());
        let error = probe(&backend, &tcp).await.result.unwrap_err();
        assert_eq!(error.to_string(), "name does not resolve");
    }

    #[test]
    fn errors_of_this_process_are_not_the_backends() {
        let error = |errno: rustix::io::Errno| ProbeError::from(DialError::from(io::Error::from(errno)));
        assert!(error(rustix::io::Errno::MFILE).is_ours());
        assert!(error(rustix::io::Errno::ADDRNOTAVAIL).is_ours());
        assert!(!error(rustix::io::Errno::CONNREFUSED).is_ours());
        assert!(!ProbeError::Closed.is_ours());
    }
}
