//! A client that sends the bytes a test gives it.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::DEADLINE;
use super::message::{Reader, field, send_until_it_stops};

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    reader: Reader,
}

/// A response as the client received it.
#[derive(Debug)]
pub(crate) struct Received {
    /// Start line and headers, with the empty line.
    pub(crate) head: String,
    /// The body, decoded.
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the listener accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("Nagle can be turned off");
        let reader = Reader::new(stream.try_clone().expect("a handle can be copied"));
        Self { stream, reader }
    }

    /// Sends bytes unchanged.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the balancer takes the bytes");
        self
    }

    /// Sends a GET for `path` on a keep-alive connection, and reads the response.
    pub(crate) fn get(&mut self, path: &str) -> Received {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .read()
    }

    /// Reads one response, including a 1xx one.
    pub(crate) fn read(&mut self) -> Received {
        self.try_read().expect("a complete response")
    }

    /// Reads the response to a HEAD request: only a head, whatever length it announces.
    pub(crate) fn read_head(&mut self) -> Received {
        let head = self.reader.head().expect("a complete response");
        Received {
            head: head.expect("a response before the end"),
            body: Vec::new(),
        }
    }

    /// Reads one response, the body only if `has_body` says so of the head.
    pub(crate) fn read_head_and(&mut self, has_body: impl Fn(&str) -> bool) -> Received {
        let head = self.reader.head().expect("a complete response");
        let head = head.expect("a response before the end");
        let body = if has_body(&head) {
            self.reader.body(&head, true).expect("a complete body").decoded
        } else {
            Vec::new()
        };
        Received { head, body }
    }

    /// Reads one response, or returns how the connection ended instead.
    pub(crate) fn try_read(&mut self) -> io::Result<Received> {
        let ended = || io::Error::new(ErrorKind::UnexpectedEof, "closed without a response");
        let head = self.reader.head()?.ok_or_else(ended)?;
        let status = status(&head);
        let has_body = status >= 200 && status != 204 && status != 304;
        let body = if has_body {
            self.reader.body(&head, true)?.decoded
        } else {
            Vec::new()
        };
        Ok(Received { head, body })
    }

    /// Reads until `is_enough` accepts the bytes not yet returned; returns these bytes.
    pub(crate) fn read_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        while !is_enough(self.reader.buffered()) {
            let more = self.reader.fill().expect("bytes come in time");
            assert!(
                more,
                "ended after {:?}",
                String::from_utf8_lossy(self.reader.buffered())
            );
        }
        self.reader.buffered().to_vec()
    }

    /// Reads all bytes up to the end of the connection, which must come in time. A reset counts as an end.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.reader.fill() {
                Ok(true) => {}
                Ok(false) => return self.reader.buffered().to_vec(),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return self.reader.buffered().to_vec();
                }
                Err(error) => panic!("the connection did not end: {error}"),
            }
        }
    }

    /// Whether nothing arrives, and the connection does not end, for `time`. There is no event to wait for if something
    /// must *not* happen; keep it short.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(time))
            .expect("a timeout can be set");
        let outcome = self.reader.fill();
        self.stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        let is_timeout =
            |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        outcome.is_err_and(|error| is_timeout(&error))
    }

    /// Sends a long body as far as it is accepted; returns the number of bytes. The connection is unusable after that.
    pub(crate) fn send_until_it_stops(&mut self, bound: usize) -> usize {
        send_until_it_stops(&self.stream, bound)
    }

    /// Reads and drops at most 16 KiB; returns the number of bytes, 0 at an end of any kind.
    pub(crate) fn read_some(&mut self) -> usize {
        match self.reader.fill() {
            Ok(true) => self.reader.take_text(usize::MAX).len(),
            Ok(false) | Err(_) => 0,
        }
    }

    /// Sends bytes on another thread, as far as they are accepted.
    pub(crate) fn send_beside(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("a handle can be copied");
        thread::spawn(move || drop(stream.write_all(&bytes)))
    }

    /// Closes the sending side only.
    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
        self
    }

    /// Sends bytes, and a FIN in the same packet.
    pub(crate) fn send_and_finish(&mut self, bytes: &str) -> &mut Self {
        let held_back = i32::from_ne_bytes(rustix::net::SendFlags::MORE.bits().to_ne_bytes());
        let sent = SockRef::from(&self.stream).send_with_flags(bytes.as_bytes(), held_back);
        assert_eq!(sent.expect("the balancer takes the bytes"), bytes.len());
        self.finish_sending()
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("linger can be set");
    }

    /// Its own address, as the balancer sees it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("the connection has an address")
    }
}

impl Received {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        status(&self.head)
    }

    /// The value of the first header with this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn status(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status line: {head:?}"))
}
