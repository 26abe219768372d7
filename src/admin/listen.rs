//! Bounds for the admin API's connections: how many there are, and how long one may keep its place without being answered.

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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

use super::places::{Place, Places, Taken};

/// How long a connection may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuietLimits {
    /// For a request.
    pub(super) idle: Duration,
    /// From the first byte of a request to the end of its head, however it comes.
    pub(super) head: Duration,
    /// For the first byte of the response, and then for a client that does not read.
    pub(super) response: Duration,
}

/// What holds outside of tests. A response has longer than a command may take.
pub(super) const QUIET_LIMITS: QuietLimits = QuietLimits {
    idle: Duration::from_secs(10),
    head: Duration::from_secs(5),
    response: Duration::from_secs(30),
};

/// The pause after an accept that failed, as when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener whose connections are bounded.
pub(super) struct BoundedListener {
    listener: TcpListener,
    places: Places,
    limits: QuietLimits,
}

impl BoundedListener {
    /// Bounds the connections of `listener`, each to `limits`: [`QUIET_LIMITS`] but in tests.
    pub(super) fn new(listener: TcpListener, limits: QuietLimits) -> Self {
        Self {
            listener,
            places: Places::default(),
            limits,
        }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = BoundedConnection;
    type Addr = PlaceOfRequest;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Those that were accepted before are looked at first: however many come at once, each has its turn to send a
            // request before others can take its place.
            tokio::task::yield_now().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let Some(taken) = self.places.take() else { continue };
                    // Answers are small and written whole: nothing is won by waiting for more.
                    let _ = stream.set_nodelay(true);
                    let place = PlaceOfRequest(Some(Arc::clone(taken.place())));
                    return (BoundedConnection::new(stream, self.limits, taken), place);
                }
                Err(error) => {
                    tracing::debug!(%error, "The admin API cannot accept");
                    // It may be a descriptor that is missing.
                    self.places.evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(PlaceOfRequest(None))
    }
}

/// The place of the connection that a request came by.
#[derive(Debug, Clone)]
pub(super) struct PlaceOfRequest(Option<Arc<Place>>);

impl Connected<IncomingStream<'_, BoundedListener>> for PlaceOfRequest {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// The middleware: a request whose head is whole keeps its connection until it is answered.
pub(super) async fn keep_place(
    ConnectInfo(PlaceOfRequest(place)): ConnectInfo<PlaceOfRequest>,
    request: Request,
    next: Next,
) -> Response {
    let _serving = place.map(Place::serve);
    next.run(request).await
}

/// A connection that ends when it is quiet for too long, or loses its place. Bytes of a head that drip in do not count as a sign of
/// life, only the first of them and what is written do.
pub(super) struct BoundedConnection {
    stream: TcpStream,
    limits: QuietLimits,
    timer: Pin<Box<Sleep>>,
    /// When the last sign of life came.
    since: Instant,
    /// Bytes have come since something was last written.
    has_begun: bool,
    /// The client does not take what is to be written.
    is_stuck: bool,
    taken: Taken,
}

impl BoundedConnection {
    fn new(stream: TcpStream, limits: QuietLimits, taken: Taken) -> Self {
        Self {
            stream,
            limits,
            timer: Box::pin(tokio::time::sleep(limits.idle)),
            since: Instant::now(),
            has_begun: false,
            is_stuck: false,
            taken,
        }
    }

    /// Ends a wait that has gone on for too long, or whose place is needed.
    fn poll_quiet<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.taken.place().poll_evicted(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.set_timer();
        let is_over = self.timer.as_mut().poll(context);
        is_over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sets the timer to what is waited for now.
    fn set_timer(&mut self) {
        let limit = match () {
            () if self.taken.place().is_serving() || self.is_stuck => self.limits.response,
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
        // Reading, which waits for the timer, may have been tried before this and is not tried again.
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
