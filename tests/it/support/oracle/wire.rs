//! One non-blocking connection of the oracle, and waiting for several of them at once. One thread drives both sides of
//! the balancer, so it sees the balancer's bytes in the order in which they were sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How the other side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It closed its sending side.
    Finished,
    /// A reset.
    Reset,
}

/// A connection: received bytes and bytes to send.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// All received bytes that were not dropped.
    pub(super) received: Vec<u8>,
    outgoing: Vec<u8>,
    will_finish: bool,
    has_finished: bool,
    /// How the other side ended it.
    pub(super) end: Option<End>,
}

impl Wire {
    /// Takes over a connected socket.
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("Nagle can be turned off");
        stream
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        Self {
            stream,
            received: Vec::new(),
            outgoing: Vec::new(),
            will_finish: false,
            has_finished: false,
            end: None,
        }
    }

    /// The port at this end.
    pub(super) fn port(&self) -> u16 {
        let address = self.stream.local_addr();
        address.map(|address| address.port()).unwrap_or_default()
    }

    /// Sends bytes as soon as the socket accepts them.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Closes the sending side after all bytes queued so far.
    pub(super) fn finish(&mut self) {
        self.will_finish = true;
    }

    /// Whether everything was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.outgoing.is_empty() && self.will_finish == self.has_finished
    }

    /// Writes and reads as much as is possible now. Returns whether anything happened.
    pub(super) fn pump(&mut self) -> bool {
        let wrote = self.write();
        self.read() || wrote
    }

    fn write(&mut self) -> bool {
        let mut has_moved = false;
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return has_moved,
                // The other side accepts no more; its bytes are still read.
                Err(_) => self.outgoing.clear(),
            }
            has_moved = true;
        }
        if self.will_finish && !self.has_finished {
            // Fails only when the connection is gone already.
            drop(self.stream.shutdown(Shutdown::Write));
            self.has_finished = true;
            has_moved = true;
        }
        has_moved
    }

    fn read(&mut self) -> bool {
        let mut has_moved = false;
        let mut piece = [0; 16 << 10];
        while self.end.is_none() {
            match self.stream.read(&mut piece) {
                Ok(0) => self.end = Some(End::Finished),
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return has_moved,
                Err(_) => self.end = Some(End::Reset),
            }
            has_moved = true;
        }
        has_moved
    }

    /// The events to wait for.
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.end.is_none());
        flags.set(PollFlags::OUT, !self.outgoing.is_empty());
        (!flags.is_empty()).then(|| PollFd::from_borrowed_fd(self.stream.as_fd(), flags))
    }
}

/// Waits until a connection is ready, a client connects to `listener`, or `time` has passed.
pub(super) fn wait_for_any<'a>(
    wires: impl Iterator<Item = &'a Wire>,
    listener: BorrowedFd<'a>,
    time: Duration,
) {
    let mut interests: Vec<PollFd<'_>> = wires.filter_map(Wire::interest).collect();
    interests.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
    let time = Timespec::try_from(time).expect("a short time");
    // A signal ends the wait early, which is harmless.
    let _ = poll(&mut interests, Some(&time));
}
