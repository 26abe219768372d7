//! The HTTP/2 protocol state machine of one connection, client or server side: received bytes go in, bytes to send come out, and
//! it keeps the streams between them. It has no socket and no clock, and never blocks; it wakes the tasks that wait for it.

mod control;
mod entry;
#[cfg(test)]
mod fairness;
mod payload;
mod queue;
mod receive;
mod send;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Waker};

use foldhash::fast::FixedState;

use super::Reason;
use super::budget::Budget;
use super::frame;
use super::history::History;
use crate::buffer::PIECE;
use crate::hpack::{Decoder, Encoder};
use crate::http1::Limits;
use crate::instant::Instant;
use entry::{Entry, Window};
pub use entry::{ResetReason, Response};
use queue::Queue;
pub use receive::{IncomingRequest, ReceiveContext};

/// Concurrent streams on one connection, from a client and to a backend.
const STREAMS_OF_CLIENT: usize = 128;
const STREAMS_TO_BACKEND: usize = 100;
/// Wakers of tasks that wait to open a stream, on a connection to a backend. Those of requests that were given up meanwhile are among
/// them.
const OPENERS: usize = 2 * STREAMS_TO_BACKEND;
/// Receive window of one stream: body bytes that the other side may send before we return credit.
const WINDOW_OF_CLIENT: u32 = 256 << 10;
const WINDOW_OF_BACKEND: u32 = 128 << 10;
/// Receive window of a client's connection, for all its streams.
const ALL_OF_CLIENT: u32 = 1 << 20;
/// Receive window of a backend's connection: the windows of all its streams, so that clients that do not read cannot hold up the
/// responses to others.
const ALL_OF_BACKEND: u32 = STREAMS_TO_BACKEND as u32 * WINDOW_OF_BACKEND;
/// Length of a DATA frame with a piece of a body.
const WHOLE: usize = frame::HEAD + PIECE;
/// Unsent output, in bytes, at which streams have to wait before they add more: what leaves in one packet of the kernel.
const ROOM: usize = 4 * WHOLE;
/// Unsent output, in bytes, at which reading stops: received frames add to it (SETTINGS and PING are acknowledged).
const OUTPUT_LIMIT: usize = 256 << 10;
/// Capacity of the output buffer that is kept while there are streams.
const KEPT: usize = 128 << 10;
/// Capacity of the stream table that is kept while there are no streams.
const STREAMS_KEPT: usize = 4;
/// Payload of the PING that follows the first GOAWAY (RFC 9113 §6.8).
const GOAWAY_PING: [u8; 8] = *b"evenkeel";
/// The highest stream id (RFC 9113 §5.1.1).
const LAST: u32 = 0x7fff_ffff;

/// Which side of a connection we are.
#[derive(Debug)]
enum Role {
    /// The connection of a client, which sends requests to us.
    Server { history: History, budget: Budget },
    /// The connection to a backend, to which we send requests.
    Client {
        /// Id of the next stream that we open.
        next: u32,
        /// Concurrent streams that the backend allows.
        most: usize,
        /// Tasks that wait to open a stream: until another has ended, or there is room. At most [`OPENERS`].
        waiting: Vec<Waker>,
    },
}

/// Why a stream ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokeOff {
    /// The other side reset it.
    Stream(Reason),
    /// The other side broke a rule of the protocol, which ended the connection.
    Connection(Reason),
}

/// State of the graceful shutdown of a connection (RFC 9113 §6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GoAway {
    No,
    /// The first GOAWAY was sent: no more streams will be accepted soon.
    Pending,
    /// The final GOAWAY was sent, which names the last stream that was accepted.
    Sent {
        last: u32,
    },
    /// The other side sent GOAWAY: it accepts no more streams.
    Received,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Engine {
    role: Role,
    limits: Limits,
    streams: HashMap<u32, Entry, FixedState>,
    /// Streams that have not ended in both directions.
    open: usize,
    /// Handles of streams, including streams that are not opened yet.
    handles: usize,
    decoder: Decoder,
    encoder: Encoder,
    /// Output for the socket, and how much of it was already sent.
    out: Vec<u8>,
    written: usize,
    /// Connection flow control: what the other side lets us send, and what we let it send.
    send_window: Window,
    receive_window: Window,
    /// Credit of the connection that is not yet returned to the other side.
    to_release: u32,
    /// Initial send window of new streams (SETTINGS_INITIAL_WINDOW_SIZE of the other side).
    first_window: i64,
    /// Streams that wait to send a head or payload.
    heads: Queue,
    payloads: Queue,
    /// State of the connection preface.
    opening: receive::Opening,
    /// An incomplete field block, and an incomplete DATA frame.
    block: Option<receive::Block>,
    data: Option<payload::Data>,
    /// Bytes received of an incomplete request head; kept when the connection fails within it.
    half_head: Option<usize>,
    /// Complete frames received; a field block of several frames counts once.
    frames: u64,
    goaway: GoAway,
    /// Whether input is ignored: the connection only sends what is left.
    is_closing: bool,
    /// Whether the socket is closed.
    is_lost: bool,
    /// The error code with which we ended the connection.
    failed: Option<Reason>,
    /// The task that moves bytes between the socket and this engine.
    waker: Option<Waker>,
    /// Number of reads that returned bytes, and total bytes sent.
    heard: u64,
    total: u64,
}

impl Engine {
    /// The server side of a connection on which nothing was received yet.
    pub fn server(limits: &Limits, now: Instant) -> Self {
        let role = Role::Server {
            history: History::default(),
            budget: Budget::new(now),
        };
        let mut engine = Self::new(role, limits);
        frame::put_settings(
            &mut engine.out,
            &[
                (frame::MAX_CONCURRENT_STREAMS, STREAMS_OF_CLIENT as u32),
                (frame::INITIAL_WINDOW_SIZE, WINDOW_OF_CLIENT),
                (frame::MAX_HEADER_LIST_SIZE, number(limits.head)),
                (frame::ENABLE_CONNECT_PROTOCOL, 1),
            ],
        );
        engine.release(ALL_OF_CLIENT - frame::FIRST_WINDOW as u32, true);
        engine
    }

    /// The client side of a new connection.
    pub fn client(limits: &Limits) -> Self {
        let role = Role::Client {
            next: 1,
            most: STREAMS_TO_BACKEND,
            waiting: Vec::new(),
        };
        let mut engine = Self::new(role, limits);
        engine.out.extend_from_slice(frame::PREFACE);
        frame::put_settings(
            &mut engine.out,
            &[
                (frame::ENABLE_PUSH, 0),
                (frame::INITIAL_WINDOW_SIZE, WINDOW_OF_BACKEND),
                (frame::MAX_HEADER_LIST_SIZE, number(limits.head)),
            ],
        );
        engine.release(ALL_OF_BACKEND - frame::FIRST_WINDOW as u32, true);
        engine
    }

    fn new(role: Role, limits: &Limits) -> Self {
        let opening = receive::Opening::of(&role);
        Self {
            role,
            limits: *limits,
            streams: HashMap::default(),
            open: 0,
            handles: 0,
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            out: Vec::new(),
            written: 0,
            send_window: Window::default(),
            receive_window: Window::default(),
            to_release: 0,
            first_window: frame::FIRST_WINDOW,
            heads: Queue::default(),
            payloads: Queue::default(),
            opening,
            block: None,
            data: None,
            half_head: None,
            frames: 0,
            goaway: GoAway::No,
            is_closing: false,
            is_lost: false,
            failed: None,
            waker: None,
            heard: 0,
            total: 0,
        }
    }

    /// Sets the current time, by which the budget refills.
    pub fn observe(&mut self, now: Instant) {
        if let Role::Server { budget, .. } = &mut self.role {
            budget.observe(now);
        }
    }

    /// Whether the other side has sent a valid connection preface (RFC 9113 §3.4).
    pub fn has_begun(&self) -> bool {
        self.opening == receive::Opening::Done
    }

    /// Whether there are no streams.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether no new request may be sent on this connection.
    pub fn is_over(&self) -> bool {
        self.goaway != GoAway::No || self.is_closing || self.is_lost
    }

    /// Whether one more request may be sent, in addition to the requests that already have a handle.
    pub fn has_room(&self) -> bool {
        match &self.role {
            Role::Client { most, next, .. } => {
                self.handles < (*most).min(STREAMS_TO_BACKEND) && *next < LAST && !self.is_over()
            }
            Role::Server { .. } => false,
        }
    }

    /// Allows no new requests on this connection; requests in flight continue.
    pub fn close_to_others(&mut self) {
        if self.goaway == GoAway::No {
            self.goaway = GoAway::Received;
            self.wake_openers();
        }
    }

    /// Counts the handle of a stream that is not opened yet.
    pub fn add_handle(&mut self) {
        self.handles += 1;
    }

    /// Number of stream handles.
    pub fn handles(&self) -> usize {
        self.handles
    }

    /// Number of reads that returned bytes.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Counts a read that returned bytes.
    pub fn count_read(&mut self) {
        self.heard = self.heard.wrapping_add(1);
    }

    /// Complete frames received; a field block of several frames counts once.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether a field block is incomplete.
    pub fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Bytes received of a request head that stays incomplete because the connection has ended. Returned once.
    pub fn take_half_head(&mut self) -> Option<usize> {
        self.half_head.take()
    }

    /// Bytes sent on this connection.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether input is ignored.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// The bytes to send.
    pub fn output(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// Removes the first `count` bytes of the output, which were sent, and grants turns to waiting streams.
    pub fn sent(&mut self, count: usize) {
        self.written += count;
        self.total += count as u64;
        if let Role::Server { budget, .. } = &mut self.role {
            budget.sent(count);
        }
        if self.written >= self.out.len() {
            self.written = 0;
            self.out.clear();
            if self.streams.is_empty() || self.out.capacity() > KEPT {
                self.out = Vec::new();
            }
        } else if self.written >= ROOM.max(self.output().len()) {
            // Streams fill the output again before a slow socket has taken all of it. No more is moved than was sent.
            self.out.drain(..self.written);
            self.written = 0;
        }
        if self.output().len() < ROOM {
            // Before `grant`, whose streams may fill the output again.
            self.wake_openers();
        }
        self.grant();
    }

    /// Whether there is so much unsent output that the socket should not be read.
    pub fn is_choked(&self) -> bool {
        self.output().len() > OUTPUT_LIMIT
    }

    /// Registers `context` to be woken when there is something to send.
    pub fn watch(&mut self, context: &Context<'_>) {
        entry::watch(&mut self.waker, context);
    }

    /// Wakes the task that moves bytes: there is something to send, or the connection may end.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Begins a graceful shutdown: sends GOAWAY and a PING. Streams are still accepted until the PING is acknowledged, because the
    /// other side may have opened them before it received GOAWAY (RFC 9113 §6.8).
    pub fn send_goaway(&mut self) {
        if self.goaway == GoAway::No && !self.is_closing {
            self.goaway = GoAway::Pending;
            let reason = Reason::NO_ERROR;
            frame::put_numbers(&mut self.out, frame::GOAWAY, 0, &[LAST, reason.0]);
            frame::put_head(&mut self.out, (frame::PING, 0), 0, GOAWAY_PING.len());
            self.out.extend_from_slice(&GOAWAY_PING);
            self.wake();
        }
    }

    /// Whether the final GOAWAY was sent and no stream is left.
    pub fn is_done(&self) -> bool {
        matches!(self.goaway, GoAway::Sent { .. }) && self.streams.is_empty()
    }

    /// Ends the connection: output that is left is still sent, input is ignored.
    pub fn close(&mut self) {
        self.is_closing = true;
        self.lose_all();
    }

    /// Ends the connection with an error (RFC 9113 §5.4.1).
    pub fn fail(&mut self, reason: Reason) {
        self.failed = Some(reason);
        let last = match (&self.role, self.goaway) {
            (_, GoAway::Sent { last }) => last,
            (Role::Server { history, .. }, _) => history.highest(),
            (Role::Client { .. }, _) => 0,
        };
        frame::put_numbers(&mut self.out, frame::GOAWAY, 0, &[last, reason.0]);
        self.close();
    }

    /// Why a stream ended early, if HTTP/2 gives a reason: the other side reset it, or the connection was ended with an error.
    pub fn broke_off(&self, stream: u32) -> Option<BrokeOff> {
        let reset = self.streams.get(&stream).and_then(|entry| entry.reset);
        let connection = self.failed.map(BrokeOff::Connection);
        reset.map(BrokeOff::Stream).or(connection)
    }

    /// Ends all streams because the socket is closed.
    pub fn lose(&mut self) {
        self.is_lost = true;
        self.out = Vec::new();
        self.written = 0;
        self.lose_all();
        self.wake();
    }

    fn lose_all(&mut self) {
        self.block = None;
        self.data = None;
        let is_response = matches!(self.role, Role::Client { .. });
        for entry in self.streams.values_mut() {
            entry.abort(ResetReason::Broken, is_response);
            entry.is_open = false;
        }
        self.open = 0;
        self.streams.retain(|_, entry| entry.is_held);
        self.wake_openers();
    }

    /// Resets a stream because of a stream error (RFC 9113 §5.4.2).
    fn refuse(&mut self, stream: u32, reason: Reason) {
        if let Role::Server { budget, .. } = &mut self.role {
            budget.reset();
        }
        frame::put_numbers(&mut self.out, frame::RST_STREAM, stream, &[reason.0]);
        if let Some(entry) = self.streams.get_mut(&stream) {
            let unread = entry.lose(ResetReason::Reset);
            self.release(unread, false);
            self.settle(stream);
        }
    }

    /// Updates counters and queues after a stream has changed, and removes a stream that has ended and has no handle.
    fn settle(&mut self, stream: u32) {
        let Some(entry) = self.streams.get(&stream) else {
            return;
        };
        if entry.is_local_closed && (entry.queued.is_some() || entry.granted.is_some()) {
            self.stand_back(stream);
        }
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if !(entry.is_remote_closed && entry.is_local_closed) {
            return;
        }
        let (was_open, is_held) = (entry.is_open, entry.is_held);
        entry.is_open = false;
        let is_their_end = entry.is_their_end;
        if was_open {
            self.open -= 1;
            self.wake_openers();
        }
        if !is_held {
            self.streams.remove(&stream);
            if let Role::Server { history, .. } = &mut self.role
                && is_their_end
            {
                history.ends(stream);
            }
            if self.streams.is_empty() {
                self.shrink();
            }
        }
    }

    /// Frees memory, because there are no streams.
    fn shrink(&mut self) {
        self.streams.shrink_to(STREAMS_KEPT);
        self.heads.waiting = VecDeque::new();
        self.payloads.waiting = VecDeque::new();
        // The connection may be idle from now on.
        self.wake();
    }

    fn wake_openers(&mut self) {
        if let Role::Client { waiting, .. } = &mut self.role {
            waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// Receive window of a stream, in bytes.
    fn window_of_streams(&self) -> u32 {
        match self.role {
            Role::Server { .. } => WINDOW_OF_CLIENT,
            Role::Client { .. } => WINDOW_OF_BACKEND,
        }
    }

    /// Returns connection credit to the other side: at once, or when half a window has accumulated.
    fn release(&mut self, count: u32, is_at_once: bool) {
        self.to_release += count;
        let window = match self.role {
            Role::Server { .. } => ALL_OF_CLIENT,
            Role::Client { .. } => ALL_OF_BACKEND,
        };
        if self.to_release >= window / 2 || is_at_once {
            let count = std::mem::take(&mut self.to_release);
            frame::put_numbers(&mut self.out, frame::WINDOW_UPDATE, 0, &[count]);
            self.receive_window.give(count);
            self.wake();
        }
    }
}

/// A size as the value of a setting.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
