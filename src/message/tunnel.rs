//! Moves the bytes of one direction of a tunnel as they come: they have no framing, no limit and no second try, so that a message costs
//! less than as the body of a transfer.

use std::io;
use std::task::{Context, Poll, ready};

use super::connection::Connection;
use crate::buffer::Buffers;
use crate::clock::Instant;
use crate::net::{Relay, Relays};

/// Bytes that one direction moves before the other connections of its worker get their turn.
const TURN: usize = 4 * crate::buffer::LARGE;

/// The connection that ended a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenEnd {
    /// Nothing more can be read.
    Source,
    /// It takes nothing more. What it sent before may still have to be read.
    Sink,
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
pub struct Tunnel {
    /// Bytes that the sink has taken from the source.
    pub moved: u64,
    /// Whether the sink was told that nothing follows.
    is_finished: bool,
}

impl Tunnel {
    /// Moves as much as it can; ready when the source has ended and everything was written. Nothing more is read while the sink does not
    /// take what was read before.
    ///
    /// # Errors
    /// The connection that broke.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<(), BrokenEnd>> {
        let mut read = 0;
        loop {
            ready!(self.poll_unread(context, source, sink)).map_err(|_| BrokenEnd::Sink)?;
            if source.input_ended {
                if !std::mem::replace(&mut self.is_finished, true) {
                    sink.finish(&[]);
                }
                return sink.poll_flush(context).map_err(|_| BrokenEnd::Sink);
            }
            ready!(sink.poll_flush(context)).map_err(|_| BrokenEnd::Sink)?;
            if read >= TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            read += ready!(source.poll_fill(context, buffers, u64::MAX)).map_err(|_| BrokenEnd::Source)?;
        }
    }

    /// Moves what was read already.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn poll_unread(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
    ) -> Poll<io::Result<()>> {
        while let unread @ [_, ..] = source.input.unread() {
            let count = ready!(sink.poll_write_through(context, unread))?;
            source.input.consume(count);
            self.moved += count as u64;
        }
        Poll::Ready(Ok(()))
    }
}

/// Both directions of a tunnel between two plain sockets, whose bytes are moved by the task of the [`Relays`] until this is dropped.
pub struct Relayed<'a> {
    relay: Relay<'a>,
    /// Bytes that each connection has sent.
    sent: [&'a mut u64; 2],
}

impl<'a> Relayed<'a> {
    /// Begins, where nothing is unread and nothing waits to be written. `None` if it is not possible: see [`Relays::add`].
    pub fn begin(relays: &Relays, one: &'a mut Connection, other: &'a mut Connection) -> Option<Self> {
        let is_empty = |connection: &Connection| connection.input.is_empty() && !connection.has_output();
        if !is_empty(one) || !is_empty(other) {
            return None;
        }
        let ((one, sent_to_one), (other, sent_to_other)) = (one.bytes()?, other.bytes()?);
        Some(Self {
            relay: relays.add(one, other)?,
            sent: [sent_to_one, sent_to_other],
        })
    }

    /// Ready when nothing more is moved: with whether both directions have ended in order.
    pub fn poll(&self, context: &Context<'_>) -> Poll<bool> {
        self.relay.poll(context)
    }

    /// Bytes of each connection that the other one has taken.
    pub fn moved(&self) -> [u64; 2] {
        self.relay.moved()
    }

    /// When bytes moved last, or the beginning.
    pub fn moved_at(&self) -> Instant {
        self.relay.moved_at()
    }
}

impl Drop for Relayed<'_> {
    fn drop(&mut self) {
        let [of_one, of_other] = self.moved();
        let [sent_to_one, sent_to_other] = &mut self.sent;
        **sent_to_one += of_other;
        **sent_to_other += of_one;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::task::Waker;

    use super::*;
    use crate::net::Stream;

    /// A connection that is never registered with a runtime before it has to wait, and its other end.
    fn connection() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Connection::new(Stream::from(OwnedFd::from(ours))), theirs)
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_the_end_follows_them() {
        let ((mut source, mut from), (mut sink, mut to)) = (connection(), connection());
        let (buffers, mut tunnel) = (Buffers::default(), Tunnel::default());
        sink.output(&buffers).extend_from_slice(b"head ");
        from.write_all(b"one two").unwrap();
        let mut poll = |source: &mut Connection, sink: &mut Connection| {
            let mut context = Context::from_waker(Waker::noop());
            (tunnel.poll(&mut context, source, sink, &buffers), tunnel.moved)
        };
        let (result, moved) = poll(&mut source, &mut sink);
        assert!(result.is_pending() && moved == 7);
        drop(from);
        std::future::poll_fn(|context| source.poll_fill(context, &buffers, 0))
            .await
            .unwrap();
        assert!(matches!(poll(&mut source, &mut sink), (Poll::Ready(Ok(())), 7)));
        sink.end_sending();
        let mut received = String::new();
        to.read_to_string(&mut received).unwrap();
        assert_eq!(received, "head one two");
    }

    #[tokio::test]
    async fn nothing_more_is_read_while_the_sink_takes_nothing() {
        let ((mut source, mut from), (mut sink, _to)) = (connection(), connection());
        let (buffers, mut tunnel) = (Buffers::default(), Tunnel::default());
        from.set_nonblocking(true).unwrap();
        let piece = [0; 1 << 16];
        let (mut sent, mut stalled) = (0_u64, 0);
        // What both sockets and one buffer hold is bounded.
        while stalled < 3 {
            let written = from.write(&piece).unwrap_or_default() as u64;
            sent += written;
            let mut context = Context::from_waker(Waker::noop());
            assert!(
                tunnel
                    .poll(&mut context, &mut source, &mut sink, &buffers)
                    .is_pending()
            );
            tokio::task::yield_now().await;
            stalled = if written == 0 { stalled + 1 } else { 0 };
            assert!(sent < 1 << 26, "it reads without end");
        }
        assert!(tunnel.moved < sent && !source.input.is_empty());
    }

    #[tokio::test]
    async fn what_is_relayed_counts_as_sent() {
        let ((mut client, mut from), (mut backend, mut to)) = (connection(), connection());
        let relays = Relays::new(&crate::clock::Wheel::new(crate::clock::now())).unwrap();
        from.write_all(b"request").unwrap();
        let relayed = Relayed::begin(&relays, &mut client, &mut backend).unwrap();
        let mut run = Box::pin(relays.clone().run());
        std::future::poll_fn(|context| {
            assert!(run.as_mut().poll(context).is_pending());
            match relayed.moved() {
                [7, 0] => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        drop(relayed);
        assert_eq!((client.bytes_out, backend.bytes_out), (0, 7));
        let mut received = [0; 7];
        to.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"request");
    }

    #[tokio::test]
    async fn what_is_unread_or_unsent_is_not_left_behind_by_a_relay() {
        let ((mut one, _client), (mut other, _backend)) = (connection(), connection());
        let relays = Relays::new(&crate::clock::Wheel::new(crate::clock::now())).unwrap();
        let buffers = Buffers::default();
        one.output(&buffers).extend_from_slice(b"head");
        assert!(Relayed::begin(&relays, &mut one, &mut other).is_none());
        one.discard_output();
        other.input = crate::buffer::Buffer::of(b"early".to_vec());
        assert!(Relayed::begin(&relays, &mut one, &mut other).is_none());
        other.input.consume(5);
        assert!(Relayed::begin(&relays, &mut one, &mut other).is_some());
    }
}
