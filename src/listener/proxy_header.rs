//! Reads the PROXY protocol header and sets the client address, on listeners with `proxy_protocol`. The header comes before
//! everything else, including TLS. A connection with a missing or invalid header, or from an untrusted sender, is closed
//! without a response.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::closing::DRAIN_GRACE;
use super::eviction::{EvictionQueue, WakeTarget};
use super::worker_set::OpenConnection;
use crate::clock::TimerEvent;
use crate::net::{ClientAddress, HeaderError, ListenAddress, Stream, read_proxy_header};
use crate::proxy::{Peer, Worker};

/// Whether PROXY headers from `sender` are trusted. Those on a Unix socket are: its file mode limits who can connect.
pub(super) fn is_trusted(sender: ClientAddress, address: &ListenAddress, worker: &Worker) -> bool {
    let is_trusted = match address {
        ListenAddress::Unix(_) => true,
        ListenAddress::Ip(_) => worker.local().snapshot.trusted_proxies.contains(sender),
    };
    if !is_trusted {
        refuse(&"the sender is not in trusted_proxies", sender, worker);
    }
    is_trusted
}

/// Reads the header within `client_header`. Returns `None` if the connection must be closed; a rejected header is counted.
pub(super) async fn receive_proxy_header(
    stream: &mut Stream,
    sender: ClientAddress,
    worker: &Rc<Worker>,
    waiting: &EvictionQueue,
    listener: usize,
) -> Option<Peer> {
    let timer = worker.wheel.timer();
    let ticket = waiting.join(WakeTarget::Timer(timer.key()), 0);
    timer.set(worker.local().snapshot.timeouts.header);
    let mut reading = std::pin::pin!(read_proxy_header(stream));
    let read = poll_fn(|context| {
        if let Poll::Ready(read) = reading.as_mut().poll(context) {
            return Poll::Ready(Some(Ok(read)));
        }
        while let Poll::Ready(event) = timer.poll(context) {
            match event {
                TimerEvent::Expired => {
                    return Poll::Ready(Some(Err("it was not complete within client_header")));
                }
                // The acceptor that evicted it has counted it.
                TimerEvent::Notified if ticket.is_evicted() => return Poll::Ready(None),
                TimerEvent::Notified if worker.is_draining(listener) => timer.set(DRAIN_GRACE),
                TimerEvent::Notified => {}
            }
        }
        Poll::Pending
    })
    .await;
    let header = match read? {
        Ok(Ok(header)) => header,
        // Load balancers' TCP health checks connect and close without sending anything.
        Ok(Err(HeaderError::Silent)) => return None,
        Ok(Err(error)) => return refuse(&error, sender, worker),
        Err(reason) => return refuse(&reason, sender, worker),
    };
    Some(Peer::from_proxy_header(header, sender))
}

/// Counts the connection for the client that its header names. Returns whether the client may have one more.
pub(super) fn admit(peer: &Peer, worker: &Worker, open: &mut OpenConnection) -> bool {
    let limit = worker.local().snapshot.limits.connections_per_client;
    let is_admitted = open.set_client(peer.ip_address().map(|address| address.ip()), limit);
    if !is_admitted {
        worker.counters.connections_rejected.increment();
    }
    is_admitted
}

/// Counts and logs a connection that is closed because of its header.
fn refuse(reason: &dyn std::fmt::Display, sender: ClientAddress, worker: &Worker) -> Option<Peer> {
    worker.counters.proxy_headers_rejected.increment();
    tracing::debug!(%reason, ?sender, "Rejected PROXY header; closing the connection");
    None
}
