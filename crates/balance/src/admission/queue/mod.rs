//! The wait queue of a pool: requests that no backend may take now, in the order in which they came. It is told of events (a slot
//! is free, a backend is up, a connection was refused or established) and says whose turn it is. Pure: who waits is woken by the
//! caller, through what it left here for that.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use evenkeel_wire::instant::Instant;

use super::{Latency, Overload, Recovery};

#[cfg(test)]
mod tests;

/// Number of ended waits that quantiles are taken from.
const WAITS_KEPT: usize = 256;

/// The age up to which ended waits count.
const WAITS_AGE: Duration = Duration::from_secs(60);

/// Refusals that are this far apart belong to two outages, if nothing is known of the time between them.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The settings of `queue:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Maximum number of requests that wait at the same time.
    pub size: usize,
    /// The longest wait of a request.
    pub timeout: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            size: 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The place of a request in the queue. It keeps it while the request tries a backend, so that nobody who came later overtakes it
/// if that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    ticket: u64,
    joined: Instant,
    deadline: Instant,
}

impl Place {
    /// How long the request may wait.
    pub fn allowed(&self) -> Duration {
        self.deadline.saturating_duration_since(self.joined)
    }
}

/// Why a request may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many requests wait as may.
    Full,
    /// The pool has been without a usable backend for longer than a request may wait, or has never had one: waiting helps through
    /// a restart, not through an outage.
    Outage,
    /// The pool was removed.
    Closed,
}

/// What a waiting request does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Pick a backend. If none may be picked, ask again: events may have come meanwhile.
    Now,
    /// Wait until it is woken, or until then.
    Later(Instant),
    /// Give up: it has waited as long as it may.
    Expired,
    /// Give up, because of that.
    Refused(Refusal),
}

/// The requests of a pool that wait. `W` is what wakes one of them.
#[derive(Debug)]
pub struct WaitQueue<W> {
    /// By ticket, which is the order of arrival. At most [`QueueSettings::size`].
    entries: BTreeMap<u64, Entry<W>>,
    next_ticket: u64,
    /// Counts events after which a pick may succeed that has failed before.
    events: u64,
    recovery: Option<Recovery>,
    /// Number of recoveries that have begun.
    recoveries: u64,
    overload: Overload,
    /// Whether a backend was up or took a connection before.
    is_proven: bool,
    /// Since when no backend is eligible.
    without_since: Option<Instant>,
    waits: VecDeque<(Instant, Duration)>,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry<W> {
    waker: W,
    place: Place,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for its turn. If it has tried to pick a backend in vain, `events` of that moment.
    Waiting(Option<u64>),
    /// It tries to connect to a backend that may still refuse connections, and counts in the recovery with this number. A later
    /// recovery is not the one that its end makes room in.
    Trying(u64),
}

impl<W> Entry<W> {
    fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying(_))
    }
}

impl<W> Default for WaitQueue<W> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            next_ticket: 0,
            events: 0,
            recovery: None,
            recoveries: 0,
            overload: Overload::default(),
            is_proven: false,
            without_since: None,
            waits: VecDeque::new(),
            is_closed: false,
        }
    }
}

impl<W> WaitQueue<W> {
    /// Adds a request behind all others. `latency` is that of the pool's backends, as far as it is known.
    ///
    /// # Errors
    /// Why it may not wait.
    pub fn join(
        &mut self,
        settings: QueueSettings,
        latency: Option<Latency>,
        waker: W,
        now: Instant,
    ) -> Result<Place, Refusal> {
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        if self.is_hopeless() || self.is_long_out(settings.timeout, now) {
            return Err(Refusal::Outage);
        }
        if self.entries.len() >= settings.size {
            return Err(Refusal::Full);
        }
        let is_overloaded = self.overload.is_overloaded(now, self.entries.is_empty());
        let allowed = match latency {
            Some(latency) if is_overloaded => latency.allowed_wait().min(settings.timeout),
            _ => settings.timeout,
        };
        let place = Place {
            ticket: self.next_ticket,
            joined: now,
            deadline: now + allowed,
        };
        self.next_ticket += 1;
        self.put(place, waker);
        Ok(place)
    }

    /// Puts a request back that has left its place to try a backend, or is still trying, in vain.
    pub fn put_back(&mut self, place: Place, waker: W) {
        self.end_trying(place);
        self.put(place, waker);
    }

    /// What the request does next. [`Turn::Expired`] and [`Turn::Refused`] end its wait.
    pub fn turn(&mut self, place: Place, now: Instant) -> Turn {
        let Some(entry) = self.entries.get(&place.ticket) else {
            return Turn::Expired;
        };
        let State::Waiting(tried) = entry.state else {
            return Turn::Later(place.deadline);
        };
        if self.is_closed || self.is_hopeless() {
            self.leave(place);
            return Turn::Refused(match self.is_closed {
                true => Refusal::Closed,
                false => Refusal::Outage,
            });
        }
        if now >= place.deadline {
            self.overload.dropped(now);
            self.leave(place);
            return Turn::Expired;
        }
        let before = self.entries.range(..place.ticket);
        let room = self.room();
        let mut waiting_before = before.filter(|(_, entry)| !entry.is_trying());
        let has_room = room > 0 && waiting_before.nth(room - 1).is_none();
        if !has_room || tried == Some(self.events) {
            return Turn::Later(place.deadline);
        }
        match &self.recovery {
            Some(recovery) if now < recovery.next() => Turn::Later(recovery.next().min(place.deadline)),
            _ => {
                let events = self.events;
                if let Some(entry) = self.entries.get_mut(&place.ticket) {
                    entry.state = State::Waiting(Some(events));
                }
                Turn::Now
            }
        }
    }

    /// The request has picked a backend. While backends come back, it keeps its place until [`Self::connected`],
    /// [`Self::put_back`] or [`Self::leave`].
    pub fn picked(&mut self, place: Place, now: Instant) {
        match &mut self.recovery {
            Some(recovery) => {
                if let Some(entry) = self.entries.get_mut(&place.ticket)
                    && !entry.is_trying()
                {
                    entry.state = State::Trying(self.recoveries);
                    recovery.begin();
                }
            }
            None => {
                self.overload.served(self.waited(place, now), now);
                self.note_wait(place, now);
                self.leave(place);
            }
        }
    }

    /// A connection to a backend was established by the request with this place, or by one that did not wait.
    pub fn connected(&mut self, place: Option<Place>, timeout: Duration, now: Instant) {
        self.is_proven = true;
        if let Some(recovery) = &mut self.recovery {
            if !recovery.has_connected() {
                self.overload.suspend(now + timeout);
            }
            recovery.connected(now);
        }
        if let Some(place) = place
            && self.entries.contains_key(&place.ticket)
        {
            self.note_wait(place, now);
            self.leave(place);
        }
        self.happened();
    }

    /// A backend refused a connection, and no other may be tried.
    pub fn refused(&mut self, now: Instant) {
        match &mut self.recovery {
            Some(recovery) if now.saturating_duration_since(recovery.next()) < FORGOTTEN_AFTER => {
                recovery.refused(now);
            }
            _ => self.recover(Some(Recovery::new(now))),
        }
    }

    /// Removes a request, if it is here.
    pub fn leave(&mut self, place: Place) {
        self.end_trying(place);
        if self.entries.remove(&place.ticket).is_some() {
            self.happened();
        }
    }

    /// A slot at a backend is free, or the limit of one has grown.
    pub fn freed(&mut self) {
        self.happened();
    }

    /// The eligible backends of the pool have changed. `has_been_up` says whether a check has found one up before.
    pub fn changed(&mut self, has_eligible: bool, has_been_up: bool, now: Instant) {
        self.is_proven |= has_been_up;
        if !has_eligible {
            self.without_since.get_or_insert(now);
        } else if self.without_since.take().is_some() {
            // A backlog goes to a backend that has just come back.
            self.recover((!self.entries.is_empty()).then(|| Recovery::ready(now)));
        }
        self.happened();
    }

    /// The pool was removed: nobody waits any more.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// What wakes those whose turn it may be. To be woken after every event, and when somebody has left.
    pub fn heads(&self) -> impl Iterator<Item = &W> {
        let waiting = self.entries.values().filter(|entry| !entry.is_trying());
        let most = match self.is_closed || self.is_hopeless() {
            true => usize::MAX,
            false => self.room(),
        };
        waiting.take(most).map(|entry| &entry.waker)
    }

    /// Replaces what wakes the request.
    pub fn set_waker(&mut self, place: Place, waker: W) {
        if let Some(entry) = self.entries.get_mut(&place.ticket) {
            entry.waker = waker;
        }
    }

    /// Number of requests that wait, or try to connect to backends that come back.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether an established connection is news to the queue.
    pub fn awaits_connection(&self) -> bool {
        !self.is_proven || self.recovery.is_some()
    }

    /// Whether no backend is usable, so that a check of one may bring news.
    pub fn is_without_backend(&self) -> bool {
        self.without_since.is_some()
    }

    /// How long the request has waited.
    pub fn waited(&self, place: Place, now: Instant) -> Duration {
        now.saturating_duration_since(place.joined)
    }

    /// The wait that this part (0 to 1) of the waits of the last minute did not exceed; `None` without waits.
    pub fn quantile(&self, part: f64, now: Instant) -> Option<Duration> {
        let recent = |(at, _): &&(Instant, Duration)| now.saturating_duration_since(*at) <= WAITS_AGE;
        let mut waits: Vec<Duration> = self.waits.iter().filter(recent).map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        let last = waits.len().checked_sub(1)?;
        waits.get((last as f64 * part).ceil() as usize).copied()
    }

    fn put(&mut self, place: Place, waker: W) {
        let state = State::Waiting(None);
        let entry = Entry { waker, place, state };
        self.entries.insert(entry.place.ticket, entry);
    }

    /// No backend was ever usable, and none is.
    fn is_hopeless(&self) -> bool {
        !self.is_proven && (self.without_since.is_some() || self.recovery.is_some())
    }

    /// Whether no backend has been usable for longer than `timeout`.
    fn is_long_out(&self, timeout: Duration, now: Instant) -> bool {
        let refusing = self.recovery.as_ref().filter(|recovery| {
            !recovery.has_connected() && now.saturating_duration_since(recovery.next()) < FORGOTTEN_AFTER
        });
        let since = [self.without_since, refusing.map(Recovery::since)];
        let mut since = since.into_iter().flatten();
        since.any(|since| now.saturating_duration_since(since) > timeout)
    }

    /// How many of those that wait may try a backend at the same time.
    fn room(&self) -> usize {
        self.recovery.as_ref().map_or(1, Recovery::room)
    }

    /// Replaces the recovery by a new one.
    fn recover(&mut self, recovery: Option<Recovery>) {
        self.recovery = recovery;
        self.recoveries += 1;
    }

    fn end_trying(&mut self, place: Place) {
        let Some(entry) = self.entries.get(&place.ticket) else {
            return;
        };
        if entry.state == State::Trying(self.recoveries)
            && let Some(recovery) = &mut self.recovery
        {
            recovery.end();
        }
    }

    fn note_wait(&mut self, place: Place, now: Instant) {
        if self.waits.len() >= WAITS_KEPT {
            self.waits.pop_front();
        }
        self.waits.push_back((now, self.waited(place, now)));
    }

    /// Something has changed after which a pick may succeed.
    fn happened(&mut self) {
        self.events += 1;
        if self.entries.is_empty() {
            self.overload.emptied();
            self.recovery.take_if(|recovery| recovery.has_connected());
        }
    }
}
