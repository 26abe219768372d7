//! Compresses responses for clients that accept it: decides which, with what coding, and what their headers say then. The bytes
//! are compressed where the body passes, by an encoder of `evenkeel_wire::coding`.
//!
//! The response to `HEAD`, and 304, say what holds for the response to `GET` as far as it is certain: `Vary`, a weak `ETag`, and no
//! length. They never name a coding, because the backend might send another type or length with a body.

mod media;
mod response;

use evenkeel_wire::coding::{self, ContentCoding, Level};
use evenkeel_wire::head::{Method, RequestHead};

use super::{BuildError, Context, Decision, Notes, Policy};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params, Value};
use media::MediaRange;

pub use response::{Outcome, ResponseFacts};

/// A smaller body gains less than what its head takes, and fits into one packet in any case.
const MIN_SIZE: u64 = 1 << 10;

const TYPES: Kind = Kind::List(&Kind::Text(
    Form::new("a media type such as application/json, text/* or application/*+xml")
        .matching(r"^[^/ ;,]+/[^/ ;,]+$")
        .checked(|text| MediaRange::parse(text).is_some()),
));

/// Types that usually become much smaller. Images, audio, video, fonts in WOFF and archives are compressed already.
const DEFAULT_TYPES: &[&str] = &[
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/x-javascript",
    "application/xml",
    "application/*+xml",
    "application/x-ndjson",
    "application/yaml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
];
const DEFAULT_TYPES_TEXT: &str = "[text/*, application/json, application/*+json, application/javascript, \
     application/x-javascript, application/xml, application/*+xml, application/x-ndjson, application/yaml, application/wasm, \
     application/vnd.ms-fontobject, font/otf, font/ttf, image/svg+xml, image/bmp, image/x-icon, image/vnd.microsoft.icon]";

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "encodings",
        Kind::List(&Kind::Choice(&["zstd", "br", "gzip"])),
        "Content codings that may be used, most preferred first. The order decides between codings that the client accepts with \
         equal weight (`q`). At the default level, zstd takes about half the time of gzip and compresses better; br compresses \
         best, takes two to three times the time of gzip, and ten times its memory.",
    )
    .default("[zstd, br, gzip]"),
    Key::new(
        "min_size",
        Kind::Size {
            least: 1,
            most: 1 << 30,
        },
        "Smallest body that is compressed, by its `Content-Length`. A body of unknown length is always compressed.",
    )
    .default("1KiB"),
    Key::new(
        "types",
        TYPES,
        "Media types that are compressed, by `Content-Type` without its parameters. `text/*` stands for every subtype, \
         `application/*+json` for every subtype with that suffix. `text/event-stream` and the types of gRPC are \
         compressed only if they are listed by their full names: each open stream then holds an encoder (0.4 to 7 MiB, by coding \
         and level), and every event is sent at once.",
    )
    .default(DEFAULT_TYPES_TEXT),
    Key::new(
        "level",
        Kind::Choice(&["fast", "default", "best"]),
        "How much CPU time is spent on a smaller body. `default` costs less than gzip level 1 elsewhere, with gzip and zstd; \
         `best` costs two to three times as much and makes bodies 5 to 15% smaller.",
    )
    .default("default"),
];

/// How a route compresses its responses.
#[derive(Debug, Clone)]
pub struct Compression {
    /// Without repetition, most preferred first.
    encodings: Vec<ContentCoding>,
    min_size: u64,
    types: Vec<MediaRange>,
    level: Level,
}

#[derive(Debug)]
struct Compress(Compression);

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let params = context.params;
    let mut encodings = Vec::new();
    for name in texts(params, "encodings", &["zstd", "br", "gzip"]) {
        match ContentCoding::from_name(name.as_bytes()) {
            Some(coding) if encodings.contains(&coding) => {
                let message = format!("`{name}` is listed twice; remove one of them");
                return Err(BuildError::of("encodings", message));
            }
            coding => encodings.extend(coding),
        }
    }
    if encodings.is_empty() {
        let message = "the list is empty; list at least one of zstd, br, gzip, or leave the policy out";
        return Err(BuildError::of("encodings", message));
    }
    let types = texts(params, "types", DEFAULT_TYPES);
    let types: Vec<_> = types.into_iter().filter_map(MediaRange::parse).collect();
    if types.is_empty() {
        let message = "the list is empty; list at least one media type, or leave the policy out";
        return Err(BuildError::of("types", message));
    }
    Ok(Box::new(Compress(Compression {
        encodings,
        min_size: params.size("min_size").unwrap_or(MIN_SIZE),
        types,
        level: match params.word("level") {
            Some("fast") => Level::Fast,
            Some("best") => Level::Best,
            _ => Level::Default,
        },
    })))
}

/// The items of a list; those of `default` if it was not written.
fn texts<'a>(params: &'a Params, key: &str, default: &[&'a str]) -> Vec<&'a str> {
    if params.get(key).is_none() {
        return default.to_vec();
    }
    let items = params.list(key).iter();
    items
        .filter_map(|value| match value {
            Value::Word(word) => Some(*word),
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

impl Policy for Compress {
    fn check(&self, _: &Request<'_>, _: &mut Notes) -> Decision {
        Decision::Continue
    }

    fn compression(&self) -> Option<&Compression> {
        Some(&self.0)
    }
}

impl Compression {
    /// The level for the encoder.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Decides about a response to this request.
    pub fn choose(&self, request: &RequestHead, response: &ResponseFacts<'_>) -> Outcome {
        if request.method == Method::Connect || !self.is_compressible(response) {
            return Outcome::Untouched;
        }
        let accepted = coding::preferred(values(request, b"accept-encoding"), &self.encodings);
        // RFC 9111 §5.2.1.6: the client asks that nothing be transformed.
        let is_fixed = values(request, b"cache-control").any(response::forbids_transform);
        match accepted.filter(|_| !is_fixed) {
            None => Outcome::Varies,
            Some(_) if request.method == Method::Head || response.status == 304 => Outcome::HeadOnly,
            Some(coding) => Outcome::Encoded(coding),
        }
    }

    /// Whether a client that accepts it gets this response compressed.
    fn is_compressible(&self, response: &ResponseFacts<'_>) -> bool {
        let has_type = match response.content_type {
            Some(value) => self.types.iter().any(|range| range.includes(value)),
            // A 304 need not repeat it (RFC 9110 §15.4.5).
            None => response.status == 304,
        };
        let may_have_body = response.status >= 200 && !matches!(response.status, 204..=206);
        may_have_body
            && has_type
            && !response.is_fixed
            && response.length.is_none_or(|length| length >= self.min_size)
    }
}

/// The values of every header with this name, in lower case.
fn values<'a>(head: &'a RequestHead, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let fields = head.fields.iter();
    fields
        .filter(move |field| head.text(field.name).eq_ignore_ascii_case(name))
        .map(|field| head.text(field.value))
}

#[cfg(test)]
mod tests;
