//! Redirects clients to another URL. What the config does not write stays as in the URL of the request.

use evenkeel_wire::http1::check_authority;

use crate::policy::BuildError;
use crate::request::Request;
use crate::rewrite::{Prefix, written_path};
use crate::schema::{Form, Key, Kind, Params, Section};

/// Statuses of redirects that clients follow (RFC 9110 §15.4).
const STATUSES: [&str; 5] = ["301", "302", "303", "307", "308"];

const PATH: Kind = Kind::Text(Form::new("a path that begins with /").matching("^/[^?#]*$"));

/// The keys of `redirect`.
pub const SECTION: Section = Section {
    name: "redirect",
    about: "Redirects the client. What is not written stays as in the URL of the request. At most one of `path` and `path_prefix`.",
    keys: &[
        Key::new("scheme", Kind::Choice(&["http", "https"]), "The scheme. With another one than that of the request, and without `port`, the port is the default of the new scheme."),
        Key::new("host", Kind::Text(Form::new("a host without a port")), "The host."),
        Key::new("port", Kind::Count { least: 1, most: 65_535 }, "The port."),
        Key::new("path", PATH, "The whole path."),
        Key::new("path_prefix", PATH, "Takes the place of the `path_prefix` of the route."),
        Key::new("query", Kind::Choice(&["keep", "drop"]), "Whether the query stays.").default("keep"),
        Key::new(
            "status",
            Kind::Text(Form::new("one of 301, 302, 303, 307, 308").or_number().checked(|text| STATUSES.contains(&text))),
            "The status. 301 and 308 are permanent, and clients may remember them for ever; 307 and 308 keep the method, 303 makes it GET, and with 301 and 302 some clients make a POST a GET.",
        )
        .default("302"),
    ],
};

/// Where clients are redirected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Whether the new URL has https.
    is_secure: Option<bool>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: Path,
    keeps_query: bool,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Path {
    Keep,
    Whole(Box<[u8]>),
    Prefix(Prefix),
}

/// What all requests of the route have in common, as far as it is known when the config is loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Matched<'a> {
    /// The hosts of the route; a wildcard among them means that others are possible. Empty for every host.
    pub hosts: &'a [&'a str],
    /// The exact path.
    pub path: Option<&'a str>,
    /// The prefix of the path.
    pub path_prefix: Option<&'a str>,
    /// Whether clients use https, where all listeners of the route have TLS or none has. `None` also where a proxy before us
    /// may end TLS.
    pub is_secure: Option<bool>,
    /// The port that clients use, where all listeners of the route have the same.
    pub port: Option<u16>,
}

/// The request has no host, and the redirect names none: an HTTP/1.0 request may leave it out. There is no URL to redirect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request has no host to redirect to")]
pub struct MissingHost;

impl Redirect {
    /// The redirect that the config asks for.
    ///
    /// # Errors
    /// All that is wrong, for the person who wrote it.
    pub fn build(params: &Params, matched: &Matched<'_>) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        if params.get("path").is_some() && params.get("path_prefix").is_some() {
            errors.push(general("`redirect` takes one of `path` and `path_prefix`"));
        }
        let path = path(params, matched.path_prefix).unwrap_or_else(|error| {
            errors.push(error);
            Path::Keep
        });
        let host = params.text("host");
        if let Some(host) = host.filter(|host| !is_host(host)) {
            let message =
                format!("{host:?} is not a host: write a name or an address; the port has its own key");
            errors.push(BuildError::of("host", message));
        }
        let redirect = Self {
            is_secure: params.word("scheme").map(|scheme| scheme == "https"),
            host: host.map(Into::into),
            port: params.count("port").and_then(|port| u16::try_from(port).ok()),
            path,
            keeps_query: params.word("query") != Some("drop"),
            status: status(params).unwrap_or_else(|error| {
                errors.push(error);
                302
            }),
        };
        if errors.is_empty() && redirect.loops(matched) {
            errors.push(general(
                "this redirects every request to its own URL, so clients would be redirected for ever: change the scheme, host, port or path",
            ));
        }
        match errors.is_empty() {
            true => Ok(redirect),
            false => Err(errors),
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Appends the value of `Location`, an absolute URL, to `out`. Its parts were checked when the request was parsed and when
    /// the config was loaded, so that nothing in it can end the header.
    ///
    /// # Errors
    /// [`MissingHost`]; `out` is then as it was.
    pub fn location(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), MissingHost> {
        let host = self.host.as_deref().map_or(request.host(), str::as_bytes);
        if host.is_empty() {
            return Err(MissingHost);
        }
        let is_secure = self.is_secure.unwrap_or(request.is_secure);
        out.extend_from_slice(if is_secure { b"https://" } else { b"http://" });
        out.extend_from_slice(host);
        let port = match self.port {
            None if is_secure == request.is_secure => port_of(request),
            port => port,
        };
        if let Some(port) = port.filter(|port| *port != default_port(is_secure)) {
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        self.append_path(request.path(), out);
        if let Some(query) = request.head.query.filter(|_| self.keeps_query) {
            out.push(b'?');
            out.extend_from_slice(request.head.text(query));
        }
        Ok(())
    }

    fn append_path(&self, path: &[u8], out: &mut Vec<u8>) {
        match &self.path {
            Path::Whole(path) => out.extend_from_slice(path),
            // `OPTIONS *` is for the server as a whole, which has no URL of its own.
            _ if path == b"*" => out.push(b'/'),
            Path::Prefix(prefix) if prefix.replace(path, out) => {}
            Path::Keep | Path::Prefix(_) => out.extend_from_slice(path),
        }
    }

    /// Whether the URL of every request stays the same but for its query. A dropped query does not help: without one, the
    /// request is redirected to itself.
    fn loops(&self, matched: &Matched<'_>) -> bool {
        let keeps_scheme = self.is_secure.is_none_or(|to| matched.is_secure == Some(to));
        let keeps_host = self.host.as_deref().is_none_or(|to| match matched.hosts {
            [only] => only.eq_ignore_ascii_case(to),
            _ => false,
        });
        let keeps_port = self.port.is_none_or(|to| matched.port == Some(to));
        let keeps_path = match &self.path {
            Path::Keep => true,
            Path::Whole(to) => matched.path.is_some_and(|from| from.as_bytes() == &**to),
            Path::Prefix(prefix) => prefix.is_same(),
        };
        keeps_scheme && keeps_host && keeps_port && keeps_path
    }
}

fn path(params: &Params, route_prefix: Option<&str>) -> Result<Path, BuildError> {
    if let Some(text) = params.text("path") {
        return Ok(Path::Whole(written_path("path", text)?));
    }
    match params.text("path_prefix") {
        Some(text) => Ok(Path::Prefix(Prefix::build(route_prefix, text)?)),
        None => Ok(Path::Keep),
    }
}

fn status(params: &Params) -> Result<u16, BuildError> {
    let text = params.text("status").unwrap_or("302");
    let status = text.parse().ok().filter(|_| STATUSES.contains(&text));
    status.ok_or_else(|| {
        BuildError::of(
            "status",
            format!("{text:?} is not one of {}", STATUSES.join(", ")),
        )
    })
}

/// Whether it is a host without a port.
fn is_host(host: &str) -> bool {
    let has_port = match host.strip_prefix('[') {
        Some(address) => !address.ends_with(']'),
        None => host.contains(':'),
    };
    !has_port && check_authority(host.as_bytes()).is_ok()
}

/// The port in the authority of a request; `None` for the default one.
fn port_of(request: &Request<'_>) -> Option<u16> {
    let authority = request.head.text(request.head.authority);
    let port = authority.get(request.host().len()..)?.strip_prefix(b":")?;
    std::str::from_utf8(port).ok()?.parse().ok()
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

fn general(message: &str) -> BuildError {
    BuildError {
        key: None,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
