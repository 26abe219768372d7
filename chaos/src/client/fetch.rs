//! One request to the admin API of a balancer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Explain, Result};

/// Longest wait for the connection, and for each part of the response.
const WAIT: Duration = Duration::from_secs(10);

/// The body of the response to a GET, which must be successful.
pub fn fetch(address: SocketAddr, path: &str) -> Result<String> {
    let what = || format!("cannot get http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, WAIT).explain(what())?;
    stream.set_read_timeout(Some(WAIT))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).explain(what())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).explain(what())?;
    let received = String::from_utf8_lossy(&received).into_owned();
    let (head, body) = received.split_once("\r\n\r\n").unwrap_or_default();
    let is_ok = head.split(' ').nth(1).is_some_and(|status| status == "200");
    if is_ok {
        Ok(body.to_owned())
    } else {
        let line = head.lines().next().unwrap_or_default();
        Err(Error::new(format!("{}: the response is `{line}`", what())))
    }
}
