//! The requests that are under way, and the ids of their attempts.

use evenkeel_balance::admission::Place;
use evenkeel_balance::backend::BackendId;
use evenkeel_balance::latency::Waiting;
use evenkeel_balance::retry::Outcome;

use crate::clock::Time;

/// Identifies one attempt of a request, or one wait of it in the queue; never used twice in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

/// A request that is not finished.
#[derive(Debug, Default)]
pub struct Request {
    /// Hash of its client.
    pub key: u64,
    /// The worker that serves it.
    pub worker: usize,
    /// When it arrived.
    pub arrived: Time,
    /// Whether its method is idempotent.
    pub is_idempotent: bool,
    /// The backends that it was sent to.
    pub tried: Vec<BackendId>,
    /// Retries for which it took a token of the budget.
    pub tokens: u32,
    /// Where its attempt runs; `None` while it waits.
    pub running: Option<Running>,
    /// Its attempt or wait.
    pub attempt: Option<Attempt>,
    /// The second attempt that runs beside it.
    pub hedge: Option<(Attempt, Running)>,
    /// How the first attempt ended, if the second one runs on and may do better.
    pub first_outcome: Option<Outcome>,
    /// Its place in the queue.
    pub place: Option<Place>,
    /// Whether it has reached a backend.
    pub has_connected: bool,
    /// When it is woken next.
    pub wakes_at: Option<Time>,
    /// The status that it gets if no further attempt does better.
    pub held_status: Option<u16>,
}

/// A running attempt.
#[derive(Debug)]
pub struct Running {
    /// The index of the member.
    pub member: usize,
    /// When it began.
    pub began: Time,
    /// Its part in the latency of the backend.
    pub waiting: Option<Waiting>,
}

/// All requests under way. Slots are used again, so a run does not allocate for each request.
#[derive(Debug, Default)]
pub struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    is_used: bool,
    /// Counts attempts in this slot, over all requests that used it.
    serial: u32,
    request: Request,
}

impl Requests {
    /// Adds a request and returns its slot.
    pub fn add(&mut self, request: Request) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        let mut tried = std::mem::take(&mut place.request.tried);
        tried.clear();
        place.request = Request { tried, ..request };
        place.is_used = true;
        slot
    }

    /// The request in a slot.
    pub fn get(&mut self, slot: u32) -> &mut Request {
        &mut self.slots[slot as usize].request
    }

    /// Gives the request in a slot a new attempt.
    pub fn begin(&mut self, slot: u32) -> Attempt {
        let attempt = self.next_attempt(slot);
        let request = self.get(slot);
        request.attempt = Some(attempt);
        request.wakes_at = None;
        attempt
    }

    /// The id of another attempt of the request in a slot.
    pub fn next_attempt(&mut self, slot: u32) -> Attempt {
        let place = &mut self.slots[slot as usize];
        place.serial += 1;
        Attempt((u64::from(slot) << 32) | u64::from(place.serial))
    }

    /// The slot of the request whose second attempt this is; `None` if the attempt is over.
    pub fn of_hedge(&self, attempt: Attempt) -> Option<u32> {
        let slot = (attempt.0 >> 32) as u32;
        let place = self.slots.get(slot as usize)?;
        let (hedge, _) = place.request.hedge.as_ref().filter(|_| place.is_used)?;
        (*hedge == attempt).then_some(slot)
    }

    /// The slot of the request whose current attempt this is; `None` if the attempt is over.
    pub fn of(&self, attempt: Attempt) -> Option<u32> {
        let slot = (attempt.0 >> 32) as u32;
        let place = self.slots.get(slot as usize)?;
        (place.is_used && place.request.attempt == Some(attempt)).then_some(slot)
    }

    /// Removes the request in a slot.
    pub fn remove(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.is_used = false;
        place.request.attempt = None;
        place.request.running = None;
        place.request.hedge = None;
        place.request.first_outcome = None;
        self.free.push(slot);
    }

    /// When the oldest request arrived.
    pub fn oldest(&self) -> Option<Time> {
        let used = self.slots.iter().filter(|slot| slot.is_used);
        used.map(|slot| slot.request.arrived).min()
    }

    /// Number of requests under way.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no request is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_is_over_finds_no_request() {
        let mut requests = Requests::default();
        let slot = requests.add(Request::default());
        let first = requests.begin(slot);
        assert_eq!(requests.of(first), Some(slot));
        let second = requests.begin(slot);
        assert_eq!((requests.of(first), requests.of(second)), (None, Some(slot)));
        requests.remove(slot);
        assert_eq!((requests.of(second), requests.len()), (None, 0));
        let again = requests.add(Request::default());
        assert_eq!(again, slot);
        let third = requests.begin(again);
        assert_eq!((requests.of(second), requests.of(third)), (None, Some(slot)));
    }
}
