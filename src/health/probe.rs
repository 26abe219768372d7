//! One probe of one backend. A minimal client of its own that reads a status line and no more: health does not
//! depend on the engine that carries requests.

mod http2;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::backend::{Backend, Scheme};
use crate::clock;
use crate::http1::Malformed;
use crate::http2::is_begin_of_server;
use crate::net::{DialError, ProxyHeader, Secured, Stream, connect};
use crate::tls::Offer;

use super::{Check, Kind, StatusRange};

/// Bound of what is read up to the end of the final status line, interim answers included.
const MAX_HEAD: usize = 8 << 10;

/// Bound of what is read of the rest of the answer. Closing a socket with unread bytes resets the connection, which
/// backends log as an error of theirs.
const MAX_REST: u64 = 64 << 10;

/// How long the rest of the answer is read: the verdict waits for it.
const REST_BOUND: Duration = Duration::from_millis(100);

/// What is healthy when only a path is configured.
const WITH_PATH: &[StatusRange] = &[StatusRange { from: 200, to: 399 }];

/// What is healthy when not even a path is configured: an API that answers 404 on `/` is alive.
const WITHOUT_PATH: &[StatusRange] = &[StatusRange { from: 100, to: 499 }];

/// Why a probe failed. The text is the reason that logs and the API show.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] DialError),
    /// Connected, but no status line came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection ended before a status line.
    #[error("connection closed before an answer")]
    Closed,
    /// The connection failed before a status line.
    #[error("connection failed before an answer: {0}")]
    Io(#[from] io::Error),
    /// What came is no status line of HTTP/1.
    #[error("answer is not HTTP/1.1")]
    Malformed,
    /// What came in place of a status line of HTTP/1 is HTTP/2.
    #[error("{}", Malformed::Http2Response)]
    Http2,
    /// What came is no HTTP/2.
    #[error("answer is not HTTP/2")]
    NotHttp2,
    /// The service says that it is not well.
    #[error("the service is not serving")]
    NotServing,
    /// The call failed with this code of gRPC.
    #[error("gRPC status {0}")]
    Grpc(String),
    /// An answer that does not count as healthy.
    #[error("status {0}")]
    Status(u16),
}

impl ProbeError {
    /// Whether it tells nothing of the backend, because this process had no descriptor or local port for asking.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_ours())
    }
}

/// What a probe gave.
#[derive(Debug)]
pub struct Outcome {
    /// The status of an HTTP probe, `None` for a connection that came about; or why it failed.
    pub result: Result<Option<u16>, ProbeError>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The status that the backend answered with, healthy or not, if it answered.
    pub fn status_code(&self) -> Option<u16> {
        match &self.result {
            Ok(status) => *status,
            Err(ProbeError::Status(status)) => Some(*status),
            Err(_) => None,
        }
    }
}

/// Probes a backend once, at the addresses that its name has now, within `check.timeout` for everything. A check of
/// [`Kind::None`] succeeds without asking.
pub async fn probe(backend: &Backend, check: &Check) -> Outcome {
    let started = clock::now();
    let result = match &check.kind {
        Kind::None => Ok(None),
        Kind::Tcp => dial(backend, check).await.map(|_| None),
        Kind::Grpc { service } => {
            let asked = ask_service(backend, check, service);
            within(check, asked).await.map(|()| None)
        }
        Kind::Http { path, status } => {
            let path = path.as_deref();
            let healthy = status.as_deref();
            let healthy = healthy.unwrap_or(if path.is_some() { WITH_PATH } else { WITHOUT_PATH });
            let _waiting = backend.wait_on_new();
            let asked = within(check, round_trip(backend, check, path.unwrap_or("/"))).await;
            match asked {
                Ok((status, rest)) => {
                    let took = started.elapsed();
                    if let Some(stream) = rest {
                        read_rest(stream).await;
                    }
                    let result = judge(status, healthy);
                    return Outcome { result, took };
                }
                Err(error) => Err(error),
            }
        }
    };
    let took = started.elapsed();
    Outcome { result, took }
}

fn judge(status: u16, healthy: &[StatusRange]) -> Result<Option<u16>, ProbeError> {
    let is_healthy = healthy
        .iter()
        .any(|range| (range.from..=range.to).contains(&status));
    match is_healthy {
        true => Ok(Some(status)),
        false => Err(ProbeError::Status(status)),
    }
}

/// Bounds a probe by the check's timeout, connecting included.
async fn within<T>(
    check: &Check,
    asked: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    let bounded = timeout(check.timeout, asked).await;
    bounded.unwrap_or(Err(ProbeError::TimedOut(check.timeout)))
}

/// Connects as requests do. That it takes too long is told as such.
async fn dial(backend: &Backend, check: &Check) -> Result<Stream, ProbeError> {
    let address = &backend.address;
    let tls = check.tls.as_deref().filter(|_| address.scheme == Scheme::Https);
    let secured = tls.map(|tls| Secured {
        tls,
        host: &address.host,
        offer: Offer::Both,
    });
    // A probe is nobody's request.
    let mut introduction = Vec::new();
    if let Some(version) = check.send_proxy {
        ProxyHeader::Local.write(version, &mut introduction);
    }
    // Probes may have the last descriptors: that is what they are kept back for.
    Ok(connect(backend, &introduction, secured, check.timeout).await?)
}

async fn ask_service(backend: &Backend, check: &Check, service: &str) -> Result<(), ProbeError> {
    let stream = dial(backend, check).await?;
    http2::check(stream, service, &backend.address.authority()).await
}

/// Connects, sends the request and reads the final status, in the protocol of the backend.
async fn round_trip(
    backend: &Backend,
    check: &Check,
    path: &str,
) -> Result<(u16, Option<Stream>), ProbeError> {
    let mut stream = dial(backend, check).await?;
    let authority = backend.address.authority();
    if stream.speaks_http2() || backend.address.scheme == Scheme::H2c {
        return Ok((http2::get(stream, path, &authority).await?, None));
    }
    stream.write_all(request(path, &authority).as_bytes()).await?;
    let status = read_status(&mut stream).await?;
    Ok((status, Some(stream)))
}

fn request(path: &str, authority: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: evenkeel/{version}\r\nConnection: close\r\n\r\n"
    )
}

async fn read_status(stream: &mut Stream) -> Result<u16, ProbeError> {
    let mut bytes = Vec::with_capacity(1 << 10);
    while bytes.len() < MAX_HEAD {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ProbeError::Closed);
        }
        // Under TLS another way would have been agreed upon.
        if stream.is_plain() && is_begin_of_server(&bytes) {
            return Err(ProbeError::Http2);
        }
        if let Some(status) = final_status(&bytes)? {
            return Ok(status);
        }
    }
    Err(ProbeError::Malformed)
}

/// The status of the first answer that is not interim; `None` while it is not there yet. 101 is final: nothing was to
/// be upgraded.
fn final_status(mut bytes: &[u8]) -> Result<Option<u16>, ProbeError> {
    loop {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            return Ok(None);
        };
        let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        match line.and_then(status_of).ok_or(ProbeError::Malformed)? {
            101 => return Err(ProbeError::Malformed),
            // RFC 9110 §15.2: any number of interim answers may come before the final one.
            100..=199 => {}
            status => return Ok(Some(status)),
        }
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        bytes = bytes.get(end + 4..).unwrap_or_default();
    }
}

/// The status of a status line without its end (RFC 9112 §4). The space before an absent reason may be absent too.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let (digits, reason) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let is_number = minor.is_ascii_digit() && digits.iter().all(u8::is_ascii_digit);
    let is_reason = reason.is_empty() || reason.starts_with(b" ");
    let is_text = reason
        .iter()
        .all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
    if !(is_number && is_reason && is_text) {
        return None;
    }
    let status = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    (100..=599).contains(&status).then_some(status)
}

/// Reads what is left of a short answer, so that closing is no reset. Nothing depends on it.
async fn read_rest(stream: Stream) {
    let mut rest = stream.take(MAX_REST);
    let _ = timeout(REST_BOUND, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::super::scripted::{Script, Scripted, check};
    use super::*;
    use crate::backend::Address;

    fn status(bytes: &str) -> Option<u16> {
        final_status(bytes.as_bytes()).unwrap()
    }

    #[test]
    fn reads_the_final_status() {
        assert_eq!(status("HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status("HTTP/1.0 204\r\nX: y\r\n\r\n"), Some(204));
        assert_eq!(
            status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: x\r\n\r\nHTTP/1.1 404 no\r\n"),
            Some(404)
        );
    }

    #[test]
    fn waits_for_the_whole_line() {
        let whole = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n";
        for end in 0..whole.len() {
            assert_eq!(status(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn refuses_what_is_no_status_line() {
        for bytes in [
            "HTTP/1.1 200 OK\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 +20 OK\r\n",
            "HTTP/1.1 099 no\r\n",
            "HTTP/1.1 600 no\r\n",
            "HTTP/1.1  200 OK\r\n",
            "http/1.1 200 OK\r\n",
            "HTTP/1.1 200 a\rb\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "SSH-2.0-x\r\n",
            "\r\nHTTP/1.1 200 OK\r\n",
        ] {
            assert!(
                matches!(final_status(bytes.as_bytes()), Err(ProbeError::Malformed)),
                "{bytes:?}"
            );
        }
    }

    const OK: Script = Script::Response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

    /// The status or the reason that a probe of a backend with this script gives.
    async fn probed(script: Script, check: &Check) -> Result<Option<u16>, String> {
        let scripted = Scripted::start(script).await;
        let outcome = probe(&scripted.backend(), check).await;
        outcome.result.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn asks_with_the_authority_of_the_backend() {
        let mut scripted = Scripted::start(OK).await;
        probe(&scripted.backend(), &check(Some("/healthz?full=1")))
            .await
            .result
            .unwrap();
        let wanted = format!(
            "GET /healthz?full=1 HTTP/1.1\r\nHost: {}\r\nUser-Agent: evenkeel/{}\r\nConnection: close\r\n\r\n",
            scripted.address,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(scripted.request().await, wanted);
        probe(&scripted.backend(), &check(None)).await.result.unwrap();
        assert!(scripted.request().await.starts_with("GET / HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_status_counts_by_what_is_configured() {
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
        let kind = Kind::Http {
            path: None,
            status: Some(ranges),
        };
        let ranged = Check { kind, ..check(None) };
        assert_eq!(probed(failing, &ranged).await, Ok(Some(500)));
        assert_eq!(probed(found, &ranged).await, Err("status 302".into()));
    }

    #[tokio::test]
    async fn reasons_say_what_happened() {
        let short = Check {
            timeout: Duration::from_millis(50),
            ..check(None)
        };
        assert_eq!(
            probed(Script::Hang, &short).await,
            Err("no answer within 50ms".into())
        );
        assert_eq!(
            probed(Script::Response(""), &check(None)).await,
            Err("connection closed before an answer".into())
        );
        assert_eq!(
            probed(Script::Response("HTTP/1.1 200"), &check(None)).await,
            Err("connection closed before an answer".into())
        );
        assert_eq!(
            probed(Script::Response("hello\r\n"), &check(None)).await,
            Err("answer is not HTTP/1.1".into())
        );
    }

    /// What servers of gRPC begin with, before they have read anything: SETTINGS, and perhaps the end (RFC 9113 §3.4).
    #[tokio::test]
    async fn a_backend_that_speaks_http2_is_told_from_one_that_closes_and_one_that_hangs() {
        let settings = "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let goaway = "\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        for script in [
            Script::Response("\0\0\0\x04\0\0\0\0\0"),
            Script::Response(settings),
            Script::AnswerAndHang(settings),
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
            assert_eq!(reason, Err("connection closed before an answer".into()));
        }
    }

    #[tokio::test]
    async fn interim_answers_without_end_are_cut_off() {
        let endless: &'static str = "HTTP/1.1 103 x\r\n\r\n".repeat(MAX_HEAD).leak();
        assert_eq!(
            probed(Script::Response(endless), &check(None)).await,
            Err("answer is not HTTP/1.1".into())
        );
    }

    #[tokio::test]
    async fn a_connection_is_enough_for_tcp() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let backend = Backend::new(Address::parse(&format!("http://{address}")).unwrap(), 1, false);
        let tcp = Check {
            kind: Kind::Tcp,
            ..check(None)
        };
        assert!(matches!(probe(&backend, &tcp).await.result, Ok(None)));
    }

    #[tokio::test]
    async fn a_backend_that_refuses_or_has_no_address_fails() {
        // A port that is taken by a socket which does not listen refuses, and nobody else can get it.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let backend = Backend::new(Address::parse(&format!("http://{address}")).unwrap(), 1, false);
        let tcp = Check {
            kind: Kind::Tcp,
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
    fn a_lack_of_our_own_tells_nothing_of_the_backend() {
        let error = |errno: rustix::io::Errno| ProbeError::from(DialError::from(io::Error::from(errno)));
        assert!(error(rustix::io::Errno::MFILE).is_ours());
        assert!(error(rustix::io::Errno::ADDRNOTAVAIL).is_ours());
        assert!(!error(rustix::io::Errno::CONNREFUSED).is_ours());
        assert!(!ProbeError::Closed.is_ours());
    }
}
