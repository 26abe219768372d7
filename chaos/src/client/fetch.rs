//! One request to the admin API of a balancer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Explain, Result};

/// Longest wait for the connection, and for each part of the response.
const WAIT: Duration = Duration::from_secs(10);

/// The body of the response to a GET, which must be successful.
pub fn fetch(address: SocketAddr, path: &str) -> Result<String> {
    ask("GET", address, path)
}

/// The same for a POST without a body.
pub fn post(address: SocketAddr, path: &str) -> Result<String> {
    ask("POST", address, path)
}

fn ask(method: &str, address: SocketAddr, path: &str) -> Result<String> {
    let what = || format!("no response to {method} http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, WAIT).explain(what())?;
    stream.set_read_timeout(Some(WAIT))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).explain(what())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).explain(what())?;
    let received = String::from_utf8_lossy(&received).into_owned();
    let (head, body) = received.split_once("\r\n\r\n").unwrap_or_default();
    let is_ok = head.split(' ').nth(1).is_some_and(|status| status == "200");
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    if is_ok && is_chunked {
        joined(body).ok_or_else(|| Error::new(format!("{}: its chunks are not whole", what())))
    } else if is_ok {
        Ok(body.to_owned())
    } else {
        let line = head.lines().next().unwrap_or_default();
        Err(Error::new(format!("{}: the response is `{line}`", what())))
    }
}

/// The text of a body in chunks (RFC 9112 §7.1), if it is whole.
fn joined(mut body: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(text);
        }
        text.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_must_be_whole() {
        assert_eq!(joined("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").as_deref(), Some("abcd"));
        assert_eq!(joined("3\r\nabc\r\n"), None);
        assert_eq!(joined("5\r\nabc\r\n0\r\n\r\n"), None);
    }
}
