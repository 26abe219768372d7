//! A queue with removal by key: a doubly linked list in a slab. All operations take constant time, and it allocates only when
//! it grows.

use slab::Slab;

/// The key of no entry.
const NONE: usize = usize::MAX;

#[derive(Debug)]
struct Node<T> {
    value: T,
    previous: usize,
    next: usize,
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
            first: NONE,
            last: NONE,
        }
    }
}

impl<T> Queue<T> {
    /// The key that the next pushed value gets.
    pub(super) fn next_key(&self) -> usize {
        self.nodes.vacant_key()
    }

    /// Appends a value; its key is valid until it is removed.
    pub(super) fn push(&mut self, value: T) -> usize {
        let previous = self.last;
        let key = self.nodes.insert(Node {
            value,
            previous,
            next: NONE,
        });
        match self.nodes.get_mut(previous) {
            Some(node) => node.next = key,
            None => self.first = key,
        }
        self.last = key;
        key
    }

    /// Removes a value; `None` if no entry has this key.
    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        let node = self.nodes.try_remove(key)?;
        match self.nodes.get_mut(node.previous) {
            Some(previous) => previous.next = node.next,
            None => self.first = node.next,
        }
        match self.nodes.get_mut(node.next) {
            Some(next) => next.previous = node.previous,
            None => self.last = node.previous,
        }
        Some(node.value)
    }

    pub(super) fn get(&self, key: usize) -> Option<&T> {
        self.nodes.get(key).map(|node| &node.value)
    }

    /// The first entry; [`Self::next`] returns those after it.
    pub(super) fn first(&mut self) -> Option<(usize, &mut T)> {
        let key = self.first;
        self.nodes.get_mut(key).map(|node| (key, &mut node.value))
    }

    /// The entry after `key`.
    pub(super) fn next(&mut self, key: usize) -> Option<(usize, &mut T)> {
        let next = self.nodes.get(key)?.next;
        self.nodes.get_mut(next).map(|node| (next, &mut node.value))
    }

    /// All entries, in no particular order.
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
    fn removal_in_any_order_keeps_the_links_intact() {
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
