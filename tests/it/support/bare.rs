//! A backend whose connections the test controls: to see how they end, and to send bytes at a chosen moment.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;
use socket2::SockRef;

use super::DEADLINE;
use super::message::{Reader, send_until_it_stops};

/// The listener.
#[derive(Debug)]
pub(crate) struct Bare {
    listener: TcpListener,
}

/// One connection to a [`Bare`] backend.
#[derive(Debug)]
pub(crate) struct Held {
    stream: TcpStream,
    reader: Reader,
}

impl Bare {
    /// Listens on a port of its own.
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"))
    }

    /// Accepts connections on this listener.
    pub(crate) fn on(listener: TcpListener) -> Self {
        // On Linux this bounds accepting too.
        SockRef::from(&listener)
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        Self { listener }
    }

    /// Its URL for a config.
    pub(crate) fn url(&self) -> String {
        let address = self.listener.local_addr().expect("a listener has an address");
        format!("http://{address}")
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> Held {
        let (stream, _) = self.listener.accept().expect("the balancer connects in time");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("Nagle can be turned off");
        let reader = Reader::new(stream.try_clone().expect("a handle can be copied"));
        Held { stream, reader }
    }
}

impl Held {
    /// Reads up to the end of a head.
    pub(crate) fn head(&mut self) -> String {
        let head = self.reader.head().expect("a whole head comes");
        head.expect("a head comes before the end")
    }

    /// Reads `count` bytes.
    pub(crate) fn read(&mut self, count: usize) -> String {
        while self.reader.buffered().len() < count {
            let more = self.reader.fill().expect("bytes come in time");
            assert!(more, "ended after {:?}", self.reader.buffered());
        }
        self.reader.take_text(count)
    }

    /// Sends bytes unchanged.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let sent = self.stream.write_all(bytes.as_ref());
        sent.expect("the balancer takes the bytes");
        self
    }

    /// Whether nothing arrives, and the connection does not end, for `time`; for events that must *not* happen. Keep it
    /// short.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        assert!(self.reader.buffered().is_empty(), "something came already");
        let set = |time| {
            self.stream
                .set_read_timeout(Some(time))
                .expect("a timeout can be set")
        };
        set(time);
        let outcome = self.reader.fill();
        set(DEADLINE);
        outcome.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Closes the connection, and waits until the balancer has closed its side too.
    pub(crate) fn close(self) {
        let ports = self.ports();
        drop(self);
        wait_until_noticed(ports);
    }

    /// Resets the connection, and waits until the balancer's side of it is gone too.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("linger can be set");
        self.close();
    }

    /// Waits until the bytes sent have reached the balancer's socket, though perhaps not the balancer.
    pub(crate) fn wait_until_noticed(&self) {
        wait_until_noticed(self.ports());
    }

    /// The balancer's port and our own.
    pub(crate) fn ports(&self) -> [u16; 2] {
        let addresses = [self.stream.peer_addr(), self.stream.local_addr()];
        addresses.map(|address| address.map_or(0, |address| address.port()))
    }

    /// Sends a long body as far as it is accepted; returns the number of bytes. The connection is unusable after that.
    pub(crate) fn send_until_it_stops(&mut self, bound: usize) -> usize {
        send_until_it_stops(&self.stream, bound)
    }

    /// Closes the sending side only.
    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
        self
    }

    /// Reads to the end of the connection, which may be a reset. Returns the bytes not yet returned.
    pub(crate) fn wait_for_end(&mut self) -> String {
        let mut rest = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the balancer closes it");
        }
        self.reader.take_text(usize::MAX) + &String::from_utf8_lossy(&rest)
    }
}

/// Waits until this end of a connection, identified by its ports with its own first, has bytes to read or is not open
/// any more. On a busy machine the kernel needs time even on loopback.
fn wait_until_noticed([own, other]: [u16; 2]) {
    let began = clock::now();
    let (own, other) = (format!(":{own:04X}"), format!(":{other:04X}"));
    while began.elapsed() < DEADLINE {
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
        let rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let is_quiet = |row: &Vec<&str>| {
            row[1].ends_with(&own)
                && row[2].ends_with(&other)
                && row[3] == "01"
                && row[4].ends_with(":00000000")
        };
        if !rows.into_iter().any(|row| is_quiet(&row)) {
            return;
        }
        thread::yield_now();
    }
    panic!("nothing was noticed in {DEADLINE:?}");
}
