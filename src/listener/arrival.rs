//! From a socket to a protocol: what stands between accepting a connection and its first request. Only listeners with TLS
//! come here; on others the first bytes of a connection tell what it speaks.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::connection;
use super::crew::Open;
use super::desk::Desks;
use super::http2::{self, Guest};
use super::waiting::Who;
use crate::clock::Ring;
use crate::message::Connection;
use crate::net::{Encrypted, Stream};
use crate::proxy::{Certificate, Client, Peer, Worker};
use crate::tasks::LocalTasks;
use crate::telemetry::Label;
use crate::tls;

/// Who serves what arrives.
pub(super) struct Host {
    pub(super) worker: Rc<Worker>,
    pub(super) desks: Desks,
    pub(super) tasks: LocalTasks,
}

/// Shakes hands, then serves the connection to its end.
pub(super) async fn serve_tls(socket: Stream, peer: Peer, tls: Arc<tls::Server>, host: Host, open: Open) {
    let Some((stream, peer)) = Box::pin(shake_hands(socket, peer, &tls, &host)).await else {
        return;
    };
    let speaks_http2 = stream.protocol() == Some(tls::H2);
    let stream = Stream::Tls(Box::new(stream));
    let alarm = host.worker.wheel.alarm();
    let peer = Rc::new(peer);
    if speaks_http2 {
        let counters = Arc::clone(&host.worker.counters);
        counters.connections_active.up();
        let guest = Guest {
            peer,
            worker: host.worker,
            alarm,
            waiting: host.desks.waiting().clone(),
            tasks: host.tasks,
        };
        Box::pin(http2::serve(stream, Vec::new(), guest)).await;
        counters.connections_active.down();
        drop(open);
        return;
    }
    let client = Client {
        connection: Connection::new(stream),
        peer,
        alarm,
        worker: host.worker,
        is_last_request: false,
    };
    connection::serve(client, 0, None, host.desks, open).await;
}

/// The handshake, within `client_header`. A client that fails it is told so in TLS, and counted; there is nothing to log.
async fn shake_hands(
    socket: Stream,
    mut peer: Peer,
    tls: &tls::Server,
    host: &Host,
) -> Option<(Encrypted, Peer)> {
    let worker = &host.worker;
    let alarm = worker.wheel.alarm();
    let place = host.desks.waiting().join(Who::Alarm(alarm.key()));
    alarm.set(worker.local().snapshot.timeouts.header);
    let session = tls.accept().ok()?;
    let mut handshake = std::pin::pin!(Encrypted::shake_hands(socket, session));
    let result = poll_fn(|context| {
        if let Poll::Ready(result) = handshake.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        while let Poll::Ready(ring) = alarm.poll(context) {
            if ring == Ring::Expired || place.is_given_up() {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    })
    .await;
    let stream = match result {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            worker.counters.tls_handshakes_failed.increment();
            tracing::debug!(%error, "A TLS handshake failed");
            return None;
        }
        None => {
            worker.counters.tls_handshakes_failed.increment();
            return None;
        }
    };
    peer.is_secure = true;
    peer.certificate = stream.certificate().map(|der| Certificate {
        subject: Label::new(&tls::subject(der).unwrap_or_default()),
        field: format!(":{}:", BASE64.encode(der)).into(),
    });
    Some((stream, peer))
}
