//! Epoll, edge-triggered, with timeouts in nanoseconds.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Most events read from the kernel at a time.
const BATCH: usize = 512;

/// The registered sockets and their events.
#[derive(Debug)]
pub struct Events {
    epoll: OwnedFd,
    batch: [MaybeUninit<epoll::Event>; BATCH],
}

impl Events {
    /// Starts without sockets. Fails if the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            batch: [MaybeUninit::uninit(); BATCH],
        })
    }

    /// Reports each change of `socket` to readable or writable, until it is closed.
    pub fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, data(key), flags)?)
    }

    /// Reports connections to be accepted, repeatedly as long as there are any.
    pub fn add_listener(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data(key), epoll::EventFlags::IN)?)
    }

    /// Replaces the contents of `ready` with the keys of the sockets that are ready. No timeout means to wait forever.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, &mut self.batch[..], timeout.as_ref()) {
            Ok((events, _)) => {
                ready.extend(events.iter().map(|event| event.data.u64() as usize));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn data(key: usize) -> epoll::EventData {
    epoll::EventData::new_u64(key as u64)
}
