//! A client: sends bytes, and records everything it receives.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use super::reset_on_close;

/// What a client received.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) bytes: Vec<u8>,
    /// How the stream ended, if it has; an error means a reset.
    pub(super) end: Option<Result<(), io::ErrorKind>>,
}

/// A client.
pub(super) struct Client {
    stream: OwnedWriteHalf,
    pub(super) got: Rc<RefCell<Got>>,
    reading: JoinSet<()>,
}

impl Client {
    /// Connects and begins to read.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        reset_on_close(&stream);
        let (reader, stream) = stream.into_split();
        let got = Rc::default();
        let mut reading = JoinSet::new();
        reading.spawn_local(read(reader, Rc::clone(&got)));
        Ok(Self { stream, got, reading })
    }

    /// Sends bytes; errors are ignored, because the other side may have closed.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Closes its sending side.
    pub(super) async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Resets the connection, and returns what it received.
    pub(super) async fn leave(mut self) -> Got {
        self.reading.shutdown().await;
        drop(self.stream);
        self.got.take()
    }
}

async fn read(mut stream: OwnedReadHalf, got: Rc<RefCell<Got>>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let result = stream.read(&mut bytes).await;
        let mut got = got.borrow_mut();
        match result {
            Ok(0) => got.end = Some(Ok(())),
            Ok(count) => got.bytes.extend_from_slice(&bytes[..count]),
            Err(error) => got.end = Some(Err(error.kind())),
        }
        if got.end.is_some() {
            return;
        }
    }
}
