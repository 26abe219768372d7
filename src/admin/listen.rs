//! Bounds for the admin API's connections: how many there are, and how long one may keep its place without being answered.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at one time; more wait in the kernel's queue. Scrapers, dashboards and operators are few.
const CONNECTIONS: usize = 64;

/// How long a connection may be idle, and then how long it may take from the first byte of a request to the first of the
/// answer, and then how long a client may not read. Above the time that a command may take.
pub(super) const QUIET_LIMIT: Duration = Duration::from_secs(30);

/// The pause after an accept that failed, as when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener whose connections are bounded.
pub(super) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    quiet_limit: Duration,
}

impl BoundedListener {
    /// Bounds the connections of `listener`, each to `quiet_limit`: [`QUIET_LIMIT`] but in tests.
    pub(super) fn new(listener: TcpListener, quiet_limit: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            quiet_limit,
        }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = BoundedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Never closed, so this fails never; if it did, the connection would go unbounded.
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are small and written whole: nothing is won by waiting for more.
                    let _ = stream.set_nodelay(true);
                    return (BoundedConnection::new(stream, self.quiet_limit, place), address);
                }
                Err(error) => {
                    tracing::debug!(%error, "The admin API cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when it is quiet for too long. Bytes of a head that drip in do not count as a sign of life, only
/// the first of them and what is written do.
pub(super) struct BoundedConnection {
    stream: TcpStream,
    limit: Duration,
    quiet: Pin<Box<Sleep>>,
    /// Bytes have come since something was last written.
    has_begun: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl BoundedConnection {
    fn new(stream: TcpStream, limit: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        let quiet = Box::pin(tokio::time::sleep(limit));
        Self {
            stream,
            limit,
            quiet,
            has_begun: false,
            _place: place,
        }
    }

    /// Ends a wait that has gone on for too long.
    fn poll_quiet<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.quiet.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        self.has_begun = false;
        self.restart();
        result
    }

    fn restart(&mut self) {
        self.quiet.as_mut().reset(Instant::now() + self.limit);
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
                    self.restart();
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
            Poll::Pending => self.poll_quiet(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, bytes) {
            Poll::Ready(result) => Poll::Ready(self.written(result)),
            Poll::Pending => self.poll_quiet(context),
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
