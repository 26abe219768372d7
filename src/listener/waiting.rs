//! The client connections of one worker that wait, idle or without a whole head, the longest first: who has to go when
//! there is no room.

use std::cell::RefCell;
use std::rc::Rc;

use super::queue::Queue;

/// How one that waits is told to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Its alarm with this key rings.
    Alarm(usize),
    /// It is parked with this key.
    Parked(usize),
}

#[derive(Debug)]
struct Waiting {
    who: Who,
    is_given_up: bool,
}

/// The list.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitingList {
    queue: Rc<RefCell<Queue<Waiting>>>,
}

/// One connection's place in the list; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    list: WaitingList,
    key: usize,
}

impl WaitingList {
    /// Joins at the end: from now on this connection waits.
    pub(super) fn join(&self, who: Who) -> Place {
        let key = self.queue.borrow_mut().push(Waiting {
            who,
            is_given_up: false,
        });
        Place {
            list: self.clone(),
            key,
        }
    }

    /// Gives up the connection that has waited longest: it counts as gone from now on, and has to be told.
    pub(super) fn evict_longest(&self) -> Option<Who> {
        let mut queue = self.queue.borrow_mut();
        let mut key = None;
        loop {
            let found = match key {
                None => queue.first(),
                Some(key) => queue.next(key),
            };
            let (at, waiting) = found?;
            if !std::mem::replace(&mut waiting.is_given_up, true) {
                return Some(waiting.who);
            }
            key = Some(at);
        }
    }

    /// All that wait.
    pub(super) fn all(&self) -> Vec<Who> {
        self.queue
            .borrow()
            .iter()
            .map(|(_, waiting)| waiting.who)
            .collect()
    }
}

impl Place {
    /// Whether it is this connection that has to go.
    pub(super) fn is_given_up(&self) -> bool {
        let queue = self.list.queue.borrow();
        queue.get(self.key).is_some_and(|waiting| waiting.is_given_up)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.list.queue.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::Who::{Alarm, Parked};
    use super::*;

    #[test]
    fn who_has_waited_longest_goes_first() {
        let list = WaitingList::default();
        let first = list.join(Alarm(1));
        let _second = list.join(Alarm(2));
        let _third = list.join(Parked(3));
        drop(first);
        let again = list.join(Alarm(1));
        let order: Vec<Who> = std::iter::from_fn(|| list.evict_longest()).collect();
        assert_eq!(order, [Alarm(2), Parked(3), Alarm(1)]);
        assert!(again.is_given_up() && list.all().len() == 3);
    }
}
