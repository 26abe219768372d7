//! Compares two configs and lists the names of what a reload adds, removes and changes, for the log. Changes nothing itself.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;

use crate::config::Config;
use crate::pool;
use crate::proxy::RouteSettings;
use crate::schema::Params;

/// Maximum number of names of one kind in a log line; the others are counted.
const NAMES_SHOWN: usize = 10;

/// The differences between two configs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) pools: Difference,
    /// By pool and URL. A backend with another weight or another `backup` is changed.
    pub(super) backends: Difference,
    /// By name, or by hosts and path. A route to another pool, or with a changed policy or default, is changed.
    pub(super) routes: Difference,
    /// Top-level keys.
    pub(super) settings: Names,
}

/// The differences between two sets of named items.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Names,
    pub(super) removed: Names,
    pub(super) changed: Names,
}

/// A count of names, of which the first [`NAMES_SHOWN`] are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    shown: Vec<String>,
    count: usize,
}

impl Changes {
    /// Compares the active config with the new one. A reload keeps the number of workers, so it is not compared.
    pub(super) fn between(before: &Config, after: &Config) -> Self {
        let pool_name = |pool: &&pool::Settings| pool.name.to_string();
        let mut settings = Names::default();
        for (key, is_changed) in [
            ("listeners", before.listeners != after.listeners),
            ("trusted_proxies", before.trusted_proxies != after.trusted_proxies),
            ("timeouts", before.timeouts != after.timeouts),
            ("limits", before.limits != after.limits),
            ("policies", before.policies != after.policies),
            ("stores", before.stores != after.stores),
            ("admin", before.admin != after.admin),
            ("access_log", before.access_log != after.access_log),
            ("tracing", before.tracing != after.tracing),
        ] {
            if is_changed {
                settings.push(|| key.to_owned());
            }
        }
        Self {
            pools: Difference::between(
                (before.pools.iter(), after.pools.iter()),
                |pool| pool.name.clone(),
                |one, other| {
                    is_same_except_backends(one, other) && sources(before, one) == sources(after, other)
                },
                pool_name,
            ),
            backends: Difference::between(
                (backends(before), backends(after)),
                |(pool, backend)| (pool.name.clone(), backend.address.identity()),
                |(_, one), (_, other)| one == other,
                |(pool, backend)| format!("{} {}", pool.name, backend.address),
            ),
            routes: Difference::between(
                (before.routes.iter(), after.routes.iter()),
                |route: &RouteSettings| route_name(route),
                |one, other| one == other,
                |route| route_name(route),
            ),
            settings,
        }
    }

    /// The number of changes.
    pub(super) fn count(&self) -> usize {
        let kinds = [&self.pools, &self.backends, &self.routes];
        let counts = kinds.map(|kind| kind.added.count + kind.removed.count + kind.changed.count);
        counts.iter().sum::<usize>() + self.settings.count
    }
}

impl Difference {
    /// Compares items; two with the same `key` are the same item.
    fn between<'a, T: Copy, K: Hash + Eq + 'a>(
        (before, after): (impl Iterator<Item = T> + Clone, impl Iterator<Item = T>),
        key: impl Fn(T) -> K,
        is_equal: impl Fn(T, T) -> bool,
        name: impl Fn(&T) -> String,
    ) -> Self {
        let mut difference = Self::default();
        let mut old: HashMap<K, T> = before.clone().map(|item| (key(item), item)).collect();
        for item in after {
            match old.remove(&key(item)) {
                None => difference.added.push(|| name(&item)),
                Some(old) if !is_equal(old, item) => difference.changed.push(|| name(&item)),
                Some(_) => {}
            }
        }
        // In the order of the config.
        for item in before.filter(|item| old.contains_key(&key(*item))) {
            difference.removed.push(|| name(&item));
        }
        difference
    }
}

impl Names {
    fn push(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < NAMES_SHOWN {
            self.shown.push(name());
        }
    }

    /// The names for a log line; `None` when there are none.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = self.shown.join(", ");
        if self.count > self.shown.len() {
            // Writing to a string cannot fail.
            let _ = write!(text, " and {} more", self.count - self.shown.len());
        }
        (self.count > 0).then_some(text)
    }
}

fn backends(config: &Config) -> impl Iterator<Item = (&pool::Settings, &pool::BackendSettings)> + Clone {
    let pools = config.pools.iter();
    pools.flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
}

/// Where the sources of a pool find their lists.
fn sources<'c>(config: &'c Config, pool: &pool::Settings) -> Vec<(&'static str, &'c Params)> {
    let of_pool = config.sources.iter().filter(|source| source.pool == pool.name);
    of_pool
        .map(|source| (source.source.name, &source.params))
        .collect()
}

fn is_same_except_backends(one: &pool::Settings, other: &pool::Settings) -> bool {
    one.strategy == other.strategy
        && one.sticky == other.sticky
        && one.health_check == other.health_check
        && one.ejection == other.ejection
        && one.slow_start == other.slow_start
        && one.retry == other.retry
        && one.timeouts == other.timeouts
        && one.in_flight_per_backend == other.in_flight_per_backend
        && one.adaptive == other.adaptive
        && one.queue == other.queue
        && one.tls == other.tls
        && one.send_proxy == other.send_proxy
        && one.header_case == other.header_case
        && one.forwarded == other.forwarded
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
        assert_eq!(changes.settings.text().as_deref(), Some("policies"));
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
        assert_eq!(changes.count(), 1);
    }
}
