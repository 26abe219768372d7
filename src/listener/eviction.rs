//! The client connections of one worker that wait, idle or without a whole head, the longest first: who has to go when
//! there is no room.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use super::queue::Queue;

/// How one that waits is told to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeTarget {
    /// Its alarm with this key rings.
    Timer(usize),
    /// It is parked with this key.
    Parked(usize),
}

#[derive(Debug)]
struct Waiting {
    target: WakeTarget,
    is_evicted: bool,
}

/// The list.
#[derive(Debug, Clone, Default)]
pub(super) struct EvictionQueue {
    queue: Rc<RefCell<Queue<Waiting>>>,
    /// The alarms of connections that carry many requests: whether they wait or not, a stop concerns them.
    busy: Rc<RefCell<Slab<usize>>>,
}

/// One connection's place in the list; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct EvictionTicket {
    list: EvictionQueue,
    key: usize,
}

/// A connection that carries many requests, for as long as this lives.
#[derive(Debug)]
pub(super) struct BusyTicket {
    list: EvictionQueue,
    key: usize,
}

impl Drop for BusyTicket {
    fn drop(&mut self) {
        self.list.busy.borrow_mut().remove(self.key);
    }
}

impl EvictionQueue {
    /// Joins at the end: from now on this connection waits.
    #[inline]
    pub(super) fn join(&self, target: WakeTarget) -> EvictionTicket {
        let key = self.queue.borrow_mut().push(Waiting {
            target,
            is_evicted: false,
        });
        EvictionTicket {
            list: self.clone(),
            key,
        }
    }

    /// Gives up the connection that has waited longest: it counts as gone from now on, and has to be told.
    pub(super) fn evict_longest(&self) -> Option<WakeTarget> {
        let mut queue = self.queue.borrow_mut();
        let mut key = None;
        loop {
            let found = match key {
                None => queue.first(),
                Some(key) => queue.next(key),
            };
            let (at, waiting) = found?;
            if !std::mem::replace(&mut waiting.is_evicted, true) {
                return Some(waiting.target);
            }
            key = Some(at);
        }
    }

    /// Makes known a connection that carries many requests: it is no candidate for going, but is told of a stop.
    pub(super) fn register_busy(&self, timer: usize) -> BusyTicket {
        BusyTicket {
            key: self.busy.borrow_mut().insert(timer),
            list: self.clone(),
        }
    }

    /// All whom a stop concerns while no request of theirs ends: those that wait, and those that carry many.
    pub(super) fn all(&self) -> Vec<WakeTarget> {
        let (queue, busy) = (self.queue.borrow(), self.busy.borrow());
        let busy = busy.iter().map(|(_, timer)| WakeTarget::Timer(*timer));
        queue
            .iter()
            .map(|(_, waiting)| waiting.target)
            .chain(busy)
            .collect()
    }
}

impl EvictionTicket {
    /// Whether it is this connection that has to go.
    pub(super) fn is_evicted(&self) -> bool {
        let queue = self.list.queue.borrow();
        queue.get(self.key).is_some_and(|waiting| waiting.is_evicted)
    }
}

impl Drop for EvictionTicket {
    fn drop(&mut self) {
        self.list.queue.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::WakeTarget::{Parked, Timer};
    use super::*;

    #[test]
    fn who_has_waited_longest_goes_first() {
        let list = EvictionQueue::default();
        let first = list.join(Timer(1));
        let _second = list.join(Timer(2));
        let _third = list.join(Parked(3));
        drop(first);
        let again = list.join(Timer(1));
        let order: Vec<WakeTarget> = std::iter::from_fn(|| list.evict_longest()).collect();
        assert_eq!(order, [Timer(2), Parked(3), Timer(1)]);
        assert!(again.is_evicted() && list.all().len() == 3);
    }
}
