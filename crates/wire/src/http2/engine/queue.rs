//! Queues of streams that wait to send: the output buffer has room for a few frames, and streams that find it full wait in one
//! queue. Streams that wait for connection credit wait in another.

use std::collections::VecDeque;
use std::task::Context;

use super::super::frame::PAYLOAD;
use super::{Engine, ROOM};

impl Engine {
    /// How many streams may add a frame to the output.
    pub(super) fn room(&self) -> usize {
        ROOM.saturating_sub(self.output().len()).div_ceil(PAYLOAD)
    }

    /// Grants room to the streams that have waited longest.
    pub(super) fn grant(&mut self) {
        if self.send_window.left() > 0 {
            self.for_room.append(&mut self.for_credit);
        }
        while self.granted < self.room()
            && let Some(stream) = self.for_room.pop_front()
        {
            if let Some(entry) = self.streams.get_mut(&stream) {
                entry.is_queued = false;
                if !entry.is_granted && entry.wake() {
                    entry.is_granted = true;
                    self.granted += 1;
                }
            }
        }
    }

    /// Removes a stream from the queues and takes back the room that it was granted: it sends nothing any more, or not before it asks
    /// again.
    pub fn stand_back(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream)
            && std::mem::take(&mut entry.is_queued)
        {
            self.for_room.retain(|other| *other != stream);
            self.for_credit.retain(|other| *other != stream);
        }
        self.return_grant(stream);
    }

    /// Passes on the room that a stream was granted and does not use.
    pub(super) fn return_grant(&mut self, stream: u32) {
        if self.take_grant(stream) {
            self.grant();
        }
    }

    /// Consumes the grant of a stream; returns whether it had one.
    pub(super) fn take_grant(&mut self, stream: u32) -> bool {
        let entry = self.streams.get_mut(&stream);
        let is_granted = entry.is_some_and(|entry| std::mem::take(&mut entry.is_granted));
        self.granted -= usize::from(is_granted);
        is_granted
    }

    /// Whether a stream may add to the output: streams that already wait come first.
    pub(super) fn is_let_in(&mut self, stream: u32, is_first: bool) -> bool {
        self.take_grant(stream) || is_first && self.room() > self.granted
    }

    /// Adds a stream to the end of a queue, unless it is already in one.
    pub(super) fn wait(
        &mut self,
        stream: u32,
        context: &Context<'_>,
        queue: fn(&mut Self) -> &mut VecDeque<u32>,
    ) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.watch(context);
        if !std::mem::replace(&mut entry.is_queued, true) {
            queue(self).push_back(stream);
        }
    }
}
