//! One non-blocking connection of the oracle, and waiting for several of them at once. Both sides of the balancer are
//! driven by one thread: whatever it has sent to either is seen in the order in which it was sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How the other side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It sends no more.
    Finished,
    /// A reset.
    Reset,
}

/// A connection: what came, what is to be sent.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// All bytes that came and were not dropped.
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

    /// Sends bytes as soon as they can be taken.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Says that no more will be sent, behind everything before.
    pub(super) fn finish(&mut self) {
        self.will_finish = true;
    }

    /// Whether everything has left.
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
                // The other side takes no more; what it says is still read.
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

    /// What to wait for.
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.end.is_none());
        flags.set(PollFlags::OUT, !self.outgoing.is_empty());
        (!flags.is_empty()).then(|| PollFd::from_borrowed_fd(self.stream.as_fd(), flags))
    }
}

/// Waits until something can be done on one of the connections, a client knocks at `listener`, or `time` has passed.
pub(super) fn wait_for_any<'a>(
    wires: impl Iterator<Item = &'a Wire>,
    listener: BorrowedFd<'a>,
    time: Duration,
) {
    let mut interests: Vec<PollFd<'_>> = wires.filter_map(Wire::interest).collect();
    interests.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
    let time = Timespec::try_from(time).expect("a short time");
    // A signal ends it early, which does no harm.
    let _ = poll(&mut interests, Some(&time));
}
