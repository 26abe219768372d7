//! The byte stream of a connection: a socket, or TLS over it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

/// A socket and, with TLS, the session over it. It blocks if the socket is blocking.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    session: Option<Box<ClientConnection>>,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// The last read returned less than requested: new bytes cause another edge.
    drained: bool,
}

impl Channel {
    /// With a session the handshake takes place during the first reads and writes.
    pub(crate) fn new(stream: TcpStream, session: Option<ClientConnection>) -> Self {
        Self {
            socket: Socket {
                stream,
                drained: false,
            },
            session: session.map(Box::new),
        }
    }

    /// Whether there is nothing to read until the next event.
    pub(crate) fn is_drained(&self) -> bool {
        self.socket.drained
    }

    /// The socket alone; while it is held, the connection stays open.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.stream
    }

    /// Sends pending bytes of the session, such as its part of the handshake.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        while session.wants_write() {
            match session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if not_ready(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads at most as many bytes as `buffer` holds; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.session.is_none() {
            return self.socket.read(buffer);
        }
        while let Some(session) = &mut self.session {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(count) => {
                    // If the buffer is full, the session may have more bytes.
                    self.socket.drained &= count < buffer.len();
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
            session.read_tls(&mut self.socket)?;
            session.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
        Ok(0)
    }

    /// Writes as many bytes as the socket accepts.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.socket.write(bytes);
        };
        let count = session.writer().write(bytes)?;
        self.flush()?;
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }
}

/// A connecting socket is treated like one with a full buffer.
pub(crate) fn not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.drained = count < buffer.len();
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
