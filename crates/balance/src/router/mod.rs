//! Chooses the route of a request by its host, path and other conditions. Pure; what a route leads to is not known here.
//!
//! Of the routes that match, the most specific one wins, in the order of the Kubernetes Gateway API:
//! 1. an exact host, a long wildcard, a short wildcard, every host;
//! 2. an exact path, the patterns of that host in the order of the file (routes with the same pattern are together, where the
//!    first of them is), a long prefix, a short prefix;
//! 3. a route with methods, more headers, more query parameters and cookies, a longer client block that has the client, a route
//!    with listeners;
//! 4. the order of the file.
//!
//! If the conditions of the best path do not hold, the next best path is tried, then less specific hosts: a route for every host
//! applies to every host. Two routes with the same path and conditions on the same host are an error.
//!
//! The cost of a lookup depends on the length of host and path, on the number of patterns of the host, and on the number of routes
//! that share the paths on the way, not on the number of routes. It allocates nothing, but for a pattern that meets an encoded query
//! parameter of more than 256 bytes, and for the caches of patterns when they are used for the first time.

mod build;
mod candidates;
mod conditions;
mod errors;
mod explain;
mod host;
mod matcher;
mod path;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;

pub use crate::query::decode as decode_query;
pub use conditions::{Conditions, IsThere, Unfulfilled, ValueCondition, ValueMatcher};
pub use errors::{RouteError, RouteErrors};
pub use explain::Outcome;
pub use matcher::{Matcher, PathMatcher};
pub use pattern::{LONGEST_PATTERN, PathCaptures, PathPattern, PatternError, ValuePattern};

use crate::request::Request;
use build::Index;
use path::Tree;

/// All routes, indexed.
#[derive(Default)]
pub struct Router {
    index: Index,
}

impl Router {
    /// Indexes the routes.
    ///
    /// # Errors
    /// All routes that are equal to another one, have the name of another one or can never match.
    pub fn new(matchers: &[Matcher]) -> Result<Self, RouteErrors> {
        let index = build::build(matchers)?;
        Ok(Self { index })
    }

    /// Finds the route of a request: its index, in the order in which the routes were passed. The host is that of the request,
    /// with or without a port.
    pub fn find(&self, request: &Request<'_>) -> Option<usize> {
        let head = request.head;
        let path = head.text(head.path);
        let hosts = &self.index.hosts;
        let route = hosts.find(head.text(head.authority), |tree| {
            self.find_in(tree, path, request)
        });
        route.map(|route| route as usize)
    }

    #[inline]
    fn find_in(&self, tree: Tree, path: &[u8], request: &Request<'_>) -> Option<u32> {
        let (node, is_whole) = self.index.paths.find(tree, path)?;
        let exact = if is_whole { node.exact } else { None };
        let candidates = &self.index.candidates;
        if exact.is_some() || node.patterns.is_some() {
            let exact = candidates.first(exact, request);
            let route = exact.or_else(|| self.find_by_pattern(node.patterns?, path, request));
            if route.is_some() {
                return route;
            }
        }
        candidates.first(node.prefix, request)
    }

    #[inline(never)]
    fn find_by_pattern(&self, patterns: u32, path: &[u8], request: &Request<'_>) -> Option<u32> {
        let of_host = self.index.patterns.get(patterns as usize)?;
        let matching = of_host.iter().filter(|(pattern, _)| pattern.is_match(path));
        let mut routes = matching.filter_map(|(_, slot)| self.index.candidates.first(*slot, request));
        routes.next()
    }

    /// The named groups of a route's pattern in the path of a request that was routed by it; `None` for a route without a pattern.
    /// Allocates.
    pub fn captures<'a>(&self, route: usize, request: &Request<'a>) -> Option<PathCaptures<'a>> {
        let patterns = &self.index.by_route;
        let at = patterns
            .binary_search_by_key(&route, |(route, _)| *route as usize)
            .ok()?;
        let (_, pattern) = patterns.get(at)?;
        pattern.captures(request.path())
    }

    /// Explains [`Self::find`]: what became of each route, in the order of `matchers`, which are those that the router was made
    /// from. Takes time linear in their number.
    pub fn explain<'a>(&self, matchers: &'a [Matcher], request: &Request<'_>) -> Vec<Outcome<'a>> {
        let chosen = self.find(request);
        let outcome = |(index, matcher): (usize, &'a Matcher)| {
            let better = chosen.filter(|chosen| *chosen != index);
            Outcome::of(matcher, request, better)
        };
        matchers.iter().enumerate().map(outcome).collect()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}
