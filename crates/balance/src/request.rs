//! What decisions see of a request: its head, and what is known of its client. Parts of the head are found without allocating.

use std::net::IpAddr;
use std::time::SystemTime;

use evenkeel_wire::head::RequestHead;
use evenkeel_wire::instant::Instant;

use crate::query;

/// A request on its way, before a backend is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// The client's address, as the access log names it; `None` for a client of a Unix socket.
    pub client_ip: Option<IpAddr>,
    /// Whether the client used TLS.
    pub is_secure: bool,
    /// The id of the listener that accepted the connection.
    pub listener: usize,
    /// The current monotonic time.
    pub now: Instant,
    /// The current wall clock time, for what expires.
    pub wall: SystemTime,
    /// Fresh uniform bits.
    pub random: u64,
}

impl<'a> Request<'a> {
    /// The values of every header with this name, which is compared without case.
    pub fn header(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let head = self.head;
        head.fields
            .iter()
            .filter(move |field| head.text(field.name).eq_ignore_ascii_case(name))
            .map(move |field| head.text(field.value))
    }

    /// The host without its port, as received. An IPv6 address keeps its brackets.
    pub fn host(&self) -> &'a [u8] {
        let authority = self.head.text(self.head.authority);
        let end = match memchr::memchr(b']', authority) {
            Some(bracket) => bracket + 1,
            None => memchr::memchr(b':', authority).unwrap_or(authority.len()),
        };
        authority.get(..end).unwrap_or_default()
    }

    /// The path, with dot segments resolved and nothing decoded.
    pub fn path(&self) -> &'a [u8] {
        self.head.text(self.head.path)
    }

    /// The values, not decoded, of every query parameter with this name, however the name is encoded: backends decode it too. A
    /// parameter without `=` has an empty value.
    pub fn query(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let query = self.head.query.map_or(&[][..], |query| self.head.text(query));
        query::values(query, name)
    }

    /// The values of every cookie with this name (RFC 6265 §4.2), without enclosing quotation marks.
    pub fn cookie(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.header(b"cookie")
            .flat_map(|line| line.split(|byte| *byte == b';'))
            .filter_map(move |pair| {
                let (key, value) = split_once(pair.trim_ascii(), b'=')?;
                (key == name).then(|| unquoted(value))
            })
    }
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let (before, after) = text.split_at_checked(memchr::memchr(at, text)?)?;
    Some((before, after.get(1..)?))
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

#[cfg(test)]
pub(crate) mod tests {
    use evenkeel_wire::http1::{HeadScan, Kind, Limits, parse_request};

    use super::*;

    /// Parses a head for tests.
    pub(crate) fn head(bytes: &str) -> RequestHead {
        let mut scan = HeadScan::default();
        let end = scan.advance(bytes.as_bytes(), Kind::Request, &Limits::default());
        let mut head = RequestHead {
            bytes: bytes.as_bytes().to_vec(),
            ..RequestHead::default()
        };
        parse_request(&mut head, &scan, end.unwrap().unwrap()).unwrap();
        head
    }

    /// A request with this head, from 192.0.2.7 without TLS.
    pub(crate) fn request(head: &RequestHead) -> Request<'_> {
        Request {
            head,
            client_ip: Some(IpAddr::from([192, 0, 2, 7])),
            is_secure: false,
            listener: 0,
            now: crate::clock::now(),
            wall: SystemTime::UNIX_EPOCH,
            random: 0,
        }
    }

    fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
        values.map(|value| std::str::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn finds_headers_cookies_and_query_parameters() {
        let head = head(
            "GET /a/../b?x=1&y&x=%32&=3&xx=4&%78=5&a%20b=6&a+b=7 HTTP/1.1\r\nHost: a.test:81\r\nX-One: 1\r\nx-one: 2\r\n\
             Cookie: a=1; b=\"2\";c\r\nCookie: a=3=4\r\n\r\n",
        );
        let request = request(&head);
        assert_eq!(texts(request.header(b"X-ONE")), ["1", "2"]);
        assert_eq!(texts(request.query(b"x")), ["1", "%32", "5"]);
        assert_eq!(texts(request.query(b"a b")), ["6", "7"]);
        assert_eq!(texts(request.query(b"y")), [""]);
        assert_eq!(texts(request.query(b"z")), Vec::<&str>::new());
        assert_eq!(texts(request.cookie(b"a")), ["1", "3=4"]);
        assert_eq!(texts(request.cookie(b"b")), ["2"]);
        assert_eq!(texts(request.cookie(b"c")), Vec::<&str>::new());
        assert_eq!(request.host(), b"a.test");
        assert_eq!(request.path(), b"/b");
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets() {
        let head = head("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
        assert_eq!(request(&head).host(), b"[::1]");
    }
}
