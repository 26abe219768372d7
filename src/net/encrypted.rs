//! A TLS stream over a socket, with rustls.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::task::{Context, Poll, Waker, ready};

use rustls::{Connection, ServerConnection};

use super::Stream;
use crate::tls;

/// A TLS stream.
#[derive(Debug)]
pub struct Encrypted {
    socket: Stream,
    session: Connection,
    /// How many encrypted bytes the socket took.
    sent: u64,
    /// Whether the sending direction is to end behind what waits for the socket.
    is_ending: bool,
    /// The start of the received bytes, to recognize plain HTTP during the handshake.
    opening: Opening,
}

/// The first byte received, and the number of bytes received.
#[derive(Debug, Default)]
struct Opening {
    first: Option<u8>,
    received: usize,
}

impl Encrypted {
    /// Performs the handshake on a new connection, on which nothing was sent or received. The caller sets a deadline.
    ///
    /// # Errors
    /// Errors of the socket; [`io::ErrorKind::InvalidData`] with a [`rustls::Error`] if the other side is not trusted or its
    /// messages are invalid, after sending it a TLS alert.
    pub async fn handshake(socket: Stream, session: impl Into<Connection>) -> io::Result<Self> {
        let mut stream = Self::new(socket, session);
        std::future::poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    /// Creates a stream on a new connection; [`Self::poll_handshake`] must be ready before anything else is called.
    pub fn new(socket: Stream, session: impl Into<Connection>) -> Self {
        Self {
            socket,
            session: session.into(),
            sent: 0,
            is_ending: false,
            opening: Opening::default(),
        }
    }

    /// Ready when bytes for [`Self::poll_handshake`] have arrived.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn poll_handshake_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        self.socket.watch()?;
        self.socket.poll_readable(context)
    }

    /// Continues the handshake as far as possible without waiting; ready when it is complete.
    ///
    /// # Errors
    /// As [`Self::handshake`].
    pub fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(context))?;
        }
    }

    /// The number of bytes received, if they look like the start of plain HTTP; nothing was sent then.
    pub fn plain_http(&self) -> Option<usize> {
        let is_method = self.opening.first.is_some_and(|byte| byte.is_ascii_uppercase());
        is_method.then_some(self.opening.received)
    }

    /// The underlying stream, for a client that does not speak TLS.
    pub fn into_socket(self) -> Stream {
        self.socket
    }

    /// The protocol negotiated by ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// The server name that the client sent (SNI); only on the server side.
    pub fn server_name(&self) -> Option<&str> {
        match &self.session {
            Connection::Server(session) => ServerConnection::server_name(session),
            Connection::Client(_) => None,
        }
    }

    /// The protocol version of the session, such as `TLSv1.3`; empty before the handshake is over.
    pub fn version(&self) -> &'static str {
        let version = self.session.protocol_version();
        version.and_then(tls::version).unwrap_or_default()
    }

    /// The name of the group of the key exchange; `None` where there was none.
    pub fn group(&self) -> Option<&'static str> {
        tls::group(self.session.negotiated_key_exchange_group()?.name())
    }

    /// The name of the cipher suite; `None` before the handshake is over.
    pub fn cipher(&self) -> Option<&'static str> {
        tls::cipher(self.session.negotiated_cipher_suite()?.suite())
    }

    /// The verified certificate of the other side, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        Some(self.session.peer_certificates()?.first()?.as_ref())
    }

    /// As [`Stream::poll_readable`].
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // rustls holds decrypted bytes that have not been read yet, or the read sends the end first.
        if !self.session.wants_read() || self.is_ending {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_readable(context)
    }

    /// As [`Stream::poll_read`]. End of stream without `close_notify` is an error: the data may have been truncated. Goes on with
    /// [`Self::shutdown_write`] too, because often nobody writes after that. If the end cannot be sent, because the other side has closed,
    /// what that side has sent is returned all the same.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_ending
            && let Poll::Ready(Err(_)) = self.poll_flush(context)
        {
            // It can never be sent. The read reports what became of the connection.
            self.is_ending = false;
        }
        loop {
            match self.session.reader().read(space) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.poll_receive(context))?;
        }
    }

    /// As [`Stream::poll_write`]; returns how many bytes were encrypted. They are sent when [`Self::poll_flush`] is ready.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let count = self.session.writer().write_vectored(parts)?;
        // Bytes that the socket does not take now are sent by the next write or flush, before any others.
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    /// Sends the encrypted bytes, and the end if that is wanted.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut socket = IoAdapter::new(&mut self.socket, context);
            match self.session.write_tls(&mut socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.sent += count as u64,
            }
        }
        if std::mem::take(&mut self.is_ending) {
            self.socket.shutdown_write();
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Stream::sent`].
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// As [`Stream::is_ending`].
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// As [`Stream::is_readable_or_closed`]. Messages of TLS itself, such as session tickets, do not count.
    pub(super) fn is_readable_or_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut context = Context::from_waker(Waker::noop());
        self.poll_read(&mut context, &mut byte).is_ready()
    }

    /// As [`Stream::is_readable_or_closed_now`].
    pub(super) fn is_readable_or_closed_now(&mut self) -> bool {
        self.is_readable_or_closed() || self.socket.is_readable_or_closed_now()
    }

    /// As [`Stream::shutdown_write`]; first sends `close_notify`. What the socket does not take now is sent by the next flush or read.
    pub(super) fn shutdown_write(&mut self) {
        self.session.send_close_notify();
        self.is_ending = true;
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
    }

    /// The underlying socket.
    pub(super) fn socket(&self) -> &Stream {
        &self.socket
    }

    /// Reads from the socket and processes the TLS records.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_handshaking = self.session.is_handshaking();
        let mut socket = IoAdapter::new(&mut self.socket, context);
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
            // Sends the alert, if the socket takes it at once.
            let _ = self.poll_flush(context);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }
}

/// Adapts a polled socket to `io::Read` and `io::Write` for rustls: pending becomes [`io::ErrorKind::WouldBlock`].
struct IoAdapter<'a, 'b> {
    socket: &'a mut Stream,
    context: &'a mut Context<'b>,
    /// The first byte that was read.
    first: Option<u8>,
}

impl<'a, 'b> IoAdapter<'a, 'b> {
    fn new(socket: &'a mut Stream, context: &'a mut Context<'b>) -> Self {
        Self {
            socket,
            context,
            first: None,
        }
    }
}

impl io::Read for IoAdapter<'_, '_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let result = would_block_if_pending(self.socket.poll_read(self.context, space));
        if let Ok(1..) = result {
            self.first = self.first.or(space.first().copied());
        }
        result
    }
}

impl io::Write for IoAdapter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        would_block_if_pending(self.socket.poll_write(self.context, &[IoSlice::new(bytes)]))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        would_block_if_pending(self.socket.poll_write(self.context, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn would_block_if_pending(result: Poll<io::Result<usize>>) -> io::Result<usize> {
    match result {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::net::SendFlags;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A stream whose socket takes nothing more, its other end, and how many bytes wait there.
    fn full() -> (Encrypted, UnixStream, usize) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let session = client(RootCertStore::empty());
        let waiting = fill(&ours);
        let stream = Encrypted::new(Stream::from(OwnedFd::from(ours)), session);
        (stream, theirs, waiting)
    }

    /// Sends until the socket takes nothing more; returns how many bytes it took.
    fn fill(socket: &UnixStream) -> usize {
        let mut waiting = 0;
        while let Ok(count) = rustix::net::send(socket, &[0; 1 << 10], SendFlags::NOSIGNAL) {
            waiting += count;
        }
        waiting
    }

    fn client(roots: RootCertStore) -> Connection {
        let config =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let session = ClientConnection::new(Arc::new(config), "a.test".try_into().unwrap()).unwrap();
        session.into()
    }

    /// A client and a server that trust each other.
    fn sessions() -> [Connection; 2] {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config =
            ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let server = ServerConnection::new(Arc::new(config)).unwrap();
        [client(roots), server.into()]
    }

    /// Both ends of a connection after its handshake, and the socket of the first, which is a client or a server.
    async fn connected(is_client: bool) -> (Encrypted, Encrypted, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let own = ours.try_clone().unwrap();
        let mut sessions = sessions();
        if !is_client {
            sessions.reverse();
        }
        let [session, other] = sessions;
        let [ours, theirs] = [ours, theirs].map(|socket| Stream::from(OwnedFd::from(socket)));
        let (stream, other) = tokio::join!(
            Encrypted::handshake(ours, session),
            Encrypted::handshake(theirs, other)
        );
        (stream.unwrap(), other.unwrap(), own)
    }

    /// Reads to the end while `poll` is called.
    async fn received(theirs: &mut UnixStream, mut poll: impl FnMut(&mut Context<'_>)) -> Vec<u8> {
        let mut received = Vec::new();
        let reading = std::future::poll_fn(|context| {
            poll(context);
            let mut space = [0; 1 << 12];
            match theirs.read(&mut space) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => received.extend_from_slice(&space[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::time::timeout(DEADLINE, reading)
            .await
            .expect("the end comes");
        received
    }

    #[tokio::test]
    async fn an_end_that_the_socket_does_not_take_at_once_follows_with_the_next_flush_or_read() {
        for by_read in [false, true] {
            let (mut stream, mut theirs, waiting) = full();
            stream.shutdown_write();
            assert!(stream.is_ending());
            let received = received(&mut theirs, |context| {
                if by_read {
                    assert!(stream.poll_readable(context).is_ready() || !stream.is_ending());
                    assert!(stream.poll_read(context, &mut [0; 16]).is_pending());
                } else {
                    assert!(!matches!(stream.poll_flush(context), Poll::Ready(Err(_))));
                }
            });
            let received = received.await;
            // RFC 8446 §6: an alert, `close_notify`, is the last record.
            assert!(received.len() > waiting && received.ends_with(&[21, 3, 3, 0, 2, 1, 0]));
            assert!(!stream.is_ending());
        }
    }

    /// The other side sends its last bytes, and closes without reading what fills the socket.
    #[tokio::test]
    async fn what_the_other_side_sent_last_is_read_although_the_own_end_cannot_be_sent() {
        for is_client in [true, false] {
            let (mut stream, mut other, full) = connected(is_client).await;
            fill(&full);
            stream.shutdown_write();
            assert!(stream.is_ending());

            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(
                other.poll_write(&mut context, &[IoSlice::new(b"last words")]),
                Poll::Ready(Ok(10))
            ));
            other.shutdown_write();
            assert!(!other.is_ending());
            drop(other);

            let mut received = Vec::new();
            let reading = std::future::poll_fn(|context| {
                let mut space = [0; 4];
                loop {
                    match ready!(stream.poll_read(context, &mut space)) {
                        Ok(0) => return Poll::Ready(Ok(())),
                        Ok(count) => received.extend_from_slice(&space[..count]),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            });
            let end = tokio::time::timeout(DEADLINE, reading).await;
            end.expect("the end comes").expect("it was announced");
            assert_eq!(received, b"last words");
            assert!(!stream.is_ending());
        }
    }

    /// What the session holds has been written, and has not left: its way to the socket is progress too.
    #[tokio::test]
    async fn bytes_count_as_sent_when_the_socket_takes_them() {
        let (mut stream, other, own) = connected(true).await;
        let Stream::Plain(theirs) = &other.socket else {
            panic!("it is a socket");
        };
        let before = stream.sent();
        let waiting = fill(&own);
        let mut context = Context::from_waker(Waker::noop());
        let payload = vec![b'a'; 1 << 14];
        while stream
            .poll_write(&mut context, &[IoSlice::new(&payload)])
            .is_ready()
        {}
        assert_eq!(stream.sent(), before, "the socket is full");
        let mut read = 0;
        let reading = std::future::poll_fn(|context| {
            let mut space = [0; 1 << 12];
            while let Ok((count, _)) = rustix::net::recv(theirs, &mut space, rustix::net::RecvFlags::DONTWAIT)
            {
                read += count;
            }
            if stream.poll_flush(context).is_ready() {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::time::timeout(DEADLINE, reading).await.expect("it leaves");
        assert!(read >= waiting && stream.sent() > before + (1 << 14));
    }
}
