//! The balancer of a run as a process. A balancer is a row of [`PEERS`] and a file here that writes its config for the
//! backends of the run. All get their defaults, and only what a scenario is about is set.

mod evenkeel;
mod extras;
mod nginx;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::error::{Error, Explain, Result};
use crate::folder::Folder;
use crate::helper::Helper;
use crate::process::Process;

pub use extras::{ExtraListener, Extras, PemFiles, free_addresses};

/// Longest wait until a balancer listens.
const START: Duration = Duration::from_secs(10);
/// Longest wait for its end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);
/// The same when nobody is interested any more.
const DROPPED: Duration = Duration::from_millis(500);
/// Its files in the folder of the run.
const CONFIG: &str = "config";
const OUTPUT: &str = "output";
const PID: &str = "pid";
/// Time between two looks at whether it listens.
const PAUSE: Duration = Duration::from_millis(5);

/// Something that a scenario sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Longest wait for the first byte of one attempt.
    FirstByte(Duration),
    /// Active checks by HTTP.
    HttpCheck,
    /// Active checks that only connect.
    TcpCheck,
    /// No queue: what no backend can take is refused at once.
    NoQueue,
    /// A limit of requests in flight that follows latency.
    AdaptiveLimit,
    /// A strategy that prefers fast backends.
    FastestFirst,
    /// Sessions that stay with their backend, by a cookie.
    StickyCookie,
    /// Routes and weights that no other number has.
    Variant(u64),
    /// A mistake: the config must be refused.
    Invalid,
    /// Longest time that a new program may take to get ready.
    UpgradeLimit(Duration),
}

/// The program that an upgrade finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The balancer.
    Whole,
    /// It ends with an error.
    Exits,
    /// It aborts, as after a panic.
    Aborts,
    /// It does nothing, forever.
    Hangs,
}

/// Something that a balancer says in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A config was loaded.
    Reloaded,
    /// A config was refused.
    ReloadFailed,
    /// Another process serves.
    Upgraded,
    /// An upgrade failed.
    UpgradeFailed,
    /// There is no room for new connections.
    NoRoom,
}

/// What a balancer is started for.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The backends, all HTTP/1.1.
    pub backends: &'a [SocketAddr],
    /// What differs from the defaults.
    pub settings: &'a [Setting],
    /// Where its files go.
    pub folder: &'a Path,
    /// Where it listens already.
    pub address: Option<SocketAddr>,
    /// Where it listens for HTTP/2 already, if that is another address.
    pub http2: Option<SocketAddr>,
    /// What only some scenarios set.
    pub extras: &'a Extras,
}

/// A config, and the addresses in it that are known before the balancer says them.
#[derive(Debug, Default)]
pub struct Config {
    /// Its text.
    pub text: String,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Where it listens for HTTP/2, if that is another address.
    pub http2: Option<SocketAddr>,
}

/// A kind of balancer.
pub trait Peer: std::fmt::Debug {
    /// The name and version of the program.
    fn version(&self) -> String;

    /// The config. An error if it has no such setting.
    fn config(&self, setup: &Setup<'_>) -> Result<Config>;

    /// Puts a program where [`Peer::command`] finds it, which an upgrade executes. An error if it has no such thing.
    fn install(&self, folder: &Path, program: Program) -> Result<()>;

    /// The command that runs with the config in this file.
    fn command(&self, config: &Path, folder: &Path) -> Command;

    /// Finds the address that it listens on in its output so far.
    fn address(&self, output: &str) -> Option<SocketAddr>;

    /// How often a backend went down or up by its checks, where the output says so.
    fn state_changes(&self, output: &str, backend: SocketAddr) -> Option<usize>;

    /// Nonce and status of each request in its access log, where the output says so.
    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>>;

    /// How often it has said this, where it says such things.
    fn notices(&self, output: &str, notice: Notice) -> Option<usize>;

    /// The attempts of all requests that failed, where the output says so.
    fn failed_attempts(&self, output: &str) -> Option<u64>;

    /// Whether it has what [`Extras`] set.
    fn has_extras(&self) -> bool {
        false
    }

    /// Finds the address of its admin API in its output so far.
    fn admin(&self, _output: &str) -> Option<SocketAddr> {
        None
    }

    /// How many lines of this access log were dropped, by the metrics of its admin API.
    fn dropped_lines(&self, _metrics: &str, _log: &Path) -> Option<u64> {
        None
    }

    /// Lines of a log that cannot be read, where all of them can be.
    fn unreadable_lines(&self, _log: &str) -> Option<usize> {
        None
    }

    /// How many days the lines of an access log are from.
    fn days(&self, _log: &str) -> Option<usize> {
        None
    }

    /// Lines of an access log with a negative duration.
    fn negative_durations(&self, _log: &str) -> Option<usize> {
        None
    }
}

/// A balancer that can be run.
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// Takes the path of its program.
    pub make: fn(Option<PathBuf>) -> Box<dyn Peer>,
}

/// All balancers.
pub const PEERS: &[Row] = &[
    Row {
        name: "evenkeel",
        make: evenkeel::make,
    },
    Row {
        name: "nginx",
        make: nginx::make,
    },
];

/// A running balancer. When dropped, it is killed.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for HTTP/2, if that is another address.
    pub http2: Option<SocketAddr>,
    process: Process,
    /// The process that serves after an upgrade, which is no child of this one.
    successor: Option<Pid>,
    folder: PathBuf,
    extras: Extras,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory in KiB.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// The balancer with this name.
pub fn peer(name: &str, path: Option<PathBuf>) -> Result<Box<dyn Peer>> {
    let row = PEERS.iter().find(|row| row.name == name);
    row.map(|row| (row.make)(path))
        .ok_or_else(|| Error::new(format!("there is no balancer `{name}`")))
}

impl Balancer {
    /// Starts it and waits until it listens.
    pub fn start(peer: &dyn Peer, helper: &Helper, setup: &Setup<'_>) -> Result<Self> {
        setup.extras.require(peer)?;
        let Config { text, address, http2 } = peer.config(setup)?;
        fs::write(setup.folder.join(CONFIG), text).explain("cannot write the config")?;
        let file = File::create(setup.folder.join(OUTPUT)).explain("cannot write the output")?;
        let command = peer.command(&setup.folder.join(CONFIG), setup.folder);
        let mut command = helper.bound(&setup.extras.wrap(command));
        command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file);
        let mut balancer = Self {
            address: address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            http2,
            process: Process::start(&mut command)?,
            successor: None,
            folder: setup.folder.to_owned(),
            extras: setup.extras.clone(),
        };
        let deadline = clock::now() + clock::micros(START);
        while !balancer.listens(peer) {
            if balancer.process.ended().is_some() || clock::now() > deadline {
                return Err(Error::new(format!(
                    "the balancer does not start:\n{}",
                    balancer.output()
                )));
            }
            thread::sleep(PAUSE);
        }
        Ok(balancer)
    }

    /// All that it has written.
    pub fn output(&self) -> String {
        fs::read(self.folder.join(OUTPUT))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Replaces its config and tells it to load it. Does not wait until it has.
    pub fn reload(&self, peer: &dyn Peer, backends: &[SocketAddr], settings: &[Setting]) -> Result<()> {
        self.write_config(peer, backends, settings)?;
        kill_process(self.serving()?, Signal::HUP).explain("cannot signal the balancer")
    }

    /// Replaces its config, which it does not load yet.
    pub fn write_config(&self, peer: &dyn Peer, backends: &[SocketAddr], settings: &[Setting]) -> Result<()> {
        let setup = Setup {
            backends,
            settings,
            folder: &self.folder,
            address: Some(self.address),
            http2: self.http2,
            extras: &self.extras,
        };
        let next = self.folder.join("next-config");
        fs::write(&next, peer.config(&setup)?.text).explain("cannot write the config")?;
        fs::rename(next, self.folder.join(CONFIG)).explain("cannot replace the config")
    }

    /// Tells it to upgrade, and waits for the process that serves then, at most `limit`. Returns whether there is one.
    pub fn upgrade(&mut self, limit: Duration) -> Result<bool> {
        let before = self.serving()?;
        kill_process(before, Signal::USR2).explain("cannot signal the balancer")?;
        let deadline = clock::now() + clock::micros(limit);
        while clock::now() < deadline {
            let named = fs::read_to_string(self.folder.join(PID)).unwrap_or_default();
            let named = named.trim().parse().ok().and_then(Pid::from_raw);
            if named.is_some_and(|pid| pid != before) {
                self.successor = named;
                return Ok(true);
            }
            thread::sleep(PAUSE);
        }
        Ok(false)
    }

    /// What the process that serves uses now.
    pub fn usage(&self) -> Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.serving()?.as_raw_nonzero()));
        let status =
            fs::read_to_string(folder.join("status")).explain("cannot read what the balancer uses")?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or_default()
        };
        let descriptors = fs::read_dir(folder.join("fd")).map_or(0, Iterator::count);
        Ok(Usage {
            memory: number("VmRSS:"),
            descriptors: u64::try_from(descriptors).unwrap_or_default(),
            threads: number("Threads:"),
        })
    }

    fn serving(&self) -> Result<Pid> {
        match self.successor {
            Some(pid) => Ok(pid),
            None => self.process.id(),
        }
    }

    /// Stops it with SIGTERM; returns all that it has written.
    pub fn stop(&mut self) -> Result<String> {
        if let Some(successor) = self.successor {
            kill_process(successor, Signal::TERM).explain("the balancer has ended")?;
            let deadline = clock::now() + clock::micros(STOP);
            while is_running(successor) {
                if clock::now() > deadline {
                    return Err(Error::new("the balancer does not end"));
                }
                thread::sleep(PAUSE);
            }
            self.successor = None;
            // The first one has drained long since.
            self.process.wait(STOP)?;
            return Ok(self.output());
        }
        if let Some(status) = self.process.ended() {
            return Err(Error::new(format!(
                "the balancer ended with {status}:\n{}",
                self.output()
            )));
        }
        self.process.signal(Signal::TERM)?;
        self.process.wait(STOP)?;
        Ok(self.output())
    }

    fn listens(&mut self, peer: &dyn Peer) -> bool {
        if self.address.port() == 0 {
            let Some(address) = peer.address(&self.output()) else {
                return false;
            };
            self.address = address;
        }
        std::net::TcpStream::connect(self.address).is_ok()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            // It may have ended.
            let _ = kill_process(successor, Signal::KILL);
        }
        // A balancer of several processes ends them all. Its end is forced right after.
        if self.process.ended().is_none() && self.process.signal(Signal::TERM).is_ok() {
            drop(self.process.wait(DROPPED));
        }
    }
}

/// Whether a process runs that is no child of this one. One that nobody waits for stays as a zombie.
fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The state follows the name, which may contain anything.
    let state = stat
        .as_ref()
        .map(|stat| stat.rsplit(')').next().unwrap_or_default());
    state.is_ok_and(|state| !state.trim_start().starts_with('Z'))
}

/// A port that is free now. For balancers that do not say which one they got.
fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?)
}

/// A program beside this one, as `cargo` builds both.
pub(crate) fn beside(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.with_file_name(name)
}

/// What a program says about its version: the first line of its output.
fn version_of(command: &mut Command) -> String {
    let output = command.output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown version").to_owned()
}

/// A folder for the files of a run.
pub(crate) fn folder(is_kept: bool) -> Result<Folder> {
    let mut folder = Folder::new()?;
    if is_kept {
        folder.keep();
    }
    Ok(folder)
}
