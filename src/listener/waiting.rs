//! The client connections of one worker that wait, idle or without a whole head, the longest first: who has to go when
//! there is no room. A list linked through a slab, so that coming and going is cheap for every request.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

const NOBODY: usize = usize::MAX;

#[derive(Debug)]
struct Node {
    alarm: usize,
    is_given_up: bool,
    before: usize,
    after: usize,
}

#[derive(Debug)]
struct Links {
    nodes: Slab<Node>,
    longest: usize,
    latest: usize,
}

/// The list.
#[derive(Debug, Clone)]
pub struct WaitingList {
    links: Rc<RefCell<Links>>,
}

/// One connection's place in the list; it leaves when this is dropped.
#[derive(Debug)]
pub struct Place {
    list: WaitingList,
    key: usize,
}

impl Default for WaitingList {
    fn default() -> Self {
        let links = Links {
            nodes: Slab::new(),
            longest: NOBODY,
            latest: NOBODY,
        };
        Self {
            links: Rc::new(RefCell::new(links)),
        }
    }
}

impl WaitingList {
    /// Joins at the end: from now on this connection waits. Its alarm rings when it has to go.
    pub fn join(&self, alarm: usize) -> Place {
        let mut links = self.links.borrow_mut();
        let before = links.latest;
        let key = links.nodes.insert(Node {
            alarm,
            is_given_up: false,
            before,
            after: NOBODY,
        });
        match links.nodes.get_mut(before) {
            Some(node) => node.after = key,
            None => links.longest = key,
        }
        links.latest = key;
        drop(links);
        Place {
            list: self.clone(),
            key,
        }
    }

    /// Tells the connection that has waited longest to go, and gives the key of its alarm; it counts as gone from now on.
    pub fn evict_longest(&self) -> Option<usize> {
        let mut links = self.links.borrow_mut();
        let mut key = links.longest;
        while let Some(node) = links.nodes.get_mut(key) {
            if !std::mem::replace(&mut node.is_given_up, true) {
                return Some(node.alarm);
            }
            key = node.after;
        }
        None
    }

    /// The alarms of all that wait.
    pub fn alarms(&self) -> Vec<usize> {
        self.links
            .borrow()
            .nodes
            .iter()
            .map(|(_, node)| node.alarm)
            .collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.links.borrow().nodes.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Place {
    /// Whether it is this connection that has to go.
    pub fn is_given_up(&self) -> bool {
        let links = self.list.links.borrow();
        links.nodes.get(self.key).is_some_and(|node| node.is_given_up)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut links = self.list.links.borrow_mut();
        let node = links.nodes.remove(self.key);
        match links.nodes.get_mut(node.before) {
            Some(before) => before.after = node.after,
            None => links.longest = node.after,
        }
        match links.nodes.get_mut(node.after) {
            Some(after) => after.before = node.before,
            None => links.latest = node.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_goes_first() {
        let list = WaitingList::default();
        let first = list.join(1);
        let _second = list.join(2);
        let _third = list.join(3);
        drop(first);
        let _first_again = list.join(1);
        let order: Vec<usize> = std::iter::from_fn(|| list.evict_longest()).collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn leaving_in_any_order_keeps_the_list_whole() {
        let list = WaitingList::default();
        let mut places: Vec<(usize, Place)> = (0..64).map(|alarm| (alarm, list.join(alarm))).collect();
        for step in 0..40 {
            places.remove((step * 7) % places.len());
        }
        let expected: Vec<usize> = places.iter().map(|(alarm, _)| *alarm).collect();
        let order: Vec<usize> = std::iter::from_fn(|| list.evict_longest()).collect();
        assert_eq!((order, list.len()), (expected, 24));
        places.clear();
        assert!(list.is_empty() && list.evict_longest().is_none());
    }
}
