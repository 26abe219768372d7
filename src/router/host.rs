//! The hosts of all routes: exact ones, wildcards, and the one that stands for every host.
//!
//! `*.example.com` stands for one label or more before `.example.com`, as in Envoy and in nginx, not for
//! `example.com` itself.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::path::Tree;

/// A DNS name has at most 253 bytes; what is longer can match no configured host. One more for a trailing dot.
const MAX_HOST: usize = 254;

/// Keys come from the config, so that clients cannot make them collide.
type ByName = HashMap<Box<[u8]>, Tree, FixedState>;

/// Which tree of paths belongs to which host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: ByName,
    /// By what stands after `*.`.
    wildcards: ByName,
    /// The most labels after the `*.` of any wildcard: longer tails of a host are not looked up.
    wildcard_labels: usize,
    every: Option<Tree>,
}

impl Hosts {
    /// The tree of a host as configured; made when there is none yet.
    pub(super) fn tree_of(&mut self, host: Option<&str>, make: impl FnOnce() -> Tree) -> Tree {
        let Some(host) = host else {
            return *self.every.get_or_insert_with(make);
        };
        let mut buffer = [0; MAX_HOST];
        // A host that is too long is kept as it is and found by nobody.
        let plain = plain(host.as_bytes(), &mut buffer).unwrap_or(host.as_bytes());
        let (names, name) = match plain.strip_prefix(b"*.") {
            Some(tail) => {
                self.wildcard_labels = self.wildcard_labels.max(labels(tail));
                (&mut self.wildcards, tail)
            }
            None => (&mut self.exact, plain),
        };
        *names.entry(name.into()).or_insert_with(make)
    }

    /// Asks `take` with the trees that a host belongs to, most specific first, until one gives something.
    pub(super) fn find<T>(&self, host: &[u8], take: impl Fn(Tree) -> Option<T>) -> Option<T> {
        let named = self.find_named(host, &take);
        named.or_else(|| self.every.and_then(take))
    }

    fn find_named<T>(&self, host: &[u8], take: impl Fn(Tree) -> Option<T>) -> Option<T> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return None;
        }
        let mut buffer = [0; MAX_HOST];
        let name = plain(host, &mut buffer)?;
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

fn labels(name: &[u8]) -> usize {
    memchr::memchr_iter(b'.', name).count() + 1
}

/// The name without port, brackets and one trailing dot, in lower case. `None` when it is longer than any name.
fn plain<'a>(host: &[u8], buffer: &'a mut [u8; MAX_HOST]) -> Option<&'a [u8]> {
    let name = match host.strip_prefix(b"[") {
        Some(rest) => rest.split(|byte| *byte == b']').next()?,
        // An IPv6 address without brackets stands in the config only.
        None if memchr::memchr_iter(b':', host).count() > 1 => host,
        None => host.split(|byte| *byte == b':').next()?,
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    let copy = buffer.get_mut(..name.len())?;
    copy.copy_from_slice(name);
    copy.make_ascii_lowercase();
    Some(copy)
}
