//! Keeps the last rejected requests and malformed responses for `GET /api/v1/rejected`. One ring per worker, merged on request, so
//! that a flood of rejected requests costs neither memory nor a wait.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::Label;

/// Number of messages that each worker keeps, and that the merged list has.
pub const REJECTED_KEPT: usize = 100;

/// The sender of a rejected message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedFrom {
    /// A client's request.
    Client,
    /// A backend's response.
    Backend,
}

/// A limit that a message exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedLimit {
    /// Its key in the config; `None` for one that is not in the config.
    pub key: Option<&'static str>,
    /// Its value.
    pub value: u64,
    /// What was received, or a lower bound of it.
    pub came: u64,
}

/// A rejected message. The code that creates it makes sure that the texts are bounded printable ASCII without credentials.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The kind of sender.
    pub from: RejectedFrom,
    /// The client's address, or the backend's URL.
    pub peer: Label,
    /// The code in the access log.
    pub error: &'static str,
    /// The code of the rule; the same as `error` for requests.
    pub code: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// The line of the head, or the number of the header in HTTP/2, counted from 1.
    pub line: Option<usize>,
    /// The header.
    pub header: Option<Box<str>>,
    /// The offset of the first invalid byte, from the start of the text that the excerpt is taken from.
    pub offset: usize,
    /// The limit.
    pub limit: Option<RejectedLimit>,
    /// As in the access log.
    pub detail: Box<str>,
    /// The bytes around the fault, escaped.
    pub excerpt: Box<str>,
}

/// The last rejected messages of one worker.
#[derive(Debug, Default)]
pub struct RejectedRing(Mutex<VecDeque<Rejected>>);

impl RejectedRing {
    /// Adds a message in place of the oldest. Never waits: while the ring is being read, the message is left out.
    pub fn push(&self, rejected: Rejected) {
        if let Ok(mut kept) = self.0.try_lock() {
            if kept.len() >= REJECTED_KEPT {
                kept.pop_front();
            }
            kept.push_back(rejected);
        }
    }

    /// The last messages of all rings, the newest first.
    pub fn merged<'a>(rings: impl Iterator<Item = &'a Self>) -> Vec<Rejected> {
        let mut all = Vec::new();
        for ring in rings {
            all.extend(
                ring.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                    .cloned(),
            );
        }
        // Messages of one worker are in order; the stable sort keeps that order when their times are equal.
        all.reverse();
        all.sort_by_key(|rejected| Reverse(rejected.time));
        all.truncate(REJECTED_KEPT);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rejected(second: u64) -> Rejected {
        Rejected {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            from: RejectedFrom::Client,
            peer: Label::new("192.0.2.1:1"),
            error: "bare_lf",
            code: "bare_lf",
            rule: "",
            line: None,
            header: None,
            offset: 0,
            limit: None,
            detail: "".into(),
            excerpt: "".into(),
        }
    }

    fn seconds(rings: &[RejectedRing]) -> Vec<u64> {
        let merged = RejectedRing::merged(rings.iter());
        let second = |one: &Rejected| one.time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        merged.iter().map(second).collect()
    }

    #[test]
    fn the_last_hundred_of_all_rings_are_shown_newest_first() {
        let rings = [RejectedRing::default(), RejectedRing::default()];
        assert!(seconds(&rings).is_empty());
        for second in 0..1_000 {
            rings[usize::from(second % 3 == 0)].push(rejected(second));
        }
        let expected: Vec<u64> = (900..1_000).rev().collect();
        assert_eq!(seconds(&rings), expected);
        assert!(
            rings
                .iter()
                .all(|ring| ring.0.lock().unwrap().len() <= REJECTED_KEPT)
        );
    }

    #[test]
    fn a_message_is_left_out_while_the_ring_is_read() {
        let ring = RejectedRing::default();
        let reading = ring.0.lock().unwrap();
        ring.push(rejected(1));
        drop(reading);
        ring.push(rejected(2));
        assert_eq!(seconds(&[ring]), [2]);
    }
}
