//! A queue that anybody may leave from anywhere: a list linked through a slab, so that coming and going is cheap and
//! allocates only when it grows.

use slab::Slab;

const NOBODY: usize = usize::MAX;

#[derive(Debug)]
struct Node<T> {
    value: T,
    before: usize,
    after: usize,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    nodes: Slab<Node<T>>,
    first: usize,
    last: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            nodes: Slab::new(),
            first: NOBODY,
            last: NOBODY,
        }
    }
}

impl<T> Queue<T> {
    /// The key that the next one to come gets.
    pub(super) fn next_key(&self) -> usize {
        self.nodes.vacant_key()
    }

    /// Joins at the end; the key is good until it is removed.
    pub(super) fn push(&mut self, value: T) -> usize {
        let before = self.last;
        let key = self.nodes.insert(Node {
            value,
            before,
            after: NOBODY,
        });
        match self.nodes.get_mut(before) {
            Some(node) => node.after = key,
            None => self.first = key,
        }
        self.last = key;
        key
    }

    /// Leaves; `None` for a key of nobody.
    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        let node = self.nodes.try_remove(key)?;
        match self.nodes.get_mut(node.before) {
            Some(before) => before.after = node.after,
            None => self.first = node.after,
        }
        match self.nodes.get_mut(node.after) {
            Some(after) => after.before = node.before,
            None => self.last = node.before,
        }
        Some(node.value)
    }

    pub(super) fn get(&self, key: usize) -> Option<&T> {
        self.nodes.get(key).map(|node| &node.value)
    }

    /// The first, from which [`Self::next`] leads on.
    pub(super) fn first(&mut self) -> Option<(usize, &mut T)> {
        let key = self.first;
        self.nodes.get_mut(key).map(|node| (key, &mut node.value))
    }

    /// The one after `key`.
    pub(super) fn next(&mut self, key: usize) -> Option<(usize, &mut T)> {
        let after = self.nodes.get(key)?.after;
        self.nodes.get_mut(after).map(|node| (after, &mut node.value))
    }

    /// All, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.nodes.iter().map(|(key, node)| (key, &node.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(queue: &mut Queue<usize>) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = queue.first().map(|(key, value)| (key, *value));
        while let Some((key, value)) = at {
            found.push(value);
            at = queue.next(key).map(|(key, value)| (key, *value));
        }
        found
    }

    #[test]
    fn leaving_in_any_order_keeps_the_queue_whole() {
        let mut queue = Queue::default();
        let mut here: Vec<(usize, usize)> = (0..64).map(|value| (queue.push(value), value)).collect();
        for step in 0..40 {
            let (key, value) = here.remove((step * 7) % here.len());
            assert_eq!(queue.remove(key), Some(value));
            assert_eq!(queue.remove(key), None);
        }
        here.push((queue.push(64), 64));
        let expected: Vec<usize> = here.iter().map(|(_, value)| *value).collect();
        assert_eq!(in_order(&mut queue), expected);
        for (key, value) in here {
            assert_eq!(queue.remove(key), Some(value));
        }
        assert!(queue.first().is_none() && queue.iter().count() == 0);
    }
}
