//! `backends`: the URLs of a pool, and an item of it as a map.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::pool_name::is_pool_name;
use super::{address, refer, source_item};
use crate::backend::{Address, AddressError, Scheme};
use crate::config::context::Context;
use crate::config::print::{Item, map, text, word};
use crate::config::reader::{Reader, Written, refuse_shape, written};
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::config::{hints, suggest, vocabulary};
use crate::net::ListenAddress;
use crate::pool::{BackendSettings, MAX_BACKENDS as MOST_BACKENDS};
use crate::schema::{Form, Key, Kind, Params, Row, Section};
use crate::{discovery, listener};

/// An item of `backends` as a map.
pub(super) const BACKEND: Section = Section {
    name: "backends[]",
    about: "One backend. A URL is the short form of a map with only `url`. In place of a backend, an item can name a source of more backends: see the sections on sources.",
    keys: &[
        Key::new(
            "url",
            URL,
            "Scheme, host and optional port (default 80, or 443 for `https`), and nothing else. `http` is HTTP/1.1, `h2c` is HTTP/2 without TLS, `https` is HTTP/2 or HTTP/1.1 as negotiated with the backend. `unix:PATH` is HTTP/1.1 over a Unix socket; probes use the host `localhost`.",
        )
        .required(),
        Key::new(
            "weight",
            Kind::Count { least: 0, most: 256 },
            "Its share of the requests relative to the other backends; 0 receives none.",
        )
        .default("1"),
        Key::new("backup", Kind::Flag, "Whether it is used only when no other backend is eligible.").default("false"),
        Key::new(
            "name",
            Kind::Text(Form::new("letters, digits, `-`, `_` and `.`, at most 64 characters").matching(r"^[A-Za-z0-9._-]{1,64}$")),
            "Its short name in the pool, for commands and the admin API.",
        )
        .otherwise("none"),
        Key::new(
            "drain",
            Kind::Flag,
            "Whether it gets no new requests: those in flight finish, and clients that stay with it by `sticky` are served. What an operator has changed stays over a reload, unless `drain` or `weight` differ from what the config said before.",
        )
        .default("false"),
    ],
};

/// The type of `backends`: one URL, or a list of URLs and maps.
pub(super) const LIST: Kind = Kind::Either(&URL, &Kind::List(&Kind::Either(&URL, &MAP)));

/// The type of an item that is a map.
const MAP: Kind = Kind::Either(&Kind::Section(&BACKEND), &Kind::Row(&discovery::TABLE));

const URL: Kind = Kind::Text(Form::new("a URL such as http://10.0.0.1:8001, https://… or h2c://…, or a Unix socket such as unix:/run/app.sock").matching(r"^(unix:.+|(http|https|h2c)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?)$"));

/// The valid forms of a backend URL, for messages.
const URL_FORMS: &str = "http://10.0.0.1:8001, https://… (TLS), h2c://… (HTTP/2 without TLS, such as gRPC), or unix:/path (a Unix socket)";

/// The items of a list of backends.
#[derive(Default)]
pub(super) struct Items {
    pub(super) listed: Vec<BackendSettings>,
    /// The sources of more of them.
    pub(super) sources: Vec<(Row, Params)>,
}

/// Reads `backends`, at top level or of a pool.
pub(super) fn read(reader: &Reader<'_>, listeners: &[listener::Settings]) -> Items {
    let Some(items) = reader.one_or_more("backends") else {
        return Items::default();
    };
    let Some(span) = reader.key_span("backends") else {
        return Items::default();
    };
    if items.is_empty() {
        let diagnostic = Diagnostic::error(span, "`backends` is empty").note("write at least one URL");
        reader.cx.report(diagnostic);
    } else if items.len() > MOST_BACKENDS {
        let message = format!("`backends` has more than {MOST_BACKENDS} items");
        reader.cx.report(Diagnostic::error(span, message));
    }
    let found = read_items(reader.cx, items, listeners);
    let backends = &found.listed;
    if !backends.is_empty() && found.sources.is_empty() && backends.iter().all(|backend| backend.weight == 0)
    {
        let message = "every backend has weight 0: none of them receives requests";
        reader.cx.report(Diagnostic::warning(span, message));
    }
    found
}

/// Reads the items of a list of backends, at most as many as a pool may have.
pub(super) fn read_items(cx: &Context<'_>, items: &[Node], listeners: &[listener::Settings]) -> Items {
    let mut seen = HashMap::new();
    let mut names = HashSet::new();
    let mut found = Items::default();
    for item in items.iter().take(MOST_BACKENDS) {
        if let Some(source) = source_item::source(cx, item, &BACKEND) {
            let is_same = |(row, params): &(Row, Params)| {
                let known = found.sources.iter();
                known
                    .clone()
                    .any(|(other, of_other)| other.name == row.name && of_other == params)
            };
            if source.as_ref().is_some_and(is_same) {
                let message = "duplicate source in the same list of backends";
                cx.report(Diagnostic::error(item.span, message));
            }
            found.sources.extend(source);
            continue;
        }
        let Some((backend, url)) = backend(cx, item) else {
            continue;
        };
        let (scheme, host, port, file) = backend.address.identity();
        let span = (scheme, host.to_owned(), port, file.map(Path::to_owned));
        if let Some(first) = seen.insert(span, url) {
            let message = format!("duplicate backend, the same as {}", refer(cx, first));
            let note = "to give it more requests, use `weight`";
            cx.report(Diagnostic::error(url.span, message).note(note));
        }
        if let Some(name) = &backend.name
            && !names.insert(Arc::clone(name))
        {
            let message = format!("duplicate name `{name}` in the same list of backends");
            cx.report(Diagnostic::error(item.span, message));
        }
        check_loop(cx, (&backend.address, url), listeners);
        found.listed.push(backend);
    }
    found
}

/// Prints an item of `backends`.
pub(super) fn show(settings: &BackendSettings) -> Item {
    let mut keys = vec![
        ("url", url(&settings.address)),
        ("weight", word(settings.weight)),
        ("backup", word(settings.is_backup)),
        ("drain", word(settings.is_drained)),
    ];
    keys.extend(settings.name.as_ref().map(|name| ("name", text(name))));
    map(keys)
}

/// The URL as written, except that the path of a Unix socket is absolute, since a relative one depends on the folder.
fn url(address: &Address) -> Item {
    match &address.file {
        Some(file) => text(&format!("unix:{}", file.display())),
        None => text(&address.url),
    }
}

/// Warns of a backend that is a listener of this process, judging by the addresses alone.
fn check_loop(cx: &Context<'_>, (backend, url): (&Address, Written<'_>), listeners: &[listener::Settings]) {
    let mut listeners = listeners.iter().map(|listener| &listener.address);
    if let Some(listener) = listeners.find(|listener| leads_to(backend, listener)) {
        let message = format!("this backend is our own listener {listener}: requests to it loop");
        let note = "a request that loops gets a 508 response (`loop_detected`); write the address of the backend server";
        cx.report(Diagnostic::warning(url.span, message).note(note));
    }
}

/// Whether a connection to the backend reaches the listener. Other addresses of the machine are not looked up.
fn leads_to(backend: &Address, listener: &ListenAddress) -> bool {
    let listener = match (listener, &backend.file) {
        (ListenAddress::Unix(path), file) => return file.as_ref() == Some(path),
        (ListenAddress::Ip(_), Some(_)) => return false,
        (ListenAddress::Ip(address), None) => *address,
    };
    if backend.port != listener.port() {
        return false;
    }
    let own = listener.ip();
    // `localhost` is any address of the loopback interface; connecting to `0.0.0.0` leads there too.
    let is_name = backend.host == "localhost" || backend.host.ends_with(".localhost");
    if is_name {
        return own.is_unspecified() || own.is_loopback();
    }
    let Ok(ip) = backend.host.parse::<IpAddr>() else {
        return false;
    };
    let ip = ip.to_canonical();
    let is_this_machine = ip.is_loopback() || ip.is_unspecified();
    ip == own.to_canonical()
        || ip.is_ipv4() == own.is_ipv4()
            && is_this_machine
            && (own.is_unspecified() || ip.is_unspecified() && own.is_loopback())
}

fn backend<'a>(cx: &Context<'_>, item: &'a Node) -> Option<(BackendSettings, Written<'a>)> {
    if let Some(url) = written(item) {
        let settings = BackendSettings {
            address: address_of(cx, url)?,
            weight: 1,
            is_backup: false,
            name: None,
            is_drained: false,
        };
        return Some((settings, url));
    }
    if !matches!(item.value, Value::Map(_)) {
        refuse_shape(
            cx,
            item,
            "a URL such as http://10.0.0.1:8001, a map with url, weight, backup, name, drain, or a map with the name of a source such as file",
        );
        return None;
    }
    backend_map(cx, item)
}

fn backend_map<'a>(cx: &Context<'_>, item: &'a Node) -> Option<(BackendSettings, Written<'a>)> {
    let Value::Map(entries) = &item.value else {
        return None;
    };
    let reader = Reader::open(cx, &BACKEND, item)?;
    reader.require("url");
    let weight = reader.count("weight", None);
    let is_backup = reader.flag("backup", None);
    let is_drained = reader.flag("drain", None);
    let name = name(&reader);
    let _ = reader.text("url")?;
    let url = entries.iter().find(|entry| entry.key == "url")?;
    let url = written(&url.value)?;
    let settings = BackendSettings {
        address: address_of(cx, url)?,
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
        is_backup,
        name,
        is_drained,
    };
    Some((settings, url))
}

/// Reads the name. It appears in paths of the admin API.
fn name(reader: &Reader<'_>) -> Option<Arc<str>> {
    let written = reader.text("name")?;
    if !is_pool_name(written.text) {
        reader.refuse("name", written, None);
        return None;
    }
    Some(Arc::from(written.text))
}

/// Parses the URL of a backend. Messages show it as written, never its expanded form.
fn address_of(cx: &Context<'_>, written: Written<'_>) -> Option<Address> {
    let text = written.text;
    if let Some(path) = address::unix_socket(cx, written) {
        return Some(Address::of_file(text, path?));
    }
    match Address::parse(text) {
        Ok(address) => Some(address),
        Err(error) => {
            let (message, hint) = explain(&cx.quote(written.span), text, error);
            let hint = hint.filter(|_| !written.is_expanded);
            let diagnostic = Diagnostic::error(written.span, message).note_if(hint);
            cx.report(diagnostic.note(format!("accepted: {URL_FORMS}")));
            None
        }
    }
}

/// The message and the hint for an invalid backend URL.
fn explain(quote: &str, text: &str, error: AddressError) -> (String, Option<String>) {
    if let Some(hint) = several(text) {
        return (format!("{quote} is not a valid backend URL"), Some(hint));
    }
    match error {
        AddressError::NoScheme => {
            let text = text.trim_start_matches('-');
            let with_scheme = format!("http://{text}");
            let is_url = Address::parse(&with_scheme).is_ok();
            let hint = is_url.then(|| format!("did you mean `{with_scheme}`?"));
            (
                format!("{quote} is not a valid backend URL: it has no scheme"),
                hint,
            )
        }
        AddressError::Unsupported(scheme) if scheme.starts_with('-') => (
            format!("{quote} is not a valid backend URL"),
            Some("write a space after `-`: `- http://10.0.0.1:8001`".to_owned()),
        ),
        AddressError::Unsupported(scheme) => (
            format!("{quote} has an unsupported scheme"),
            vocabulary::scheme(&scheme)
                .map(str::to_owned)
                .or_else(|| suggest::did_you_mean(&scheme, Scheme::ALL.map(|(word, _)| word))),
        ),
        AddressError::Extra(_) if text.contains('@') => (
            "a backend URL cannot have a user or password".to_owned(),
            Some("remove the part between `//` and `@`, and the `@`".to_owned()),
        ),
        AddressError::Extra(extra) => {
            let hint = text
                .strip_suffix(&extra)
                .or_else(|| text.trim_end_matches('/').strip_suffix(&extra));
            let hint = hint.map(|origin| format!("did you mean `{origin}`?"));
            (format!("{quote} has more than a scheme, host and port"), hint)
        }
        AddressError::Host(_) => (
            format!("{quote} has no valid host"),
            Some("a host is a name, an IPv4 address, or an IPv6 address in brackets".to_owned()),
        ),
        AddressError::Port(_) => (
            format!("the port of {quote} is invalid: it must be a number from 1 to 65535"),
            None,
        ),
    }
}

/// A hint for a text with blanks or commas, which are not part of a URL.
fn several(text: &str) -> Option<String> {
    let items = hints::split(text);
    let (first, others) = items.split_first().filter(|(_, others)| !others.is_empty())?;
    if text.contains('@') {
        return None;
    }
    if others.contains(&"-") {
        return Some("the `-` of every item must be in the same column".to_owned());
    }
    if let Some(weight) = others.iter().find_map(|item| item.strip_prefix("weight=")) {
        return Some(format!("did you mean `{{ url: {first}, weight: {weight} }}`?"));
    }
    let is_url = |item: &&str| Address::parse(item).is_ok();
    let hint = || format!("write several backends as a list: `[{}]`", items.join(", "));
    items.iter().all(is_url).then(hint)
}
