//! Values with variables, such as `${client_ip}`: parsed when the config is loaded, rendered for each request. Knows nothing of
//! the headers that get the values.
//!
//! A rendered value is always a valid field value (RFC 9110 §5.5): control bytes other than TAB in a variable are dropped, and so
//! are white space at both ends of the value. A value of more than [`MAX_VALUE`] bytes is not used at all, because a part of
//! it could mean something else.

mod parse;

use std::io::Write;

pub use parse::TemplateError;

use crate::policy::Notes;
use crate::request::Request;

/// Longest rendered value, in bytes: what most servers accept as one header.
pub const MAX_VALUE: usize = 8 << 10;

/// The variables, for the docs: name and meaning.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "client_ip",
        "the client's address without its port, as the access log names it; empty for a Unix socket",
    ),
    (
        "client_port",
        "the client's port; empty for a Unix socket, and when a proxy named the client",
    ),
    ("host", "the host of the request without its port, as received"),
    (
        "path",
        "the path of the request, normalised, before it is rewritten",
    ),
    ("request_id", "the request id, as in `X-Request-Id`"),
    (
        "trace_id",
        "the id of the request's trace; empty while `tracing` is off",
    ),
    ("route", "the name of the route"),
    ("pool", "the name of the pool"),
    (
        "backend",
        "the backend of this attempt, as the access log names it",
    ),
    (
        "tls_version",
        "the TLS version, such as `TLSv1.3`; empty without TLS",
    ),
    (
        "tls_sni",
        "the server name that the client asked for (SNI); empty without one",
    ),
    (
        "client_cert_subject",
        "the subject of the client's certificate; empty without one",
    ),
    (
        "user",
        "who the client proved to be; empty when no policy checked that",
    ),
    ("path.NAME", "the named group of the route's `path_regex`"),
    (
        "header.NAME",
        "a header of the request as received, so an untrusted client can have sent anything; several lines are joined with `, `",
    ),
    (
        "query.NAME",
        "the first query parameter with this name, as received: not decoded",
    ),
    ("cookie.NAME", "the first cookie with this name"),
    ("jwt.NAME", "a claim of the verified token; empty without one"),
];

/// What variables are read from.
pub trait Variables {
    /// The request as it was received.
    fn request(&self) -> Request<'_>;

    /// What the policies of the route found out; `None` when it has none.
    fn notes(&self) -> Option<&Notes>;

    /// The client's port.
    fn client_port(&self) -> Option<u16>;

    /// What is known beside the request; empty when it does not apply.
    fn fact(&self, fact: Fact) -> &[u8];

    /// A named group of the route's `path_regex`; empty when it took no part in the match.
    fn path_group(&self, name: &str) -> &[u8];
}

/// What is known of a request beside its head and the notes of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The request id.
    RequestId,
    /// The id of the trace.
    TraceId,
    /// The name of the route.
    Route,
    /// The name of the pool.
    Pool,
    /// The backend of this attempt.
    Backend,
    /// The TLS version of the client's connection.
    TlsVersion,
    /// The server name that the client asked for.
    TlsSni,
    /// The subject of the client's certificate.
    ClientCertSubject,
}

/// A value with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Without neighbouring literals.
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<[u8]>),
    Variable(Variable),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    ClientIp,
    ClientPort,
    Host,
    Path,
    User,
    Fact(Fact),
    PathGroup(Box<str>),
    Header(Box<[u8]>),
    Query(Box<[u8]>),
    Cookie(Box<[u8]>),
    Jwt(Box<str>),
}

/// The value is longer than [`MAX_VALUE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is longer than {MAX_VALUE} bytes")]
pub struct TooLong;

impl Template {
    /// Parses a value. `groups` are the named groups of the route's `path_regex`.
    ///
    /// # Errors
    /// [`TemplateError`] for the person who wrote the value.
    pub fn parse(text: &str, groups: &[&str]) -> Result<Self, TemplateError> {
        parse::template(text, groups)
    }

    /// The value if it has no variables: it is valid, and needs no rendering.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [] => Some(b""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether the value may hold what the client sent as a secret, so that HTTP/2 must not index it (RFC 7541 §7.1.3).
    pub fn may_hold_secret(&self) -> bool {
        let is_secret = |piece: &Piece| {
            let Piece::Variable(variable) = piece else {
                return false;
            };
            matches!(
                variable,
                Variable::Header(_) | Variable::Cookie(_) | Variable::Jwt(_)
            )
        };
        self.pieces.iter().any(is_secret)
    }

    /// Appends the value to `out`. Allocates nothing once `out` has grown.
    ///
    /// # Errors
    /// [`TooLong`]; `out` is then as it was.
    pub fn render(&self, source: &dyn Variables, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let start = out.len();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Variable(variable) => variable.append(source, out),
            }
            if out.len() - start > MAX_VALUE {
                out.truncate(start);
                return Err(TooLong);
            }
        }
        trim(out, start);
        Ok(())
    }
}

impl Variable {
    fn append(&self, source: &dyn Variables, out: &mut Vec<u8>) {
        let request = source.request();
        match self {
            Self::ClientIp => {
                if let Some(ip) = request.client_ip {
                    // Writing to a vector cannot fail.
                    let _ = write!(out, "{}", ip.to_canonical());
                }
            }
            Self::ClientPort => {
                if let Some(port) = source.client_port() {
                    out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
                }
            }
            Self::Host => append_clean(request.host(), out),
            Self::Path => append_clean(request.path(), out),
            Self::User => {
                let user = source.notes().and_then(|notes| notes.user.as_deref());
                append_clean(user.unwrap_or_default().as_bytes(), out);
            }
            Self::Fact(fact) => append_clean(source.fact(*fact), out),
            Self::PathGroup(name) => append_clean(source.path_group(name), out),
            Self::Header(name) => append_header(&request, name, out),
            Self::Query(name) => append_clean(request.query(name).next().unwrap_or_default(), out),
            Self::Cookie(name) => append_clean(request.cookie(name).next().unwrap_or_default(), out),
            Self::Jwt(name) => {
                let claim = source.notes().and_then(|notes| notes.claim(name));
                append_clean(claim.unwrap_or_default(), out);
            }
        }
    }
}

/// Appends all lines of a header as one value (RFC 9110 §5.3); those of cookies as in RFC 9113 §8.2.3.
fn append_header(request: &Request<'_>, name: &[u8], out: &mut Vec<u8>) {
    let separator: &[u8] = match name.eq_ignore_ascii_case(b"cookie") {
        true => b"; ",
        false => b", ",
    };
    for (index, value) in request.header(name).enumerate() {
        if index > 0 {
            out.extend_from_slice(separator);
        }
        append_clean(value, out);
    }
}

/// Whether a byte may occur in a value: everything but control bytes, of which only TAB may (RFC 9110 §5.5).
fn is_clean(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

fn append_clean(value: &[u8], out: &mut Vec<u8>) {
    match value.iter().all(|byte| is_clean(*byte)) {
        true => out.extend_from_slice(value),
        false => out.extend(value.iter().copied().filter(|byte| is_clean(*byte))),
    }
}

/// Removes spaces and tabs from both ends of what follows `start`.
fn trim(out: &mut Vec<u8>, start: usize) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let added = out.get(start..).unwrap_or_default();
    let trailing = added.iter().rev().take_while(|byte| is_space(byte)).count();
    out.truncate(out.len() - trailing);
    let added = out.get(start..).unwrap_or_default();
    let leading = added.iter().take_while(|byte| is_space(byte)).count();
    if leading > 0 {
        out.drain(start..start + leading);
    }
}

#[cfg(test)]
pub(crate) mod tests;
