//! A small blocking client of the admin API, for commands that query a running process and exit.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::clock::{self, Instant};
use crate::net::ListenAddress;

/// Maximum size of a response. The status of ten thousand backends with their last checks has about 30 million bytes.
const RESPONSE_BOUND: usize = 64 * 1024 * 1024;

/// The admin API of a process.
#[derive(Debug, Clone, Copy)]
pub struct Api<'a> {
    /// Its address.
    pub address: &'a ListenAddress,
    /// The bearer token for it.
    pub token: Option<&'a str>,
}

/// The content of a request.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Its media type.
    pub kind: &'static str,
    /// Its bytes; nothing is no content.
    pub body: &'a [u8],
}

impl Content<'_> {
    /// Nothing.
    pub(super) const NONE: Self = Self { kind: "", body: b"" };
}

/// Gets `path` from the admin API at `address` and returns the status and the body, within `timeout` altogether.
///
/// # Errors
/// The connection failed; no complete response in time (`TimedOut`); the response is truncated (`UnexpectedEof`), is not HTTP or is
/// larger than 64 MiB (`InvalidData`); the path or the token contains invalid characters (`InvalidInput`).
pub fn get_blocking(
    address: &ListenAddress,
    path: &str,
    token: Option<&str>,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    send_json_blocking(Api { address, token }, ("GET", path), b"", timeout)
}

/// Sends a request with this method, path and JSON body; otherwise like [`get_blocking`].
///
/// # Errors
/// Those of [`get_blocking`].
pub fn send_json_blocking(
    api: Api<'_>,
    request: (&str, &str),
    body: &[u8],
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let content = Content {
        kind: "application/json",
        body,
    };
    send_blocking(api, request, content, timeout)
}

/// Sends a request with this method, path and content; otherwise like [`get_blocking`].
///
/// # Errors
/// Those of [`get_blocking`].
pub fn send_blocking(
    api: Api<'_>,
    request: (&str, &str),
    content: Content<'_>,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let deadline = clock::now() + timeout;
    let mut stream = send(api, request, content, deadline)?;
    parse(&read_all(&mut stream, deadline)?)
}

/// Connects and sends a request, whose response ends with the connection.
pub(super) fn send(
    Api { address, token }: Api<'_>,
    (method, path): (&str, &str),
    Content { kind, body }: Content<'_>,
    deadline: Instant,
) -> io::Result<Socket> {
    if [Some(path), token]
        .into_iter()
        .flatten()
        .any(|text| !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let why = "a path or a token must consist of visible ASCII characters";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let host = match address {
        ListenAddress::Ip(address) => address.to_string(),
        ListenAddress::Unix(_) => "localhost".to_owned(),
    };
    // HTTP/1.0: the response is not chunked and ends with the connection (RFC 9112 §6.3).
    let length = body.len();
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n");
    if !body.is_empty() {
        head += &format!("Content-Type: {kind}\r\n");
    }
    if let Some(token) = token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    head += "\r\n";
    let mut stream = connect(address, deadline)?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    stream
        .write_all(&[head.as_bytes(), body].concat())
        .map_err(timed_out)?;
    Ok(stream)
}

fn connect(address: &ListenAddress, deadline: Instant) -> io::Result<Socket> {
    let (domain, address) = match address {
        ListenAddress::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        ListenAddress::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let stream = Socket::new(domain, Type::STREAM, None)?;
    // A Unix socket whose queue is full is `WouldBlock`.
    stream
        .connect_timeout(&address, remaining(deadline)?)
        .map_err(timed_out)?;
    Ok(stream)
}

fn read_all(stream: &mut Socket, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut part = [0; 8192];
    while response.len() <= RESPONSE_BOUND {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(response),
            Ok(count) => response.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(timed_out(error)),
        }
    }
    Err(invalid("the response is larger than 64 MiB"))
}

/// The status and the body of a complete response.
fn parse(response: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let end = memchr::memmem::find(response, b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (head, rest) = response.split_at_checked(end).unwrap_or_default();
    let body = rest.get(4..).unwrap_or_default();
    let status = parse_status(head)?;
    let lines = head
        .split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    match length {
        Some(length) => match body.get(..length) {
            Some(body) => Ok((status, body.to_vec())),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        },
        None => Ok((status, body.to_vec())),
    }
}

/// The status of the head of a response.
pub(super) fn parse_status(head: &[u8]) -> io::Result<u16> {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    std::str::from_utf8(line)
        .ok()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| invalid("the response is not HTTP/1"))
}

/// The time left until `deadline`; `TimedOut` if there is none.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(clock::now());
    if remaining.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(remaining)
    }
}

/// Converts `WouldBlock`, which a socket timeout gives on Unix, to `TimedOut`.
pub(super) fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

pub(super) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// The address of a server that sends `response` on one connection and closes it.
    fn responding(response: &'static [u8]) -> ListenAddress {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).expect("a request");
            stream.write_all(response).expect("the client reads");
        });
        ListenAddress::Ip(address)
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn returns_the_status_and_the_body() {
        let address = responding(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(
            get_blocking(&address, "/readyz", None, SOON).expect("a response"),
            (503, b"no".to_vec())
        );
        let address = responding(b"HTTP/1.0 200 OK\r\n\r\n");
        assert_eq!(
            get_blocking(&address, "/livez", None, SOON).expect("a response"),
            (200, Vec::new())
        );
    }

    #[test]
    fn a_unix_socket_is_asked_like_an_address() {
        let path = std::env::temp_dir().join(format!("evenkeel-client-{}", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let missing = get_blocking(&address, "/", None, SOON).expect_err("nothing is there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).expect("the path is free");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut head = [0; 1024];
            let count = stream.read(&mut head).expect("a request");
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\nyes")
                .expect("the client reads");
            String::from_utf8_lossy(&head[..count]).into_owned()
        });
        let response = get_blocking(&address, "/livez", None, SOON).expect("a response");
        assert_eq!(response, (200, b"yes".to_vec()));
        let request = server.join().expect("no panic");
        assert!(request.contains("\r\nHost: localhost\r\n"), "{request}");
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_truncated_response_or_one_that_is_not_http_is_an_error() {
        for (response, kind) in [
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"[..],
                io::ErrorKind::UnexpectedEof,
            ),
            (b"HTTP/1.1 200 OK\r\n", io::ErrorKind::UnexpectedEof),
            (b"", io::ErrorKind::UnexpectedEof),
            (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", io::ErrorKind::InvalidData),
        ] {
            let error = get_blocking(&responding(response), "/", None, SOON).expect_err("no response");
            assert_eq!(error.kind(), kind);
        }
    }

    #[test]
    fn a_silent_process_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = ListenAddress::Ip(listener.local_addr().expect("an address"));
        let error = get_blocking(&address, "/", None, Duration::from_millis(50)).expect_err("no response");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_path_or_token_with_a_line_break_is_not_sent() {
        let nowhere = ListenAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 1)));
        for (path, token) in [("/a b", None), ("/\r\nX: y", None), ("/", Some("a\r\nX: y"))] {
            let error = get_blocking(&nowhere, path, token, SOON).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
