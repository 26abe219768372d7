//! Limits the admin API's connections: how many there are, and how long one may be quiet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::connections::{ConnectionEntry, Connections, Registration};
use super::request_body::watched;
use super::socket::{AdminListener, Connection, Peer};

/// How long a connection may be quiet.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuietLimits {
    /// Between requests.
    pub(super) idle: Duration,
    /// From the first byte of a request to the end of its head, even if more bytes arrive all the time.
    pub(super) head: Duration,
    /// Until the first byte of the response, and then while the client does not read.
    pub(super) response: Duration,
}

/// The limits outside of tests. The one for a response is longer than a command may take.
pub(super) const QUIET_LIMITS: QuietLimits = QuietLimits {
    idle: Duration::from_secs(10),
    head: Duration::from_secs(5),
    response: Duration::from_secs(70),
};

/// The pause after an accept that failed, as when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener with limited connections.
pub(super) struct BoundedListener {
    listener: AdminListener,
    connections: Connections,
    limits: QuietLimits,
    /// Tells its receiver that the listener is closed. It comes last, because it must be dropped last.
    _open: Option<oneshot::Sender<()>>,
}

impl BoundedListener {
    /// Limits the connections of `listener`, each to `limits`: [`QUIET_LIMITS`] except in tests.
    pub(super) fn new(listener: AdminListener, limits: QuietLimits) -> Self {
        Self {
            listener,
            connections: Connections::default(),
            limits,
            _open: None,
        }
    }

    /// Drops this once it is closed.
    pub(super) fn dropping(self, open: oneshot::Sender<()>) -> Self {
        Self {
            _open: Some(open),
            ..self
        }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = BoundedConnection;
    type Addr = EntryOfRequest;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Lets the connections accepted before run first: however many arrive at once, each can send a request before
            // another one replaces it.
            tokio::task::yield_now().await;
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(registration) = self.connections.register() else {
                        continue;
                    };
                    let entry = EntryOfRequest(Some((Arc::clone(registration.entry()), peer)));
                    return (BoundedConnection::new(stream, self.limits, registration), entry);
                }
                Err(error) => {
                    tracing::debug!(%error, "Admin API could not accept a connection; retrying");
                    // The process may have run out of file descriptors.
                    self.connections.evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(EntryOfRequest(None))
    }
}

/// The entry of the connection that a request was received on, and who has connected.
#[derive(Debug, Clone)]
pub(super) struct EntryOfRequest(Option<(Arc<ConnectionEntry>, Peer)>);

impl EntryOfRequest {
    /// The client, for the log.
    pub(super) fn peer(&self) -> String {
        let peer = self.0.as_ref();
        peer.map(|(_, peer)| peer.to_string()).unwrap_or_default()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for EntryOfRequest {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// The middleware: protects a connection from eviction from the end of a request until the response.
pub(super) async fn mark_active(
    ConnectInfo(EntryOfRequest(entry)): ConnectInfo<EntryOfRequest>,
    request: Request,
    next: Next,
) -> Response {
    let Some((entry, _)) = entry else {
        return next.run(request).await;
    };
    let active = Arc::new(entry.begin_request());
    let request = request.map(|body| watched(body, Arc::clone(&active)));
    next.run(request).await
}

/// A connection that ends when it is quiet for too long or is evicted. Only the first byte of a head and written bytes count as
/// activity, so a head that arrives slowly does not extend its time.
pub(super) struct BoundedConnection {
    stream: Box<dyn Connection>,
    limits: QuietLimits,
    timer: Pin<Box<Sleep>>,
    /// The time of the last activity.
    since: Instant,
    /// Bytes have arrived since the last write.
    has_begun: bool,
    /// The client does not read, so writing is blocked.
    is_stuck: bool,
    registration: Registration,
}

impl BoundedConnection {
    fn new(stream: Box<dyn Connection>, limits: QuietLimits, registration: Registration) -> Self {
        Self {
            stream,
            limits,
            timer: Box::pin(tokio::time::sleep(limits.idle)),
            since: Instant::now(),
            has_begun: false,
            is_stuck: false,
            registration,
        }
    }

    /// Fails when the connection has been quiet for too long or is evicted.
    fn poll_quiet<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.registration.entry().poll_evicted(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.set_timer();
        let is_over = self.timer.as_mut().poll(context);
        is_over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sets the timer to the limit that applies now.
    fn set_timer(&mut self) {
        let limit = match () {
            () if self.registration.entry().is_active() || self.is_stuck => self.limits.response,
            () if self.has_begun => self.limits.head,
            () => self.limits.idle,
        };
        let deadline = self.since + limit;
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
    }

    fn written(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        self.has_begun = false;
        self.is_stuck = false;
        self.since = Instant::now();
        // A pending read waits for the timer and is not polled again for this write.
        self.set_timer();
        result
    }
}

impl AsyncRead for BoundedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if !self.has_begun {
                    self.has_begun = true;
                    self.since = Instant::now();
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_quiet(context),
        }
    }
}

impl AsyncWrite for BoundedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(result) => Poll::Ready(self.written(result)),
            Poll::Pending => {
                self.is_stuck = true;
                self.poll_quiet(context)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, bytes) {
            Poll::Ready(result) => Poll::Ready(self.written(result)),
            Poll::Pending => {
                self.is_stuck = true;
                self.poll_quiet(context)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
