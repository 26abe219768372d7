//! Access control of the admin API: decides from the headers alone, before any route.
//!
//! It protects against web pages in the operator's browser (a form or script that posts to this API, or DNS rebinding of a name to
//! 127.0.0.1, which makes the page same-origin) and, if the address is not loopback, against everyone who can connect. Without a
//! token, only a `Host` that cannot be rebound is accepted. With a token any name is accepted, because a page does not know the token,
//! and on a Unix socket too, because a page cannot connect to it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Settings;
use super::response::ErrorResponse;

/// Paths that need no token, for orchestrators. They reveal no more than a connection attempt does.
const PROBES: [&str; 2] = ["/livez", "/readyz"];
/// The files of the dashboard need no token either: the page asks for one before it shows anything.
const DASHBOARD: [&str; 2] = ["/", "/assets/"];

/// The path that takes a config.
const PLAN: &str = "/api/v1/plan";

/// The rules that requests are checked against.
#[derive(Clone)]
pub(super) struct Guard {
    token: Option<Arc<str>>,
    /// `None` for a Unix socket.
    bound: Option<IpAddr>,
}

impl Guard {
    /// Guards an API bound to `bound`; `None` is a Unix socket.
    pub(super) fn new(settings: &Settings, bound: Option<IpAddr>) -> Self {
        Self {
            token: settings.token.as_deref().map(Arc::from),
            bound,
        }
    }

    /// Accepts or rejects a request.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ErrorResponse> {
        let host = match (host(uri, headers), self.bound) {
            (Some(host), _) => host,
            (None, None) => "",
            (None, Some(_)) => return Err(ErrorResponse::Host),
        };
        let is_read = *method == Method::GET || *method == Method::HEAD;
        match &self.token {
            None if !self.is_own(host) => return Err(ErrorResponse::Host),
            None => {}
            Some(_) if is_read && needs_no_token(uri.path()) => {}
            Some(token) if has_token(headers, token) => {}
            Some(_) => return Err(ErrorResponse::Token),
        }
        if is_read {
            return Ok(());
        }
        if !is_same_origin(host, headers) {
            return Err(ErrorResponse::CrossOrigin);
        }
        // An HTML form can send neither JSON, nor YAML, nor an empty body.
        if has_body(headers) && !is_json(headers) && !(uri.path() == PLAN && is_yaml(headers)) {
            return Err(ErrorResponse::NotJson);
        }
        Ok(())
    }

    /// Whether `host` cannot be changed by DNS: an address of this API, or `localhost` (RFC 6761 §6.3). On a Unix socket all are.
    fn is_own(&self, host: &str) -> bool {
        let Some(bound) = self.bound else {
            return true;
        };
        let name = without_port(host);
        let literal = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if let Ok(address) = literal.parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback() || address == bound.to_canonical() || bound.is_unspecified();
        }
        let name = name.to_ascii_lowercase();
        name == "localhost" || name.ends_with(".localhost")
    }
}

/// The middleware: checks requests, and adds security headers to every response.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether everybody who can connect may read this path.
pub(super) fn needs_no_token(path: &str) -> bool {
    let [page, assets] = DASHBOARD;
    PROBES.contains(&path) || path == page || path.starts_with(assets)
}

/// The requested authority. That of an absolute target takes precedence over `Host` (RFC 9112 §3.2.2). `None` if there is none or
/// `Host` is duplicated.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut values = headers.get_all(header::HOST).iter();
    let field = values.next().and_then(|value| value.to_str().ok());
    if values.next().is_some() {
        return None;
    }
    uri.authority()
        .map(|authority| authority.as_str())
        .or(field)
        .filter(|host| !host.is_empty())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, given)) = value.as_bytes().split_at_checked(7) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"bearer ") && is_same(given.trim_ascii(), token.as_bytes())
}

/// Compares in a time that depends only on the length of `given`, not on where the two differ.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let pairs = given.iter().zip(expected.iter().cycle());
    let difference = pairs.fold(0, |difference, (one, other)| difference | (one ^ other));
    std::hint::black_box(difference) == 0 && given.len() == expected.len() && !expected.is_empty()
}

/// Whether the request comes from a page of this API or not from a browser. Browsers send `Origin` with every request that is not a
/// read, and newer ones send `Sec-Fetch-Site` with every request.
fn is_same_origin(host: &str, headers: &HeaderMap) -> bool {
    let is_site_ours = headers
        .get_all("sec-fetch-site")
        .iter()
        .all(|site| site.as_bytes() == b"same-origin" || site.as_bytes() == b"none");
    let is_origin_ours = headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    is_site_ours && is_origin_ours
}

fn has_body(headers: &HeaderMap) -> bool {
    let is_empty = headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length.as_bytes() == b"0");
    !is_empty || headers.contains_key(header::TRANSFER_ENCODING)
}

fn is_json(headers: &HeaderMap) -> bool {
    has_type(headers, "application/json")
}

/// RFC 9512.
fn is_yaml(headers: &HeaderMap) -> bool {
    has_type(headers, "application/yaml")
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::net::ListenAddress;

    fn guard(bound: &str, token: Option<&str>) -> Guard {
        let address: SocketAddr = bound.parse().expect("an address");
        let token = token.map(str::to_owned);
        let settings = Settings {
            address: ListenAddress::Ip(address),
            token,
        };
        Guard::new(&settings, Some(address.ip()))
    }

    fn check(
        guard: &Guard,
        method: Method,
        path: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<(), ErrorResponse> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name: header::HeaderName = name.parse().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        guard.check(&method, &Uri::from_static(path), &map)
    }

    #[test]
    fn without_a_token_only_hosts_that_cannot_be_rebound_are_accepted() {
        let local = guard("127.0.0.1:9900", None);
        for host in [
            "127.0.0.1:9900",
            "127.0.0.1",
            "localhost:9900",
            "LocalHost",
            "[::1]:9900",
            "127.8.9.1:1",
        ] {
            assert_eq!(
                check(&local, Method::GET, "/metrics", &[("host", host)]),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:9900",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:9900",
            "",
            "127.0.0.1@evil.example",
            "[::1",
        ] {
            assert_eq!(
                check(&local, Method::GET, "/metrics", &[("host", host)]),
                Err(ErrorResponse::Host),
                "{host}"
            );
        }
    }

    #[test]
    fn a_request_without_exactly_one_host_is_rejected() {
        let local = guard("127.0.0.1:9900", None);
        assert_eq!(
            check(&local, Method::GET, "/livez", &[]),
            Err(ErrorResponse::Host)
        );
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(
            check(&local, Method::GET, "/livez", &twice),
            Err(ErrorResponse::Host)
        );
    }

    #[test]
    fn on_a_unix_socket_every_host_is_accepted_and_other_origins_are_not() {
        let settings = |token: Option<&str>| Settings {
            address: ListenAddress::Unix("/run/e.sock".into()),
            token: token.map(str::to_owned),
        };
        let open = Guard::new(&settings(None), None);
        for host in [&[][..], &[("host", "evil.example")], &[("host", "")]] {
            assert_eq!(check(&open, Method::GET, "/metrics", host), Ok(()), "{host:?}");
            assert_eq!(check(&open, Method::POST, "/api/v1/reload", host), Ok(()));
            // As of a page that reaches the socket through a forwarded port.
            let foreign = [host, &[("origin", "http://evil.example:1")]].concat();
            let refused = check(&open, Method::POST, "/api/v1/reload", &foreign);
            assert_eq!(refused, Err(ErrorResponse::CrossOrigin));
        }
        let closed = Guard::new(&settings(Some("s3cret")), None);
        assert_eq!(
            check(&closed, Method::GET, "/metrics", &[]),
            Err(ErrorResponse::Token)
        );
    }

    #[test]
    fn the_authority_of_an_absolute_target_takes_precedence() {
        let local = guard("127.0.0.1:9900", None);
        let fields = [("host", "localhost")];
        assert_eq!(
            check(&local, Method::GET, "http://evil.example/metrics", &fields),
            Err(ErrorResponse::Host)
        );
    }

    #[test]
    fn with_a_token_only_the_probes_and_the_page_need_none() {
        let open = guard("0.0.0.0:9900", Some("s3cret"));
        let host = ("host", "evenkeel.monitoring.svc:9900");
        for path in PROBES.into_iter().chain(DASHBOARD) {
            assert_eq!(check(&open, Method::GET, path, &[host]), Ok(()));
            assert_eq!(
                check(&open, Method::POST, path, &[host]),
                Err(ErrorResponse::Token)
            );
        }
        for path in ["/metrics", "/api/v1/status", "/livez/", "/assets", "/nothing"] {
            assert_eq!(
                check(&open, Method::GET, path, &[host]),
                Err(ErrorResponse::Token),
                "{path}"
            );
            let right = [host, ("authorization", "Bearer s3cret")];
            assert_eq!(check(&open, Method::GET, path, &right), Ok(()), "{path}");
        }
    }

    #[test]
    fn only_the_exact_token_is_accepted() {
        let open = guard("0.0.0.0:9900", Some("s3cret"));
        for value in [
            "Bearer s3cre",
            "Bearer s3crets3cret",
            "Bearer S3cret",
            "Bearer ",
            "Bearer",
            "Basic s3cret",
            "s3cret",
        ] {
            let fields = [("host", "x"), ("authorization", value)];
            assert_eq!(
                check(&open, Method::GET, "/metrics", &fields),
                Err(ErrorResponse::Token),
                "{value}"
            );
        }
        let lower = [("host", "x"), ("authorization", "bearer s3cret")];
        assert_eq!(check(&open, Method::GET, "/metrics", &lower), Ok(()));
        let twice = [
            ("host", "x"),
            ("authorization", "Bearer s3cret"),
            ("authorization", "Bearer s3cret"),
        ];
        assert_eq!(
            check(&open, Method::GET, "/metrics", &twice),
            Err(ErrorResponse::Token)
        );
        assert!(!is_same(b"", b""), "an empty token opens nothing");
    }

    #[test]
    fn other_origins_may_not_change_anything() {
        let local = guard("127.0.0.1:9900", None);
        let host = ("host", "localhost:9900");
        for field in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let refused = check(&local, Method::POST, "/api/v1/reload", &[host, field]);
            assert_eq!(refused, Err(ErrorResponse::CrossOrigin), "{field:?}");
        }
        let ours = [
            host,
            ("origin", "http://localhost:9900"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(check(&local, Method::POST, "/api/v1/reload", &ours), Ok(()));
        assert_eq!(check(&local, Method::POST, "/api/v1/reload", &[host]), Ok(()));
    }

    #[test]
    fn the_body_of_a_change_must_be_json() {
        let local = guard("127.0.0.1:9900", None);
        let host = ("host", "localhost");
        let form = [host, ("content-length", "3"), ("content-type", "text/plain")];
        assert_eq!(
            check(&local, Method::POST, "/api/v1/reload", &form),
            Err(ErrorResponse::NotJson)
        );
        let chunked = [host, ("transfer-encoding", "chunked")];
        assert_eq!(
            check(&local, Method::POST, "/api/v1/reload", &chunked),
            Err(ErrorResponse::NotJson)
        );
        let json = [
            host,
            ("content-length", "2"),
            ("content-type", "application/json; charset=utf-8"),
        ];
        assert_eq!(check(&local, Method::POST, "/api/v1/reload", &json), Ok(()));
    }

    #[test]
    fn only_a_plan_may_have_yaml_in_its_body() {
        let local = guard("127.0.0.1:9900", None);
        let yaml = [
            ("host", "localhost"),
            ("content-length", "3"),
            ("content-type", "application/yaml"),
        ];
        assert_eq!(check(&local, Method::POST, "/api/v1/plan", &yaml), Ok(()));
        assert_eq!(
            check(&local, Method::POST, "/api/v1/reload", &yaml),
            Err(ErrorResponse::NotJson)
        );
    }
}
