//! The side of the process that is replaced. A thread starts the new process and talks to it, because the control plane must
//! not block.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{future, thread};

use rustix::process::Pid;
use tokio::sync::oneshot;

use super::super::container::Passed;
use super::table::{Entry, Table};
use super::{GIVE_UP, READY, SERVE, SERVING, VARIABLE};
use crate::clock::{self, Instant};
use crate::net::{self, Bound, ListenAddress};

/// Lines of the new process's messages that are shown if it fails.
const LINES_SHOWN: usize = 8;
/// Longest of these lines, in bytes.
const LINE_BOUND: u64 = 2048;
/// How long a process that has closed its channel, and then its standard error, may take to end.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Longest list of sockets that the new process has not taken, in bytes.
const UNUSED_BOUND: u64 = 1 << 20;
/// Interval at which that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What is answered to whom has requested the upgrade.
pub(in super::super) type Reply = oneshot::Sender<Result<u32, String>>;

/// An upgrade, while one runs.
#[derive(Debug)]
pub(in super::super) struct Upgrade {
    /// The path that this process was started from, or why it is unknown.
    program: Result<PathBuf, String>,
    running: Option<Running>,
    /// The addresses of the sockets that the new process has not taken.
    unused: Vec<String>,
}

#[derive(Debug)]
struct Running {
    result: oneshot::Receiver<Result<u32, String>>,
    reply: Option<Reply>,
    stage: Arc<Mutex<Stage>>,
}

/// How far an upgrade is.
#[derive(Debug)]
enum Stage {
    /// The new process has accepted nothing. The upgrade can be given up over this channel.
    Building(Option<UnixStream>),
    /// The process with this id was told to serve, and may have accepted connections: it is not killed any more.
    Told(u32),
    /// It serves, and has not taken the sockets with these addresses.
    Serving(Vec<String>),
    /// The upgrade was given up before that.
    GivenUp,
}

/// The listening sockets of this process, duplicated for the next.
#[derive(Debug)]
pub(in super::super) struct Sockets {
    entries: Vec<Entry>,
    descriptors: Vec<OwnedFd>,
    /// What goes with them in a container.
    passed: Passed,
}

impl Sockets {
    /// Duplicates them.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(in super::super) fn of<'b>(
        bound: impl Iterator<Item = &'b Bound>,
        passed: Passed,
    ) -> io::Result<Self> {
        let mut sockets = Self {
            entries: Vec::new(),
            descriptors: Vec::new(),
            passed,
        };
        for socket in bound {
            sockets.descriptors.push(socket.descriptor()?);
            sockets.entries.push(Entry {
                address: socket.asked().to_string(),
                is_owned: socket.is_owned(),
                is_kept_open: socket.is_kept_open(),
                file: socket.file_identity(),
            });
        }
        Ok(sockets)
    }
}

impl Upgrade {
    /// None runs. `program` is the path that an upgrade starts, or why it is unknown.
    pub(in super::super) fn new(program: Result<PathBuf, String>) -> Self {
        Self {
            program,
            running: None,
            unused: Vec::new(),
        }
    }

    /// Whether an upgrade runs.
    pub(in super::super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the new process, which has to serve within `limit`.
    pub(in super::super) fn start(&mut self, sockets: Sockets, limit: Duration, reply: Option<Reply>) {
        let (done, result) = oneshot::channel();
        let stage = Arc::new(Mutex::new(Stage::Building(None)));
        self.running = Some(Running {
            result,
            reply,
            stage: Arc::clone(&stage),
        });
        let program = self.program.clone();
        let started = thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            let deadline = clock::now() + limit;
            let result = program.and_then(|program| replace(&program, &sockets, &stage, deadline));
            // The control plane may be stopping.
            let _ = done.send(result);
        });
        if let Err(error) = started {
            // The sender is dropped, and `ended` returns an error.
            tracing::error!(%error, "Could not start the thread of the upgrade");
        }
    }

    /// Gives the upgrade up, unless the new process was told to serve already. [`Upgrade::ended`] returns the result.
    pub(in super::super) fn give_up(&self) {
        let Some(running) = &self.running else { return };
        let mut stage = running.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Building(channel) = &*stage {
            // Wakes the thread. The new process reads on, and is told then.
            let _ = channel.as_ref().map(|channel| channel.shutdown(Shutdown::Read));
            *stage = Stage::GivenUp;
        }
    }

    /// The process that was told to serve and has not said yet that it does.
    pub(in super::super) fn told(&self) -> Option<Pid> {
        let stage = self.running.as_ref()?.stage.lock();
        match &*stage.unwrap_or_else(PoisonError::into_inner) {
            Stage::Told(process) => Pid::from_raw(process.cast_signed()),
            _ => None,
        }
    }

    /// Waits for the end of the upgrade: the id of the process that serves now, or why there is none. Forever while none runs.
    pub(in super::super) async fn ended(&mut self) -> Result<u32, String> {
        let Some(running) = &mut self.running else {
            return future::pending().await;
        };
        let result = (&mut running.result).await;
        let result = result.unwrap_or_else(|_| Err("the thread of the upgrade has failed".to_owned()));
        let Some(Running { reply, stage, .. }) = self.running.take() else {
            return result;
        };
        if let Stage::Serving(unused) = &mut *stage.lock().unwrap_or_else(PoisonError::into_inner) {
            self.unused = std::mem::take(unused);
        }
        if let Some(reply) = reply {
            let _ = reply.send(result.clone());
        }
        result
    }

    /// Whether the new process has not taken the socket with this address, so that nobody listens on it once this process has ended.
    pub(in super::super) fn is_unused(&self, address: &ListenAddress) -> bool {
        let address = address.to_string();
        self.unused.contains(&address)
    }
}

/// Starts the program again and hands over to it. Blocks.
fn replace(
    program: &Path,
    sockets: &Sockets,
    stage: &Mutex<Stage>,
    deadline: Instant,
) -> Result<u32, String> {
    let (channel, its) = UnixStream::pair().map_err(|error| format!("cannot make a socket: {error}"))?;
    let its: OwnedFd = its.into();
    let mut command = Command::new(program);
    command
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, std::process::id().to_string())
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        .stdin(its)
        .stderr(Stdio::piped());
    if sockets.passed.has_own_group {
        command.process_group(0);
    }
    let started = command.spawn();
    // It keeps the other end of the channel.
    drop(command);
    let mut child = started.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let messages = Messages::of(child.stderr.take());
    match hand_over(&channel, sockets, (stage, child.id()), deadline) {
        Ok(()) => Ok(child.id()),
        Err(error) => {
            // A process that does not serve yet must not take the end of the channel for the end of this process.
            let _ = (&channel).write_all(GIVE_UP);
            drop(channel);
            let why = why_failed(&mut child, &error, stage);
            Err(messages.append_to(why))
        }
    }
}

fn hand_over(
    channel: &UnixStream,
    sockets: &Sockets,
    (stage, process): (&Mutex<Stage>, u32),
    deadline: Instant,
) -> io::Result<()> {
    let lock = || stage.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *lock() {
        Stage::Building(waker) => *waker = Some(channel.try_clone()?),
        _ => return Err(io::ErrorKind::Interrupted.into()),
    }
    let table = Table {
        sockets: sockets.entries.clone(),
        has_pipe: sockets.passed.pipe.is_some(),
    };
    let text = serde_json::to_vec(&table)?;
    let stderr = io::stderr();
    let descriptors = sockets.descriptors.iter().chain(&sockets.passed.pipe);
    let descriptors = descriptors.map(|descriptor| descriptor.as_fd());
    let descriptors: Vec<_> = descriptors.chain([stderr.as_fd()]).collect();
    let left = || {
        deadline
            .saturating_duration_since(clock::now())
            .max(Duration::from_millis(1))
    };
    channel.set_write_timeout(Some(left()))?;
    net::send_descriptors(channel, &text, &descriptors)?;
    channel.set_read_timeout(Some(left()))?;
    expect(channel, READY)?;
    {
        let mut stage = lock();
        if matches!(*stage, Stage::GivenUp) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut writer = channel;
        writer.write_all(SERVE)?;
        *stage = Stage::Told(process);
    }
    // No time limit: it may serve already, and to kill it would cut its connections.
    channel.set_read_timeout(None)?;
    expect(channel, SERVING)?;
    *lock() = Stage::Serving(unused(channel));
    Ok(())
}

/// The addresses of the sockets that the new process has not taken; none if it does not say.
fn unused(channel: &UnixStream) -> Vec<String> {
    let mut text = Vec::new();
    let read = channel
        .set_read_timeout(Some(END_LIMIT))
        .and_then(|()| channel.take(UNUSED_BOUND).read_to_end(&mut text));
    let unused = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    unused.unwrap_or_default()
}

fn expect(mut channel: &UnixStream, expected: &[u8]) -> io::Result<()> {
    let mut answer = [0; 1];
    channel.read_exact(&mut answer)?;
    match answer == expected {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Ends the new process unless it was told to serve, and tells why it does not serve.
fn why_failed(child: &mut Child, error: &io::Error, stage: &Mutex<Stage>) -> String {
    use io::ErrorKind::{TimedOut, WouldBlock};
    let kill = |child: &mut Child| {
        let _ = child.kill();
        let _ = child.wait();
    };
    let is_told = match &*stage.lock().unwrap_or_else(PoisonError::into_inner) {
        Stage::GivenUp => {
            kill(child);
            return "the upgrade was given up, because this process stops".to_owned();
        }
        Stage::Told(_) | Stage::Serving(_) => true,
        Stage::Building(_) => false,
    };
    if !is_told && matches!(error.kind(), WouldBlock | TimedOut) {
        kill(child);
        return "the new process was not ready within `timeouts.upgrade` and was killed".to_owned();
    }
    // It has closed its end of the channel, so it exits.
    let until = clock::now() + END_LIMIT;
    while clock::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return format!("the new process ended with {status}");
        }
        thread::sleep(LOOK);
    }
    if is_told {
        let process = child.id();
        return format!("the new process {process} was told to serve and did not say that it does ({error})");
    }
    kill(child);
    format!("the new process did not take over ({error}) and was killed")
}

/// The last lines that the new process has written to its standard error.
struct Messages {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Messages {
    /// Reads them in a thread.
    fn of(stderr: Option<ChildStderr>) -> Self {
        let lines = Arc::<Mutex<VecDeque<String>>>::default();
        let kept = Arc::clone(&lines);
        let reader = stderr.map(|stderr| thread::spawn(move || keep_last_lines(stderr, &kept)));
        Self { lines, reader }
    }

    /// Appends them to the reason of a failure. A process that the new one has started may keep the standard error open: its
    /// end is awaited for a short time only.
    fn append_to(self, why: String) -> String {
        let until = clock::now() + END_LIMIT;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && clock::now() < until {
            thread::sleep(LOOK);
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.iter().map(|line| format!("\n{line}")).collect::<String>();
        match lines.is_empty() {
            true => why,
            false => format!("{why}:{lines}"),
        }
    }
}

/// Passes on what the new process writes to its standard error, and keeps the last lines.
fn keep_last_lines(stderr: impl Read, lines: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_BOUND).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let _ = io::stderr().write_all(&line);
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_SHOWN {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..20).map(|line| format!("line {line}\n")).collect();
        let lines = Mutex::default();
        keep_last_lines(text.as_bytes(), &lines);
        let lines = lines.into_inner().unwrap();
        assert_eq!(lines.len(), LINES_SHOWN);
        assert_eq!(lines.back().map(String::as_str), Some("line 19"));
    }
}
