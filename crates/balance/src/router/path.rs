//! Matches path prefixes: one tree per host with one node per segment, all in one list.
//!
//! `/v1` matches `/v1` and everything below it, but not `/v10`; `/v1/` means the same. Matching is case-sensitive and decodes
//! nothing: the path was normalised before, and it is forwarded as it is routed.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Match;

/// The tree of one host: the index of its root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree(usize);

#[derive(Debug, Default)]
struct Node {
    found: Option<Match>,
    /// Node indices by segment. Keys come from the config, so clients cannot make them collide.
    children: HashMap<Box<[u8]>, usize, FixedState>,
}

/// The trees of all hosts.
#[derive(Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
}

impl Paths {
    /// Makes an empty tree.
    pub(super) fn tree(&mut self) -> Tree {
        Tree(self.push())
    }

    /// Adds a prefix, unless it exists already.
    pub(super) fn insert(&mut self, tree: Tree, prefix: &[u8], found: Match) {
        let mut at = tree.0;
        for segment in segments(prefix.strip_suffix(b"/").unwrap_or(prefix)) {
            let child = self
                .nodes
                .get(at)
                .and_then(|node| node.children.get(segment))
                .copied();
            at = child.unwrap_or_else(|| self.push_below(at, segment));
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.found.get_or_insert(found);
        }
    }

    /// The longest matching prefix in a tree. Reads each byte of the path at most once.
    pub(super) fn longest(&self, tree: Tree, path: &[u8]) -> Option<&Match> {
        let mut node = self.nodes.get(tree.0)?;
        let mut found = node.found.as_ref();
        for segment in segments(path) {
            let child = node.children.get(segment);
            let Some(child) = child.and_then(|child| self.nodes.get(*child)) else {
                break;
            };
            node = child;
            found = node.found.as_ref().or(found);
        }
        found
    }

    fn push(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn push_below(&mut self, at: usize, segment: &[u8]) -> usize {
        let child = self.push();
        if let Some(node) = self.nodes.get_mut(at) {
            node.children.insert(segment.into(), child);
        }
        child
    }
}

/// The segments after each `/`. `*` and the empty path have none, so only the prefix `/` matches them.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').skip(1)
}
