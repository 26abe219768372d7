//! The client connections of one worker that wait, idle or without a whole head, the longest first: who has to go when
//! there is no room.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

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
    /// The alarms of connections that carry many requests: whether they wait or not, a stop concerns them.
    carriers: Rc<RefCell<Slab<usize>>>,
}

/// One connection's place in the list; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    list: WaitingList,
    key: usize,
}

/// A connection that carries many requests, for as long as this lives.
#[derive(Debug)]
pub(super) struct Carrier {
    list: WaitingList,
    key: usize,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.list.carriers.borrow_mut().remove(self.key);
    }
}

impl WaitingList {
    /// Joins at the end: from now on this connection waits.
    #[inline]
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

    /// Makes known a connection that carries many requests: it is no candidate for going, but is told of a stop.
    pub(super) fn carry(&self, alarm: usize) -> Carrier {
        Carrier {
            key: self.carriers.borrow_mut().insert(alarm),
            list: self.clone(),
        }
    }

    /// All whom a stop concerns while no request of theirs ends: those that wait, and those that carry many.
    pub(super) fn all(&self) -> Vec<Who> {
        let (queue, carriers) = (self.queue.borrow(), self.carriers.borrow());
        let carriers = carriers.iter().map(|(_, alarm)| Who::Alarm(*alarm));
        queue
            .iter()
            .map(|(_, waiting)| waiting.who)
            .chain(carriers)
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
