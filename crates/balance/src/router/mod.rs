//! Chooses the route, and so the pool, of a request by its host and path. Pure.
//!
//! Of the routes that match both, the one with the most specific host wins: an exact host before a wildcard, a long
//! wildcard before a short one, any host last. Among those the longest path wins. Order does not matter. If no route
//! of the most specific host matches the path, less specific hosts are tried: a route for every host applies to every host.

mod host;
mod path;
mod route;

use std::collections::HashMap;
use std::sync::Arc;

pub use route::Route;

use host::Hosts;
use path::Paths;

/// The route and pool of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Index of the route, in the order in which the routes were passed.
    pub route: usize,
    /// Index of its pool, in the order in which the pools were passed.
    pub pool: usize,
}

/// A route refers to a pool that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {route} refers to pool {pool:?}, which does not exist")]
pub struct UnknownPool {
    /// Index of the route.
    pub route: usize,
    /// The unknown name.
    pub pool: Arc<str>,
}

/// All routes, indexed so that the cost of a lookup depends on the length of the host and the path, not on the number of
/// routes.
#[derive(Debug, Default)]
pub struct Router {
    hosts: Hosts,
    paths: Paths,
}

impl Router {
    /// Indexes the routes. Of two with the same host and path the first one wins.
    pub fn new(routes: &[Route], pools: &[Arc<str>]) -> Result<Self, UnknownPool> {
        let pool_indices: HashMap<&str, usize> = pools
            .iter()
            .enumerate()
            .map(|(index, name)| (&**name, index))
            .collect();
        let mut router = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let pool = pool_indices.get(&*route.pool).ok_or_else(|| UnknownPool {
                route: index,
                pool: Arc::clone(&route.pool),
            })?;
            let tree = router
                .hosts
                .tree_of(route.host.as_deref(), || router.paths.tree());
            let found = Match {
                route: index,
                pool: *pool,
            };
            router.paths.insert(tree, route.path_prefix.as_bytes(), found);
        }
        Ok(router)
    }

    /// Finds the route for a host, as in the request, with or without a port, and a path without its query. Allocates nothing.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<&Match> {
        self.hosts.find(host, |tree| self.paths.longest(tree, path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert_eq, proptest};

    use super::*;

    fn route(host: Option<&str>, path_prefix: &str) -> Route {
        Route {
            host: host.map(str::to_owned),
            path_prefix: path_prefix.to_owned(),
            pool: "web".into(),
        }
    }

    fn router(routes: &[Route]) -> Router {
        Router::new(routes, &["api".into(), "web".into()]).unwrap()
    }

    fn found(routes: &[Route], host: &str, path: &str) -> Option<usize> {
        let router = router(routes);
        let found = router.find(host.as_bytes(), path.as_bytes())?;
        assert_eq!(found.pool, 1);
        Some(found.route)
    }

    #[test]
    fn longest_path_wins_at_segment_boundaries() {
        let routes = [route(None, "/v1"), route(None, "/"), route(None, "/v1/users")];
        for (path, expected) in [
            ("/", 1),
            ("/v1", 0),
            ("/v1/", 0),
            ("/v1/x", 0),
            ("/v10", 1),
            ("/v1/users", 2),
            ("/v1/users/7", 2),
            ("/v1/usersx", 0),
            ("/V1", 1),
            ("*", 1),
        ] {
            assert_eq!(found(&routes, "a.test", path), Some(expected), "{path}");
        }
        assert_eq!(found(&routes[..1], "a.test", "/v10"), None);
    }

    #[test]
    fn most_specific_host_wins_before_longest_path() {
        let routes = [
            route(None, "/deep/path"),
            route(Some("*.test"), "/deep"),
            route(Some("*.b.test"), "/"),
            route(Some("a.b.test"), "/"),
        ];
        for (host, expected) in [
            ("a.b.test", 3),
            ("c.b.test", 2),
            ("d.c.b.test", 2),
            ("b.test", 1),
            ("x.test", 1),
            ("test", 0),
            ("other", 0),
            ("", 0),
        ] {
            assert_eq!(found(&routes, host, "/deep/path"), Some(expected), "{host}");
        }
    }

    #[test]
    fn path_without_route_falls_back_to_less_specific_host() {
        let routes = [
            route(Some("api.test"), "/v1"),
            route(Some("*.test"), "/v2"),
            route(None, "/"),
        ];
        assert_eq!(found(&routes, "api.test", "/v1/x"), Some(0));
        assert_eq!(found(&routes, "api.test", "/v2"), Some(1));
        assert_eq!(found(&routes, "api.test", "/v3"), Some(2));
        assert_eq!(found(&routes[..2], "api.test", "/v3"), None);
    }

    #[test]
    fn host_match_ignores_case_port_and_trailing_dot() {
        let routes = [
            route(Some("api.example.com"), "/"),
            route(Some("::1"), "/"),
            route(Some("*.example.com"), "/"),
        ];
        for (host, expected) in [
            ("API.Example.com", Some(0)),
            ("api.example.com:8080", Some(0)),
            ("api.example.com.", Some(0)),
            ("api.example.com.:80", Some(0)),
            ("[::1]", Some(1)),
            ("[::1]:8080", Some(1)),
            ("X.EXAMPLE.COM:1", Some(2)),
            ("example.com", None),
            ("api.example.com..", None),
            (".example.com", None),
        ] {
            assert_eq!(found(&routes, host, "/"), expected, "{host}");
        }
    }

    #[test]
    fn overlong_host_matches_only_routes_for_every_host() {
        let long = format!("{}.example.com", "a.".repeat(4_000));
        let routes = [route(Some("*.example.com"), "/"), route(None, "/x")];
        assert_eq!(found(&routes, &long, "/"), None);
        assert_eq!(found(&routes, &long, "/x"), Some(1));
    }

    #[test]
    fn unknown_pool_is_an_error_that_names_it() {
        let error = Router::new(&[route(None, "/")], &["api".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "route 0 refers to pool \"web\", which does not exist"
        );
    }

    #[test]
    fn first_of_equal_routes_wins() {
        let routes = [route(None, "/a"), route(None, "/a"), route(None, "/a/")];
        assert_eq!(found(&routes, "x", "/a"), Some(0));
    }

    /// Reference implementation of the rules at the top of this file.
    fn model(routes: &[Route], host: &str, path: &str) -> Option<usize> {
        let host = host.to_ascii_lowercase();
        let host_rank = |route: &Route| match &route.host {
            None => Some(0),
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(suffix) => (host.ends_with(suffix) && host.len() > suffix.len()).then_some(suffix.len()),
                None => (*pattern == host).then_some(usize::MAX),
            },
        };
        let path_rank = |route: &Route| {
            let prefix = route.path_prefix.strip_suffix('/').unwrap_or(&route.path_prefix);
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
        };
        let ranks = routes.iter().enumerate().filter_map(|(index, route)| {
            Some((host_rank(route)?, path_rank(route)?, std::cmp::Reverse(index)))
        });
        ranks.max().map(|(.., index)| index.0)
    }

    fn some_host() -> impl Strategy<Value = Option<String>> {
        prop::option::of("(\\*\\.)?[ab](\\.[ab]){0,2}")
    }

    proptest! {
        // Each case has more than a hundred routes, so a few cases suffice.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Hundreds of hosts, and requests with every equivalent spelling of a host.
        #[test]
        fn matches_many_hosts_like_the_model(
            hosts in prop::collection::btree_set("(\\*\\.)?[a-c]{1,2}(\\.[a-c]{1,2}){1,2}", 101..140),
            requests in prop::collection::vec(("[a-cA-C]{1,2}(\\.[a-cA-C]{1,2}){1,3}", "\\.?(:[0-9]{0,4})?"), 1..40),
        ) {
            let routes: Vec<_> = hosts.iter().map(|host| route(Some(host), "/")).collect();
            let router = router(&routes);
            for (host, ending) in requests {
                let spelt = format!("{host}{ending}");
                let found = router.find(spelt.as_bytes(), b"/").map(|found| found.route);
                prop_assert_eq!(found, model(&routes, &host, "/"), "{}", spelt);
            }
        }
    }

    proptest! {
        #[test]
        fn matches_routes_like_the_model(
            routes in prop::collection::vec((some_host(), "(/[ab]{0,1}){1,4}"), 0..20),
            requests in prop::collection::vec(("[abAB](\\.[abAB]){0,3}", "(/[ab]{0,2}){1,5}"), 1..20),
        ) {
            let routes: Vec<_> = routes.iter().map(|(host, path)| route(host.as_deref(), path)).collect();
            let router = router(&routes);
            for (host, path) in requests {
                let found = router.find(host.as_bytes(), path.as_bytes()).map(|found| found.route);
                prop_assert_eq!(found, model(&routes, &host, &path), "{} {}", host, path);
            }
        }

        #[test]
        fn order_does_not_matter(
            routes in prop::collection::btree_set((some_host(), "/([ab]{1}(/[ab]{1}){0,2})?"), 1..12),
            host in "[ab](\\.[ab]){0,2}",
            path in "(/[ab]{1}){1,4}",
        ) {
            let forward: Vec<_> = routes.iter().map(|(host, path)| route(host.as_deref(), path)).collect();
            let backward: Vec<_> = forward.iter().rev().cloned().collect();
            let one = found(&forward, &host, &path).map(|index| &forward[index]);
            let other = found(&backward, &host, &path).map(|index| &backward[index]);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn routes_any_bytes_without_panic(
            host in prop::collection::vec(0_u8.., 0..300),
            path in prop::collection::vec(0_u8.., 0..100),
        ) {
            let routes = [route(Some("*.a"), "/a"), route(Some("a"), "/"), route(None, "/")];
            prop_assert_eq!(router(&routes).find(&host, &path).is_some(), true);
        }
    }
}
