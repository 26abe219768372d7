//! What a connection writes to and reads from: a socket, or TLS over it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

/// A socket and, where TLS is spoken, the session over it. A blocking socket makes it blocking.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    session: Option<Box<ClientConnection>>,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// The last read got less than it asked for: more will be another edge.
    drained: bool,
}

impl Channel {
    /// With a session the handshake happens along with the first reads and writes.
    pub(crate) fn new(stream: TcpStream, session: Option<ClientConnection>) -> Self {
        Self {
            socket: Socket {
                stream,
                drained: false,
            },
            session: session.map(Box::new),
        }
    }

    /// Whether nothing is left to read until the socket says so.
    pub(crate) fn is_drained(&self) -> bool {
        self.socket.drained
    }

    /// The socket alone: as long as it is held, the other side has a connection.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.stream
    }

    /// Sends what the session has for the socket, such as its part of the handshake.
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

    /// Reads what has come, at most as much as `buffer` has room for; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.session.is_none() {
            return self.socket.read(buffer);
        }
        while let Some(session) = &mut self.session {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(count) => {
                    // A full buffer may have left something in the session.
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

    /// Writes as much as there is room for.
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

/// A socket that is still connecting is as good as one that is full.
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
