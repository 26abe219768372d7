//! Matches the host of a request: exact hosts, wildcards, and routes for every host.
//!
//! `*.example.com` matches one label or more before `.example.com`, as in Envoy and nginx, but not `example.com` itself.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::path::Tree;

/// A DNS name has at most 253 bytes; a longer host can match no configured one. One more for a trailing dot.
const MAX_HOST: usize = 254;

/// Keys come from the config, so that clients cannot make them collide.
type ByName = HashMap<Box<[u8]>, Tree, FixedState>;

/// The path tree of each host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: ByName,
    /// By the part after `*.`.
    wildcards: ByName,
    /// Largest number of labels after the `*.` of any wildcard: longer suffixes of a host are not looked up.
    wildcard_labels: usize,
    every: Option<Tree>,
}

impl Hosts {
    /// The tree of a configured host; made if there is none yet.
    pub(super) fn tree_of(&mut self, host: Option<&str>, make: impl FnOnce() -> Tree) -> Tree {
        let Some(host) = host else {
            return *self.every.get_or_insert_with(make);
        };
        let mut buffer = [0; MAX_HOST];
        // A host that is too long is kept as it is and never matches.
        let normalised = normalised(host.as_bytes(), &mut buffer).unwrap_or(host.as_bytes());
        let (names, name) = match normalised.strip_prefix(b"*.") {
            Some(tail) => {
                self.wildcard_labels = self.wildcard_labels.max(labels(tail));
                (&mut self.wildcards, tail)
            }
            None => (&mut self.exact, normalised),
        };
        *names.entry(name.into()).or_insert_with(make)
    }

    /// Calls `take` with each tree that matches a host, most specific first, until it returns a result.
    pub(super) fn find<T>(&self, host: &[u8], take: impl Fn(Tree) -> Option<T>) -> Option<T> {
        let named = self.find_named(host, &take);
        named.or_else(|| self.every.and_then(take))
    }

    fn find_named<T>(&self, host: &[u8], take: impl Fn(Tree) -> Option<T>) -> Option<T> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return None;
        }
        let mut buffer = [0; MAX_HOST];
        let name = normalised(host, &mut buffer)?;
        let exact = self.exact.get(name).and_then(|tree| take(*tree));
        exact.or_else(|| self.find_wildcard(name, take))
    }

    fn find_wildcard<T>(&self, name: &[u8], take: impl Fn(Tree) -> Option<T>) -> Option<T> {
        if self.wildcards.is_empty() || name.starts_with(b".") {
            return None;
        }
        let mut tail = name;
        let mut tail_labels = labels(name);
        while let Some(dot) = memchr::memchr(b'.', tail) {
            tail = tail.get(dot + 1..)?;
            tail_labels -= 1;
            if tail_labels > self.wildcard_labels {
                continue;
            }
            if let Some(found) = self.wildcards.get(tail).and_then(|tree| take(*tree)) {
                return Some(found);
            }
        }
        None
    }
}

/// Whether a configured host or wildcard matches the host of a request.
pub(super) fn is_match(configured: &str, host: &[u8]) -> bool {
    let (mut buffer, mut other) = ([0; MAX_HOST], [0; MAX_HOST]);
    let names = (
        normalised(configured.as_bytes(), &mut buffer),
        normalised(host, &mut other),
    );
    let (Some(configured), Some(host)) = names else {
        return false;
    };
    match configured.strip_prefix(b"*.") {
        Some(tail) => {
            let before = host
                .strip_suffix(tail)
                .and_then(|before| before.strip_suffix(b"."));
            !host.starts_with(b".") && before.is_some_and(|before| !before.is_empty())
        }
        None => configured == host,
    }
}

fn labels(name: &[u8]) -> usize {
    memchr::memchr_iter(b'.', name).count() + 1
}

/// The host in lower case, without port, brackets and one trailing dot. `None` when it is longer than any DNS name.
fn normalised<'a>(host: &[u8], buffer: &'a mut [u8; MAX_HOST]) -> Option<&'a [u8]> {
    let name = match host.strip_prefix(b"[") {
        Some(rest) => rest.split(|byte| *byte == b']').next()?,
        None => match memchr::memchr(b':', host).and_then(|colon| host.split_at_checked(colon)) {
            Some((name, [_, port @ ..])) if !port.contains(&b':') => name,
            // Without a port. With two colons it is an IPv6 address without brackets, which occurs only in the config.
            _ => host,
        },
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    let copy = buffer.get_mut(..name.len())?;
    copy.copy_from_slice(name);
    copy.make_ascii_lowercase();
    Some(copy)
}
