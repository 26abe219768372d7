//! Responds to requests with what the config says.

use crate::edits::{Direction, HeaderEdits, WrittenValue};
use crate::local::media_type_of;
use crate::policy::BuildError;
use crate::schema::{Form, Key, Kind, Params, Section, Value};
use crate::template::Variables;

/// Largest body, in bytes. It is kept in memory.
pub const MAX_BODY: usize = 1 << 20;

/// The media type of a body that the config holds itself.
const TEXT: &str = "text/plain; charset=utf-8";

/// The keys of `respond`.
pub const SECTION: Section = Section {
    name: "respond",
    about: "Responds in place of a backend. `Content-Length` and `Date` are added.",
    keys: &[
        Key::new(
            "status",
            Kind::Count {
                least: 200,
                most: 599,
            },
            "The status.",
        )
        .default("200"),
        Key::new(
            "headers",
            Kind::Section(&crate::edits::HEADERS),
            "Headers of the response. Without `Content-Type`, it is `text/plain; charset=utf-8`, or that of the extension of `body_file`.",
        ),
        Key::new(
            "body",
            Kind::Text(Form::new("a text").or_number()),
            "The body. It contains no variables.",
        ),
        Key::new(
            "body_file",
            Kind::Text(Form::new("a file").file()),
            "A file with the body, of at most 1 MiB, which is read when the config is loaded. Instead of `body`.",
        ),
    ],
};

/// A file that `body_file` names, and its content.
#[derive(Debug, Clone, Copy)]
pub struct BodyFile<'a> {
    /// Its path, for its extension.
    pub path: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    status: u16,
    headers: HeaderEdits,
    /// `None` where the config sets `Content-Type`, and where there is no body.
    media_type: Option<&'static str>,
    body: Box<[u8]>,
}

impl Respond {
    /// The response that the config asks for. `groups` are the named groups of the route's `path_regex`; `file` is what `body_file`
    /// names.
    ///
    /// # Errors
    /// All that is wrong, for the person who wrote it.
    pub fn build(
        params: &Params,
        groups: &[&str],
        file: Option<BodyFile<'_>>,
    ) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let text = params.text("body");
        let (body, media_type) = match file {
            Some(file) => (file.content, media_type_of(file.path)),
            None => (text.unwrap_or_default().as_bytes(), TEXT),
        };
        let key = if file.is_some() { "body_file" } else { "body" };
        if file.is_some() && text.is_some() {
            errors.push(BuildError::of(
                "body",
                "`respond` takes one of `body` and `body_file`",
            ));
        }
        if body.len() > MAX_BODY {
            errors.push(BuildError::of(
                key,
                format!("the body is longer than {MAX_BODY} bytes"),
            ));
        }
        let status = status(params);
        if has_no_body(status) && !body.is_empty() {
            errors.push(BuildError::of(
                key,
                format!("a response with status {status} has no body: leave it out"),
            ));
        }
        let headers = headers(params, groups).unwrap_or_else(|found| {
            errors.extend(found);
            HeaderEdits::default()
        });
        match errors.is_empty() {
            true => Ok(Self {
                status,
                media_type: (!headers.removes(b"Content-Type") && !body.is_empty()).then_some(media_type),
                headers,
                body: body.into(),
            }),
            false => Err(errors),
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body; empty if there is none.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Calls `write` with each header but those of framing and `Date`: see [`HeaderEdits::write`].
    pub fn write_headers<'e, V: Variables>(
        &'e self,
        variables: impl FnOnce() -> V,
        buffer: &mut Vec<u8>,
        mut write: impl FnMut(&'e str, WrittenValue<'e, '_>, bool),
    ) {
        if let Some(media_type) = self.media_type {
            write(
                "Content-Type",
                WrittenValue::Literal(media_type.as_bytes()),
                false,
            );
        }
        self.headers.write(variables, buffer, write);
    }
}

fn status(params: &Params) -> u16 {
    let status = params
        .count("status")
        .and_then(|status| u16::try_from(status).ok());
    status
        .filter(|status| (200..=599).contains(status))
        .unwrap_or(200)
}

/// Statuses whose responses end with their head (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// The headers, as if they replaced those of a response that has none.
fn headers(params: &Params, groups: &[&str]) -> Result<HeaderEdits, Vec<BuildError>> {
    let Some(section) = params.section("headers") else {
        return Ok(HeaderEdits::default());
    };
    let mut edits = Params::default();
    edits.set("set", Value::Section(section.clone()));
    HeaderEdits::build(&edits, Direction::Response, groups).map_err(|errors| {
        let of_headers = |error: BuildError| BuildError {
            key: error.key.map(|_| "headers"),
            ..error
        };
        errors.into_iter().map(of_headers).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::head;
    use crate::schema::ANY;
    use crate::template::tests::Source;

    fn params(status: u64, body: Option<&str>, headers: &[(&str, &str)]) -> Params {
        let mut params = Params::default();
        params.set("status", Value::Count(status));
        if let Some(body) = body {
            params.set("body", Value::Text(body.to_owned()));
        }
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())));
        let mut section = Params::default();
        section.set(ANY, Value::Named(headers.collect()));
        params.set("headers", Value::Section(section));
        params
    }

    fn lines(respond: &Respond) -> Vec<String> {
        let head = head("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut lines = Vec::new();
        respond.write_headers(
            || Source::of(&head),
            &mut Vec::new(),
            |name, value, _| {
                lines.push(format!("{name}: {}", String::from_utf8_lossy(value.bytes())));
            },
        );
        lines
    }

    #[test]
    fn a_text_is_plain_text() {
        let respond =
            Respond::build(&params(403, Some("no\n"), &[("X-Host", "${host}")]), &[], None).unwrap();
        assert_eq!((respond.status(), respond.body()), (403, &b"no\n"[..]));
        assert_eq!(
            lines(&respond),
            ["Content-Type: text/plain; charset=utf-8", "X-Host: a.test"]
        );
        let respond = Respond::build(&Params::default(), &[], None).unwrap();
        assert_eq!(
            (respond.status(), respond.body(), lines(&respond).len()),
            (200, &b""[..], 0)
        );
    }

    #[test]
    fn a_file_has_the_type_of_its_extension() {
        let file = BodyFile {
            path: "pages/403.html",
            content: b"<p>no",
        };
        let respond = Respond::build(&params(403, None, &[]), &[], Some(file)).unwrap();
        assert_eq!(respond.body(), b"<p>no");
        assert_eq!(lines(&respond), ["Content-Type: text/html; charset=utf-8"]);
    }

    #[test]
    fn the_config_can_set_the_type() {
        let params = params(200, Some("{}"), &[("content-type", "application/json")]);
        let respond = Respond::build(&params, &[], None).unwrap();
        assert_eq!(lines(&respond), ["content-type: application/json"]);
    }

    #[test]
    fn messages_say_what_to_write() {
        let keys = |params: &Params, file| {
            let errors = Respond::build(params, &[], file).unwrap_err();
            errors.iter().map(|error| error.key).collect::<Vec<_>>()
        };
        let file = Some(BodyFile {
            path: "a",
            content: b"a",
        });
        assert_eq!(keys(&params(200, Some("b"), &[]), file), [Some("body")]);
        assert_eq!(keys(&params(204, Some("b"), &[]), None), [Some("body")]);
        assert_eq!(keys(&params(304, None, &[]), file), [Some("body_file")]);
        let headers = [
            ("Content-Length", "1"),
            ("X-A", "${x}"),
            ("Date", "now"),
            ("X-B", "a\r\nX-C: d"),
        ];
        assert_eq!(keys(&params(200, None, &headers), None), [Some("headers"); 4]);
        let long = "x".repeat(MAX_BODY + 1);
        assert_eq!(keys(&params(200, Some(&long), &[]), None), [Some("body")]);
        assert!(Respond::build(&params(204, None, &[]), &[], None).is_ok());
    }
}
