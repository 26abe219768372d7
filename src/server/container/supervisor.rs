//! Process 1 of a container. It waits for the children that the kernel gives to it, and, once another process serves, for the
//! end of that one. Each process that replaces another holds a pipe to process 1, into which it writes its id when it serves;
//! the pipe ends when none of them is left.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::{future, str};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{self, SignalKind};

use super::super::signals::{self, Event, Signals};
use super::first;
use super::generations::{self, Generations, Stops};

/// Longest id in the pipe, in bytes.
const ID_BOUND: usize = 16;

/// The supervisor.
#[derive(Debug)]
pub(in super::super) struct Supervisor {
    children: unix::Signal,
    /// The reading end of the pipe of the latest upgrade.
    pipe: Option<Receiver>,
    /// The beginning of an id.
    part: Vec<u8>,
    generations: Generations,
}

impl Supervisor {
    /// # Errors
    /// No signal can be received.
    pub(super) fn new() -> io::Result<Self> {
        let mut supervisor = Self {
            children: unix::signal(SignalKind::child())?,
            pipe: None,
            part: Vec::new(),
            generations: Generations::default(),
        };
        first::adopt_orphans();
        // The program that this one has replaced may have left some.
        supervisor.reap();
        Ok(supervisor)
    }

    /// Makes the pipe for the next upgrade; returns the writing end.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn pipe(&mut self) -> io::Result<OwnedFd> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        self.pipe = Some(Receiver::from_owned_fd(reading)?);
        Ok(writing)
    }

    /// A process serves in place of another.
    pub(super) fn serves(&mut self, process: Pid) {
        stop(process, self.generations.serves(process));
    }

    /// Passes a signal on to the processes that it is meant for.
    pub(super) fn pass_on(&mut self, event: Event) {
        let receivers = self.generations.receivers(event).to_vec();
        let is_second = self.generations.stops() == Stops::Second;
        for process in receivers {
            match event {
                // A first one that it has not read yet must not hide the second.
                Event::Stop if is_second => signals::stop(process, true),
                _ => send(process, event.signal()),
            }
        }
    }

    /// Waits until a child has ended, or another process serves. No other code of this process may wait for a child meanwhile.
    pub(super) async fn changed(&mut self) {
        let pipe = self.pipe.as_ref().filter(|_| self.generations.have_begun());
        let readable = async {
            match pipe {
                Some(pipe) => drop(pipe.readable().await),
                None => future::pending().await,
            }
        };
        tokio::select! {
            _ = self.children.recv() => self.reap(),
            () = readable => self.read(),
        }
    }

    /// The exit code of the process that served last, once none is left.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.generations.outcome().map(|(_, code)| code)
    }

    /// Passes signals on until no process is left; returns the exit code of the last one that served.
    ///
    /// # Errors
    /// No runtime can be started.
    pub(in super::super) fn run(mut self, mut signals: Signals) -> io::Result<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async {
            // The runtime that it belonged to has ended.
            if let Some(pipe) = self.pipe.take() {
                self.pipe = Some(Receiver::from_owned_fd(pipe.into_nonblocking_fd()?)?);
            }
            loop {
                if let Some((process, code)) = self.generations.outcome() {
                    report(process, code);
                    return Ok(code);
                }
                tokio::select! {
                    event = signals.next() => self.pass_on(event),
                    () = self.changed() => {}
                }
            }
        })
    }

    fn reap(&mut self) {
        while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
            // What a process has said before its end is in the pipe now.
            self.read();
            let code = generations::exit_code(status.exit_status(), status.terminating_signal());
            self.generations.ended(process, code);
            self.abort_abandoned();
        }
    }

    /// Ends those that drain although nobody serves any more, so that the container can be started again.
    fn abort_abandoned(&self) {
        for &process in self.generations.abandoned() {
            stop(process, Stops::Second);
        }
    }

    /// Reads all that is in the pipe.
    fn read(&mut self) {
        if !self.generations.have_begun() {
            return;
        }
        let mut bytes = [0; 256];
        while let Some(pipe) = &self.pipe {
            // The runtime may not know yet that something is there. At the end it has to know that nothing is.
            let read = match rustix::io::read(pipe, &mut bytes) {
                Err(Errno::AGAIN) => pipe.try_read(&mut bytes),
                read => read.map_err(io::Error::from),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.pipe = None;
                    self.generations.closed();
                    self.abort_abandoned();
                }
                Ok(count) => bytes.iter().take(count).for_each(|&byte| self.take(byte)),
            }
        }
    }

    fn take(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.part.len() < ID_BOUND {
                self.part.push(byte);
            }
            return;
        }
        let id = str::from_utf8(&self.part).ok().and_then(|text| text.parse().ok());
        self.part.clear();
        if let Some(process) = id.and_then(Pid::from_raw) {
            self.serves(process);
        }
    }
}

fn stop(process: Pid, stops: Stops) {
    match stops {
        Stops::None => {}
        Stops::First => signals::stop(process, false),
        Stops::Second => signals::stop(process, true),
    }
}

fn send(process: Pid, signal: Signal) {
    // It may have ended.
    let _ = kill_process(process, signal);
}

/// The logs are closed.
fn report(process: Pid, code: u8) {
    if code != 0 {
        let process = process.as_raw_nonzero();
        let text = format!(
            "evenkeel: process {process}, which served, has ended with exit code {code}; process 1 ends with the same\n"
        );
        let _ = io::stderr().write_all(text.as_bytes());
    }
}
