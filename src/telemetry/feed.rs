//! A bounded ring of the latest lines of JSON, which readers can also follow: the events and the samples of the admin API.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

/// Lines that a follower may be behind; a slower one is told that it has missed some.
const BEHIND: usize = 512;

/// A numbered line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1 on.
    pub id: u64,
    /// One line of JSON.
    pub json: Arc<str>,
}

/// The latest lines.
#[derive(Debug)]
pub struct Feed {
    bound: usize,
    ring: Mutex<Ring>,
    sender: broadcast::Sender<Entry>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    entries: VecDeque<Entry>,
}

impl Feed {
    /// Keeps at most `bound` lines.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            ring: Mutex::default(),
            sender: broadcast::channel(BEHIND).0,
        }
    }

    /// Adds the line that `json` makes of its number.
    pub fn push(&self, json: impl FnOnce(u64) -> String) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let entry = Entry {
            id: ring.last,
            json: json(ring.last).into(),
        };
        if ring.entries.len() >= self.bound {
            ring.entries.pop_front();
        }
        ring.entries.push_back(entry.clone());
        // Under the lock, so that followers get the lines in their order. Nobody may follow.
        let _ = self.sender.send(entry);
    }

    /// The kept lines, the oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.entries.iter().cloned().collect()
    }

    /// The kept lines after number `after`, if there is one, and all that follow.
    pub fn follow(&self, after: Option<u64>) -> (Vec<Entry>, broadcast::Receiver<Entry>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        // A number that was never given is one of another process: all lines are new then.
        let after = after.map(|after| if after > ring.last { 0 } else { after });
        let is_newer = |entry: &&Entry| after.is_some_and(|after| entry.id > after);
        let newer = ring.entries.iter().filter(is_newer);
        (newer.cloned().collect(), receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_make_room() {
        let feed = Feed::new(2);
        for _ in 0..3 {
            feed.push(|id| format!("{{\"id\":{id}}}"));
        }
        let kept: Vec<u64> = feed.entries().iter().map(|entry| entry.id).collect();
        assert_eq!(kept, [2, 3]);
        assert_eq!(&*feed.entries()[0].json, "{\"id\":2}");
    }

    #[test]
    fn a_follower_gets_each_line_once() {
        let feed = Feed::new(8);
        feed.push(|id| id.to_string());
        feed.push(|id| id.to_string());
        let (newer, mut receiver) = feed.follow(Some(1));
        feed.push(|id| id.to_string());
        assert_eq!(newer.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2]);
        assert_eq!(receiver.try_recv().map(|entry| entry.id), Ok(3));
        assert!(receiver.try_recv().is_err());
        assert_eq!(feed.follow(Some(99)).0.len(), 3, "of another process");
        assert!(feed.follow(None).0.is_empty());
    }
}
