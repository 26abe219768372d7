//! Changes of headers that the config asks for: `request_headers` and `response_headers`. Decides what is removed and what is
//! written; whoever writes the head does it.
//!
//! In requests a name also stands for its variants with other marks: `remove: [X-Debug]` removes `X_Debug` and `x.debug` too,
//! because CGI and its descendants give both to the application as `HTTP_X_DEBUG`. The same holds for `set`, so that a
//! client cannot send a second value beside it. In responses names are compared without case only.

mod reserved;

use std::borrow::Cow;

use evenkeel_wire::http1::is_token;

use crate::policy::BuildError;
use crate::schema::{Form, Key, Kind, Params, Section, Value};
use crate::template::{Template, Variables};

/// Maximum number of headers that `set`, `add` and `remove` name together: each header of a message is compared with them.
pub const MAX_EDITS: usize = 100;

const VALUE: Kind = Kind::Text(
    Form::new("a value, with variables such as ${client_ip}")
        .or_number()
        .template(),
);
const NAME: Kind = Kind::Text(Form::new("the name of a header"));

/// The keys of a map from headers to values.
pub const HEADERS: Section = Section {
    name: "headers",
    about: "Headers by name. A value can contain variables: `${client_ip}` (without port), `${client_port}`, `${host}`, `${path}`, `${request_id}`, `${trace_id}`, `${route}`, `${pool}`, `${backend}`, `${tls_version}`, `${tls_sni}`, `${client_cert_subject}`, `${user}`, `${path.NAME}` (a named group of `path_regex`), `${header.NAME}`, `${query.NAME}` (as received, not decoded), `${cookie.NAME}` and `${jwt.NAME}`. `$$` is a `$`. Control characters in a variable are dropped. A header whose value is empty, or longer than 8 KiB, is left out.",
    keys: &[Key::any(VALUE, "The value of the header with this name.")],
};

/// The keys of `request_headers` and `response_headers`.
pub const SECTION: Section = Section {
    name: "header changes",
    about: "Changes of headers, in the order `remove`, `set`, `add`. In requests a name also stands for its variants with other marks, such as `X_Debug` for `X-Debug`, because many applications read both as one.",
    keys: &[
        Key::new(
            "set",
            Kind::Section(&HEADERS),
            "Headers that replace every header with the same name. Where the value comes out empty, the header is only removed.",
        ),
        Key::new(
            "add",
            Kind::Section(&HEADERS),
            "Headers that are added to those with the same name.",
        ),
        Key::new(
            "remove",
            Kind::List(&NAME),
            "Names of headers that are removed. Headers that framing or the identity of the client depend on cannot be named.",
        ),
    ],
};

/// The messages whose headers are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Requests to backends.
    Request,
    /// Responses to clients.
    Response,
}

/// Changes of headers. The default changes nothing and allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Names of headers that do not go on, in lower case.
    removed: Names,
    /// Headers that are written, those of `set` first.
    written: Box<[Written]>,
    /// Whether no value has a variable.
    is_literal: bool,
    /// If so, the headers that are written as HTTP/1 has them, each after a line break.
    lines: Box<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    name: Box<str>,
    value: Template,
}

/// The value of a header that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenValue<'e, 'b> {
    /// As the config has it.
    Literal(&'e [u8]),
    /// Of the variables of a request.
    Rendered(&'b [u8]),
}

impl<'e> WrittenValue<'e, '_> {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match *self {
            Self::Literal(bytes) => bytes,
            Self::Rendered(bytes) => bytes,
        }
    }

    /// Its bytes, copied only if they depend on the request.
    pub fn into_cow(self) -> Cow<'e, [u8]> {
        match self {
            Self::Literal(bytes) => Cow::Borrowed(bytes),
            Self::Rendered(bytes) => Cow::Owned(bytes.to_vec()),
        }
    }
}

impl HeaderEdits {
    /// The changes that the config asks for. `groups` are the named groups of the route's `path_regex`.
    ///
    /// # Errors
    /// All that is wrong, for the person who wrote it.
    pub fn build(params: &Params, direction: Direction, groups: &[&str]) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let mut names = Vec::new();
        let mut written = Vec::new();
        for key in ["set", "add"] {
            let headers = params.section(key).map_or(&[][..], Params::any);
            for (name, value) in headers {
                match header(name, value, direction, groups) {
                    Ok(header) => written.push(header),
                    Err(message) => errors.push(BuildError::of(key, message)),
                }
                if key == "set" {
                    add_name(&mut names, name, direction, key, &mut errors);
                }
            }
        }
        for value in params.list("remove") {
            let Value::Text(name) = value else { continue };
            match reserved::check_remove(name, direction) {
                Ok(()) => add_name(&mut names, name, direction, "remove", &mut errors),
                Err(message) => errors.push(BuildError::of("remove", message)),
            }
        }
        if names.len() + written.len() > MAX_EDITS {
            errors.push(BuildError {
                key: None,
                message: format!("more than {MAX_EDITS} headers are changed: use fewer"),
            });
        }
        match errors.is_empty() {
            true => {
                let lines: Option<Vec<_>> = written.iter().map(line).collect();
                Ok(Self {
                    removed: Names::new(names, direction),
                    is_literal: lines.is_some(),
                    lines: lines.unwrap_or_default().concat().into(),
                    written: written.into(),
                })
            }
            false => Err(errors),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.written.is_empty()
    }

    /// Whether the headers of a message with this name are left out. Without any change this is one comparison.
    #[inline]
    pub fn removes(&self, name: &[u8]) -> bool {
        self.removed.contains(name)
    }

    /// The names of the headers that are left out, in lower case.
    pub fn removed(&self) -> impl Iterator<Item = &[u8]> {
        self.removed.names.iter().map(|name| &**name)
    }

    /// Number of headers that are written at most.
    pub fn len(&self) -> usize {
        self.written.len()
    }

    /// Whether every value is written as the config has it: then [`Self::literals`] are all headers that are written.
    #[inline]
    pub fn is_literal(&self) -> bool {
        self.is_literal
    }

    /// The headers of [`Self::literals`] as HTTP/1 has them, each after a line break; empty if not every value is literal.
    #[inline]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The headers whose values have no variables, by name and value.
    pub fn literals(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let written = self.written.iter();
        written.filter_map(|header| Some((&*header.name, header.value.literal()?)))
    }

    /// Calls `write` with the name and the value of each header that is written, and with whether the value may be a secret that
    /// HTTP/2 must not index. Headers whose value comes out empty or too long are left out. Asks for the variables only if a value
    /// has some. `buffer` is for this function alone; nothing is allocated once it has grown.
    pub fn write<'e, V: Variables>(
        &'e self,
        variables: impl FnOnce() -> V,
        buffer: &mut Vec<u8>,
        mut write: impl FnMut(&'e str, WrittenValue<'e, '_>, bool),
    ) {
        let (mut variables, mut known) = (Some(variables), None);
        for Written { name, value } in &self.written {
            if let Some(literal) = value.literal() {
                write(name, WrittenValue::Literal(literal), false);
                continue;
            }
            if let Some(variables) = variables.take() {
                known = Some(variables());
            }
            let Some(known) = &known else { continue };
            buffer.clear();
            if value.render(known, buffer).is_ok() && !buffer.is_empty() {
                write(name, WrittenValue::Rendered(buffer), value.may_hold_secret());
            }
        }
    }
}

/// Whether two names are one to whoever reads messages of this direction. Policies that set a header remove by this rule too.
pub fn is_same_name(direction: Direction, one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match direction {
            Direction::Request => one
                .iter()
                .zip(other)
                .all(|(one, other)| folded(*one) == folded(*other)),
            Direction::Response => one.eq_ignore_ascii_case(other),
        }
}

/// A byte of a name as CGI shows it, where all marks are one.
fn folded(byte: u8) -> u8 {
    match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'-',
    }
}

/// Names to compare with every header of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    /// A bit for each length that a name has; bit 63 for all lengths from 63. Few headers have such a length, so few are compared.
    lengths: u64,
    /// Whether only case is ignored.
    is_exact: bool,
    names: Box<[Box<[u8]>]>,
}

impl Names {
    fn new(names: Vec<Box<[u8]>>, direction: Direction) -> Self {
        Self {
            lengths: names.iter().fold(0, |bits, name| bits | bit_of_length(name)),
            is_exact: direction == Direction::Response,
            names: names.into(),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    #[inline]
    fn contains(&self, name: &[u8]) -> bool {
        self.lengths & bit_of_length(name) != 0 && self.contains_slowly(name)
    }

    fn contains_slowly(&self, name: &[u8]) -> bool {
        let direction = match self.is_exact {
            true => Direction::Response,
            false => Direction::Request,
        };
        self.names
            .iter()
            .any(|removed| is_same_name(direction, removed, name))
    }
}

#[inline]
fn bit_of_length(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// A header without variables as HTTP/1 has it, after a line break.
fn line(header: &Written) -> Option<Vec<u8>> {
    let value = header.value.literal()?;
    Some([b"\r\n", header.name.as_bytes(), b": ", value].concat())
}

/// Reads one header of `set` or `add`.
fn header(name: &str, value: &Value, direction: Direction, groups: &[&str]) -> Result<Written, String> {
    reserved::check_write(name, direction)?;
    let text = match value {
        Value::Text(text) => text,
        _ => return Err(format!("`{name}` requires a text")),
    };
    let value = Template::parse(text, groups).map_err(|error| format!("`{name}`: {error}"))?;
    if value.literal() == Some(b"") {
        return Err(format!(
            "`{name}` has an empty value: use `remove` to remove the header"
        ));
    }
    Ok(Written {
        name: name.into(),
        value,
    })
}

/// Adds a name that is removed, unless it is there already.
fn add_name(
    names: &mut Vec<Box<[u8]>>,
    name: &str,
    direction: Direction,
    key: &'static str,
    errors: &mut Vec<BuildError>,
) {
    let is_known = names
        .iter()
        .any(|known| is_same_name(direction, known, name.as_bytes()));
    match is_known {
        true => errors.push(BuildError::of(
            key,
            format!(
                "`{name}` is named twice: a header of `set` replaces all that have its name; name it once"
            ),
        )),
        false => names.push(name.to_ascii_lowercase().into_bytes().into()),
    }
}

#[cfg(test)]
mod tests;
