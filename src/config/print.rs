//! Prints the effective config as YAML: the long form with every default, which reads back as the same config. Secrets
//! are masked.

use std::fmt::Write;
use std::path::Path;

use super::units::{show_duration, show_size};
use super::{Config, Route, Workers};
use crate::backend::Address;
use crate::health::{Check, StatusRange};
use crate::listener::{self, Redirect};
use crate::net::ProxyVersion;
use crate::pool::{self, BackendSettings};
use crate::proxy::HalfClose;
use crate::retry::{Attempts, Policy};
use crate::telemetry::access_log::{OnFull, Target};
use crate::tls::{ClientAuth, ClientSettings, Files};
use crate::{admin, proxy};

/// Replaces a token.
const MASKED_TOKEN: &str = "****************";

/// Prints the config. The same config gives the same text.
pub fn print(config: &Config) -> String {
    let listeners = config.listeners.iter();
    let trusted = &config.trusted_proxies;
    let blocks = trusted.blocks.iter().map(|block| text(&block.to_string()));
    let blocks = blocks.chain(trusted.unix.then(|| word("unix")));
    let root = Item::Map(vec![
        (
            "listeners".to_owned(),
            Item::List(listeners.map(listener).collect()),
        ),
        (
            "workers".to_owned(),
            match config.workers {
                Workers::Auto => word("auto"),
                Workers::Count(count) => word(count),
            },
        ),
        ("admin".to_owned(), admin(config.admin.as_ref())),
        ("access_log".to_owned(), access_log(config)),
        ("trusted_proxies".to_owned(), Item::Line(blocks.collect())),
        (
            "timeouts".to_owned(),
            map([
                ("client_header", word(show_duration(config.timeouts.header))),
                ("client_idle", word(show_duration(config.timeouts.idle))),
                ("drain", word(show_duration(config.timeouts.drain))),
            ]),
        ),
        ("limits".to_owned(), limits(&config.limits)),
        (
            "pools".to_owned(),
            Item::Map(
                config
                    .pools
                    .iter()
                    .map(|settings| (quoted(&settings.name), pool(settings)))
                    .collect(),
            ),
        ),
        (
            "routes".to_owned(),
            Item::List(config.routes.iter().map(route).collect()),
        ),
    ]);
    let mut out = String::new();
    root.write(&mut out, 0);
    out
}

fn path(path: &Path) -> Item {
    text(&path.to_string_lossy())
}

fn listener(settings: &listener::Settings) -> Item {
    let tls = settings.tls.as_ref().map_or_else(
        || word("off"),
        |tls| {
            let tls = tls.settings();
            let certificate = |files: &Files| map([("cert", path(&files.cert)), ("key", path(&files.key))]);
            let auth = match tls.client_auth {
                ClientAuth::None => "none",
                ClientAuth::Optional => "optional",
                ClientAuth::Required => "required",
            };
            map([
                (
                    "certificates",
                    Item::List(tls.certificates.iter().map(certificate).collect()),
                ),
                (
                    "client_ca",
                    tls.client_ca.as_deref().map_or_else(|| word("none"), path),
                ),
                ("client_auth", word(auth)),
            ])
        },
    );
    map([
        ("address", text(&settings.address.to_string())),
        ("tls", tls),
        ("http2", word(settings.http2)),
        ("proxy_protocol", word(settings.proxy_protocol)),
        (
            "redirect_to_https",
            match settings.redirect {
                None => word(false),
                Some(Redirect::ToTls) => word(true),
                Some(Redirect::ToPort(port)) => word(port),
            },
        ),
        (
            "client_half_close",
            word(match settings.half_close {
                HalfClose::Abort => "abort",
                HalfClose::Serve => "serve",
            }),
        ),
    ])
}

fn admin(settings: Option<&admin::Settings>) -> Item {
    let Some(settings) = settings else {
        return word("off");
    };
    let token = match settings.token {
        Some(_) => text(MASKED_TOKEN),
        None => word("none"),
    };
    map([("address", text(&settings.address.to_string())), ("token", token)])
}

fn access_log(config: &Config) -> Item {
    let log = &config.access_log;
    let path = match &log.target {
        Target::Stdout => word("stdout"),
        Target::Stderr => word("stderr"),
        Target::Off => word("off"),
        Target::File(file) => path(file),
    };
    let on_full = match log.on_full {
        OnFull::Drop => "drop",
        OnFull::Block => "block",
    };
    map([
        ("path", path),
        ("on_full", word(on_full)),
        ("query", word(log.query)),
    ])
}

fn limits(limits: &proxy::Limits) -> Item {
    let size = |bytes: usize| word(show_size(u64::try_from(bytes).unwrap_or(u64::MAX)));
    let or = |count: Option<String>, otherwise: &str| word(count.unwrap_or_else(|| otherwise.to_owned()));
    map([
        (
            "connections",
            or(limits.connections.map(|count| count.to_string()), "auto"),
        ),
        (
            "connections_per_client",
            or(
                limits.connections_per_client.map(|count| count.to_string()),
                "none",
            ),
        ),
        (
            "requests_per_connection",
            or(
                limits.requests_per_connection.map(|count| count.to_string()),
                "none",
            ),
        ),
        ("head", size(limits.message.head)),
        ("line", size(limits.message.line)),
        ("fields", word(limits.message.fields)),
        ("chunk_extensions", size(limits.message.chunk_extensions)),
        ("trailers", size(limits.message.trailers)),
        ("body", or(limits.body.map(show_size), "none")),
        ("min_body_rate", or(limits.min_body_rate.map(show_size), "none")),
    ])
}

fn pool(settings: &pool::Settings) -> Item {
    let timeouts = &settings.timeouts;
    let in_flight = match settings.in_flight_per_backend {
        Some(limit) => word(limit),
        None => word("none"),
    };
    map([
        ("strategy", word(settings.strategy.name)),
        (
            "backends",
            Item::List(settings.backends.iter().map(backend).collect()),
        ),
        ("health_check", health_check(&settings.health_check)),
        ("retry", retry(&settings.retry)),
        (
            "timeouts",
            map([
                ("connect", word(show_duration(timeouts.connect))),
                ("first_byte", word(show_duration(timeouts.first_byte))),
                ("request", word(show_duration(timeouts.request))),
                ("progress", word(show_duration(timeouts.progress))),
                ("stream_idle", word(show_duration(timeouts.stream_idle))),
                ("tunnel_idle", word(show_duration(timeouts.tunnel_idle))),
                ("backend_idle", word(show_duration(timeouts.backend_idle))),
            ]),
        ),
        ("limits", map([("in_flight_per_backend", in_flight)])),
        (
            "tls",
            settings
                .tls
                .as_ref()
                .map_or_else(|| word("off"), |tls| backend_tls(&tls.settings)),
        ),
        (
            "send_proxy",
            word(settings.send_proxy.map_or("off", ProxyVersion::name)),
        ),
    ])
}

fn backend_tls(settings: &ClientSettings) -> Item {
    let ca = settings.ca.as_deref().map_or_else(|| word("system"), path);
    let mut keys = vec![("ca", ca)];
    if let Some(name) = &settings.server_name {
        keys.push(("server_name", text(name)));
    }
    if let Some(files) = &settings.certificate {
        keys.extend([("cert", path(&files.cert)), ("key", path(&files.key))]);
    }
    keys.push(("danger_skip_verify", word(settings.danger_skip_verify)));
    map(keys)
}

fn backend(settings: &BackendSettings) -> Item {
    map([
        ("url", url(&settings.address)),
        ("weight", word(settings.weight)),
        ("backup", word(settings.is_backup)),
    ])
}

/// The URL as written, except that the path of a Unix socket is absolute, since a relative one depends on the folder.
fn url(address: &Address) -> Item {
    match &address.file {
        Some(file) => text(&format!("unix:{}", file.display())),
        None => text(&address.url),
    }
}

fn health_check(check: &Check) -> Item {
    let mut keys = vec![("kind", word(check.kind()))];
    if check.uses("path") {
        let path = check.path.as_deref();
        keys.push(("path", path.map_or_else(|| word("none"), text)));
    }
    if check.uses("status") {
        let status = check.status.as_deref();
        keys.push(("status", status.map_or_else(|| word("auto"), statuses)));
    }
    if check.uses("service") {
        keys.push(("service", text(&check.service)));
    }
    keys.extend([
        ("interval", word(show_duration(check.interval))),
        ("timeout", word(show_duration(check.timeout))),
        ("healthy_after", word(check.healthy_after)),
        ("unhealthy_after", word(check.unhealthy_after)),
    ]);
    map(keys)
}

fn statuses(ranges: &[StatusRange]) -> Item {
    let range = |range: &StatusRange| word(format!("{}-{}", range.from, range.to));
    Item::Line(ranges.iter().map(range).collect())
}

fn retry(policy: &Policy) -> Item {
    let attempts = match policy.attempts {
        Attempts::All => word("all"),
        Attempts::AtMost(count) => word(count),
    };
    map([
        ("attempts", attempts),
        ("causes", Item::Line(policy.causes.names().map(word).collect())),
        ("non_idempotent_503", word(policy.non_idempotent_503)),
        ("replay_limit", word(show_size(policy.replay_limit))),
    ])
}

fn route(route: &Route) -> Item {
    let host = route.host.iter().map(|host| ("host", text(host)));
    let rest = [
        ("path_prefix", text(&route.path_prefix)),
        ("pool", text(&route.pool)),
    ];
    map(host.chain(rest))
}

/// A YAML value to be printed.
enum Item {
    /// Exactly this text.
    Word(String),
    /// A list on one line.
    Line(Vec<Self>),
    /// A list, one item per line.
    List(Vec<Self>),
    /// Keys, already quoted, and values.
    Map(Vec<(String, Self)>),
}

impl Item {
    /// Writes a list or map at `indent`, each line with its end; anything else without one.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Line(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    item.write(out, indent);
                }
                out.push(']');
            }
            Self::List(items) => {
                for item in items {
                    let mut below = String::new();
                    item.write(&mut below, indent + 2);
                    // The dash takes the place of the first key's indent.
                    let _ = writeln!(out, "{:indent$}- {}", "", below.trim());
                }
            }
            Self::Map(keys) => {
                for (key, value) in keys {
                    let _ = write!(out, "{:indent$}{key}:", "");
                    value.write_after_key(out, indent);
                }
            }
        }
    }

    fn write_after_key(&self, out: &mut String, indent: usize) {
        match self {
            Self::Word(_) | Self::Line(_) => {
                out.push(' ');
                self.write(out, indent);
                out.push('\n');
            }
            Self::List(_) | Self::Map(_) => {
                out.push('\n');
                self.write(out, indent + 2);
            }
        }
    }
}

fn map<'a>(keys: impl IntoIterator<Item = (&'a str, Item)>) -> Item {
    Item::Map(
        keys.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// A value that YAML reads as it is.
fn word(value: impl ToString) -> Item {
    Item::Word(value.to_string())
}

/// Text of any content.
fn text(content: &str) -> Item {
    Item::Word(quoted(content))
}

/// Quotes text unless YAML and our own reader take it as it is.
fn quoted(content: &str) -> String {
    let is_plain = content.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && content
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !matches!(content, "null" | "Null" | "NULL");
    if is_plain {
        return content.to_owned();
    }
    let mut out = String::from("\"");
    for c in content.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
