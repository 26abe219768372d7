//! The backends of a run: processes that are started, killed, stopped and started again at the same address.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::error::{Error, Explain, Result};
use crate::executions::Executions;
use crate::helper::Helper;
use crate::process::Process;

/// Longest wait for the end of a backend that was asked to stop.
const STOP: Duration = Duration::from_secs(10);

/// Several backends with one log of executions.
#[derive(Debug)]
pub struct Fleet {
    helper: Helper,
    log: PathBuf,
    seed: u64,
    members: Vec<Member>,
}

/// A backend, whether it runs or not.
#[derive(Debug)]
struct Member {
    /// Bound and not listening: connects are refused while the backend is down, and nobody else gets the port.
    _reserved: Socket,
    address: SocketAddr,
    flags: Vec<String>,
    process: Option<Process>,
}

impl Fleet {
    /// Starts backends, each with these flags; the log of executions is in `folder`.
    pub fn start(helper: &Helper, folder: &Path, seed: u64, flags: &[Vec<String>]) -> Result<Self> {
        let mut fleet = Self {
            helper: helper.clone(),
            log: folder.join("executions"),
            seed,
            members: Vec::new(),
        };
        for flags in flags {
            let member = Member::new(flags.clone()).explain("cannot reserve a port")?;
            fleet.members.push(member);
        }
        for index in 0..flags.len() {
            fleet.restart(index)?;
        }
        Ok(fleet)
    }

    /// The number of backends, running or not.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Their addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// Starts a backend that does not run, and waits until it listens.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        let mut command = self.command(index)?;
        let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let stdout = process.child().stdout.take();
        let lines = stdout.map(|stdout| BufReader::new(stdout).lines());
        let mut lines = lines.into_iter().flatten().map_while(std::result::Result::ok);
        if !lines.any(|line| line == crate::backend::READY) {
            return Err(Error::new(format!("the backend {index} does not start")));
        }
        self.member(index)?.process = Some(process);
        Ok(())
    }

    /// Starts a backend with other flags from now on.
    pub fn restart_with(&mut self, index: usize, flags: &[&str]) -> Result<()> {
        self.member(index)?.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.restart(index)
    }

    /// Kills a backend (SIGKILL). Returns when it is dead.
    pub fn kill(&mut self, index: usize) -> Result<u64> {
        // Dropping kills, and waits.
        self.member(index)?.process = None;
        Ok(clock::now())
    }

    /// Stops a backend as a deployment does (SIGTERM): it finishes what runs. Returns when it has ended.
    pub fn terminate(&mut self, index: usize) -> Result<u64> {
        let process = self.member(index)?.process.take();
        let mut process = process.ok_or_else(|| Error::new("a backend that is down cannot stop"))?;
        process.signal(Signal::TERM)?;
        process.wait(STOP)?;
        Ok(clock::now())
    }

    /// Makes a backend hang (SIGSTOP): the kernel accepts its connections, and nothing responds. Returns the time.
    pub fn freeze(&mut self, index: usize) -> Result<u64> {
        self.signal(index, Signal::STOP)
    }

    /// Lets it go on (SIGCONT). Returns the time.
    pub fn thaw(&mut self, index: usize) -> Result<u64> {
        self.signal(index, Signal::CONT)
    }

    /// What has been executed so far.
    pub fn executions(&self) -> Executions {
        Executions::read(&self.log)
    }

    fn signal(&mut self, index: usize, signal: Signal) -> Result<u64> {
        let time = clock::now();
        if let Some(process) = &self.member(index)?.process {
            process.signal(signal)?;
        }
        Ok(time)
    }

    fn member(&mut self, index: usize) -> Result<&mut Member> {
        let member = self.members.get_mut(index);
        member.ok_or_else(|| Error::new(format!("there is no backend {index}")))
    }

    fn command(&mut self, index: usize) -> Result<Command> {
        let (log, seed) = (self.log.display().to_string(), self.seed.to_string());
        let member = self.member(index)?;
        let (address, number) = (member.address.to_string(), index.to_string());
        let pairs = [
            ("--listen", address),
            ("--number", number),
            ("--log", log),
            ("--seed", seed),
        ];
        let pairs = pairs.into_iter().flat_map(|(key, value)| [key.to_owned(), value]);
        let arguments: Vec<String> = pairs.chain(member.flags.iter().cloned()).collect();
        Ok(self.helper.backend(&arguments))
    }
}

impl Member {
    fn new(flags: Vec<String>) -> std::io::Result<Self> {
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        reserved.set_reuse_address(true)?;
        reserved.set_reuse_port(true)?;
        reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = reserved.local_addr()?.as_socket();
        Ok(Self {
            address: address.ok_or(std::io::ErrorKind::AddrNotAvailable)?,
            _reserved: reserved,
            flags,
            process: None,
        })
    }
}
