//! The eviction queue: the client connections of one worker that are idle or have no complete head yet, the longest waiting
//! first. When there is no room for a new connection, one of them is closed: of those that have never sent a complete head
//! while they are many, so that clients that only connect do not displace those that are served; else of the others.

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

/// Connections without a request are closed first if they are at least one of so many. Fewer are on their way to their first
/// request, and an idle connection is closed for them.
const CROWD: usize = 4;

#[derive(Debug)]
struct Waiting {
    target: WakeTarget,
    is_evicted: bool,
}

/// Whether a connection has had a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Served,
}

/// The waiting connections of one standing.
#[derive(Debug, Default)]
struct Group {
    queue: Queue<Waiting>,
    /// Those that are not evicted yet.
    left: usize,
}

#[derive(Debug, Default)]
struct Groups {
    new: Group,
    served: Group,
}

/// The queue; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct EvictionQueue {
    groups: Rc<RefCell<Groups>>,
    /// Timers of the HTTP/2 connections, which are notified of a drain whether they wait or not.
    busy: Rc<RefCell<Slab<usize>>>,
}

/// One connection's entry in the queue; dropping it removes the entry.
#[derive(Debug)]
pub(super) struct EvictionTicket {
    queue: EvictionQueue,
    standing: Standing,
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

impl Groups {
    fn of(&mut self, standing: Standing) -> &mut Group {
        match standing {
            Standing::New => &mut self.new,
            Standing::Served => &mut self.served,
        }
    }
}

impl Group {
    /// Marks the longest waiting connection as evicted.
    fn evict_longest(&mut self) -> Option<WakeTarget> {
        let mut key = None;
        loop {
            let found = match key {
                None => self.queue.first(),
                Some(key) => self.queue.next(key),
            };
            let (at, waiting) = found?;
            if !std::mem::replace(&mut waiting.is_evicted, true) {
                self.left -= 1;
                return Some(waiting.target);
            }
            key = Some(at);
        }
    }
}

impl EvictionQueue {
    /// Adds a connection at the end: it waits from now on. It has had `served` requests.
    #[inline]
    pub(super) fn join(&self, target: WakeTarget, served: u64) -> EvictionTicket {
        let standing = if served == 0 {
            Standing::New
        } else {
            Standing::Served
        };
        let mut groups = self.groups.borrow_mut();
        let group = groups.of(standing);
        group.left += 1;
        let key = group.queue.push(Waiting {
            target,
            is_evicted: false,
        });
        EvictionTicket {
            queue: self.clone(),
            standing,
            key,
        }
    }

    /// Marks the connection that is to be closed as evicted and returns it, for the caller to notify it.
    pub(super) fn evict(&self) -> Option<WakeTarget> {
        let Groups { new, served } = &mut *self.groups.borrow_mut();
        let is_crowd = new.left.saturating_mul(CROWD) >= new.left + served.left;
        let (first, second) = if is_crowd { (new, served) } else { (served, new) };
        first.evict_longest().or_else(|| second.evict_longest())
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
        let (groups, busy) = (self.groups.borrow(), self.busy.borrow());
        let busy = busy.iter().map(|(_, timer)| WakeTarget::Timer(*timer));
        let waiting = groups.new.queue.iter().chain(groups.served.queue.iter());
        waiting.map(|(_, waiting)| waiting.target).chain(busy).collect()
    }
}

impl EvictionTicket {
    /// Whether this connection is evicted.
    pub(super) fn is_evicted(&self) -> bool {
        let mut groups = self.queue.groups.borrow_mut();
        let waiting = groups.of(self.standing).queue.get(self.key);
        waiting.is_some_and(|waiting| waiting.is_evicted)
    }
}

impl Drop for EvictionTicket {
    fn drop(&mut self) {
        let mut groups = self.queue.groups.borrow_mut();
        let group = groups.of(self.standing);
        if let Some(waiting) = group.queue.remove(self.key) {
            group.left -= usize::from(!waiting.is_evicted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WakeTarget::{Parked, Timer};
    use super::*;

    #[test]
    fn evicts_the_longest_waiting_connection_first() {
        let waiting = EvictionQueue::default();
        let first = waiting.join(Timer(1), 1);
        let _second = waiting.join(Timer(2), 1);
        let _third = waiting.join(Parked(3), 7);
        drop(first);
        let again = waiting.join(Timer(1), 2);
        let order: Vec<WakeTarget> = std::iter::from_fn(|| waiting.evict()).collect();
        assert_eq!(order, [Timer(2), Parked(3), Timer(1)]);
        assert!(again.is_evicted() && waiting.all().len() == 3);
    }

    #[test]
    fn many_connections_without_a_request_are_evicted_before_idle_ones() {
        let waiting = EvictionQueue::default();
        let _served: Vec<EvictionTicket> = (0..6).map(|key| waiting.join(Timer(key), 1)).collect();
        let _new: Vec<EvictionTicket> = (10..14).map(|key| waiting.join(Timer(key), 0)).collect();
        let order: Vec<WakeTarget> = std::iter::from_fn(|| waiting.evict()).collect();
        // While there are 2 of 8 or more; then the idle ones, until 1 of 4 is left.
        let expected = [10, 11, 12, 0, 1, 2, 13, 3, 4, 5].map(Timer);
        assert_eq!(order, expected);
        assert_eq!(waiting.all().len(), 10);
    }

    #[test]
    fn an_evicted_connection_that_has_left_counts_no_more() {
        let waiting = EvictionQueue::default();
        let new: Vec<EvictionTicket> = (0..4).map(|key| waiting.join(Timer(key), 0)).collect();
        let _served = waiting.join(Timer(9), 1);
        assert_eq!(waiting.evict(), Some(Timer(0)));
        drop(new);
        assert_eq!(waiting.evict(), Some(Timer(9)));
        assert_eq!(waiting.evict(), None);
    }
}
