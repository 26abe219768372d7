//! One connected byte stream, polled by hand so that a single task can drive both directions of two streams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream on a worker's runtime.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
}

impl Stream {
    /// Takes over a connected TCP socket.
    pub fn from_tcp(tcp: TcpStream) -> Self {
        Self { tcp }
    }

    /// Ready when a read will not wait: bytes, the end or an error. Costs no system call.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_read_ready(context)
    }

    /// Reads into `space`; 0 is the end of what the other side sends.
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(space);
        match Pin::new(&mut self.tcp).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes the front of `parts`, as much as the kernel takes at once.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match parts {
            [one] => Pin::new(&mut self.tcp).poll_write(context, one),
            _ => Pin::new(&mut self.tcp).poll_write_vectored(context, parts),
        }
    }

    /// Whether anything has arrived or the other side has closed, as far as the runtime has been told: no system call
    /// when nothing has.
    pub fn has_news(&self) -> bool {
        let mut byte = [0; 1];
        match self.tcp.try_read(&mut byte) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }

    /// Like [`Self::has_news`], but asks the kernel.
    pub fn has_news_now(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        match socket2::SockRef::from(&self.tcp).peek(&mut byte) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }

    /// Tells the other side that nothing more will be sent.
    pub fn shutdown_write(&self) {
        // Fails only when the connection is gone already.
        let _ = socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
    }

    /// Lets the close that follows be a reset: the other side cannot take what it got for a whole message.
    pub fn reset_on_close(&self) {
        // Fails only when the connection is gone already.
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO));
    }
}
