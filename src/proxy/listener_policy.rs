//! What the listener asks of the requests of a connection, beside that they can be parsed. Most ask nothing.

use std::cell::RefCell;
use std::sync::Arc;

use super::forwarded::Identity;
use super::{Failure, LocalReason};
use crate::head::RequestHead;
use crate::message::Malformed;
use crate::tls;

/// Requests of the ACME protocol (RFC 8555 §8.3) are not redirected: the server for them may have no certificate yet.
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// The schemes under which TLS is spoken, as proxies name them: a WebSocket may have one of its own.
const SECURE: [&[u8]; 2] = [b"https", b"wss"];

/// What the listener asks.
#[derive(Debug, Default)]
pub enum ListenerPolicy {
    /// Nothing.
    #[default]
    None,
    /// That the client comes again by https, at this port.
    Https(u16),
    /// That it is for a host that the certificate was shown for. In a box, because every connection has room for this.
    SniBinding(Box<SniBinding>),
}

/// The name that a client asked for when it was shown a certificate.
#[derive(Debug)]
pub struct SniBinding {
    tls: Arc<tls::Server>,
    name: Box<str>,
    /// The authority that was found good last: most connections have one all their life.
    good: RefCell<Vec<u8>>,
}

impl ListenerPolicy {
    /// Those of a connection under TLS. A client that asked for no name may ask for every host: what it was shown, it was
    /// not shown for a name.
    pub fn for_tls(tls: &Arc<tls::Server>, name: Option<&str>) -> Self {
        name.map_or(Self::None, |name| {
            Self::SniBinding(Box::new(SniBinding {
                tls: Arc::clone(tls),
                name: name.into(),
                good: RefCell::default(),
            }))
        })
    }

    /// Checks a request.
    ///
    /// # Errors
    /// Why it is not served.
    #[inline]
    pub(super) fn check(&self, head: &RequestHead, identity: &Identity) -> Result<(), LocalReason> {
        match self {
            Self::None => Ok(()),
            Self::SniBinding(binding) if binding.is_good_for(head.text(head.authority)) => Ok(()),
            Self::SniBinding(_) => Err(Failure::Misdirected.into()),
            Self::Https(_) if is_exempt(head, identity) => Ok(()),
            // Only an HTTP/1.0 request may do without, and there is nothing to redirect it to.
            Self::Https(_) if host_of(head.text(head.authority)).is_empty() => {
                Err(Failure::Malformed(Malformed::MissingHost).into())
            }
            Self::Https(port) => Err(LocalReason::Redirect(*port)),
        }
    }
}

impl SniBinding {
    fn is_good_for(&self, authority: &[u8]) -> bool {
        if *self.good.borrow() == authority {
            return true;
        }
        let host = host_of(authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        let is_good = host.eq_ignore_ascii_case(self.name.as_bytes())
            || std::str::from_utf8(host).is_ok_and(|host| self.tls.serves_together(&self.name, host));
        if is_good {
            let mut good = self.good.borrow_mut();
            good.clear();
            good.extend_from_slice(authority);
        }
        is_good
    }
}

/// Whether a request is served although it did not come by https: a trusted proxy says that it did so far, and would send it
/// here for ever; or it proves to an authority that this host is ours.
fn is_exempt(head: &RequestHead, identity: &Identity) -> bool {
    let is_secure = |scheme: &[u8]| SECURE.iter().any(|word| scheme.eq_ignore_ascii_case(word));
    identity.scheme(head).is_some_and(is_secure) || head.text(head.path).starts_with(CHALLENGES)
}

/// Where a request is redirected to. The host was parsed as one, path and query hold nothing that could end the field.
pub(super) fn location(head: &RequestHead, port: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.bytes.len() + 16);
    out.extend_from_slice(b"https://");
    out.extend_from_slice(host_of(head.text(head.authority)));
    if port != 443 {
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    match head.text(head.path) {
        b"*" => out.push(b'/'),
        path => out.extend_from_slice(path),
    }
    if let Some(query) = head.query {
        out.push(b'?');
        out.extend_from_slice(head.text(query));
    }
    out
}

/// The host of an authority, an IPv6 address with its brackets.
fn host_of(authority: &[u8]) -> &[u8] {
    let end = match memchr::memchr(b']', authority) {
        Some(bracket) => bracket + 1,
        None => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadScan, Kind, Limits, parse_request};
    use crate::proxy::{Peer, TrustedProxies};

    fn head(bytes: &str) -> RequestHead {
        let mut scan = HeadScan::default();
        let end = scan.advance(bytes.as_bytes(), Kind::Request, &Limits::default());
        let mut head = RequestHead {
            bytes: bytes.as_bytes().to_vec(),
            ..RequestHead::default()
        };
        parse_request(&mut head, &scan, end.unwrap().unwrap()).unwrap();
        head
    }

    fn sent_to(target: &str, host: &str, port: u16) -> String {
        let head = head(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        String::from_utf8(location(&head, port)).unwrap()
    }

    #[test]
    fn the_same_place_by_https() {
        for (target, host, port, expected) in [
            ("/a/b?c=d&e=%20", "a.test", 443, "https://a.test/a/b?c=d&e=%20"),
            ("/", "a.test:8080", 443, "https://a.test/"),
            ("/", "a.test:8080", 8443, "https://a.test:8443/"),
            ("/", "[::1]:80", 8443, "https://[::1]:8443/"),
            ("/?", "[::1]", 443, "https://[::1]/?"),
            ("//evil.test/x", "a.test", 443, "https://a.test//evil.test/x"),
            ("/a/../b", "a.test", 443, "https://a.test/b"),
            ("http://b.test:80/x?y", "a.test", 443, "https://b.test/x?y"),
        ] {
            assert_eq!(sent_to(target, host, port), expected);
        }
        let options = head("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(location(&options, 443), b"https://a.test/");
    }

    /// What becomes of a request: served, redirected or refused.
    fn decision(policy: &ListenerPolicy, request: &str) -> &'static str {
        let head = head(request);
        let trusted = TrustedProxies {
            blocks: vec!["10.0.0.0/8".parse().unwrap()],
            unix: false,
        };
        let address: std::net::SocketAddr = "10.0.0.1:1".parse().unwrap();
        let identity = Identity::new(&Peer::new(address), &trusted, &head, [0, 0]);
        match policy.check(&head, &identity) {
            Ok(()) => "served",
            Err(LocalReason::Redirect(_)) => "redirected",
            Err(_) => "refused",
        }
    }

    #[test]
    fn of_several_schemes_that_of_the_clients_hop_counts() {
        let policy = ListenerPolicy::Https(443);
        for (schemes, addresses, expected) in [
            ("https,https", "", "served"),
            ("https, http", "", "served"),
            ("http, https", "", "redirected"),
            (", ,https", "", "served"),
            ("", "1.1.1.1", "redirected"),
            ("https, http", "1.1.1.1, 10.0.0.2", "served"),
            ("http, https", "1.1.1.1, 10.0.0.2", "redirected"),
            ("http, wss", "6.6.6.6, 1.1.1.1", "served"),
            ("https, http", "6.6.6.6, 1.1.1.1", "redirected"),
            ("http, https, http", "6.6.6.6, 1.1.1.1, 10.0.0.2", "served"),
            ("http,, https", "6.6.6.6, ,1.1.1.1,", "served"),
            ("http, https", "10.0.0.2, 10.0.0.2", "redirected"),
            ("http, https", "1.1.1.1", "redirected"),
            ("https, http", "6.6.6.6, 5.5.5.5, 1.1.1.1", "served"),
        ] {
            let request = |separator: &str| {
                let schemes = schemes.replace(", ", separator);
                format!(
                    "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {addresses}\r\nX-Forwarded-Proto: {schemes}\r\n\r\n"
                )
            };
            assert_eq!(
                decision(&policy, &request(", ")),
                expected,
                "{schemes} {addresses}"
            );
            let lines = request("\r\nX-Forwarded-Proto: ");
            assert_eq!(decision(&policy, &lines), expected, "{lines}");
        }
    }

    #[test]
    fn what_came_by_https_so_far_and_challenges_are_served() {
        let policy = ListenerPolicy::Https(443);
        for (request, expected) in [
            ("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", "redirected"),
            ("POST /a HTTP/1.0\r\nHost: a\r\n\r\n", "redirected"),
            ("GET /a HTTP/1.0\r\n\r\n", "refused"),
            (
                "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
                "served",
            ),
            (
                "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\n\r\n",
                "redirected",
            ),
            (
                "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: WSS\r\n\r\n",
                "served",
            ),
            (
                "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: ws\r\n\r\n",
                "redirected",
            ),
            (
                "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n",
                "served",
            ),
            (
                "GET /.well-known/acme-challenge/../../a HTTP/1.1\r\nHost: a\r\n\r\n",
                "redirected",
            ),
            (
                "GET /.well-known/acme-challenge HTTP/1.1\r\nHost: a\r\n\r\n",
                "redirected",
            ),
        ] {
            assert_eq!(decision(&policy, request), expected, "{request:?}");
        }
        assert_eq!(
            decision(&ListenerPolicy::None, "GET /a HTTP/1.0\r\n\r\n"),
            "served"
        );
    }
}
