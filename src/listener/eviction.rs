//! The eviction queue: the client connections of one worker that are idle or have no complete head yet, the longest waiting
//! first. When there is no room for a new connection, the first is closed.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use super::queue::Queue;

/// How a waiting connection is notified of its eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeTarget {
    /// Through its timer, which has this key.
    Timer(usize),
    /// It is parked under this key, and is taken out.
    Parked(usize),
}

#[derive(Debug)]
struct Waiting {
    target: WakeTarget,
    is_evicted: bool,
}

/// The queue; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct EvictionQueue {
    queue: Rc<RefCell<Queue<Waiting>>>,
    /// Timers of the HTTP/2 connections, which are notified of a drain whether they wait or not.
    busy: Rc<RefCell<Slab<usize>>>,
}

/// One connection's entry in the queue; dropping it removes the entry.
#[derive(Debug)]
pub(super) struct EvictionTicket {
    queue: EvictionQueue,
    key: usize,
}

/// The registration of an HTTP/2 connection; dropping it ends the registration.
#[derive(Debug)]
pub(super) struct BusyTicket {
    queue: EvictionQueue,
    key: usize,
}

impl Drop for BusyTicket {
    fn drop(&mut self) {
        self.queue.busy.borrow_mut().remove(self.key);
    }
}

impl EvictionQueue {
    /// Adds a connection at the end: it waits from now on.
    #[inline]
    pub(super) fn join(&self, target: WakeTarget) -> EvictionTicket {
        let key = self.queue.borrow_mut().push(Waiting {
            target,
            is_evicted: false,
        });
        EvictionTicket {
            queue: self.clone(),
            key,
        }
    }

    /// Marks the longest waiting connection as evicted and returns it, for the caller to notify it.
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

    /// Registers an HTTP/2 connection by its timer: it is not evicted through this entry, but is notified of a drain.
    pub(super) fn register_busy(&self, timer: usize) -> BusyTicket {
        BusyTicket {
            key: self.busy.borrow_mut().insert(timer),
            queue: self.clone(),
        }
    }

    /// All connections to notify of a drain: the waiting ones and all HTTP/2 connections.
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
    /// Whether this connection is evicted.
    pub(super) fn is_evicted(&self) -> bool {
        let queue = self.queue.queue.borrow();
        queue.get(self.key).is_some_and(|waiting| waiting.is_evicted)
    }
}

impl Drop for EvictionTicket {
    fn drop(&mut self) {
        self.queue.queue.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::WakeTarget::{Parked, Timer};
    use super::*;

    #[test]
    fn evicts_the_longest_waiting_connection_first() {
        let waiting = EvictionQueue::default();
        let first = waiting.join(Timer(1));
        let _second = waiting.join(Timer(2));
        let _third = waiting.join(Parked(3));
        drop(first);
        let again = waiting.join(Timer(1));
        let order: Vec<WakeTarget> = std::iter::from_fn(|| waiting.evict_longest()).collect();
        assert_eq!(order, [Timer(2), Parked(3), Timer(1)]);
        assert!(again.is_evicted() && waiting.all().len() == 3);
    }
}
