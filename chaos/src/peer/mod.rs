//! The balancer of a run as a process. A balancer is a row of [`PEERS`] and a file here that writes its config for the
//! backends of the run. All get their defaults, and only what a scenario is about is set.

mod evenkeel;
mod nginx;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::clock;
use crate::error::{Error, Explain, Result};
use crate::folder::Folder;
use crate::helper::Helper;
use crate::process::Process;

/// Longest wait until a balancer listens.
const START: Duration = Duration::from_secs(10);
/// Longest wait for its end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);
/// The same when nobody is interested any more.
const DROPPED: Duration = Duration::from_millis(500);
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

    /// The command that runs with the config in this file.
    fn command(&self, config: &Path, folder: &Path) -> Command;

    /// Finds the address that it listens on in its output so far.
    fn address(&self, output: &str) -> Option<SocketAddr>;

    /// How often a backend went down or up by its checks, where the output says so.
    fn state_changes(&self, output: &str, backend: SocketAddr) -> Option<usize>;

    /// Nonce and status of each request in its access log, where the output says so.
    fn logged(&self, output: &str) -> Option<Vec<(u64, u16)>>;

    /// The attempts of all requests that failed, where the output says so.
    fn failed_attempts(&self, output: &str) -> Option<u64>;
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
    output: PathBuf,
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
        let Config { text, address, http2 } = peer.config(setup)?;
        let (config, output) = (setup.folder.join("config"), setup.folder.join("output"));
        fs::write(&config, text).explain("cannot write the config")?;
        let file = File::create(&output).explain("cannot write the output")?;
        let mut command = helper.bound(&peer.command(&config, setup.folder));
        command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file);
        let mut balancer = Self {
            address: address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            http2,
            process: Process::start(&mut command)?,
            output,
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
        fs::read(&self.output)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Stops it with SIGTERM; returns all that it has written.
    pub fn stop(&mut self) -> Result<String> {
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
        // A balancer of several processes ends them all. Its end is forced right after.
        if self.process.ended().is_none() && self.process.signal(Signal::TERM).is_ok() {
            drop(self.process.wait(DROPPED));
        }
    }
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
