//! The keys of a route that say which requests it is for.

use std::sync::Arc;

use evenkeel_balance::suggest::listed;
use evenkeel_wire::http1::{is_token, normalise_path};
use ipnet::IpNet;

use super::address::{self, LISTEN_ADDRESS};
use super::block;
use super::route_host::{self, HOST_NAME};
use crate::config::print::{Item, map, quoted, text, word};
use crate::config::reader::{Reader, Written, written};
use crate::config::source::Diagnostic;
use crate::config::suggest;
use crate::config::tree::{Entry, Node, Value};
use crate::listener;
use crate::router::{
    Conditions, Matcher, PathMatcher, PathPattern, ValueCondition, ValueMatcher, ValuePattern,
};
use crate::schema::{Form, Key, Kind, Section};

/// `name`.
pub(super) const NAME: Key = Key::new(
    "name",
    Kind::Text(
        Form::new("a name of letters, digits, `-`, `_` and `.`, at most 64 characters")
            .matching("^[A-Za-z0-9._-]{1,64}$"),
    ),
    "Its unique name in the log, the metrics, the status and `evenkeel explain`.",
)
.otherwise("host and path");

/// `host`.
pub(super) const HOST: Key = Key::new(
    "host",
    Kind::Either(&HOST_NAME, &Kind::List(&HOST_NAME)),
    "The host of the request, or several. `*.example.com` matches every name below `example.com`, but not `example.com` itself.",
)
.otherwise("every host");

/// `path`.
pub(super) const PATH: Key = Key::new(
    "path",
    PATH_TEXT,
    "The path, exactly. At most one of `path`, `path_prefix` and `path_regex`.",
);

/// `path_prefix`.
pub(super) const PATH_PREFIX: Key = Key::new(
    "path_prefix",
    PATH_TEXT,
    "The start of the path, in whole segments: `/api` matches `/api` and `/api/x`, but not `/apis`. A `/` at its end is ignored.",
)
.default("/");

/// `path_regex`.
pub(super) const PATH_REGEX: Key = Key::new(
    "path_regex",
    Kind::Text(Form::new(
        "a regular expression, such as '/v[0-9]+/users/(?<id>[0-9]+)'",
    )),
    "A regular expression for the whole path. `${path.NAME}` is the group `(?<NAME>…)` in values of headers. It takes linear time, and has no look-around or back-references.",
);

/// `method`.
pub(super) const METHOD: Key = Key::new(
    "method",
    Kind::Either(&METHOD_NAME, &Kind::List(&METHOD_NAME)),
    "The method of the request, or several; compared with case.",
)
.otherwise("every method");

/// `headers`.
pub(super) const HEADERS: Key = Key::new(
    "headers",
    Kind::Map(&VALUE),
    "Headers by name: the whole value as text, `present`, `absent`, or `{ regex: … }`, which matches anywhere in the value.",
)
.otherwise("any headers");

/// `query`.
pub(super) const QUERY: Key = Key::new(
    "query",
    Kind::Map(&VALUE),
    "Query parameters by name, as for `headers`. `%XX` and `+` are decoded before names and values are compared.",
)
.otherwise("any query");

/// `cookies`.
pub(super) const COOKIES: Key =
    Key::new("cookies", Kind::Map(&VALUE), "Cookies by name, as for `headers`.").otherwise("any cookies");

/// `client_ip`.
pub(super) const CLIENT_IP: Key = Key::new(
    "client_ip",
    Kind::Either(&BLOCK, &Kind::List(&BLOCK)),
    "Addresses of clients, as the access log names them.",
)
.otherwise("every client");

/// `listener`.
pub(super) const LISTENER: Key = Key::new(
    "listener",
    Kind::Either(&LISTEN_ADDRESS, &Kind::List(&LISTEN_ADDRESS)),
    "The listener on which the request came in, or several, by the address in `listen` or `listeners`.",
)
.otherwise("every listener");

const PATH_TEXT: Kind =
    Kind::Text(Form::new("a path that begins with /, such as /api").matching("^/[!-~]*$"));
const METHOD_NAME: Kind = Kind::Text(Form::new("a method such as GET").matching("^[!-~]+$"));
const BLOCK: Kind = Kind::Text(
    Form::new("an IP address or a CIDR block such as 10.0.0.0/8").matching(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"),
);
const VALUE: Kind = Kind::Either(
    &Kind::Text(Form::new("a text, present or absent").or_number()),
    &Kind::Section(&REGEX),
);

/// A pattern in place of a value.
pub(super) const REGEX: Section = Section {
    name: "routes[].headers.NAME",
    about: "A pattern for a value of a header, query parameter or cookie.",
    keys: &[Key::new(
        "regex",
        Kind::Text(Form::new("a regular expression")),
        "A regular expression that matches anywhere in the value; write `^…$` for the whole value.",
    )
    .required()],
};

/// The words that are no value.
const PRESENT: &str = "present";
const ABSENT: &str = "absent";

/// Reads what a route matches. `None` is an error that was reported.
pub(super) fn read(reader: &Reader<'_>, listeners: &[listener::Settings]) -> Option<Matcher> {
    let name = name(reader);
    let hosts = items(reader, "host", |written| route_host::read(reader, written));
    let path = path(reader);
    let methods = items(reader, "method", |written| method(reader, written));
    let headers = values(reader, "headers");
    let query = values(reader, "query");
    let cookies = values(reader, "cookies");
    let client_ip = items(reader, "client_ip", |written| client_ip(reader, written));
    let listeners = items(reader, "listener", |written| listener(reader, written, listeners));
    // All keys are read by now, so all errors are reported. Without a key that was invalid, the route would equal others.
    Some(Matcher {
        name: name?,
        hosts: hosts?,
        path: path?,
        conditions: Conditions {
            methods: methods?,
            headers: headers?,
            query: query?,
            cookies: cookies?,
            client_ip: client_ip?,
            listeners: listeners?,
        },
    })
}

/// Prints the keys of a route that say what it matches.
pub(super) fn show(matcher: &Matcher, listeners: &[listener::Settings]) -> Vec<(&'static str, Item)> {
    let mut keys = Vec::new();
    let of = &matcher.conditions;
    keys.extend(matcher.name.as_ref().map(|name| ("name", text(name))));
    keys.extend(list(matcher.hosts.iter().map(|host| text(host)).collect()).map(|hosts| ("host", hosts)));
    keys.push(match &matcher.path {
        PathMatcher::Exact(path) => ("path", text(path)),
        PathMatcher::Prefix(prefix) => ("path_prefix", text(prefix)),
        PathMatcher::Regex(pattern) => ("path_regex", text(pattern.as_str())),
    });
    keys.extend(list(of.methods.iter().map(|method| text(method)).collect()).map(|item| ("method", item)));
    for (key, values) in [
        ("headers", &of.headers),
        ("query", &of.query),
        ("cookies", &of.cookies),
    ] {
        if !values.is_empty() {
            keys.push((key, Item::Map(values.iter().map(show_value).collect())));
        }
    }
    let blocks = of.client_ip.iter().map(|block| text(&block.to_string()));
    keys.extend(list(blocks.collect()).map(|item| ("client_ip", item)));
    let listeners = of.listeners.iter().filter_map(|index| listeners.get(*index));
    let listeners = listeners.map(|listener| text(&listener.address.to_string()));
    keys.extend(list(listeners.collect()).map(|item| ("listener", item)));
    keys
}

fn show_value(condition: &ValueCondition) -> (String, Item) {
    let value = match &condition.value {
        ValueMatcher::Exact(value) => text(value),
        ValueMatcher::Present => word(PRESENT),
        ValueMatcher::Absent => word(ABSENT),
        ValueMatcher::Regex(pattern) => map([("regex", text(pattern.as_str()))]),
    };
    (quoted(&condition.name), value)
}

/// A list on one line, or its only item; `None` when it is empty.
fn list(mut items: Vec<Item>) -> Option<Item> {
    match items.len() {
        0 => None,
        1 => items.pop(),
        _ => Some(Item::Line(items)),
    }
}

/// The items of a list, or a single text in its place. `None` is an error that was reported.
fn items<'a, T>(reader: &Reader<'a>, key: &str, read: impl Fn(Written<'a>) -> Option<T>) -> Option<Vec<T>> {
    let Some(span) = reader.key_span(key) else {
        return Some(Vec::new());
    };
    let nodes = reader.one_or_more(key)?;
    if nodes.is_empty() {
        let message = format!("`{key}` is empty, so that the route would never match");
        let note = format!("write at least one, or remove `{key}`");
        reader.cx.report(Diagnostic::error(span, message).note(note));
        return None;
    }
    let read_one = |node: &'a Node| match written(node) {
        Some(written) => read(written),
        None => {
            reader.refuse_node(key, node);
            None
        }
    };
    // Each of them is read, so that all errors are reported.
    let found: Vec<Option<T>> = nodes.iter().map(read_one).collect();
    found.into_iter().collect()
}

/// The outer `None` is an error that was reported.
fn name(reader: &Reader<'_>) -> Option<Option<Arc<str>>> {
    if !reader.has("name") {
        return Some(None);
    }
    let written = reader.text("name")?;
    if !super::pool_name::is_pool_name(written.text) {
        reader.refuse("name", written, None);
        return None;
    }
    Some(Some(written.text.into()))
}

/// The path. `None` is an error that was reported.
fn path(reader: &Reader<'_>) -> Option<PathMatcher> {
    let keys = ["path", "path_prefix", "path_regex"];
    let mut written = keys.iter().filter(|key| reader.has(key));
    let (first, second) = (written.next(), written.next());
    if let Some(span) = second.and_then(|key| reader.key_span(key)) {
        let message = "a route has one of `path`, `path_prefix` and `path_regex`";
        reader
            .cx
            .report(Diagnostic::error(span, message).note("remove the others"));
    }
    let Some(key) = first else {
        return Some(PathMatcher::default());
    };
    let text = reader.text(key)?;
    match *key {
        "path" => Some(PathMatcher::Exact(literal_path(reader, key, text)?)),
        "path_prefix" => Some(PathMatcher::Prefix(path_prefix(reader, text)?)),
        _ => match PathPattern::new(text.text) {
            Ok(pattern) => Some(PathMatcher::Regex(pattern)),
            Err(error) => {
                refuse_pattern(reader, "path_regex", text, &error.to_string());
                None
            }
        },
    }
}

fn refuse_pattern(reader: &Reader<'_>, key: &str, written: Written<'_>, why: &str) {
    let message = format!("invalid value for `{key}`: {why}");
    reader.cx.report(Diagnostic::error(written.span, message));
}

/// The prefix without a `/` at its end. `None` is an error that was reported.
fn path_prefix(reader: &Reader<'_>, written: Written<'_>) -> Option<String> {
    let text = literal_path(reader, "path_prefix", written)?;
    let short = text.strip_suffix('/').filter(|short| !short.is_empty());
    Some(short.unwrap_or(&text).to_owned())
}

/// A path as requests have it. `None` is an error that was reported.
fn literal_path(reader: &Reader<'_>, key: &str, written: Written<'_>) -> Option<String> {
    let text = written.text;
    let is_path = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    let is_dots = |segment: &str| {
        matches!(
            segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
            "." | ".."
        )
    };
    if !is_path || text.split('/').any(is_dots) {
        let hint = match text {
            _ if text.starts_with('/') && is_path => {
                Some("dot segments are removed before routing: no path has them".to_owned())
            }
            _ if text.contains(['?', '#']) => {
                Some("it matches the path only: write parameters as `query: { version: \"2\" }`".to_owned())
            }
            _ if text.starts_with(['~', '^', '=', '(']) => Some(format!(
                "`{key}` is matched literally: patterns belong in `path_regex`"
            )),
            _ if !text.starts_with('/') && !text.contains("://") => Some(format!("did you mean `/{text}`?")),
            _ => None,
        };
        reader.refuse(key, written, hint);
        return None;
    }
    warn_of_pattern(reader, key, written);
    let mut normal = text.as_bytes().to_vec();
    if normalise_path(&mut normal).is_ok() && normal != text.as_bytes() {
        let message = format!(
            "{} never matches: requests have another path",
            reader.cx.quote(written.span)
        );
        let meant = format!("did you mean `{}`?", String::from_utf8_lossy(&normal));
        let meant = (!written.is_expanded).then_some(meant);
        reader
            .cx
            .report(Diagnostic::error(written.span, message).note_if(meant));
        return None;
    }
    Some(text.to_owned())
}

/// Warns of a path that looks like a pattern of another balancer, which would not match what was meant.
fn warn_of_pattern(reader: &Reader<'_>, key: &str, written: Written<'_>) {
    let text = written.text;
    let is_parameter =
        |segment: &&str| segment.starts_with([':', '{', '*']) || segment.ends_with(['}', '$', '*']);
    let Some(part) = text
        .split('/')
        .find(|segment| is_parameter(segment) || segment.contains(".*"))
    else {
        return;
    };
    let quote = reader.cx.quote(written.span);
    let message = format!("{quote} is matched literally: `{key}` does not support patterns");
    let before: Vec<&str> = text.split('/').take_while(|segment| *segment != part).collect();
    let meant = match before.join("/") {
        empty if empty.is_empty() => format!("to match every path, omit `{key}`"),
        prefix => format!("a prefix matches everything below it: did you mean `path_prefix: {prefix}`?"),
    };
    let meant = (!written.is_expanded).then_some(meant);
    reader
        .cx
        .report(Diagnostic::warning(written.span, message).note_if(meant));
}

fn method(reader: &Reader<'_>, written: Written<'_>) -> Option<String> {
    let text = written.text;
    let upper = text.to_ascii_uppercase();
    let is_other_case =
        upper != text && ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&&*upper);
    if !is_token(text.as_bytes()) || is_other_case {
        let hint = match text {
            "*" | "any" | "all" => Some("to match every method, omit `method`".to_owned()),
            _ if is_other_case => Some(format!("did you mean `{upper}`?")),
            _ => several(text),
        };
        reader.refuse("method", written, hint);
        return None;
    }
    Some(text.to_owned())
}

/// A hint for a text that holds several values.
fn several(text: &str) -> Option<String> {
    let items = crate::config::hints::split(text);
    (items.len() > 1).then(|| format!("did you mean `[{}]`?", items.join(", ")))
}

/// Reads `headers`, `query` or `cookies`.
/// `None` is an error that was reported.
fn values(reader: &Reader<'_>, key: &str) -> Option<Vec<ValueCondition>> {
    let Some(node) = reader.node(key) else {
        return Some(Vec::new());
    };
    let Value::Map(entries) = &node.value else {
        reader.refuse_node(key, node);
        return None;
    };
    if let (Some(span), []) = (reader.key_span(key), entries.as_slice()) {
        let note = format!("write at least one name and value, or remove `{key}`");
        reader
            .cx
            .report(Diagnostic::error(span, format!("`{key}` is empty")).note(note));
        return None;
    }
    if key == "headers" {
        refuse_equal_headers(reader, entries);
    }
    let found: Vec<Option<_>> = entries.iter().map(|entry| value(reader, key, entry)).collect();
    found.into_iter().collect()
}

fn value(reader: &Reader<'_>, key: &str, entry: &Entry) -> Option<ValueCondition> {
    check_name(reader, key, entry);
    let value = match &entry.value.value {
        Value::Map(_) => {
            let inner = Reader::open(reader.cx, &REGEX, &entry.value)?;
            inner.require("regex");
            let text = inner.text("regex")?;
            match ValuePattern::new(text.text) {
                Ok(pattern) => ValueMatcher::Regex(pattern),
                Err(error) => {
                    refuse_pattern(reader, "regex", text, &error.to_string());
                    return None;
                }
            }
        }
        Value::Empty => {
            let message = format!("`{}` has no value", entry.key);
            let note =
                "accepted: a text, `present`, `absent`, or `{ regex: … }`; write `\"\"` for an empty value";
            reader
                .cx
                .report(Diagnostic::error(entry.key_span, message).note(note));
            return None;
        }
        _ => match written(&entry.value)?.text {
            PRESENT => ValueMatcher::Present,
            ABSENT => ValueMatcher::Absent,
            text => ValueMatcher::Exact(text.to_owned()),
        },
    };
    Some(ValueCondition {
        name: entry.key.clone(),
        value,
    })
}

/// Names of headers have no case (RFC 9110 §5.1), keys of a map have: two that differ in case alone are one header.
fn refuse_equal_headers(reader: &Reader<'_>, entries: &[Entry]) {
    for (index, entry) in entries.iter().enumerate() {
        let mut before = entries.iter().take(index);
        if let Some(first) = before.find(|first| first.key.eq_ignore_ascii_case(&entry.key)) {
            let [name, first] = [entry, first].map(|entry| reader.cx.quote(entry.key_span));
            let message = format!("{name} is the same header as {first}");
            let note = "names of headers are compared without case: remove one of the two";
            reader
                .cx
                .report(Diagnostic::error(entry.key_span, message).note(note));
        }
    }
}

fn check_name(reader: &Reader<'_>, key: &str, entry: &Entry) {
    let quote = reader.cx.quote(entry.key_span);
    let is_host = key == "headers" && entry.key.eq_ignore_ascii_case("host");
    let (message, note) = if is_host {
        (
            format!("{quote} cannot be a condition of `headers`"),
            "write `host`, a key of the route",
        )
    } else if key == "query" && !entry.key.is_empty() || is_token(entry.key.as_bytes()) {
        return;
    } else {
        let what = if key == "headers" {
            "a header"
        } else {
            "a cookie or parameter"
        };
        (
            format!("{quote} is not the name of {what}"),
            "a name has letters, digits and `-`",
        )
    };
    reader
        .cx
        .report(Diagnostic::error(entry.key_span, message).note(note));
}

fn client_ip(reader: &Reader<'_>, written: Written<'_>) -> Option<IpNet> {
    let block = block::read(reader.cx, written);
    if block.is_none() {
        reader.refuse("client_ip", written, several(written.text));
    }
    block
}

/// The index of a listener.
fn listener(reader: &Reader<'_>, written: Written<'_>, listeners: &[listener::Settings]) -> Option<usize> {
    let listening = address::read(reader, "listener", written)?;
    let index = listeners
        .iter()
        .position(|listener| listener.address == listening.address);
    if index.is_none() {
        let known: Vec<String> = listeners
            .iter()
            .map(|listener| listener.address.to_string())
            .collect();
        let message = format!("unknown listener {}", reader.cx.quote(written.span));
        let hint = suggest::did_you_mean(written.text, known.iter().map(String::as_str));
        let hint = hint.filter(|_| !written.is_expanded);
        let diagnostic = Diagnostic::error(written.span, message).note_if(hint);
        reader
            .cx
            .report(diagnostic.note(format!("listeners: {}", listed(known.iter().map(String::as_str)))));
    }
    index
}
