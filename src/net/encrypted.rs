//! A stream under TLS: rustls between the bytes that we mean and those on the socket.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::task::{Context, Poll, Waker, ready};

use rustls::{Connection, ServerConnection};

use super::Stream;
use crate::tls;

/// A stream under TLS whose handshake is over.
#[derive(Debug)]
pub struct Encrypted {
    socket: Stream,
    session: Connection,
    /// What came first, while the handshake goes on: it may be no TLS at all.
    opening: Opening,
}

/// The beginning of what was received.
#[derive(Debug, Default)]
struct Opening {
    first: Option<u8>,
    received: usize,
}

impl Encrypted {
    /// Shakes hands over a fresh stream, by which nothing was sent or received. Whoever calls bounds the time.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::InvalidData`] with a [`rustls::Error`] when the other side is not believed or
    /// not understood, after it was told so.
    pub async fn shake_hands(socket: Stream, session: impl Into<Connection>) -> io::Result<Self> {
        let mut stream = Self::new(socket, session);
        std::future::poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    /// Begins over a fresh stream; [`Self::poll_handshake`] has to be ready before anything else.
    pub fn new(socket: Stream, session: impl Into<Connection>) -> Self {
        Self {
            socket,
            session: session.into(),
            opening: Opening::default(),
        }
    }

    /// Ready when [`Self::poll_handshake`] has something to work on.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        self.socket.watch()?;
        self.socket.poll_readable(context)
    }

    /// Shakes hands as far as that goes without waiting.
    ///
    /// # Errors
    /// As [`Self::shake_hands`].
    pub fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(context))?;
        }
    }

    /// How many bytes came, when they are the beginning of plain HTTP; then nothing was sent.
    pub fn plain_http(&self) -> Option<usize> {
        let is_method = self.opening.first.is_some_and(|byte| byte.is_ascii_uppercase());
        is_method.then_some(self.opening.received)
    }

    /// The stream below, for who does not speak TLS.
    pub fn into_socket(self) -> Stream {
        self.socket
    }

    /// The protocol that both sides agreed upon.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// The name that the client asked for, on the server's side.
    pub fn server_name(&self) -> Option<&str> {
        match &self.session {
            Connection::Server(session) => ServerConnection::server_name(session),
            Connection::Client(_) => None,
        }
    }

    /// The verified certificate that the other side has shown, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        Some(self.session.peer_certificates()?.first()?.as_ref())
    }

    /// As [`Stream::poll_readable`].
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was received before may hold more than was asked for.
        if !self.session.wants_read() {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_readable(context)
    }

    /// As [`Stream::poll_read`]. An end that the other side did not announce is an error: somebody may have cut what it
    /// sent.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.session.reader().read(space) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.poll_receive(context))?;
        }
    }

    /// As [`Stream::poll_write`]: how much was encrypted. It has left when [`Self::poll_flush`] is ready.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let count = self.session.writer().write_vectored(parts)?;
        // What does not leave now leaves with the next write or flush, before anything else.
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    /// Sends what is encrypted.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut socket = Blocking::new(&mut self.socket, context);
            match self.session.write_tls(&mut socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Stream::is_readable_or_closed`]. Messages of TLS itself, such as tickets for the next connection, are none.
    pub(super) fn is_readable_or_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut context = Context::from_waker(Waker::noop());
        self.poll_read(&mut context, &mut byte).is_ready()
    }

    /// As [`Stream::is_readable_or_closed_now`].
    pub(super) fn is_readable_or_closed_now(&mut self) -> bool {
        self.is_readable_or_closed() || self.socket.is_readable_or_closed_now()
    }

    /// As [`Stream::shutdown_write`]; says so in TLS first, as far as the socket takes it at once.
    pub(super) fn shutdown_write(&mut self) {
        self.session.send_close_notify();
        let mut context = Context::from_waker(Waker::noop());
        if self.poll_flush(&mut context).is_ready() {
            self.socket.shutdown_write();
        }
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Stream {
        &self.socket
    }

    /// Takes what the socket has.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_handshaking = self.session.is_handshaking();
        let mut socket = Blocking::new(&mut self.socket, context);
        let result = self.session.read_tls(&mut socket);
        self.opening.first = self.opening.first.or(socket.first);
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
            Ok(0) if is_handshaking => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => self.opening.received = self.opening.received.saturating_add(count),
        }
        if let Err(error) = self.session.process_new_packets() {
            if is_handshaking && tls::is_not_tls(&error) && self.plain_http().is_some() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            // The other side is told why, if the socket takes it.
            let _ = self.poll_flush(context);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }
}

/// A socket in the way that rustls wants it: what has to be waited for is an error.
struct Blocking<'a, 'b> {
    socket: &'a mut Stream,
    context: &'a mut Context<'b>,
    /// The first byte that was read.
    first: Option<u8>,
}

impl<'a, 'b> Blocking<'a, 'b> {
    fn new(socket: &'a mut Stream, context: &'a mut Context<'b>) -> Self {
        Self {
            socket,
            context,
            first: None,
        }
    }
}

impl io::Read for Blocking<'_, '_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let result = no_wait(self.socket.poll_read(self.context, space));
        if let Ok(1..) = result {
            self.first = self.first.or(space.first().copied());
        }
        result
    }
}

impl io::Write for Blocking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        no_wait(self.socket.poll_write(self.context, &[IoSlice::new(bytes)]))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        no_wait(self.socket.poll_write(self.context, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn no_wait(result: Poll<io::Result<usize>>) -> io::Result<usize> {
    match result {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
