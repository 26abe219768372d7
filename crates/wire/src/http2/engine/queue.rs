//! Queues of streams that wait to send. The output buffer has room for a few frames, and DATA needs credit of the connection. A
//! stream that finds neither waits: heads before payload, each in the order in which the streams came. A stream that is granted
//! its turn sends one frame and then waits again, so that streams share evenly.

use std::collections::VecDeque;
use std::task::Context;

use super::{Engine, ROOM, WHOLE};
use crate::buffer::PIECE;

/// What a stream waits to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The head of a message, which needs room in the output.
    Head,
    /// Payload, which needs credit of the connection too.
    Payload,
}

/// Streams that wait to send the same part.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<u32>,
    /// Number of streams that were granted their turn and have not used it yet.
    pub(super) granted: usize,
}

impl Engine {
    /// How many frames may be added to the output.
    fn room(&self) -> usize {
        ROOM.saturating_sub(self.output().len()).div_ceil(WHOLE)
    }

    /// How many more streams may be granted their turn to send this part. Each of them can then send at least a byte.
    fn turns(&self, part: Part) -> usize {
        let granted = self.heads.granted + self.payloads.granted;
        let room = self.room().saturating_sub(granted);
        let credit = usize::try_from(self.send_window.left()).unwrap_or(0);
        match part {
            Part::Head => room,
            Part::Payload => room.min(credit.div_ceil(PIECE).saturating_sub(self.payloads.granted)),
        }
    }

    fn queue(&mut self, part: Part) -> &mut Queue {
        match part {
            Part::Head => &mut self.heads,
            Part::Payload => &mut self.payloads,
        }
    }

    /// Grants turns to the streams that have waited longest.
    pub(super) fn grant(&mut self) {
        for part in [Part::Head, Part::Payload] {
            while !self.queue(part).waiting.is_empty() && self.turns(part) > 0 {
                let stream = self.queue(part).waiting.pop_front().unwrap_or_default();
                if let Some(entry) = self.streams.get_mut(&stream) {
                    entry.queued = None;
                    entry.granted = Some(part);
                    // Where there is no waker, its task was woken by something else and will ask again.
                    entry.wake();
                    self.queue(part).granted += 1;
                }
            }
        }
    }

    /// Removes a stream from its queue and takes back its turn: it sends nothing any more, or not before it asks again.
    pub fn stand_back(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.turn = PIECE;
            if let Some(part) = entry.queued.take() {
                self.queue(part).waiting.retain(|other| *other != stream);
            }
        }
        self.return_grant(stream);
    }

    /// Passes on the turn that a stream was granted and does not use.
    pub(super) fn return_grant(&mut self, stream: u32) {
        if self.take_grant(stream) {
            self.grant();
        }
    }

    /// Consumes the turn of a stream; returns whether it had one.
    fn take_grant(&mut self, stream: u32) -> bool {
        let entry = self.streams.get_mut(&stream);
        let Some(part) = entry.and_then(|entry| entry.granted.take()) else {
            return false;
        };
        self.queue(part).granted -= 1;
        true
    }

    /// Whether a stream may add to the output: streams that already wait come first, and so do those that are about to use their turn.
    pub(super) fn is_let_in(&mut self, stream: u32, part: Part) -> bool {
        let has_no_others = |queue: &Queue| queue.waiting.is_empty() && queue.granted == 0;
        let is_first = match part {
            Part::Head => self.heads.waiting.is_empty(),
            Part::Payload => has_no_others(&self.heads) && has_no_others(&self.payloads),
        };
        self.take_grant(stream) || is_first && self.turns(part) > 0
    }

    /// Adds a stream to the end of a queue, unless it is already in one. A stream whose turn the credit has cut short goes first.
    pub(super) fn wait(&mut self, stream: u32, context: &Context<'_>, part: Part) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.watch(context);
        if entry.queued.is_some() {
            return;
        }
        entry.queued = Some(part);
        let is_cut_short = part == Part::Payload && entry.turn < PIECE;
        let waiting = &mut self.queue(part).waiting;
        match is_cut_short {
            true => waiting.push_front(stream),
            false => waiting.push_back(stream),
        }
    }
}
