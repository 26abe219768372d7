//! What only some scenarios set, and only a balancer of which [`Peer::has_extras`] says so has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Peer;
use crate::error::{Error, Result};

/// What differs from the defaults, beyond [`Setting`](super::Setting).
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

/// An error if the balancer has nothing of what [`Extras`] set.
pub fn require_extras(peer: &dyn Peer) -> Result<()> {
    if peer.has_extras() {
        return Ok(());
    }
    Err(Error::not_offered(
        "the scenario sets what is configured here for Evenkeel alone, such as an admin API or the time that a stop may take",
    ))
}

impl Extras {
    /// An error if they set something, and the balancer has no such thing.
    pub(super) fn require(&self, peer: &dyn Peer) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        require_extras(peer)
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
