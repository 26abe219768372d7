//! A client that only connects, often: a connection that is refused is a moment in which nobody listened.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};

/// Time between two connects.
const INTERVAL: Duration = Duration::from_millis(2);
/// Longest wait for a connect.
const CONNECT: Duration = Duration::from_secs(5);

/// The running client.
#[derive(Debug)]
pub struct Prober {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Probes>,
}

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
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::Builder::new().name("prober".to_owned()).spawn(move || {
            let mut probes = Probes::default();
            while !until.load(Ordering::Relaxed) {
                match TcpStream::connect_timeout(&address, CONNECT) {
                    Ok(_) => probes.connected += 1,
                    Err(_) => probes.refused += 1,
                }
                thread::sleep(INTERVAL);
            }
            probes
        })?;
        Ok(Self { is_over, thread })
    }

    /// Ends; returns what it has seen.
    pub fn finish(self) -> Result<Probes> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::new("the prober panicked"))
    }
}
