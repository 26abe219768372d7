//! The fields that `access_log.fields` can name, and how each is written as JSON. Pure.

use super::encode::{self, Options, VALUE_BOUND};
use super::entry::{Entry, TlsFacts};
use super::headers;
use crate::telemetry::{Label, Timestamp, json};

/// The largest number of fields of a sink.
pub const FIELDS_BOUND: usize = 64;

/// What a field is, for descriptions of config keys.
pub const FIELDS_FORM: &str = "one of time, level, msg, client_ip, method, path, backend, status, latency_ms, host, protocol, \
    route, pool, request_id, attempts, bytes_received, bytes_sent, backend_ms, trace_id, retries, grpc_status, client_cert, user, policy, \
    error, detail, tls_version, tls_group, tls_cipher, alpn, sni, header.NAME or response_header.NAME";

/// What a field of a request header begins with.
const HEADER: &str = "header.";
/// What a field of a response header begins with.
const RESPONSE_HEADER: &str = "response_header.";

/// Headers that are never logged, in lower case: they hold credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "set-cookie", "proxy-authorization"];

/// A field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// One of [`FIELDS`].
    Known(&'static KnownField),
    /// A header of the request, by its name as written.
    Header(Box<str>),
    /// A header of the response that was sent.
    ResponseHeader(Box<str>),
}

/// Why a text is not a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldError {
    /// Not a field at all.
    Unknown,
    /// Its header name is not valid.
    Name,
    /// Its header holds credentials.
    Credentials,
}

/// A field with a fixed name.
#[derive(Debug)]
pub struct KnownField {
    /// Its name, which is its key in the line.
    pub name: &'static str,
    write: fn(&mut Writing<'_>),
}

/// Two fields of one name are the same field.
impl PartialEq for KnownField {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for KnownField {}

/// What a field is written from, and to.
struct Writing<'a> {
    entry: &'a Entry<'a>,
    options: Options,
    timestamp: &'a mut Timestamp,
    out: &'a mut Vec<u8>,
}

impl Field {
    /// Parses a field.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let of_header = |name: &str| match name {
            name if !is_token(name) => Err(FieldError::Name),
            name if CREDENTIALS.iter().any(|other| other.eq_ignore_ascii_case(name)) => {
                Err(FieldError::Credentials)
            }
            name => Ok(name.into()),
        };
        if let Some(name) = text.strip_prefix(HEADER) {
            return of_header(name).map(Self::Header);
        }
        if let Some(name) = text.strip_prefix(RESPONSE_HEADER) {
            return of_header(name).map(Self::ResponseHeader);
        }
        let known = FIELDS.iter().find(|field| field.name == text);
        known.map(Self::Known).ok_or(FieldError::Unknown)
    }

    /// The field as the config writes it, which is its key in the line.
    pub fn name(&self) -> String {
        match self {
            Self::Known(field) => field.name.to_owned(),
            Self::Header(name) => format!("{HEADER}{name}"),
            Self::ResponseHeader(name) => format!("{RESPONSE_HEADER}{name}"),
        }
    }
}

/// The fields of a sink with their keys, escaped once.
#[derive(Debug)]
pub(super) struct Selected(Box<[(Label, Field)]>);

impl Selected {
    pub(super) fn new(fields: &[Field]) -> Self {
        let key = |field: &Field| (Label::new(&field.name()), field.clone());
        Self(fields.iter().map(key).collect())
    }

    /// Whether one of them is a header of the response.
    pub(super) fn has_response_header(&self) -> bool {
        let mut fields = self.0.iter();
        fields.any(|(_, field)| matches!(field, Field::ResponseHeader(_)))
    }

    /// Appends the line of `entry` with its newline: one JSON object, whatever bytes the entry has.
    pub(super) fn encode(
        &self,
        entry: &Entry<'_>,
        timestamp: &mut Timestamp,
        options: Options,
        out: &mut Vec<u8>,
    ) {
        let mut before = b'{';
        for (key, field) in &self.0 {
            out.push(before);
            before = b',';
            out.extend_from_slice(key.as_json());
            out.push(b':');
            match field {
                Field::Known(field) => (field.write)(&mut Writing {
                    entry,
                    options,
                    timestamp,
                    out,
                }),
                Field::Header(name) => headers::write_json(headers::of_request(entry, name), out),
                Field::ResponseHeader(name) => headers::write_json(headers::of_response(entry, name), out),
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Every field with a fixed name, in the order of a line with the default fields; those after `detail` are in no line by default.
#[rustfmt::skip]
pub static FIELDS: [KnownField; 31] = [
    field("time", |w| {
        w.out.push(b'"');
        w.timestamp.write(w.entry.time, w.out);
        w.out.push(b'"');
    }),
    field("level", |w| w.code(Some(if w.entry.status >= 500 { "WARN" } else { "INFO" }))),
    field("msg", |w| w.code(Some("Request completed"))),
    field("client_ip", |w| encode::client(w.entry, w.out)),
    field("method", |w| w.value(w.entry.method)),
    field("path", |w| encode::path(w.entry, w.options, w.out)),
    field("backend", |w| w.label(w.entry.backend)),
    field("status", |w| json::number(w.out, w.entry.status.into())),
    field("latency_ms", |w| json::millis(w.out, w.entry.latency)),
    field("host", |w| w.value(w.entry.host)),
    field("protocol", |w| w.code(w.entry.protocol)),
    field("route", |w| w.label(w.entry.route)),
    field("pool", |w| w.label(w.entry.pool)),
    field("request_id", |w| w.value(w.entry.request_id)),
    field("attempts", |w| json::number(w.out, w.entry.attempts.into())),
    field("bytes_received", |w| json::number(w.out, w.entry.bytes_received)),
    field("bytes_sent", |w| json::number(w.out, w.entry.bytes_sent)),
    field("backend_ms", |w| match w.entry.backend_time {
        Some(time) => json::millis(w.out, time),
        None => w.null(),
    }),
    field("trace_id", |w| match w.entry.trace_id {
        Some(id) => w.value(Some(&id.hex())),
        None => w.null(),
    }),
    field("retries", |w| encode::retries(w.entry.retries, w.out)),
    field("grpc_status", |w| match w.entry.grpc_status {
        Some(status) => json::number(w.out, status.into()),
        None => w.null(),
    }),
    field("client_cert", |w| w.label(w.entry.client_cert)),
    field("user", |w| w.value(w.entry.user)),
    field("policy", |w| w.value(w.entry.policy.map(str::as_bytes))),
    field("error", |w| w.code(w.entry.error)),
    field("detail", |w| encode::detail(w.entry.detail, w.out)),
    field("tls_version", |w| w.code(w.tls().map(|tls| tls.version))),
    field("tls_group", |w| w.code(w.tls().and_then(|tls| tls.group))),
    field("tls_cipher", |w| w.code(w.tls().and_then(|tls| tls.cipher))),
    field("alpn", |w| w.code(w.tls().and_then(|tls| tls.alpn))),
    field("sni", |w| w.value(w.tls().map(|tls| tls.server_name.as_bytes()).filter(|name| !name.is_empty()))),
];

const fn field(name: &'static str, write: fn(&mut Writing<'_>)) -> KnownField {
    KnownField { name, write }
}

impl<'a> Writing<'a> {
    fn tls(&self) -> Option<&'a TlsFacts> {
        self.entry.extra.tls
    }

    /// Writes what a client or a backend sent.
    fn value(&mut self, value: Option<&[u8]>) {
        json::string_or_null(self.out, value, VALUE_BOUND);
    }

    /// Writes a constant of this program.
    fn code(&mut self, code: Option<&'static str>) {
        json::string_or_null(self.out, code.map(str::as_bytes), VALUE_BOUND);
    }

    /// Writes a text that is escaped already.
    fn label(&mut self, label: Option<&Label>) {
        self.out.extend_from_slice(label.map_or(b"null", Label::as_json));
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }
}

/// Whether a text is a token (RFC 9110 §5.6.2) that a header can have as its name, of a length that is one.
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests;
