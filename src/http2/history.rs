//! Which streams a client has begun and ended: what it may not say any more of those that are gone (RFC 9113 §5.1).

use std::collections::VecDeque;

use super::Reason;

/// Streams that are remembered after their client has ended them.
const ENDED: usize = 128;
/// Gaps between streams that are remembered. Clients leave none.
const GAPS: usize = 8;

/// The streams of one client.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The last that it began.
    highest: u32,
    /// Those that it ended last.
    ended: VecDeque<u32>,
    /// The last gaps between those that it began, which stay unused (RFC 9113 §5.1.1): the first stream, and the one behind.
    gaps: VecDeque<(u32, u32)>,
}

impl History {
    /// The last stream that was begun.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether a stream was never begun, so that nothing may be said of it.
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        stream > self.highest || stream.is_multiple_of(2)
    }

    /// Whether a stream was never begun, of those above the last and of those between, as far as they are remembered.
    pub(super) fn is_unused(&self, stream: u32) -> bool {
        self.is_idle(stream) || self.gaps.iter().any(|(from, to)| (*from..*to).contains(&stream))
    }

    /// Takes down that a head came for a stream that is not open. Whether it begins it; if not, the stream is one that we have
    /// ended.
    ///
    /// # Errors
    /// What ends the connection.
    pub(super) fn begins(&mut self, stream: u32) -> Result<bool, Reason> {
        if stream.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if stream <= self.highest {
            self.check_not_ended(stream)?;
            return match self.is_unused(stream) {
                true => Err(Reason::PROTOCOL_ERROR),
                false => Ok(false),
            };
        }
        let next = self.highest + if self.highest == 0 { 1 } else { 2 };
        self.highest = stream;
        if stream > next {
            push(&mut self.gaps, (next, stream), GAPS);
        }
        Ok(true)
    }

    /// Takes down that the client has ended a stream, or reset it.
    pub(super) fn ends(&mut self, stream: u32) {
        push(&mut self.ended, stream, ENDED);
    }

    /// Whether more may come of a stream that is not open: not if its client has ended it.
    ///
    /// # Errors
    /// What ends the connection.
    pub(super) fn check_not_ended(&self, stream: u32) -> Result<(), Reason> {
        match self.ended.contains(&stream) {
            true => Err(Reason::STREAM_CLOSED),
            false => Ok(()),
        }
    }
}

fn push<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(one);
}
