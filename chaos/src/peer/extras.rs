//! What only some scenarios set, and only a balancer of which [`Peer::has_extras`] says so has; and what these scenarios do
//! to a running balancer.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::{Balancer, PAUSE, Peer, START, Setting};
use crate::clock;
use crate::error::{Error, Explain, Result};

/// Ports below those that the kernel gives to clients by default, from 32,768 on.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// What differs from the defaults, beyond [`Setting`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Whether there is an admin API, on a port that is free.
    pub has_admin: bool,
    /// The file of the access log, which is otherwise a part of the output.
    pub access_log: Option<PathBuf>,
    /// How long requests may take to finish at a stop.
    pub drain: Option<Duration>,
    /// How many threads serve.
    pub workers: Option<usize>,
    /// The most connections of clients.
    pub connections: Option<u64>,
    /// Time between two health checks.
    pub check_interval: Option<Duration>,
    /// Whether requests have one attempt, and failures eject no backend.
    pub has_one_attempt: bool,
    /// Listeners beside the first one.
    pub listeners: Vec<ExtraListener>,
    /// A program and its first arguments, which runs the balancer, whose command follows.
    pub wrapper: Vec<String>,
}

/// A listener beside the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraListener {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, if it speaks TLS.
    pub tls: Option<PemFiles>,
}

/// A certificate and its key as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Extras {
    /// An error if they set something, and the balancer has no such thing.
    pub(super) fn require(&self, peer: &dyn Peer) -> Result<()> {
        if peer.has_extras() || *self == Self::default() {
            return Ok(());
        }
        Err(Error::new(
            "this scenario is for Evenkeel alone: it sets what is not known of other balancers",
        ))
    }

    /// The command, run by [`Extras::wrapper`].
    pub(super) fn wrap(&self, command: Command) -> Command {
        let Some((program, words)) = self.wrapper.split_first() else {
            return command;
        };
        let mut wrapped = Command::new(program);
        wrapped.args(words);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped
    }
}

/// Addresses whose ports are free now, each another one. They are none that the kernel gives to clients, which could have taken
/// one of them when the balancer is to listen there again.
pub fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or_default();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            if number > PORTS {
                return Err(Error::new("cannot find a free port"));
            }
            address.set_port(FIRST_PORT + own.wrapping_add(number) % PORTS);
            if TcpListener::bind(*address).is_ok() {
                break;
            }
        }
    }
    Ok(addresses)
}

impl Balancer {
    /// Replaces its config, these parts included, and tells it to load it. Does not wait until it has.
    pub fn reload_with(
        &mut self,
        peer: &dyn Peer,
        backends: &[SocketAddr],
        settings: &[Setting],
        listeners: Vec<ExtraListener>,
    ) -> Result<()> {
        self.extras.listeners = listeners;
        self.reload(peer, backends, settings)
    }

    /// Whether its output has the access log.
    pub fn logs_to_output(&self) -> bool {
        self.extras.access_log.is_none()
    }

    /// The address of its admin API, once it has said it.
    pub fn admin(&self, peer: &dyn Peer) -> Result<SocketAddr> {
        let deadline = clock::now() + clock::micros(START);
        loop {
            if let Some(address) = peer.admin(&self.output()) {
                return Ok(address);
            }
            if clock::now() > deadline {
                return Err(Error::new("the balancer does not say where its admin API is"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.serving()?, signal).explain("cannot signal the balancer")
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for its end, at most `limit`; returns when it was seen, and the status.
    pub fn wait(&mut self, limit: Duration) -> Result<(u64, ExitStatus)> {
        let status = self.process.wait(limit)?;
        Ok((clock::now(), status))
    }

    /// The time on a processor that it has used so far, in microseconds.
    pub fn processor_time(&self) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.serving()?.as_raw_nonzero());
        let stat = fs::read_to_string(path).explain("cannot read what the balancer uses")?;
        // The name before the last bracket may contain anything. `utime` and `stime` are 12 and 13 words after it (proc(5)).
        let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = words
            .skip(11)
            .take(2)
            .filter_map(|word| word.parse::<u64>().ok())
            .sum();
        let each = 1_000_000_u64.checked_div(rustix::param::clock_ticks_per_second());
        Ok(ticks * each.unwrap_or_default())
    }
}
