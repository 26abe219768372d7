//! A small blocking client of the admin API, for commands that query a running process and exit.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::clock;

/// Maximum size of a response. The status of ten thousand backends with their last checks has about 30 million bytes.
const RESPONSE_BOUND: usize = 64 * 1024 * 1024;

/// The admin API of a process.
#[derive(Debug, Clone, Copy)]
pub struct Api<'a> {
    /// Its address.
    pub address: SocketAddr,
    /// The bearer token for it.
    pub token: Option<&'a str>,
}

/// Gets `path` from the admin API at `address` and returns the status and the body, within `timeout` altogether.
///
/// # Errors
/// The connection failed; no complete response in time (`TimedOut`); the response is truncated (`UnexpectedEof`), is not HTTP or is
/// larger than 64 MiB (`InvalidData`); the path or the token contains invalid characters (`InvalidInput`).
pub fn get_blocking(
    address: SocketAddr,
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
    Api { address, token }: Api<'_>,
    (method, path): (&str, &str),
    body: &[u8],
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let deadline = clock::now() + timeout;
    if [Some(path), token]
        .into_iter()
        .flatten()
        .any(|text| !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let why = "a path or a token must consist of visible ASCII characters";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    // HTTP/1.0: the response is not chunked and ends with the connection (RFC 9112 §6.3).
    let length = body.len();
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n");
    if !body.is_empty() {
        head += "Content-Type: application/json\r\n";
    }
    if let Some(token) = token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    head += "\r\n";
    let mut stream = TcpStream::connect_timeout(&address, remaining(deadline)?)?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    stream
        .write_all(&[head.as_bytes(), body].concat())
        .map_err(timed_out)?;
    parse(&read_all(&mut stream, deadline)?)
}

fn read_all(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
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
    Err(invalid("the response is larger than 16 MiB"))
}

/// The status and the body of a complete response.
fn parse(response: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let end = memchr::memmem::find(response, b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (head, rest) = response.split_at_checked(end).unwrap_or_default();
    let body = rest.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| invalid("the response headers are not valid UTF-8"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| invalid("the response is not HTTP/1"))?;
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
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// The address of a server that sends `response` on one connection and closes it.
    fn responding(response: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).expect("a request");
            stream.write_all(response).expect("the client reads");
        });
        address
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn returns_the_status_and_the_body() {
        let address = responding(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(
            get_blocking(address, "/readyz", None, SOON).expect("a response"),
            (503, b"no".to_vec())
        );
        let address = responding(b"HTTP/1.0 200 OK\r\n\r\n");
        assert_eq!(
            get_blocking(address, "/livez", None, SOON).expect("a response"),
            (200, Vec::new())
        );
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
            let error = get_blocking(responding(response), "/", None, SOON).expect_err("no response");
            assert_eq!(error.kind(), kind);
        }
    }

    #[test]
    fn a_silent_process_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let error = get_blocking(address, "/", None, Duration::from_millis(50)).expect_err("no response");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_path_or_token_with_a_line_break_is_not_sent() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        for (path, token) in [("/a b", None), ("/\r\nX: y", None), ("/", Some("a\r\nX: y"))] {
            let error = get_blocking(nowhere, path, token, SOON).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
