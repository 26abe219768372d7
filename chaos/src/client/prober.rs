//! A client that only connects, often: a connection that is refused is a moment in which nobody listened.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::repeated::Repeated;
use crate::error::Result;

/// Time between two connects.
const INTERVAL: Duration = Duration::from_millis(2);
/// Longest wait for a connect.
const CONNECT: Duration = Duration::from_secs(5);

/// The running client.
#[derive(Debug)]
pub struct Prober(Repeated<Probes>);

/// What it has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Probes {
    /// Connections that were established.
    pub connected: u64,
    /// Connections that were not.
    pub refused: u64,
}

impl Prober {
    /// Starts to connect.
    pub fn start(address: SocketAddr) -> Result<Self> {
        let probe = move |probes: &mut Probes| match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => probes.connected += 1,
            Err(_) => probes.refused += 1,
        };
        Ok(Self(Repeated::start("prober", INTERVAL, probe)?))
    }

    /// Ends; returns what it has seen.
    pub fn finish(self) -> Result<Probes> {
        self.0.finish()
    }
}
