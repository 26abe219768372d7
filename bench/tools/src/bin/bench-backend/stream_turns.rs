//! When each event stream gets its next event: every 100 ms, and not all of them at once.

use std::time::{Duration, Instant};

/// Time between the events of one stream.
const PERIOD: Duration = Duration::from_millis(100);

/// Moments of a period at which streams have their turn. Each stream has one of them.
const TURNS: u32 = 100;

/// The streams, by their keys.
pub(crate) struct StreamTurns {
    streams: Vec<Vec<usize>>,
    /// Streams so far.
    added: usize,
    /// Number of the next turn, and when it is due.
    next: usize,
    due: Instant,
}

impl StreamTurns {
    /// Without streams.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            streams: vec![Vec::new(); TURNS as usize],
            added: 0,
            next: 0,
            due: now,
        }
    }

    /// Adds a stream. The turns have as many streams each.
    pub(crate) fn add(&mut self, key: usize) {
        let turn = self.added % self.streams.len();
        self.streams[turn].push(key);
        self.added += 1;
    }

    /// How long it is until the next turn; `None` without streams.
    pub(crate) fn until_next(&self, now: Instant) -> Option<Duration> {
        let is_used = self.streams.iter().any(|keys| !keys.is_empty());
        is_used.then(|| self.due.saturating_duration_since(now))
    }

    /// Calls `send` with each stream whose turn it is. It returns whether the stream goes on.
    pub(crate) fn take_turns(&mut self, now: Instant, mut send: impl FnMut(usize) -> bool) {
        // What was missed is not made up for: a burst would be another load.
        if now.saturating_duration_since(self.due) > PERIOD {
            self.due = now;
        }
        while self.due <= now {
            self.streams[self.next].retain(|key| send(*key));
            self.next = (self.next + 1) % self.streams.len();
            self.due += PERIOD / TURNS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_one_turn_in_a_period_until_it_ends() {
        let start = Instant::now();
        let mut turns = StreamTurns::new(start);
        assert_eq!(turns.until_next(start), None);
        (0..250).for_each(|key| turns.add(key));
        assert_eq!(turns.until_next(start), Some(Duration::ZERO));
        let mut sent = vec![0; 250];
        for step in 0..1_000 {
            turns.take_turns(start + step * PERIOD / 1_000, |key| {
                sent[key] += 1;
                key != 7
            });
        }
        assert!(sent.iter().all(|count| *count == 1), "{sent:?}");
        turns.take_turns(start + PERIOD * 199 / 100, |key| {
            sent[key] += 1;
            true
        });
        assert_eq!((sent[7], sent[8], sent.iter().sum::<usize>()), (1, 2, 499));
    }

    #[test]
    fn missed_turns_are_not_made_up_for() {
        let start = Instant::now();
        let mut turns = StreamTurns::new(start);
        turns.add(0);
        let mut sent = 0;
        turns.take_turns(start + 10 * PERIOD, |_| {
            sent += 1;
            true
        });
        assert!(sent <= 1, "{sent}");
    }
}
