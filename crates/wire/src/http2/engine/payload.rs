//! Receives DATA frames (RFC 9113 §6.1): flow control, the check against `content-length`, and the buffers that hold payload until
//! the stream's handle takes it.

use std::collections::VecDeque;

use super::super::Reason;
use super::super::frame::{self, Head};
use super::super::refused::Refused;
use super::{Engine, Role};
use crate::buffer::{Buffer, Buffers, SMALL};

/// An incomplete DATA frame: what is still to be received of it.
#[derive(Debug)]
pub(super) struct Data {
    head: Head,
    payload: usize,
    padding: usize,
}

impl Engine {
    /// Handles the header of a DATA frame, and the length of its padding if it has any.
    pub(super) fn begin_data(&mut self, head: Head, padding: Option<u8>) -> Result<(), Reason> {
        let padding = padding.map(usize::from);
        let overhead = padding.map_or(0, |padding| padding + 1);
        let payload = head.length.checked_sub(overhead).ok_or(Reason::PROTOCOL_ERROR)?;
        if !self.receive_window.take(head.length) {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let is_end = head.has(frame::END_STREAM);
        let is_response = !self.is_server();
        let window = self.window_of_streams();
        let entry = self.streams.get_mut(&head.stream);
        if entry.as_ref().is_some_and(|entry| entry.is_their_end) {
            return Err(Reason::STREAM_CLOSED);
        }
        let entry = entry.filter(|entry| entry.reset_reason.is_none());
        if let Role::Server { budget, .. } = &mut self.role {
            match payload > 0 || is_end {
                true if entry.is_some() => budget.worked(),
                _ => budget.did_nothing(),
            }
        }
        match entry {
            None => self.check_gone(head.stream)?,
            Some(entry) => {
                let has_credit = entry.receive_window.take(head.length);
                entry.to_release += overhead as u32;
                let fits = match &mut entry.expected {
                    Some(left) => left
                        .checked_sub(payload as u64)
                        .map(|rest| *left = rest)
                        .is_some(),
                    None => true,
                };
                if !has_credit {
                    self.refuse(head.stream, Reason::FLOW_CONTROL_ERROR);
                } else if !fits || is_response && !entry.has_responded {
                    entry.refused = (!fits).then(Refused::length);
                    self.refuse(head.stream, Reason::PROTOCOL_ERROR);
                } else if overhead > 0
                    && !is_end
                    && let Some(count) = entry.credit_due(window)
                {
                    // Of a frame that is only padding the handle takes nothing, so its credit is returned here.
                    frame::put_numbers(&mut self.out, frame::WINDOW_UPDATE, head.stream, &[count]);
                }
            }
        }
        self.release(overhead as u32, false);
        self.data = Some(Data {
            head,
            payload,
            padding: padding.unwrap_or_default(),
        });
        Ok(())
    }

    /// Takes as much of the current DATA frame as was received; returns whether the frame is complete.
    pub(super) fn take_payload(&mut self, input: &mut Buffer, buffers: &Buffers) -> bool {
        let Some(data) = &mut self.data else {
            return true;
        };
        let available = input.unread();
        let available = available.get(..data.payload).unwrap_or(available);
        let count = available.len();
        data.payload -= count;
        let (stream, left) = (data.head.stream, data.payload);
        let mut dropped = count;
        if let Some(entry) = self.streams.get_mut(&stream)
            && entry.reset_reason.is_none()
            && entry.is_held
            && count > 0
        {
            put(&mut entry.received, available, left, buffers);
            entry.unread += count as u32;
            dropped = 0;
            entry.wake();
        }
        input.consume(count);
        if dropped > 0 {
            self.release(dropped as u32, false);
        }
        let Some(data) = &mut self.data else {
            return true;
        };
        let skipped = match data.payload {
            0 => data.padding.min(input.unread().len()),
            _ => 0,
        };
        data.padding -= skipped;
        input.consume(skipped);
        if data.payload + data.padding > 0 {
            return false;
        }
        let is_end = data.head.has(frame::END_STREAM);
        self.data = None;
        if is_end {
            self.end(stream);
        }
        true
    }
}

/// Appends payload to the buffers of a stream. `more` bytes of its frame are still to be received.
fn put(received: &mut VecDeque<Buffer>, mut payload: &[u8], more: usize, buffers: &Buffers) {
    while !payload.is_empty() {
        let has_room = received.back().is_some_and(|last| !last.is_full());
        if !has_room {
            received.push_back(buffers.lend((payload.len() + more).min(SMALL)));
        }
        if let Some(last) = received.back_mut() {
            let space = last.space();
            let count = space.len().min(payload.len());
            let (front, rest) = payload.split_at(count);
            if let Some(space) = space.get_mut(..count) {
                space.copy_from_slice(front);
            }
            last.filled(count);
            payload = rest;
        }
    }
}
