//! From a socket to a protocol: what stands between accepting a connection and its first request. Only listeners with TLS
//! come here; on others the first bytes of a connection tell what it speaks.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::connection;
use super::crew::Open;
use super::desk::Desks;
use super::http2::{self, Guest};
use super::turns::Turns;
use super::waiting::Who;
use crate::buffer::Buffer;
use crate::clock::{self, Ring};
use crate::http1::Malformed;
use crate::message::Connection;
use crate::net::{Encrypted, Stream};
use crate::proxy::{self, Certificate, Client, Failure, Peer, Terms, Worker};
use crate::tasks::LocalTasks;
use crate::telemetry::Label;
use crate::telemetry::metrics::HandshakeFailure;
use crate::tls;

/// Who serves what arrives.
pub(super) struct Host {
    pub(super) worker: Rc<Worker>,
    pub(super) desks: Desks,
    pub(super) turns: Turns,
    pub(super) tasks: LocalTasks,
}

/// Shakes hands, then serves the connection to its end.
pub(super) async fn serve_tls(socket: Stream, peer: Peer, tls: Arc<tls::Server>, host: Host, open: Open) {
    let Some((stream, peer)) = Box::pin(arrive(socket, peer, &tls, &host)).await else {
        return;
    };
    let speaks_http2 = stream.protocol() == Some(tls::H2);
    let stream = Stream::Tls(Box::new(stream));
    let alarm = host.worker.wheel.alarm();
    let peer = Rc::new(peer);
    if speaks_http2 {
        let counters = Arc::clone(&host.worker.counters);
        counters.connections_active.up();
        alarm.set(host.worker.local().snapshot.timeouts.header);
        let guest = Guest {
            peer,
            worker: host.worker,
            alarm,
            waiting: host.desks.waiting().clone(),
            tasks: host.tasks,
            hands: host.desks.hands().clone(),
        };
        Box::pin(http2::serve(stream, Buffer::default(), guest)).await;
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
        pinned: None,
    };
    connection::serve(client, 0, None, host.desks, open).await;
}

/// The handshake. A client that fails it is told so in TLS, and counted; there is nothing to log. One that does not speak TLS
/// at all gets an answer that it can read.
async fn arrive(
    socket: Stream,
    mut peer: Peer,
    tls: &Arc<tls::Server>,
    host: &Host,
) -> Option<(Encrypted, Peer)> {
    let started = clock::now();
    let mut stream = Encrypted::new(socket, tls.accept().ok()?);
    let result = shake_hands(&mut stream, host).await;
    let result = result.and_then(|()| introduce(&mut peer, &stream));
    let Err(failure) = result else {
        peer.terms = Terms::under_tls(tls, stream.server_name());
        return Some((stream, peer));
    };
    host.worker.counters.count_handshake_failure(failure);
    if let (HandshakeFailure::NotTls, Some(received)) = (failure, stream.plain_http()) {
        refuse(stream.into_socket(), peer, host, (started, received)).await;
    }
    None
}

/// Shakes hands within `client_header`.
async fn shake_hands(stream: &mut Encrypted, host: &Host) -> Result<(), HandshakeFailure> {
    let alarm = host.worker.wheel.alarm();
    let place = host.desks.waiting().join(Who::Alarm(alarm.key()));
    alarm.set(host.worker.local().snapshot.timeouts.header);
    let mut handshake = pin!(take_turns(stream, &host.turns));
    poll_fn(|context| {
        if let Poll::Ready(result) = handshake.as_mut().poll(context) {
            return Poll::Ready(result.map_err(|error| {
                tracing::debug!(%error, "A TLS handshake failed");
                tls::failure(&error)
            }));
        }
        while let Poll::Ready(ring) = alarm.poll(context) {
            if ring == Ring::Expired {
                return Poll::Ready(Err(HandshakeFailure::Timeout));
            }
            if place.is_given_up() {
                return Poll::Ready(Err(HandshakeFailure::Evicted));
            }
        }
        Poll::Pending
    })
    .await
}

/// Shakes hands, one turn after the other, each when something has come.
async fn take_turns(stream: &mut Encrypted, turns: &Turns) -> io::Result<()> {
    loop {
        poll_fn(|context| stream.poll_turn(context)).await?;
        let turn = turns.take().await;
        let step = poll_fn(|context| Poll::Ready(stream.poll_handshake(context))).await;
        turn.end().await;
        if let Poll::Ready(result) = step {
            return result;
        }
    }
}

/// Takes down what the handshake has shown of the client. A ticket brings its certificate back without a look at the time.
fn introduce(peer: &mut Peer, stream: &Encrypted) -> Result<(), HandshakeFailure> {
    peer.is_secure = true;
    let Some(der) = stream.certificate() else {
        return Ok(());
    };
    let subject = tls::Subject::of(der);
    if subject
        .as_ref()
        .is_some_and(|subject| subject.has_expired(clock::wall()))
    {
        return Err(HandshakeFailure::ClientCertificate);
    }
    let name = subject.map(|subject| subject.name).unwrap_or_default();
    peer.certificate = Some(Certificate {
        subject: Label::new(&name),
        field: format!(":{}:", BASE64.encode(der)).into(),
    });
    Ok(())
}

/// Answers a client that speaks plain HTTP.
async fn refuse(socket: Stream, peer: Peer, host: &Host, (started, received): (Instant, usize)) {
    let mut client = Client {
        connection: Connection::new(socket),
        peer: Rc::new(peer),
        alarm: host.worker.wheel.alarm(),
        worker: Rc::clone(&host.worker),
        is_last_request: false,
        pinned: None,
    };
    let failure = Failure::Malformed(Malformed::PlainHttp);
    proxy::refuse(&mut client, failure, None, (started, received)).await;
    connection::linger(&mut client).await;
    client.connection.release(&host.worker.buffers);
}
