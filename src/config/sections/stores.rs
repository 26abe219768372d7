//! `stores`: the servers through which instances share limits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_balance::suggest::listed;

use super::pool_name::is_pool_name;
use crate::config::print::{Item, map, path, quoted, text, word};
use crate::config::reader::Reader;
use crate::config::source::{Diagnostic, Span};
use crate::config::suggest;
use crate::config::tree::{Entry, Value};
use crate::proxy::StoreSettings;
use crate::schema::{Form, Key, Kind, Section};

/// A value of `stores`.
pub(super) const STORE: Section = Section {
    name: "stores.NAME",
    about: "A store through which instances share limits: `shared` of a `rate_limit` names it.",
    keys: &[
        Key::new(
        "redis",
        Kind::Text(
            Form::new("a URL such as redis://127.0.0.1:6379/0, rediss://… (TLS) or redis+unix:///run/redis.sock")
                .matching("^(redis|rediss)://.+|^redis\\+unix:///.+"),
        ),
        "The URL of a Redis or Valkey server: user and password are optional, as is the number of the database. Write a password as a variable: `redis://:${PASSWORD}@10.0.0.1:6379/0`.",
    )
    .required()
    .secret(),
        Key::new(
            "ca",
            Kind::Text(Form::new("a file")),
            "PEM file with the CAs that the certificate of the server must be signed by, or with this certificate itself; `system` is the CAs that this machine trusts. Only with `rediss`. The file is read again at a reload.",
        )
        .words(&["system"])
        .default("system"),
    ],
};

/// `stores` at top level.
pub(super) const KEY: Key = Key::new(
    "stores",
    Kind::Named(&STORE),
    "Stores through which instances share limits, by name.",
);

/// Most stores.
const MOST_STORES: usize = 100;

/// The stores of the config.
pub(super) struct Stores<'a> {
    root: &'a Reader<'a>,
    /// All names with their spans, including those with errors; `None` when `stores` is not a map.
    names: Option<Vec<(&'a str, Span)>>,
    /// The valid ones.
    pub(super) settings: Vec<StoreSettings>,
    /// Where their `ca` is written, by name.
    cas: BTreeMap<Arc<str>, Span>,
}

impl<'a> Stores<'a> {
    /// Reads `stores` at top level.
    pub(super) fn read(root: &'a Reader<'a>) -> Self {
        let entries = match root.node("stores").map(|node| (node, &node.value)) {
            None => Some(&[][..]),
            Some((_, Value::Map(entries))) => Some(entries.as_slice()),
            Some((node, _)) => {
                root.refuse_node("stores", node);
                None
            }
        };
        let names = |entries: &'a [Entry]| {
            entries
                .iter()
                .map(|entry| (entry.key.as_str(), entry.key_span))
                .collect()
        };
        let stores = entries.unwrap_or_default();
        if let (Some(span), true) = (root.key_span("stores"), stores.len() > MOST_STORES) {
            let message = format!("`stores` has more than {MOST_STORES} items");
            root.cx.report(Diagnostic::error(span, message));
        }
        let (mut settings, mut cas) = (Vec::new(), BTreeMap::new());
        for entry in stores.iter().take(MOST_STORES) {
            let Some((store, ca)) = store(root, entry) else {
                continue;
            };
            cas.extend(ca.map(|span| (Arc::clone(&store.name), span)));
            settings.push(store);
        }
        Self {
            root,
            names: entries.map(names),
            settings,
            cas,
        }
    }

    /// Reports a `ca` that cannot be used, of a store that a policy of a route names.
    pub(super) fn check_ca(&self, name: &str) {
        let store = self.settings.iter().find(|store| &*store.name == name);
        let ca = store
            .and_then(|store| store.ca.as_deref())
            .zip(self.cas.get(name));
        if let Some((path, span)) = ca
            && let Err(error) = self.root.cx.check_ca(path)
        {
            self.root.cx.report(Diagnostic::error(*span, error.to_string()));
        }
    }

    /// Reports a name that is not the name of a store.
    pub(super) fn check(&self, span: Span, name: &str) {
        let Some(names) = &self.names else { return };
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        if names.contains(&name) {
            return;
        }
        let message = format!("unknown store {}", self.root.cx.quote(span));
        let known = match names.as_slice() {
            [] => "write `stores: { limits: { redis: redis://127.0.0.1:6379/0 } }` at top level".to_owned(),
            names => format!("stores: {}", listed(names.iter().copied())),
        };
        let hint = suggest::did_you_mean(name, names.iter().copied());
        self.root
            .cx
            .report(Diagnostic::error(span, message).note_if(hint).note(known));
    }

    /// Warns of stores that are not among those in use.
    pub(super) fn warn_of_unused(&self, used: &BTreeSet<&str>) {
        for (name, span) in self.names.iter().flatten() {
            if !used.contains(name) {
                let message = format!("no policy uses store `{name}`: it has no effect");
                let note = "name it in a policy: `rate_limit: { rate: 100/s, shared: NAME }`";
                self.root
                    .cx
                    .report(Diagnostic::warning(*span, message).note(note));
            }
        }
    }
}

/// Prints `stores`, without their passwords.
pub(super) fn show(stores: &[StoreSettings]) -> Item {
    let shown = stores.iter().map(|store| {
        let ca = store.ca.as_deref().map_or_else(|| word("system"), path);
        let url = text(&without_password(&store.url));
        (quoted(&store.name), map([("redis", url), ("ca", ca)]))
    });
    Item::Map(shown.collect())
}

/// A store, and where its `ca` is written.
fn store(root: &Reader<'_>, entry: &Entry) -> Option<(StoreSettings, Option<Span>)> {
    let cx = root.cx;
    if !is_pool_name(&entry.key) {
        let message = format!("{} is not a valid name of a store", cx.quote(entry.key_span));
        let note = "accepted: letters, digits, `-`, `_` and `.`, at most 64 characters";
        cx.report(Diagnostic::error(entry.key_span, message).note(note));
    }
    let reader = Reader::open(cx, &STORE, &entry.value)?;
    reader.require("redis");
    let written = reader.text("redis")?;
    if !is_url(written.text) {
        reader.refuse("redis", written, None);
        return None;
    }
    let (ca, span) = ca(&reader, written.text).unzip();
    let settings = StoreSettings {
        name: Arc::from(&*entry.key),
        url: written.text.to_owned(),
        ca,
    };
    Some((settings, span))
}

/// The file with the CAs of the server, and where it is written.
fn ca(reader: &Reader<'_>, url: &str) -> Option<(PathBuf, Span)> {
    let written = reader.text("ca").filter(|written| written.text != "system")?;
    if !url.starts_with("rediss://") {
        let message = "`ca` requires a `rediss` URL: no certificate is checked without TLS";
        reader
            .cx
            .report(Diagnostic::error(written.span, message.to_owned()));
        return None;
    }
    Some((reader.cx.path(written.text), written.span))
}

/// Whether a text is the URL of a store: scheme, host and optional port, user, password and number of the database; or a socket.
fn is_url(text: &str) -> bool {
    if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return false;
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    match scheme {
        "redis+unix" => rest.starts_with('/') && rest.len() > 1,
        "redis" | "rediss" => {
            let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
            let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
            let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            is_server(server) && is_number(database) && database.len() <= 9
        }
        _ => false,
    }
}

/// Whether a text is a host with an optional port.
fn is_server(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                (host, port.strip_prefix(':').or(port.is_empty().then_some("6379")))
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("6379")),
        },
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && matches!(port.parse::<u16>(), Ok(1..));
    !host.is_empty() && host.bytes().all(is_part) && port.is_some_and(is_port)
}

/// The URL with its password masked.
fn without_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find('/').unwrap_or(rest.len());
        let at = rest.get(..end)?.rfind('@')?;
        let (user, server) = (rest.get(..at)?, rest.get(at..)?);
        let user = user.split_once(':').map_or("", |(user, _)| user);
        Some(format!("{scheme}://{user}:****{server}"))
    });
    parts.unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_stores_name_a_server() {
        for url in [
            "redis://a",
            "redis://a:6379/0",
            "rediss://me:pw@a.b-c:1/12",
            "redis://:p:w@a",
            "redis://[::1]:7",
            "redis://[::1]/1",
            "redis+unix:///run/a.sock",
        ] {
            assert!(is_url(url), "{url}");
        }
        for text in [
            "",
            "a",
            "http://a",
            "redis://",
            "redis://:1",
            "redis://a:0",
            "redis://a:x",
            "redis://a/x",
            "redis://a/1/2",
            "redis://[::1",
            "redis://[::1]x",
            "redis+unix://a",
            "redis+unix:///",
            "redis://a b",
            "redis://a:+1",
        ] {
            assert!(!is_url(text), "{text}");
        }
    }

    #[test]
    fn passwords_are_masked_and_the_rest_is_a_url() {
        for (url, shown) in [
            ("redis://a:1/0", "redis://a:1/0"),
            ("redis://me:p@w@a/0", "redis://me:****@a/0"),
            ("rediss://:pw@a", "rediss://:****@a"),
            ("redis://pw@a", "redis://:****@a"),
            ("redis+unix:///a@b", "redis+unix:///a@b"),
        ] {
            assert_eq!(without_password(url), shown);
            assert!(is_url(shown));
        }
    }
}
