//! Compares two configs and lists what a reload adds, removes and changes, for the log and for `plan`. Changes nothing itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write as _};
use std::hash::Hash;
use std::time::Duration;

use super::differences as differ;
use crate::config::Config;
use crate::listener;
use crate::pool;
use crate::proxy::RouteSettings;
use crate::tls::Certificate;

/// Maximum number of names of one kind in a log line; the others are counted.
const NAMES_SHOWN: usize = 10;
/// Maximum number of items of one kind that are kept; the others are counted.
const ITEMS_KEPT: usize = 1000;

/// The differences between two configs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// By address.
    pub(super) listeners: Difference,
    /// Of listeners and pools, by file. What is in the files is not compared, because they are watched.
    pub(super) certificates: Difference,
    pub(super) pools: Difference,
    /// By pool and URL. A backend with another weight or another `backup` is changed.
    pub(super) backends: Difference,
    pub(super) policies: Difference,
    /// By name, or by hosts and path. A route to another pool, or with a changed policy or default, is changed.
    pub(super) routes: Difference,
    /// Top-level keys.
    pub(super) settings: Items,
}

/// The differences between two sets of named items.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Items,
    pub(super) removed: Items,
    pub(super) changed: Items,
}

/// A count of items, of which the first [`ITEMS_KEPT`] are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Items {
    kept: Vec<Item>,
    count: usize,
}

/// One item that differs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    /// What differs, as `retry, timeouts` or `weight 1 → 2`; empty if it is added or removed.
    pub(super) differs: String,
}

impl Changes {
    /// Compares the active config with the new one.
    pub(super) fn between(before: &Config, after: &Config) -> Self {
        let mut settings = Items::default();
        if before.workers != after.workers {
            let differs = format!("{} → {}", before.workers, after.workers);
            settings.push(|| ("workers".to_owned(), differs));
        }
        for (key, is_changed) in [
            ("guard", before.guard != after.guard),
            ("watch_config", before.watch_config != after.watch_config),
            ("trusted_proxies", before.trusted_proxies != after.trusted_proxies),
            ("timeouts", before.timeouts != after.timeouts),
            ("limits", before.limits != after.limits),
            ("stores", before.stores != after.stores),
            ("admin", before.admin != after.admin),
            ("access_log", before.access_log != after.access_log),
            ("tracing", before.tracing != after.tracing),
        ] {
            if is_changed {
                settings.push(|| (key.to_owned(), String::new()));
            }
        }
        Self {
            listeners: listeners(before, after),
            certificates: certificates(before, after),
            pools: Difference::between(
                (before.pools.iter(), after.pools.iter()),
                |pool| pool.name.clone(),
                |one, other| differ::pool((before, one), (after, other)),
                |pool| pool.name.to_string(),
            ),
            backends: Difference::between(
                (backends(before), backends(after)),
                |(pool, backend)| (pool.name.clone(), backend.address.identity()),
                |(_, one), (_, other)| differ::backend(one, other),
                |(pool, backend)| format!("{} {}", pool.name, backend.address),
            ),
            policies: Difference::between(
                (before.policies.iter(), after.policies.iter()),
                |policy| policy.name.clone(),
                |one, other| differ::policy(one, other),
                |policy| policy.name.to_string(),
            ),
            routes: Difference::between(
                (before.routes.iter(), after.routes.iter()),
                |route: &RouteSettings| route_name(route),
                differ::route,
                |route| route_name(route),
            ),
            settings,
        }
    }

    /// The number of changes.
    pub(super) fn count(&self) -> usize {
        let counts = self.kinds().map(|(_, kind)| kind.count());
        counts.iter().sum::<usize>() + self.settings.count
    }

    /// Logs a reload that has made them.
    pub(super) fn log(&self, source: &dyn Display, took: Duration) {
        let Self {
            listeners,
            certificates,
            pools,
            backends,
            policies,
            routes,
            settings,
        } = self;
        tracing::info!(
            source = %source,
            took_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            changes = self.count(),
            listeners_added = listeners.added.text(),
            listeners_removed = listeners.removed.text(),
            listeners_changed = listeners.changed.text(),
            certificates_added = certificates.added.text(),
            certificates_removed = certificates.removed.text(),
            certificates_changed = certificates.changed.text(),
            pools_added = pools.added.text(),
            pools_removed = pools.removed.text(),
            pools_changed = pools.changed.text(),
            backends_added = backends.added.text(),
            backends_removed = backends.removed.text(),
            backends_changed = backends.changed.text(),
            policies_added = policies.added.text(),
            policies_removed = policies.removed.text(),
            policies_changed = policies.changed.text(),
            routes_added = routes.added.text(),
            routes_removed = routes.removed.text(),
            routes_changed = routes.changed.text(),
            settings_changed = settings.text(),
            "Reloaded"
        );
    }

    /// What items there are, in the order in which they are shown, with their singular.
    pub(super) fn kinds(&self) -> [(&'static str, &Difference); 6] {
        [
            ("listener", &self.listeners),
            ("certificate", &self.certificates),
            ("pool", &self.pools),
            ("backend", &self.backends),
            ("policy", &self.policies),
            ("route", &self.routes),
        ]
    }
}

impl Difference {
    fn count(&self) -> usize {
        self.added.count + self.removed.count + self.changed.count
    }

    /// Compares items; two with the same `key` are the same item. `differ` says what differs between two of them, if anything.
    fn between<'a, T: Copy, K: Hash + Eq + 'a>(
        (before, after): (impl Iterator<Item = T> + Clone, impl Iterator<Item = T>),
        key: impl Fn(T) -> K,
        differ: impl Fn(T, T) -> Option<String>,
        name: impl Fn(&T) -> String,
    ) -> Self {
        let mut difference = Self::default();
        let mut old: HashMap<K, T> = before.clone().map(|item| (key(item), item)).collect();
        for item in after {
            match old.remove(&key(item)).map(|old| differ(old, item)) {
                None => difference.added.push(|| (name(&item), String::new())),
                Some(Some(differs)) => difference.changed.push(|| (name(&item), differs)),
                Some(None) => {}
            }
        }
        // In the order of the config.
        for item in before.filter(|item| old.contains_key(&key(*item))) {
            difference.removed.push(|| (name(&item), String::new()));
        }
        difference
    }
}

impl Items {
    fn push(&mut self, item: impl FnOnce() -> (String, String)) {
        self.count += 1;
        if self.kept.len() < ITEMS_KEPT {
            let (name, differs) = item();
            self.kept.push(Item { name, differs });
        }
    }

    /// The first [`ITEMS_KEPT`] of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.kept.iter()
    }

    /// The names for a log line; `None` when there are none.
    pub(super) fn text(&self) -> Option<String> {
        let names: Vec<&str> = self
            .kept
            .iter()
            .take(NAMES_SHOWN)
            .map(|item| &*item.name)
            .collect();
        let mut text = names.join(", ");
        if self.count > names.len() {
            // Writing to a string cannot fail.
            let _ = write!(text, " and {} more", self.count - names.len());
        }
        (self.count > 0).then_some(text)
    }
}

fn listeners(before: &Config, after: &Config) -> Difference {
    // Several listeners may have port 0 of one address.
    let numbered = |config: &'_ Config| {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let listeners = config.listeners.iter().map(move |settings| {
            let address = settings.address.to_string();
            let nth = seen.entry(address.clone()).or_default();
            *nth += 1;
            (address, *nth)
        });
        listeners.collect::<Vec<_>>()
    };
    let (old_keys, new_keys) = (numbered(before), numbered(after));
    let old = old_keys.iter().zip(&before.listeners);
    let new = new_keys.iter().zip(&after.listeners);
    type Listener<'a> = (&'a (String, usize), &'a listener::Settings);
    Difference::between(
        (old, new),
        |(key, _): Listener<'_>| key.clone(),
        |(_, one), (_, other)| differ::listener(one, other),
        |((address, _), _)| address.clone(),
    )
}

fn certificates(before: &Config, after: &Config) -> Difference {
    // Several listeners may present one certificate.
    let all = |config: &Config| -> BTreeMap<String, String> {
        let of_listeners = config
            .listeners
            .iter()
            .filter_map(|listener| listener.tls.as_ref());
        let of_pools = config
            .pools
            .iter()
            .filter_map(|pool| pool.tls.as_ref()?.certificate.clone());
        let key = |certificate: Certificate| {
            let files = certificate.files;
            (files.cert.display().to_string(), files.key.display().to_string())
        };
        let of_listeners = of_listeners.flat_map(|tls| tls.certificates());
        of_listeners.chain(of_pools).map(key).collect()
    };
    let (old, new) = (all(before), all(after));
    Difference::between(
        (old.iter(), new.iter()),
        |(cert, _)| cert.clone(),
        |(_, one), (_, other)| (one != other).then(|| format!("key {one} → {other}")),
        |(cert, _)| (*cert).clone(),
    )
}

fn backends(config: &Config) -> impl Iterator<Item = (&pool::Settings, &pool::BackendSettings)> + Clone {
    let pools = config.pools.iter();
    pools.flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
}

/// The route's name in the logs: its own, else its hosts and path.
pub(super) fn route_name(route: &RouteSettings) -> String {
    route.matcher.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn config(text: &str) -> Config {
        let loaded = config::from_text(text, "test", Path::new("."), &|_| None);
        loaded.unwrap_or_else(|report| panic!("{report}")).config
    }

    fn pools(count: usize) -> Config {
        let pool = |number| {
            format!(
                "  p{number}: {{ backends: [\"http://127.0.0.1:{}\"] }}\n",
                number + 1
            )
        };
        let pools: String = (0..count).map(pool).collect();
        config(&format!(
            "listen: 127.0.0.1:0\npools:\n{pools}routes: [{{ pool: p0 }}]\n"
        ))
    }

    #[test]
    fn the_same_config_has_no_changes() {
        assert_eq!(Changes::between(&pools(2), &pools(2)).count(), 0);
    }

    #[test]
    fn names_beyond_the_first_ten_are_only_counted() {
        let changes = Changes::between(&pools(1), &pools(40));
        let text = changes.pools.added.text().unwrap();
        assert!(
            text.starts_with("p1, p2, ") && text.ends_with(", p10 and 29 more"),
            "{text}"
        );
        assert_eq!(changes.count(), 78, "pools and their backends");
        assert_eq!(
            Changes::between(&pools(40), &pools(1)).pools.removed.text(),
            Some(text)
        );
    }

    #[test]
    fn a_route_is_changed_by_its_policies_and_by_the_defaults_of_routes() {
        let with = |policy: &str, keys: &str| {
            config(&format!(
                "listen: 127.0.0.1:0\nbackends: [\"http://127.0.0.1:1\"]\n\
                 policies: {{ small: {{ body_limit: {policy} }} }}\n\
                 routes: [{{ host: a, pool: default, policies: small }}, {{ host: b, pool: default, policies: [] }}]\n{keys}"
            ))
        };
        let changes = Changes::between(&with("1MiB", ""), &with("2MiB", ""));
        assert_eq!(changes.routes.changed.text().as_deref(), Some("a/"));
        assert_eq!(changes.policies.changed.text().as_deref(), Some("small"));
        let defaults = "route_defaults: { request_headers: { remove: [X-A] } }\n";
        let changes = Changes::between(&with("1MiB", ""), &with("1MiB", defaults));
        assert_eq!(changes.routes.changed.count, 3);
        assert_eq!(changes.settings.count, 0);
    }

    #[test]
    fn a_changed_store_is_named_among_the_settings() {
        let with = |url: &str| {
            let loaded = config::from_text(
                &format!(
                    "listen: 127.0.0.1:0\nbackends: [\"http://127.0.0.1:1\"]\nstores: {{ limits: {{ redis: {url} }} }}\n"
                ),
                "test",
                Path::new("."),
                &|_| None,
            );
            loaded.unwrap().config
        };
        let changes = Changes::between(&with("redis://a"), &with("redis://b"));
        assert_eq!(changes.settings.text().as_deref(), Some("stores"));
        assert_eq!(changes.count(), 1);
    }

    #[test]
    fn a_pool_is_changed_by_its_settings_but_not_by_its_backends() {
        let with = |keys: &str| {
            config(&format!(
                "listen: 127.0.0.1:0\nbackends: [\"http://127.0.0.1:1\"]\n{keys}"
            ))
        };
        let changes = Changes::between(&with(""), &with("retry: { attempts: 1 }\n"));
        assert_eq!(changes.pools.changed.text().as_deref(), Some("default"));
        assert_eq!(changes.pools.changed.iter().next().unwrap().differs, "retry");
        assert_eq!(changes.count(), 1);
    }

    #[test]
    fn what_differs_is_named() {
        let text = |backend: &str, route: &str| {
            config(&format!(
                "listen: 127.0.0.1:0\npools:\n  a: {{ backends: [{{ url: \"http://127.0.0.1:1\", {backend} }}] }}\n  \
                 b: {{ backends: [\"http://127.0.0.1:2\"] }}\nroutes: [{{ {route} }}, {{ path: /b, pool: b }}]\n"
            ))
        };
        let before = text("weight: 1", "pool: a");
        let after = text(
            "weight: 2, backup: true, name: x, drain: true",
            "pool: b, request_headers: { remove: [X-A] }",
        );
        let changes = Changes::between(&before, &after);
        let of = |items: &Items| items.iter().map(|item| item.differs.clone()).collect::<Vec<_>>();
        assert_eq!(
            of(&changes.backends.changed),
            ["weight 1 → 2, backup false → true, name none → x, drain false → true"]
        );
        assert_eq!(of(&changes.routes.changed), ["pool a → b, request_headers"]);
    }

    #[test]
    fn listeners_with_port_0_are_told_apart() {
        let with = |listen: &str| config(&format!("listen: {listen}\nbackends: [\"http://127.0.0.1:1\"]\n"));
        let two = with("[127.0.0.1:0, 127.0.0.1:0]");
        assert_eq!(Changes::between(&two, &two).count(), 0);
        let changes = Changes::between(&with("[127.0.0.1:0, ':81']"), &two);
        assert_eq!(changes.listeners.added.text().as_deref(), Some("127.0.0.1:0"));
        assert_eq!(changes.listeners.removed.text().as_deref(), Some("0.0.0.0:81"));
    }
}
