//! Builds the index of a router from the routes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::candidates::{Candidate, Candidates, Slot};
use super::conditions::{Conditions, Specificity};
use super::errors::{RouteError, RouteErrors};
use super::host::Hosts;
use super::matcher::{Matcher, PathMatcher, without_slash};
use super::path::{Paths, Tree};
use super::pattern::PathPattern;

/// The patterns of one host and the routes of each, in the order of the file.
pub(super) type Patterns = Vec<(PathPattern, Option<Slot>)>;

/// What a router consists of.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) hosts: Hosts,
    pub(super) paths: Paths,
    /// By the index in the root of a host's tree.
    pub(super) patterns: Vec<Patterns>,
    /// The pattern of each route that has one, in the order of the routes.
    pub(super) by_route: Vec<(u32, PathPattern)>,
    pub(super) candidates: Candidates,
}

/// A route of one path of one host. While an index is built, slots number the leaves: the paths of all hosts that routes name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    leaf: u32,
    conditions: Option<u32>,
    route: u32,
}

#[derive(Debug, Default)]
struct Builder {
    index: Index,
    entries: Vec<Entry>,
    leaves: u32,
    leaf_by_pattern: HashMap<(Tree, PathPattern), u32>,
    conditions: HashMap<Conditions, u32>,
}

/// Builds the index.
///
/// # Errors
/// All errors in the routes.
pub(super) fn build(matchers: &[Matcher]) -> Result<Index, RouteErrors> {
    let mut errors = duplicate_names(matchers);
    let mut builder = Builder::default();
    for (route, matcher) in matchers.iter().enumerate() {
        match &matcher.path {
            PathMatcher::Exact(path) | PathMatcher::Prefix(path) if !path.starts_with('/') => {
                let label = matcher.to_string();
                errors.push(RouteError::NotAPath { route, label });
            }
            _ => builder.add(route as u32, matcher),
        }
    }
    builder.entries.sort_unstable();
    // A route may name a host twice.
    builder.entries.dedup();
    errors.extend(equal_routes(matchers, &builder.entries));
    match &*errors {
        [] => Ok(builder.finish()),
        _ => Err(RouteErrors(errors)),
    }
}

fn duplicate_names(matchers: &[Matcher]) -> Vec<RouteError> {
    let mut errors = Vec::new();
    let mut known = HashMap::new();
    let names = matchers.iter().enumerate();
    for (second, name) in names.filter_map(|(index, matcher)| Some((index, matcher.name.as_deref()?))) {
        let first = *known.entry(name).or_insert(second);
        if first != second {
            let name = name.to_owned();
            errors.push(RouteError::DuplicateName { name, first, second });
        }
    }
    errors
}

/// Each pair of routes that are equal on at least one host, once.
fn equal_routes(matchers: &[Matcher], sorted: &[Entry]) -> Vec<RouteError> {
    let is_equal = |one: &Entry, other: &Entry| (one.leaf, one.conditions) == (other.leaf, other.conditions);
    let pairs: BTreeSet<(u32, u32)> = sorted
        .chunk_by(is_equal)
        .filter_map(|equal| equal.split_first())
        .flat_map(|(first, others)| others.iter().map(|other| (other.route, first.route)))
        .collect();
    let label = |route: usize| matchers.get(route).map(Matcher::to_string).unwrap_or_default();
    let errors = pairs.into_iter().map(|(second, first)| {
        let (first, second) = (first as usize, second as usize);
        RouteError::Equal {
            first,
            first_label: label(first),
            second,
            second_label: label(second),
        }
    });
    errors.collect()
}

impl Builder {
    fn add(&mut self, route: u32, matcher: &Matcher) {
        let conditions = (matcher.conditions != Conditions::default()).then(|| {
            let next = self.conditions.len() as u32;
            let known = self.conditions.entry(matcher.conditions.normalised());
            *known.or_insert(next)
        });
        if let PathMatcher::Regex(pattern) = &matcher.path {
            self.index.by_route.push((route, pattern.clone()));
        }
        let hosts = matcher.hosts.iter().map(|host| Some(&**host));
        let every = matcher.hosts.is_empty().then_some(None);
        for host in hosts.chain(every) {
            let Index { hosts, paths, .. } = &mut self.index;
            let tree = hosts.tree_of(host, || paths.tree());
            if let Some(leaf) = self.leaf(tree, &matcher.path) {
                self.entries.push(Entry {
                    leaf,
                    conditions,
                    route,
                });
            }
        }
    }

    /// The leaf of a path; made if there is none yet.
    fn leaf(&mut self, tree: Tree, path: &PathMatcher) -> Option<u32> {
        let paths = &mut self.index.paths;
        let slot = match path {
            PathMatcher::Exact(path) => &mut paths.node(tree, path.as_bytes())?.exact,
            PathMatcher::Prefix(prefix) => &mut paths.node(tree, without_slash(prefix))?.prefix,
            PathMatcher::Regex(pattern) => return self.leaf_of_pattern(tree, pattern),
        };
        let Slot::List(leaf) = *slot.get_or_insert(Slot::List(self.leaves)) else {
            return None;
        };
        self.leaves = self.leaves.max(leaf + 1);
        Some(leaf)
    }

    fn leaf_of_pattern(&mut self, tree: Tree, pattern: &PathPattern) -> Option<u32> {
        let known = self.leaf_by_pattern.entry((tree, pattern.clone()));
        let leaf = *known.or_insert(self.leaves);
        if leaf == self.leaves {
            self.leaves += 1;
            let Index { paths, patterns, .. } = &mut self.index;
            let index = *paths.root(tree)?.patterns.get_or_insert(patterns.len() as u32);
            if index as usize == patterns.len() {
                patterns.push(Vec::new());
            }
            let of_host = patterns.get_mut(index as usize)?;
            of_host.push((pattern.clone(), Some(Slot::List(leaf))));
        }
        Some(leaf)
    }

    /// Replaces the numbers of leaves by the routes that are tried there.
    fn finish(self) -> Index {
        let Self {
            mut index,
            entries,
            leaves,
            conditions,
            ..
        } = self;
        let mut by_index: Vec<_> = conditions.into_iter().collect();
        by_index.sort_unstable_by_key(|(_, index)| *index);
        let mut candidates =
            Candidates::new(by_index.into_iter().map(|(conditions, _)| conditions).collect());
        let mut slots = Vec::with_capacity(leaves as usize);
        // There is no leaf without an entry.
        for of_leaf in entries.chunk_by(|one, other| one.leaf == other.leaf) {
            let ordered = in_order(of_leaf, &candidates);
            slots.push(candidates.add(ordered));
        }
        let resolved = |slot: Option<Slot>| match slot? {
            Slot::List(leaf) => *slots.get(leaf as usize)?,
            Slot::Route(_) => None,
        };
        for (_, slot) in index.patterns.iter_mut().flatten() {
            *slot = resolved(*slot);
        }
        let (nodes, parents) = index.paths.with_parents();
        for (at, parent) in parents.into_iter().enumerate() {
            let above = parent.and_then(|parent| nodes.get(parent as usize));
            let (patterns, shorter) = above.map_or((None, None), |above| (above.patterns, above.prefix));
            let Some(node) = nodes.get_mut(at) else { continue };
            node.patterns = node.patterns.or(patterns);
            node.exact = resolved(node.exact);
            node.prefix = resolved(node.prefix);
            match node.prefix {
                Some(own) => candidates.chain(own, shorter),
                None => node.prefix = shorter,
            }
        }
        index.candidates = candidates;
        index
    }
}

/// The routes of a leaf, most specific first, then in the order of the file. A route with client blocks of several lengths is there
/// once for each of them.
fn in_order(of_leaf: &[Entry], known: &Candidates) -> Vec<Candidate> {
    let mut ranked: Vec<(Reverse<Option<Specificity>>, Candidate)> = Vec::with_capacity(of_leaf.len());
    for entry in of_leaf {
        let conditions = entry.conditions.and_then(|index| known.conditions(index));
        let lengths = conditions.map_or_else(|| vec![None], Conditions::block_lengths);
        ranked.extend(lengths.into_iter().map(|block_length| {
            let specificity = conditions.map(|conditions| conditions.specificity(block_length));
            let candidate = Candidate {
                route: entry.route,
                conditions: entry.conditions,
                block_length,
            };
            (Reverse(specificity), candidate)
        }));
    }
    ranked.sort_by_key(|(specificity, candidate)| (*specificity, candidate.route));
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}
