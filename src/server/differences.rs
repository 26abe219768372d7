//! What differs between two versions of one item of a config: the names of its keys, or the values where they are short. `None` if
//! nothing does.

use crate::config::Config;
use crate::discovery::SourceSettings;
use crate::listener;
use crate::pool;
use crate::proxy::{Action, PolicySettings, RouteSettings};
use crate::tls;

/// Between two listeners at one address.
pub(super) fn listener(one: &listener::Settings, other: &listener::Settings) -> Option<String> {
    let tls = |settings: &listener::Settings| settings.tls.as_ref().map(|tls| tls.settings());
    let keys = [
        ("tls", is_tls_changed(tls(one), tls(other))),
        ("proxy_protocol", one.proxy_protocol != other.proxy_protocol),
        ("http2", one.http2 != other.http2),
        ("redirect_to_https", one.redirect != other.redirect),
        ("half_close", one.half_close != other.half_close),
    ];
    joined(names(&keys))
}

fn is_tls_changed(one: Option<tls::ServerSettings>, other: Option<tls::ServerSettings>) -> bool {
    match (one, other) {
        // `http2` is a key of the listener.
        (Some(one), Some(other)) => {
            one != tls::ServerSettings {
                http2: one.http2,
                ..other
            }
        }
        (one, other) => one.is_some() != other.is_some(),
    }
}

/// Between two pools of one name, without their backends.
pub(super) fn pool(
    (before, one): (&Config, &pool::Settings),
    (after, other): (&Config, &pool::Settings),
) -> Option<String> {
    let keys = [
        ("strategy", one.strategy != other.strategy),
        ("sticky", one.sticky != other.sticky),
        ("health_check", one.health_check != other.health_check),
        ("ejection", one.ejection != other.ejection),
        ("slow_start", one.slow_start != other.slow_start),
        ("retry", one.retry != other.retry),
        ("timeouts", one.timeouts != other.timeouts),
        (
            "limits",
            one.in_flight_per_backend != other.in_flight_per_backend || one.adaptive != other.adaptive,
        ),
        ("queue", one.queue != other.queue),
        ("tls", one.tls != other.tls),
        ("send_proxy", one.send_proxy != other.send_proxy),
        ("header_case", one.header_case != other.header_case),
        ("forwarded", one.forwarded != other.forwarded),
        (
            "sources of backends",
            !sources(before, one).eq(sources(after, other)),
        ),
    ];
    joined(names(&keys))
}

/// Where the sources of a pool find their lists.
fn sources<'c>(
    config: &'c Config,
    pool: &'c pool::Settings,
) -> impl Iterator<Item = (&'static str, &'c crate::schema::Params)> {
    let of_pool = move |source: &&SourceSettings| source.pool == pool.name;
    let of_pool = config.sources.iter().filter(of_pool);
    of_pool.map(|source| (source.source.name, &source.params))
}

/// Between two backends of one URL.
pub(super) fn backend(one: &pool::BackendSettings, other: &pool::BackendSettings) -> Option<String> {
    let name = |backend: &pool::BackendSettings| backend.name.as_deref().unwrap_or("none").to_owned();
    let values = [
        ("weight", one.weight.to_string(), other.weight.to_string()),
        ("backup", one.is_backup.to_string(), other.is_backup.to_string()),
        ("name", name(one), name(other)),
        ("drain", one.is_drained.to_string(), other.is_drained.to_string()),
    ];
    let values = values.iter().filter(|(_, one, other)| one != other);
    let differs = joined(
        values
            .map(|(key, one, other)| format!("{key} {one} → {other}"))
            .collect(),
    );
    // How the URL is written.
    differs.or_else(|| (one != other).then(|| "url".to_owned()))
}

/// Between two policies of one name.
pub(super) fn policy(one: &PolicySettings, other: &PolicySettings) -> Option<String> {
    let (old, new) = (one.entry.name, other.entry.name);
    match old == new {
        true => (one.params != other.params).then(|| new.to_owned()),
        false => Some(format!("{old} → {new}")),
    }
}

/// Between two routes for the same requests.
pub(super) fn route(one: &RouteSettings, other: &RouteSettings) -> Option<String> {
    let action = (one.action != other.action).then(|| match (&one.action, &other.action) {
        (Action::Pool(one), Action::Pool(other)) => format!("pool {} → {}", one.name, other.name),
        (one, other) if action(one) == action(other) => action(other).to_owned(),
        (one, other) => format!("{} → {}", action(one), action(other)),
    });
    let keys = [
        ("body_file", one.body != other.body),
        ("rewrite", one.rewrite != other.rewrite),
        ("request_headers", one.request_headers != other.request_headers),
        ("response_headers", one.response_headers != other.response_headers),
        ("mirror", one.mirror != other.mirror),
        (
            "timeouts, retry or limits",
            one.overrides != other.overrides || one.body_limit != other.body_limit,
        ),
        ("policies", one.policies != other.policies),
        ("match", one.matcher != other.matcher),
    ];
    joined(action.into_iter().chain(names(&keys)).collect())
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Pool(_) => "pool",
        Action::Split(..) => "split",
        Action::Redirect(_) => "redirect",
        Action::Respond(_) => "respond",
    }
}

fn names(keys: &[(&str, bool)]) -> Vec<String> {
    let changed = keys.iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| (*key).to_owned()).collect()
}

fn joined(differences: Vec<String>) -> Option<String> {
    (!differences.is_empty()).then(|| differences.join(", "))
}
