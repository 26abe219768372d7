//! Performs the TLS handshake of an accepted connection, then serves it with the protocol chosen by ALPN. On listeners
//! without TLS the first bytes of a connection show its protocol instead.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::closing::{ActiveConnection, linger};
use super::connection;
use super::connection_tasks::ConnectionTasks;
use super::eviction::WakeTarget;
use super::handshake_permits::HandshakePermits;
use super::http2::{self, ConnectionContext};
use super::worker_set::OpenConnection;
use crate::buffer::Buffer;
use crate::clock::{self, Instant, TimerEvent};
use crate::http1::Malformed;
use crate::message::Connection;
use crate::net::{Encrypted, Stream};
use crate::proxy::{self, Certificate, Client, Failure, ListenerPolicy, Peer, Worker};
use crate::tasks::LocalTasks;
use crate::telemetry::Label;
use crate::telemetry::access_log::TlsFacts;
use crate::telemetry::metrics::HandshakeFailure;
use crate::tls;

/// What a TLS connection needs on its worker.
pub(super) struct AcceptContext {
    pub(super) worker: Rc<Worker>,
    pub(super) connection_tasks: ConnectionTasks,
    pub(super) permits: HandshakePermits,
    pub(super) tasks: LocalTasks,
}

/// Performs the handshake, then serves the connection to its end.
pub(super) async fn serve_tls(
    socket: Stream,
    peer: Peer,
    tls: Arc<tls::Server>,
    ctx: AcceptContext,
    open: OpenConnection,
) {
    let Some((stream, peer)) = Box::pin(accept_tls(socket, peer, &tls, &ctx)).await else {
        return;
    };
    let speaks_http2 = stream.protocol() == Some(tls::H2);
    let stream = Stream::Tls(Box::new(stream));
    let timer = ctx.worker.wheel.timer();
    let peer = Rc::new(peer);
    if speaks_http2 {
        let _active = ActiveConnection::new(&ctx.worker);
        timer.set(ctx.worker.local().snapshot.timeouts.header);
        let ctx = ConnectionContext {
            peer,
            worker: ctx.worker,
            timer,
            waiting: ctx.connection_tasks.waiting().clone(),
            tasks: ctx.tasks,
            stream_tasks: ctx.connection_tasks.stream_tasks().clone(),
        };
        Box::pin(http2::serve(stream, Buffer::default(), ctx)).await;
        drop(open);
        return;
    }
    let client = Client {
        connection: Connection::new(stream),
        peer,
        timer,
        worker: ctx.worker,
        is_last_request: false,
        pinned: None,
    };
    connection::serve(client, 0, None, ctx.connection_tasks, open).await;
}

/// Performs the handshake. A failure is reported to the client as a TLS alert, and counted; there is no request to log. A
/// client that speaks plain HTTP receives a plain HTTP response.
async fn accept_tls(
    socket: Stream,
    mut peer: Peer,
    tls: &Arc<tls::Server>,
    ctx: &AcceptContext,
) -> Option<(Encrypted, Peer)> {
    let started = clock::now();
    let mut stream = Encrypted::new(socket, tls.accept().ok()?);
    let result = handshake_by_deadline(&mut stream, &peer, ctx).await;
    let result = result.and_then(|()| record_certificate(&mut peer, &stream));
    let Err(failure) = result else {
        if let Some(tls) = &peer.tls {
            ctx.worker.counters.count_handshake(tls.version, tls.group);
        }
        peer.policy = ListenerPolicy::for_tls(tls, stream.server_name());
        return Some((stream, peer));
    };
    ctx.worker.counters.count_handshake_failure(failure);
    if let (HandshakeFailure::NotTls, Some(received)) = (failure, stream.plain_http()) {
        refuse(stream.into_socket(), peer, ctx, (started, received)).await;
    }
    None
}

/// Performs the handshake within `client_header`.
async fn handshake_by_deadline(
    stream: &mut Encrypted,
    peer: &Peer,
    ctx: &AcceptContext,
) -> Result<(), HandshakeFailure> {
    let timer = ctx.worker.wheel.timer();
    let ticket = ctx
        .connection_tasks
        .waiting()
        .join(WakeTarget::Timer(timer.key()), 0);
    timer.set(ctx.worker.local().snapshot.timeouts.header);
    let mut handshake = pin!(handshake_in_steps(stream, &ctx.permits));
    poll_fn(|context| {
        if let Poll::Ready(result) = handshake.as_mut().poll(context) {
            return Poll::Ready(result.map_err(|error| {
                let client = peer.ip_address().map(tracing::field::display);
                tracing::debug!(client, %error, "TLS handshake failed");
                tls::failure(&error)
            }));
        }
        while let Poll::Ready(event) = timer.poll(context) {
            if event == TimerEvent::Expired {
                return Poll::Ready(Err(HandshakeFailure::Timeout));
            }
            if ticket.is_evicted() {
                return Poll::Ready(Err(HandshakeFailure::Evicted));
            }
        }
        Poll::Pending
    })
    .await
}

/// Performs the handshake step by step. Each step needs bytes from the client and a permit.
async fn handshake_in_steps(stream: &mut Encrypted, permits: &HandshakePermits) -> io::Result<()> {
    loop {
        poll_fn(|context| stream.poll_handshake_ready(context)).await?;
        let permit = permits.take().await;
        let step = poll_fn(|context| Poll::Ready(stream.poll_handshake(context))).await;
        permit.release().await;
        if let Poll::Ready(result) = step {
            return result;
        }
    }
}

/// Records the client certificate. Session resumption restores it without checking its expiry, so that is checked here.
fn record_certificate(peer: &mut Peer, stream: &Encrypted) -> Result<(), HandshakeFailure> {
    peer.is_secure = true;
    peer.tls = Some(Box::new(TlsFacts {
        version: stream.version(),
        group: stream.group(),
        cipher: stream.cipher(),
        alpn: stream.protocol().and_then(tls::protocol),
        server_name: stream.server_name().unwrap_or_default().into(),
    }));
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

/// Sends a local response to a client that speaks plain HTTP.
async fn refuse(socket: Stream, peer: Peer, ctx: &AcceptContext, (started, received): (Instant, usize)) {
    let mut client = Client {
        connection: Connection::new(socket),
        peer: Rc::new(peer),
        timer: ctx.worker.wheel.timer(),
        worker: Rc::clone(&ctx.worker),
        is_last_request: false,
        pinned: None,
    };
    let failure = Failure::Malformed(Malformed::PlainHttp);
    proxy::refuse(&mut client, failure, None, (started, received)).await;
    linger(&mut client).await;
    client.connection.release(&ctx.worker.buffers);
}
