//! Whose a connection is, on listeners where a proxy says so: its PROXY header is read before anything else, TLS too.
//! Whoever sends none, or a wrong one, or is nobody whose word counts, gets no answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::connection::DRAIN_GRACE;
use super::eviction::{EvictionQueue, WakeTarget};
use super::worker_set::OpenConnection;
use crate::clock::TimerEvent;
use crate::net::{ClientAddress, HeaderError, ListenAddress, Stream, read_proxy_header};
use crate::proxy::{Peer, Worker};

/// Whether a PROXY header of `sender` counts. To a socket file only those can connect whom its mode lets.
pub(super) fn is_trusted(sender: ClientAddress, address: &ListenAddress, worker: &Worker) -> bool {
    let is_trusted = match address {
        ListenAddress::Unix(_) => true,
        ListenAddress::Ip(_) => worker.local().snapshot.trusted_proxies.contains(sender),
    };
    if !is_trusted {
        refuse(&"its sender is not in trusted_proxies", sender, worker);
    }
    is_trusted
}

/// Reads the header within `client_header`, and counts the connection as one of the client that it names. `None` when the
/// connection is to end, which is counted where it is one of a header.
pub(super) async fn receive_proxy_header(
    stream: &mut Stream,
    sender: ClientAddress,
    worker: &Rc<Worker>,
    waiting: &EvictionQueue,
    open: &mut OpenConnection,
) -> Option<Peer> {
    let timer = worker.wheel.timer();
    let ticket = waiting.join(WakeTarget::Timer(timer.key()));
    timer.set(worker.local().snapshot.timeouts.header);
    let mut reading = std::pin::pin!(read_proxy_header(stream));
    let read = poll_fn(|context| {
        if let Poll::Ready(read) = reading.as_mut().poll(context) {
            return Poll::Ready(Some(Ok(read)));
        }
        while let Poll::Ready(event) = timer.poll(context) {
            match event {
                TimerEvent::Expired => return Poll::Ready(Some(Err("it did not come within client_header"))),
                // Counted by who wanted its place.
                TimerEvent::Notified if ticket.is_evicted() => return Poll::Ready(None),
                TimerEvent::Notified if worker.is_draining.get() => timer.set(DRAIN_GRACE),
                TimerEvent::Notified => {}
            }
        }
        Poll::Pending
    })
    .await;
    let header = match read? {
        Ok(Ok(header)) => header,
        // Probes of load balancers connect and leave.
        Ok(Err(HeaderError::Silent)) => return None,
        Ok(Err(error)) => return refuse(&error, sender, worker),
        Err(reason) => return refuse(&reason, sender, worker),
    };
    let peer = Peer::from_proxy_header(header, sender);
    let limit = worker.local().snapshot.limits.connections_per_client;
    let is_admitted = open.set_client(peer.ip_address().map(|address| address.ip()), limit);
    if !is_admitted {
        worker.counters.connections_rejected.increment();
    }
    is_admitted.then_some(peer)
}

/// Counts a connection that is closed for want of a header, and says why to who looks for it.
fn refuse(reason: &dyn std::fmt::Display, sender: ClientAddress, worker: &Worker) -> Option<Peer> {
    worker.counters.proxy_headers_rejected.increment();
    tracing::debug!(%reason, ?sender, "A PROXY header was not accepted");
    None
}
