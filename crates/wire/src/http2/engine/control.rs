//! Handles received control frames: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY and WINDOW_UPDATE (RFC 9113 §§6.3–6.9).

use super::super::Reason;
use super::super::frame::{self, Head};
use super::entry::ResetReason;
use super::{Engine, GOAWAY_PING, GoAway, LAST, Role};

impl Engine {
    /// Handles a frame that is not part of a message.
    pub(super) fn control(&mut self, head: Head, payload: &[u8]) -> Result<(), Reason> {
        if let Role::Server { budget, .. } = &mut self.role {
            match head.kind {
                frame::RST_STREAM => budget.reset(),
                frame::WINDOW_UPDATE | frame::PING => budget.acknowledged(),
                _ => budget.did_nothing(),
            }
        }
        match head.kind {
            frame::PRIORITY => frame::check_priority(payload, head),
            frame::RST_STREAM => self.on_reset(head.stream, frame::number(payload)),
            frame::SETTINGS => self.on_settings(head, payload),
            frame::PING => {
                self.on_ping(head, payload);
                Ok(())
            }
            frame::GOAWAY => {
                self.on_goaway(frame::number(payload) & LAST);
                Ok(())
            }
            frame::WINDOW_UPDATE => self.on_window_update(head.stream, frame::number(payload) & LAST),
            _ => Ok(()),
        }
    }

    fn on_reset(&mut self, stream: u32, code: u32) -> Result<(), Reason> {
        if self.is_idle_stream(stream) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        // RFC 9113 §8.1: a backend that has sent its whole response may reset the stream to stop the request.
        let is_response = !self.is_server();
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Ok(());
        };
        let reset_reason = match Reason(code) {
            Reason::REFUSED_STREAM => ResetReason::Refused,
            _ => ResetReason::Reset,
        };
        let unread = entry.abort(reset_reason, is_response);
        entry.is_their_end = true;
        entry.reset = Some(Reason(code));
        self.release(unread, false);
        self.settle(stream);
        Ok(())
    }

    fn on_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Reason> {
        if head.has(frame::ACK) {
            return Ok(());
        }
        let mut window = None;
        for (name, value) in frame::settings(payload) {
            match name {
                frame::HEADER_TABLE_SIZE => self.encoder.resize(value),
                // RFC 9113 §6.5.2: a server must not enable push for its client.
                frame::ENABLE_PUSH if value > u32::from(self.is_server()) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                frame::ENABLE_CONNECT_PROTOCOL if value > 1 => return Err(Reason::PROTOCOL_ERROR),
                frame::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                frame::INITIAL_WINDOW_SIZE if value > LAST => return Err(Reason::FLOW_CONTROL_ERROR),
                // It changes every stream: done once, not for each of the thousands of settings that fit into a frame.
                frame::INITIAL_WINDOW_SIZE => window = Some(value),
                frame::MAX_CONCURRENT_STREAMS => {
                    if let Role::Client { most, .. } = &mut self.role {
                        *most = value as usize;
                        self.wake_openers();
                    }
                }
                _ => {}
            }
        }
        if let Some(first) = window {
            self.change_windows(first)?;
        }
        frame::put_head(&mut self.out, (frame::SETTINGS, frame::ACK), 0, 0);
        Ok(())
    }

    /// RFC 9113 §6.9.2.
    fn change_windows(&mut self, first: u32) -> Result<(), Reason> {
        let by = i64::from(first) - self.first_window;
        self.first_window = i64::from(first);
        for entry in self.streams.values_mut() {
            if !entry.send_window.change(by) {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            if by > 0 {
                entry.wake();
            }
        }
        Ok(())
    }

    fn on_ping(&mut self, head: Head, payload: &[u8]) {
        if !head.has(frame::ACK) {
            frame::put_head(&mut self.out, (frame::PING, frame::ACK), 0, payload.len());
            self.out.extend_from_slice(payload);
            return;
        }
        if let Role::Server { history, .. } = &self.role
            && self.goaway == GoAway::Pending
            && payload == GOAWAY_PING
        {
            // The other side has received the first GOAWAY: every stream that it opened before was accepted.
            let last = history.highest();
            self.goaway = GoAway::Sent { last };
            frame::put_numbers(&mut self.out, frame::GOAWAY, 0, &[last, Reason::NO_ERROR.0]);
        }
    }

    /// RFC 9113 §6.8. GOAWAY from a client changes nothing: the client is the side that opens streams.
    fn on_goaway(&mut self, last: u32) {
        if self.is_server() {
            return;
        }
        self.goaway = GoAway::Received;
        let (mut refused, mut unread) = (Vec::new(), 0);
        for (stream, entry) in &mut self.streams {
            if *stream > last && entry.reset_reason.is_none() {
                unread += entry.abort(ResetReason::Refused, true);
                refused.push(*stream);
            }
        }
        self.release(unread, false);
        refused.into_iter().for_each(|stream| self.settle(stream));
        self.wake_openers();
    }

    fn on_window_update(&mut self, stream: u32, count: u32) -> Result<(), Reason> {
        if stream == 0 {
            if count == 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            if !self.send_window.change(i64::from(count)) {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            self.grant();
            return Ok(());
        }
        let Some(entry) = self.streams.get_mut(&stream) else {
            return match self.is_idle_stream(stream) {
                true => Err(Reason::PROTOCOL_ERROR),
                false => Ok(()),
            };
        };
        if entry.reset_reason.is_some() {
            return Ok(());
        }
        if count == 0 {
            self.refuse(stream, Reason::PROTOCOL_ERROR);
        } else if !entry.send_window.change(i64::from(count)) {
            self.refuse(stream, Reason::FLOW_CONTROL_ERROR);
        } else {
            entry.wake();
        }
        Ok(())
    }
}
