//! The events that are still to come, in the order of their time. Events of the same time come in the order in which they were
//! added, so a run is repeatable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Time;

/// Events ordered by time.
#[derive(Debug)]
pub(crate) struct Events<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    added: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }
}

impl<E> Events<E> {
    /// Adds an event.
    pub(crate) fn add(&mut self, at: Time, event: E) {
        self.added += 1;
        let number = self.added;
        self.heap.push(Reverse(Entry { at, number, event }));
    }

    /// Removes the next event.
    pub(crate) fn next(&mut self) -> Option<(Time, E)> {
        let Reverse(Entry { at, event, .. }) = self.heap.pop()?;
        Some((at, event))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_by_age() {
        let mut events = Events::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            events.add(Time(at), name);
        }
        let names: Vec<_> = std::iter::from_fn(|| events.next())
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }
}
