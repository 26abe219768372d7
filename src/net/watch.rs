//! Watches many sockets of which nothing is expected for long, at the price of one: they stand in an epoll instance of
//! their own, and only that is registered with the runtime. What the runtime keeps for a socket is several times what
//! this costs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Sockets that are told of at once.
const BATCH: usize = 256;

/// The sockets of one worker.
pub struct Watch {
    epoll: AsyncFd<OwnedFd>,
    events: Vec<Event>,
}

impl Watch {
    /// Watches nobody yet.
    ///
    /// # Errors
    /// The process or the machine lacks something.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[allow(
            unsafe_code,
            reason = "the safe ways are deprecated, and tokio has no type of its own for this"
        )]
        // SAFETY: an owned descriptor stays open, and the same, for as long as it is owned, which is until the `AsyncFd` is
        // dropped: nothing takes it out.
        let registered = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) };
        Ok(Self {
            epoll: registered?,
            events: Vec::with_capacity(BATCH),
        })
    }

    /// Watches a socket until it has news, once; `key` is what tells of it. Closing it ends that too.
    ///
    /// # Errors
    /// The machine lacks something.
    pub fn add(&self, socket: &impl AsFd, key: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT;
        Ok(epoll::add(
            self.epoll.get_ref(),
            socket,
            EventData::new_u64(key as u64),
            flags,
        )?)
    }

    /// Stops watching a socket that goes on elsewhere.
    pub fn remove(&self, socket: &impl AsFd) {
        // It is there, and closing it would end the watching all the same.
        let _ = epoll::delete(self.epoll.get_ref(), socket);
    }

    /// Waits for sockets that have bytes or are closed, and tells some of them, at least one.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<impl Iterator<Item = usize>>> {
        loop {
            let mut ready = ready!(self.epoll.poll_read_ready(context))?;
            let at_once = Timespec::default();
            let waited = epoll::wait(
                self.epoll.get_ref(),
                spare_capacity(&mut self.events),
                Some(&at_once),
            );
            match waited {
                Ok(0) => ready.clear_ready(),
                Ok(_) => {
                    let keys = self.events.drain(..).map(|event| event.data.u64() as usize);
                    return Poll::Ready(Ok(keys));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}
