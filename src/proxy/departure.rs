//! Notices a client that leaves while its request is served. A reset says so by itself. The end of what an HTTP/1 client
//! sends (a FIN, or `close_notify` of TLS) does not: it has left, or it has ended its sending side only and waits for its
//! response (RFC 9112 §9.6).
//!
//! Who ends its side does so directly behind its request, and is served; an end that comes later is taken for a departure.
//! What the socket tells does not distinguish a client that ended its side at once from one that was closed at once. But
//! every response begins with the same bytes. They are sent ahead, to the former only: a client that is gone responds them
//! with a reset.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Client;
use crate::clock::Instant;

/// How long after its request was sent on the end of what a client sends still belongs to the request. Much more than a
/// program needs between the two calls, on a busy machine too, and than what the wheel's time is late; less than it takes a
/// person to give up.
const DIRECTLY_BEHIND: Duration = Duration::from_millis(100);
/// Ticks for which a reset is looked for behind a half-close: longer than any round trip. Later, writing finds it.
const TICKS_OF_DOUBT: u8 = 64;

/// What the end of what an HTTP/1 client sends means while its response is awaited or under way, where it does not come
/// directly behind its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HalfClose {
    /// The client has left: its request is given up.
    #[default]
    Abort,
    /// The client waits for its response.
    Serve,
}

/// How far the exchange is that the client might leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The response is awaited.
    Waiting,
    /// Its head is about to be written.
    Beginning,
    /// Its head was written, so that the client may have reacted to it.
    Responding,
}

/// What is known of the client of one request.
#[derive(Debug, Default)]
pub(super) struct Departure {
    /// When the whole request was sent on first.
    sent_at: Option<Instant>,
    half_closed: Option<HalfClosed>,
    /// Whether the client was looked at.
    has_looked: bool,
}

/// A client that has ended its sending side and is served.
#[derive(Debug)]
struct HalfClosed {
    /// Whether the beginning of its response was sent ahead.
    is_probed: bool,
    /// Ticks for which a reset is still looked for.
    ticks: u8,
}

impl Departure {
    /// Takes down that the whole request was sent on.
    pub(super) fn request_sent(&mut self, now: Instant) {
        self.sent_at.get_or_insert(now);
    }

    /// Takes down that the request waits for a backend: what its client does from now on is no part of the request.
    #[cold]
    pub(super) fn request_waits(&mut self, now: Instant) {
        self.sent_at.get_or_insert(now);
    }

    /// Ready when the client has left. Nothing is read from it otherwise. A socket that the runtime does not watch is left
    /// alone for a tick: its request is likely to have its response by then.
    pub(super) fn poll(&mut self, client: &mut Client, context: &mut Context<'_>, phase: Phase) -> Poll<()> {
        let buffers = &client.worker.buffers;
        if let Some(gone) = client.connection.poll_gone(context) {
            return gone;
        }
        if self.half_closed.is_none() {
            let is_watched = client.connection.is_watched();
            if !is_watched && phase != Phase::Beginning {
                ready!(client.timer.poll_tick(context));
            }
            let is_first_look = !std::mem::replace(&mut self.has_looked, true);
            // One call in place of those that begin and end the watching.
            if !is_watched && phase == Phase::Beginning && !client.connection.is_readable_or_closed(true) {
                return Poll::Pending;
            }
            if ready!(client.connection.poll_end(context, buffers)).is_err() {
                return Poll::Ready(());
            }
            let is_behind = match phase {
                Phase::Responding => is_first_look,
                _ => !is_watched || self.is_directly_behind(client.worker.wheel.now()),
            };
            if !is_behind && client.peer.half_close == HalfClose::Abort {
                return Poll::Ready(());
            }
            self.half_closed = Some(HalfClosed {
                is_probed: false,
                ticks: TICKS_OF_DOUBT,
            });
        }
        match &mut self.half_closed {
            Some(half_closed) => half_closed.poll(client, context, phase),
            None => Poll::Pending,
        }
    }

    fn is_directly_behind(&self, now: Instant) -> bool {
        self.sent_at
            .is_none_or(|sent_at| now.saturating_duration_since(sent_at) <= DIRECTLY_BEHIND)
    }
}

impl HalfClosed {
    /// Ready when a reset shows that the client has left.
    fn poll(&mut self, client: &mut Client, context: &mut Context<'_>, phase: Phase) -> Poll<()> {
        let connection = &mut client.connection;
        if phase == Phase::Waiting && !self.is_probed && !connection.has_output() {
            match connection.poll_send_ahead(context) {
                Poll::Ready(Ok(())) => self.is_probed = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        // Without a waker: as the end has come, reading is ready for ever, and a reset makes it no readier.
        while !connection.is_broken() {
            if self.ticks == 0 {
                return Poll::Pending;
            }
            ready!(client.timer.poll_tick(context));
            self.ticks -= 1;
        }
        Poll::Ready(())
    }
}
