//! Remembers which streams a client has opened and ended, to check frames on streams that are closed (RFC 9113 §5.1).

use std::collections::VecDeque;

use super::Reason;

/// Ended streams that are remembered.
const ENDED: usize = 128;
/// Gaps between stream ids that are remembered. Real clients leave none.
const GAPS: usize = 8;

/// The streams of one client connection.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The highest stream that it opened.
    highest: u32,
    /// The streams that it ended last.
    ended: VecDeque<u32>,
    /// The last gaps between opened streams; ids in them stay unused (RFC 9113 §5.1.1). Each is the first unused id, and the opened
    /// id after the gap.
    gaps: VecDeque<(u32, u32)>,
}

impl History {
    /// The highest stream that was opened.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether a stream was never opened, so that frames on it are an error.
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        stream > self.highest || stream.is_multiple_of(2)
    }

    /// Whether a stream was never opened: it is above the highest, or in a remembered gap.
    pub(super) fn is_unused(&self, stream: u32) -> bool {
        self.is_idle(stream) || self.gaps.iter().any(|(from, to)| (*from..*to).contains(&stream))
    }

    /// Records a head for a stream that is not open. Returns whether it opens the stream; if not, we have closed the stream before.
    ///
    /// # Errors
    /// A connection error.
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

    /// Records that the client has ended or reset a stream.
    pub(super) fn ends(&mut self, stream: u32) {
        push(&mut self.ended, stream, ENDED);
    }

    /// Checks that the client has not ended a stream that is not open: else it may send nothing more on it.
    ///
    /// # Errors
    /// A connection error.
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
