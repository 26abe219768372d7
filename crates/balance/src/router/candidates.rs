//! The routes of one path of one host, in the order in which they are tried.

use super::conditions::Conditions;
use crate::request::Request;

/// Where the routes of a path are. Most paths have one route without conditions, which needs no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// This route, whatever the request.
    Route(u32),
    /// The list with this index.
    List(u32),
}

/// A route in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) route: u32,
    /// Index of its conditions; `None` without conditions.
    pub(super) conditions: Option<u32>,
    /// Length of the prefix of the client block that makes it as specific as its place says.
    pub(super) block_length: Option<u8>,
}

#[derive(Debug)]
struct List {
    candidates: Box<[Candidate]>,
    /// Where the search goes on if none fits.
    next: Option<Slot>,
}

/// The lists of all paths, and the conditions of all routes.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    lists: Vec<List>,
    conditions: Vec<Conditions>,
}

impl Candidates {
    /// Lists of routes with these conditions, without any list yet.
    pub(super) fn new(conditions: Vec<Conditions>) -> Self {
        let lists = Vec::new();
        Self { lists, conditions }
    }

    /// Adds the routes of a path, most specific first.
    pub(super) fn add(&mut self, candidates: Vec<Candidate>) -> Option<Slot> {
        match *candidates {
            [] => return None,
            // Nothing after it is ever tried.
            [
                Candidate {
                    route,
                    conditions: None,
                    ..
                },
                ..,
            ] => return Some(Slot::Route(route)),
            _ => {}
        }
        let candidates = candidates.into();
        self.lists.push(List {
            candidates,
            next: None,
        });
        Some(Slot::List(self.lists.len() as u32 - 1))
    }

    /// Lets the search go on at `next` if no route of `slot` fits.
    pub(super) fn chain(&mut self, slot: Slot, next: Option<Slot>) {
        if let Slot::List(list) = slot
            && let Some(list) = self.lists.get_mut(list as usize)
        {
            list.next = next;
        }
    }

    /// The conditions with this index.
    pub(super) fn conditions(&self, index: u32) -> Option<&Conditions> {
        self.conditions.get(index as usize)
    }

    /// The first route whose conditions hold.
    #[inline]
    pub(super) fn first(&self, slot: Option<Slot>, request: &Request<'_>) -> Option<u32> {
        match slot? {
            Slot::Route(route) => Some(route),
            Slot::List(list) => self.first_from(list, request),
        }
    }

    #[inline(never)]
    fn first_from(&self, mut list: u32, request: &Request<'_>) -> Option<u32> {
        loop {
            let List { candidates, next } = self.lists.get(list as usize)?;
            let mut fitting = candidates.iter().filter(|one| self.fits(one, request));
            if let Some(found) = fitting.next() {
                return Some(found.route);
            }
            // Each list leads to one of a shorter path, so this ends.
            match (*next)? {
                Slot::Route(route) => return Some(route),
                Slot::List(shorter) => list = shorter,
            }
        }
    }

    fn fits(&self, candidate: &Candidate, request: &Request<'_>) -> bool {
        let Some(index) = candidate.conditions else {
            return true;
        };
        let conditions = self.conditions(index);
        conditions.is_some_and(|conditions| conditions.hold(request, candidate.block_length))
    }
}
