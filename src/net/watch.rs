//! Watches many idle sockets for the price of one: they are added to an epoll instance of their own, and only that is
//! registered with the runtime. The runtime would hold several times as much memory for each socket.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use tokio::io::Interest;

use super::Socket;

/// Maximum number of sockets reported at once.
const BATCH: usize = 256;

/// The idle sockets of one worker.
pub struct Watch {
    epoll: Socket,
    events: Vec<Event>,
}

impl Watch {
    /// Makes an instance without sockets.
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?.into(),
            events: Vec::with_capacity(BATCH),
        })
    }

    /// Watches a socket until it is readable or closed, and reports it once, by its `key`. Closing it ends the watch too.
    ///
    /// # Errors
    /// The system is out of memory or watches.
    pub fn add(&self, socket: &impl AsFd, key: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(key as u64),
            flags,
        )?)
    }

    /// Stops watching a socket that is used again.
    pub fn remove(&self, socket: &impl AsFd) {
        // It cannot be missing, and closing it would end the watch anyway.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits for sockets that have bytes or are closed, and returns the keys of some of them, at least one.
    ///
    /// # Errors
    /// Errors of the runtime.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<impl Iterator<Item = usize>>> {
        let (epoll, events) = (&self.epoll, &mut self.events);
        let at_once = Timespec::default();
        ready!(epoll.poll_by(context, Interest::READABLE, 0, |epoll| {
            match epoll::wait(epoll, spare_capacity(events), Some(&at_once))? {
                0 => Err(Errno::AGAIN),
                count => Ok(count),
            }
        }))?;
        let keys = events.drain(..).map(|event| event.data.u64() as usize);
        Poll::Ready(Ok(keys))
    }
}
