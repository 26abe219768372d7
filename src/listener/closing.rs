//! How client connections end, in both protocols: how long they may stay open during a drain, the lingering close, and the count of
//! those that are open.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::clock::TimerEvent;
use crate::proxy::{Client, Worker};

/// How long a connection that is idle when a drain begins may still send the request that is on its way.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long, and how many bytes, we read after the last response of a connection, so that a client that is still sending
/// can read it: closing at once would reset the connection (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 10;

/// Counts a connection that has a task, until it is dropped, also when the task is aborted.
pub(super) struct ActiveConnection(Rc<Worker>);

impl ActiveConnection {
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        worker.counters.connections_active.up();
        Self(Rc::clone(worker))
    }
}

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.0.counters.connections_active.down();
    }
}

/// Ends our side of the connection, then reads and discards for a short time what the client still sends.
pub(super) async fn linger(client: &mut Client) {
    let worker = Rc::clone(&client.worker);
    client.connection.end_sending();
    client.timer.set(LINGER);
    let mut left = LINGER_BYTES;
    std::future::poll_fn(|context| {
        // Not closed before the end has left: a TLS client would take the message for a truncated one.
        let is_over = !client.connection.is_ending() || client.connection.poll_flush(context).is_ready();
        loop {
            client.connection.input.consume(usize::MAX);
            match client.connection.poll_fill(context, &worker.buffers, 0) {
                Poll::Ready(Ok(0)) if !is_over => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) if count >= left => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => left -= count,
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(event) = client.timer.poll(context) {
            if event == TimerEvent::Expired {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
