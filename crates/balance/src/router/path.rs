//! Matches exact paths and path prefixes: one tree per host with one node per segment, all in one list.
//!
//! `/v1` matches `/v1` and everything below it, but not `/v10`; `/v1/` means the same. Matching is case-sensitive and decodes
//! nothing: the path was normalised before, and it is forwarded as it is routed.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::candidates::Slot;

/// The tree of one host: the index of its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tree(u32);

#[derive(Debug, Default)]
pub(super) struct Node {
    /// Routes of exactly this path.
    pub(super) exact: Option<Slot>,
    /// Routes of this prefix; once all are known, those of a shorter one if there are none.
    pub(super) prefix: Option<Slot>,
    /// Index of the patterns of the host; the same in all nodes of a tree once all routes are known.
    pub(super) patterns: Option<u32>,
    /// Node indices by segment. Keys come from the config, so clients cannot make them collide.
    children: HashMap<Box<[u8]>, u32, FixedState>,
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

    /// The root of a tree.
    pub(super) fn root(&mut self, tree: Tree) -> Option<&mut Node> {
        self.nodes.get_mut(tree.0 as usize)
    }

    /// The node of a path; made if there is none yet. Every node comes after the one above it.
    pub(super) fn node(&mut self, tree: Tree, path: &[u8]) -> Option<&mut Node> {
        let mut at = tree.0;
        for segment in segments(path).into_iter().flatten() {
            let child = self.nodes.get(at as usize)?.children.get(segment).copied();
            at = match child {
                Some(child) => child,
                None => self.push_below(at, segment)?,
            };
        }
        self.nodes.get_mut(at as usize)
    }

    /// All nodes, each with the index of the one above it, which comes before it. `None` for roots.
    pub(super) fn with_parents(&mut self) -> (&mut [Node], Vec<Option<u32>>) {
        let mut parents = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for child in node.children.values() {
                if let Some(parent) = parents.get_mut(*child as usize) {
                    *parent = Some(index as u32);
                }
            }
        }
        (&mut self.nodes, parents)
    }

    /// Finds the deepest node on a path, and whether it is the node of the whole path. Reads each byte of the path at most once.
    #[inline]
    pub(super) fn find(&self, tree: Tree, path: &[u8]) -> Option<(&Node, bool)> {
        let mut node = self.nodes.get(tree.0 as usize)?;
        let Some(segments) = segments(path) else {
            return Some((node, false));
        };
        for segment in segments {
            let child = node.children.get(segment);
            let Some(child) = child.and_then(|child| self.nodes.get(*child as usize)) else {
                return Some((node, false));
            };
            node = child;
        }
        Some((node, true))
    }

    fn push(&mut self) -> u32 {
        self.nodes.push(Node::default());
        self.nodes.len() as u32 - 1
    }

    fn push_below(&mut self, at: u32, segment: &[u8]) -> Option<u32> {
        let child = self.push();
        let above = self.nodes.get_mut(at as usize)?;
        above.children.insert(segment.into(), child);
        Some(child)
    }
}

/// The segments after each `/`; `None` for `*` and the empty path, which only the prefix `/` and patterns match.
fn segments(path: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let rest = path.strip_prefix(b"/")?;
    Some(rest.split(|byte| *byte == b'/'))
}
