//! One connection without its socket: what came goes in, what is to be sent comes out, and between them stand the streams. The
//! same for both sides. It waits for nothing; whoever does is woken.

mod control;
mod entry;
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
use std::time::Instant;

use foldhash::fast::FixedState;

use super::Reason;
use super::budget::Budget;
use super::frame;
use super::history::History;
use crate::hpack::{Decoder, Encoder};
use crate::http1::Limits;
use entry::{Entry, Window};
pub(super) use entry::{ResetReason, Response};
pub(super) use receive::{Begun, ReceiveContext};

/// Streams that a connection may have under way, of clients and to backends.
const STREAMS_OF_CLIENT: usize = 128;
const STREAMS_TO_BACKEND: usize = 100;
/// Bytes of a body that may be on their way on one stream.
const WINDOW_OF_CLIENT: u32 = 256 << 10;
const WINDOW_OF_BACKEND: u32 = 128 << 10;
/// The same for all streams of a client.
const ALL_OF_CLIENT: u32 = 1 << 20;
/// What all clients of a backend may leave unread, so that no number of them who take nothing holds up the answers of others.
const ALL_OF_BACKEND: u32 = STREAMS_TO_BACKEND as u32 * WINDOW_OF_BACKEND;
/// Bytes that wait for the socket before streams have to wait with more.
const ROOM: usize = 64 << 10;
/// Bytes that wait for the socket before nothing more is read, because what comes is answered.
const CHOKED: usize = 4 * ROOM;
/// Room for what is to be sent that is kept while streams are under way.
const KEPT: usize = 2 * ROOM;
/// Streams whose place in the table is kept while none is under way.
const STREAMS_KEPT: usize = 4;
/// What the PING behind the first word of goodbye says (RFC 9113 §6.8).
const GOAWAY_PING: [u8; 8] = *b"evenkeel";
/// The last stream there can be.
const LAST: u32 = 0x7fff_ffff;

/// Which side of a connection we are.
#[derive(Debug)]
enum Role {
    /// A client's requests come by it.
    Server { history: History, budget: Budget },
    /// Our requests go by it to a backend.
    Client {
        /// The stream that is opened next.
        next: u32,
        /// Streams that the backend takes at once.
        most: usize,
        /// Whoever waits until a stream has ended, or there is room.
        waiting: Vec<Waker>,
    },
}

/// Why a stream broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokeOff {
    /// The other side reset it.
    Stream(Reason),
    /// What came by its connection could not be accepted.
    Connection(Reason),
}

/// How far a connection's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GoAway {
    No,
    /// The other side was told that no more streams are taken soon (RFC 9113 §6.8).
    Pending,
    /// It was told which was the last.
    Sent {
        last: u32,
    },
    /// The other side has said that it takes no more.
    Received,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Engine {
    role: Role,
    limits: Limits,
    streams: HashMap<u32, Entry, FixedState>,
    /// Streams that have not ended both ways.
    open: usize,
    /// Handles of streams, also of those that are not opened yet.
    handles: usize,
    decoder: Decoder,
    encoder: Encoder,
    /// What is to be sent, and how much of it was.
    out: Vec<u8>,
    written: usize,
    /// What the other side lets us send, and what we let it send.
    send_window: Window,
    receive_window: Window,
    to_release: u32,
    /// What new streams may send.
    first_window: i64,
    /// Streams that wait for room in `out`, and for credit of the connection.
    for_room: VecDeque<u32>,
    for_credit: VecDeque<u32>,
    /// Streams that were let in and have not come yet.
    granted: usize,
    /// How far the beginning has come.
    opening: receive::Opening,
    /// A block of fields of which more frames have to come, and a frame of DATA of which more bytes have to come.
    block: Option<receive::Block>,
    data: Option<payload::Data>,
    /// Bytes that have come of the head of a request that has not begun, because more has to come or the connection failed in it.
    half_head: Option<usize>,
    /// Frames that have come whole, a block of several counted once.
    frames: u64,
    goaway: GoAway,
    /// Whether nothing that comes is looked at any more.
    is_closing: bool,
    /// Whether the socket is gone.
    is_lost: bool,
    /// The error that it was ended with.
    failed: Option<Reason>,
    /// Whoever moves the bytes.
    waker: Option<Waker>,
    /// How many times bytes came, and all bytes that were sent.
    heard: u64,
    total: u64,
}

impl Engine {
    /// The side of a server, for a client of which nothing has come.
    pub(super) fn server(limits: &Limits, now: Instant) -> Self {
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

    /// The side of a client.
    pub(super) fn client(limits: &Limits) -> Self {
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
            for_room: VecDeque::new(),
            for_credit: VecDeque::new(),
            granted: 0,
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

    /// Says how late it is.
    pub(super) fn observe(&mut self, now: Instant) {
        if let Role::Server { budget, .. } = &mut self.role {
            budget.observe(now);
        }
    }

    /// Whether the other side has begun as it has to.
    pub(super) fn has_begun(&self) -> bool {
        self.opening == receive::Opening::Done
    }

    /// Whether no stream is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether it carries no more requests of ours.
    pub(super) fn is_over(&self) -> bool {
        self.goaway != GoAway::No || self.is_closing || self.is_lost
    }

    /// Whether one more request of ours may be sent, beside those that are about to be.
    pub(super) fn has_room(&self) -> bool {
        match &self.role {
            Role::Client { most, next, .. } => {
                self.handles < (*most).min(STREAMS_TO_BACKEND) && *next < LAST && !self.is_over()
            }
            Role::Server { .. } => false,
        }
    }

    /// Lets it carry no more requests of ours; those under way go on.
    pub(super) fn close_to_others(&mut self) {
        if self.goaway == GoAway::No {
            self.goaway = GoAway::Received;
            self.wake_openers();
        }
    }

    /// Counts a handle of a stream that is not opened yet.
    pub(super) fn add_handle(&mut self) {
        self.handles += 1;
    }

    /// Handles of streams.
    pub(super) fn handles(&self) -> usize {
        self.handles
    }

    /// How many times bytes came.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// Takes down that bytes came.
    pub(super) fn hears(&mut self) {
        self.heard = self.heard.wrapping_add(1);
    }

    /// Frames that have come whole, a block of several counted once.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether a block of fields has begun of which more has to come.
    pub(super) fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Bytes that have come of the head of a request that never begins, because the connection is over. Gives them once.
    pub(super) fn take_half_head(&mut self) -> Option<usize> {
        self.half_head.take()
    }

    /// Bytes sent since the connection began.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Whether nothing that comes is looked at any more.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// What is to be sent.
    pub(super) fn output(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// Takes down that the front of it was sent; lets streams add to it.
    pub(super) fn sent(&mut self, count: usize) {
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
        }
        if self.output().len() < ROOM {
            // Before those that are let in, who may fill it again.
            self.wake_openers();
        }
        self.grant();
    }

    /// Whether so much waits for the socket that nothing more should be read.
    pub(super) fn is_choked(&self) -> bool {
        self.output().len() > CHOKED
    }

    /// Wakes `context` when there is something to send.
    pub(super) fn watch(&mut self, context: &Context<'_>) {
        entry::watch(&mut self.waker, context);
    }

    /// There is something to send, or to end.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Begins to say goodbye: streams that are on their way are taken, until the other side has heard of it (RFC 9113 §6.8).
    pub(super) fn send_goaway(&mut self) {
        if self.goaway == GoAway::No && !self.is_closing {
            self.goaway = GoAway::Pending;
            let reason = Reason::NO_ERROR;
            frame::put_numbers(&mut self.out, frame::GOAWAY, 0, &[LAST, reason.0]);
            frame::put_head(&mut self.out, (frame::PING, 0), 0, GOAWAY_PING.len());
            self.out.extend_from_slice(&GOAWAY_PING);
            self.wake();
        }
    }

    /// Whether goodbye was said and nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.goaway, GoAway::Sent { .. }) && self.streams.is_empty()
    }

    /// Ends: what is to be sent still is, what comes is not looked at.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.lose_all();
    }

    /// Ends with an error.
    pub(super) fn fail(&mut self, reason: Reason) {
        self.failed = Some(reason);
        let last = match (&self.role, self.goaway) {
            (_, GoAway::Sent { last }) => last,
            (Role::Server { history, .. }, _) => history.highest(),
            (Role::Client { .. }, _) => 0,
        };
        frame::put_numbers(&mut self.out, frame::GOAWAY, 0, &[last, reason.0]);
        self.close();
    }

    /// Why a stream broke off, as far as HTTP/2 says: the connection was ended with an error, or the other side reset the stream.
    pub(super) fn broke_off(&self, stream: u32) -> Option<BrokeOff> {
        let reset = self.streams.get(&stream).and_then(|entry| entry.reset);
        let connection = self.failed.map(BrokeOff::Connection);
        reset.map(BrokeOff::Stream).or(connection)
    }

    /// Takes down that the socket is gone.
    pub(super) fn lose(&mut self) {
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

    /// Ends a stream for something that is wrong with it.
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

    /// Takes down what a stream that has changed is by now.
    fn settle(&mut self, stream: u32) {
        let Some(entry) = self.streams.get(&stream) else {
            return;
        };
        if entry.is_local_closed && (entry.is_queued || entry.is_granted) {
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

    /// Gives memory back, because no stream is under way.
    fn shrink(&mut self) {
        self.streams.shrink_to(STREAMS_KEPT);
        self.for_room = VecDeque::new();
        self.for_credit = VecDeque::new();
        // It may be idle from now on.
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

    /// Bytes that the other side may send on a stream at once.
    fn window_of_streams(&self) -> u32 {
        match self.role {
            Role::Server { .. } => WINDOW_OF_CLIENT,
            Role::Client { .. } => WINDOW_OF_BACKEND,
        }
    }

    /// Gives credit back to the other side: at once, or when it is worth a frame.
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

/// A number of a setting.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
