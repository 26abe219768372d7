//! Many clients that connect, send nothing and stay, until the balancer closes their connections or they are told to leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{all_ended, on_thread};
use crate::error::{Error, Result};

/// Descriptors that the rest of a run needs.
const OTHERS: u64 = 500;
/// Clients that begin to connect at the same time.
const AT_ONCE: usize = 100;
/// The pause after them.
const PAUSE: Duration = Duration::from_millis(5);

/// The clients.
#[derive(Debug)]
pub struct Crowd {
    stop: watch::Sender<bool>,
    counts: Arc<Counts>,
    thread: JoinHandle<Result<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    connected: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
}

impl Crowd {
    /// Begins to connect. An error if this process may not have as many descriptors.
    pub fn start(address: SocketAddr, count: usize) -> Result<Self> {
        let needed = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(OTHERS);
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        if maximum.is_some_and(|maximum| maximum < needed) {
            return Err(Error::new(format!(
                "{count} clients need {needed} descriptors, and the limit is {}: raise it with `ulimit -Hn`",
                maximum.unwrap_or_default()
            )));
        }
        let current = maximum;
        // A limit that is high enough already may stay.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let thread = on_thread("crowd", move || async move {
            let mut tasks = Vec::new();
            for number in 0..count {
                let task = stay(address, stopped.clone(), Arc::clone(&shared));
                tasks.push(tokio::task::spawn_local(task));
                if number % AT_ONCE == AT_ONCE - 1 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            all_ended(tasks).await;
        })?;
        Ok(Self { stop, counts, thread })
    }

    /// How many have connected or could not, and how many of them the balancer has closed.
    pub fn counts(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts {
            connected,
            refused,
            closed,
        } = &*self.counts;
        (read(connected) + read(refused), read(closed))
    }

    /// Closes all connections that are still open.
    pub fn leave(self) -> Result<()> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| Error::new("the crowd panicked"))?
    }
}

async fn stay(address: SocketAddr, mut stopped: watch::Receiver<bool>, counts: Arc<Counts>) {
    let stay = async {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        counts.connected.fetch_add(1, Ordering::Relaxed);
        let mut byte = [0; 256];
        // A response says that the request did not come in time, for example.
        while matches!(stream.read(&mut byte).await, Ok(1..)) {}
        counts.closed.fetch_add(1, Ordering::Relaxed);
    };
    tokio::select! {
        () = stay => {}
        // Only the sender's end would be an error, and is the same.
        _ = stopped.wait_for(|is_over| *is_over) => {}
    }
}
