//! How requests return to backends that refuse connections: one connection attempt at a time with growing pauses while they
//! refuse, then more and more at a time as connections are established. Pure.

use std::time::Duration;

use evenkeel_wire::instant::Instant;

/// The pause after the first refused connection: less than a restart takes, more than a busy loop.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause: a quarter of a second is what a backend's return may go unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Maximum number of connection attempts at a time: below the shortest usual backlog of a listening socket, which is 128.
const MOST_TRYING: usize = 64;

/// The return of backends that refused connections.
#[derive(Debug)]
pub struct Recovery {
    /// When they began to refuse.
    since: Instant,
    /// When the next connection may be tried.
    next: Instant,
    pause: Duration,
    /// How many requests may try to connect at a time.
    window: usize,
    trying: usize,
    has_connected: bool,
}

impl Recovery {
    /// Begins with a refused connection.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            next: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            window: 1,
            trying: 0,
            has_connected: false,
        }
    }

    /// Begins with a backend that is back: a connection may be tried at once.
    pub fn ready(now: Instant) -> Self {
        Self {
            next: now,
            ..Self::new(now)
        }
    }

    /// Another connection was refused. Those that were tried at the same time count as one.
    pub fn refused(&mut self, now: Instant) {
        if self.has_connected {
            *self = Self {
                trying: self.trying,
                ..Self::new(now)
            };
        } else if now >= self.next {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.next = now + self.pause;
        }
    }

    /// A connection was established: the next one may follow at once, and one more at the same time.
    pub fn connected(&mut self, now: Instant) {
        self.has_connected = true;
        self.next = now;
        self.window = (self.window + 1).min(MOST_TRYING);
    }

    /// A request tries to connect.
    pub fn begin(&mut self) {
        self.trying += 1;
    }

    /// A request has ended trying.
    pub fn end(&mut self) {
        self.trying = self.trying.saturating_sub(1);
    }

    /// How many more requests may try to connect at the same time.
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.trying)
    }

    /// When the next request may try to connect.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Since when connections are refused.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether a connection was established since.
    pub fn has_connected(&self) -> bool {
        self.has_connected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn pauses_double_up_to_a_quarter_of_a_second() {
        let mut now = clock::now();
        let mut recovery = Recovery::new(now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pauses.push(recovery.next().saturating_duration_since(now).as_millis());
            now = recovery.next();
            recovery.refused(now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 250, 250, 250]);
    }

    #[test]
    fn connections_that_were_refused_together_lengthen_the_pause_once() {
        let now = clock::now();
        let mut recovery = Recovery::new(now);
        for _ in 0..10 {
            recovery.refused(now + Duration::from_millis(1));
        }
        assert_eq!(recovery.next(), now + FIRST_PAUSE);
    }

    #[test]
    fn one_tries_at_first_and_twice_as_many_after_each_round_of_connections() {
        let now = clock::now();
        let mut recovery = Recovery::new(now);
        let mut rounds = Vec::new();
        for _ in 0..8 {
            let room = recovery.room();
            rounds.push(room);
            (0..room).for_each(|_| recovery.begin());
            assert_eq!(recovery.room(), 0);
            for _ in 0..room {
                recovery.connected(now);
                recovery.end();
            }
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn a_backend_that_refuses_again_is_tried_by_one_again() {
        let now = clock::now();
        let mut recovery = Recovery::new(now);
        for _ in 0..10 {
            recovery.connected(now);
        }
        let later = now + Duration::from_secs(1);
        recovery.refused(later);
        assert_eq!((recovery.room(), recovery.since()), (1, later));
        assert_eq!(recovery.next(), later + FIRST_PAUSE);
    }
}
