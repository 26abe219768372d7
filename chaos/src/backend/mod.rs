//! The fault backend: an HTTP/1.1 or HTTP/2 server that proves what it executed, and misbehaves as its flags and each request ask
//! for. It is a process of its own, so that it can be killed and stopped by signals.

mod behaviour;
mod connection;
mod http2;
mod request;
mod response;
mod severable;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Signal as KernelSignal, set_parent_process_death_signal};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::error::{Explain, Result};
use crate::executions::Writer;
use crate::rng::Rng;

pub use behaviour::{Behaviour, Cut, CutEnd, CutPlace};

/// The line on stdout that says that connections are accepted.
pub(crate) const READY: &str = "listening";

/// Queue of connections not accepted yet. A stopped backend fills it, so it is as long as that of common servers.
const BACKLOG: i32 = 511;

/// Most time to finish what runs at SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

/// Most requests that wait for one of `--concurrency`.
const MOST_CONCURRENT: usize = 10_000;

/// How a backend behaves towards all requests.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "evenkeel-fault-backend",
    about = "A backend that misbehaves on request, for evenkeel-chaos"
)]
pub struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Number of this backend, from 0.
    #[arg(long, default_value_t = 0)]
    number: usize,
    /// File to which every executed request is appended.
    #[arg(long)]
    log: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Time that each response takes.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Close connections after a random idle time of at most this.
    #[arg(long)]
    idle_close_us: Option<u64>,
    /// Serve this many requests at a time; others wait.
    #[arg(long)]
    concurrency: Option<usize>,
    /// Respond with `--error-status` to this many of 1,000 requests and probes.
    #[arg(long, default_value_t = 0)]
    error_permille: u64,
    /// The status of those responses.
    #[arg(long, default_value_t = 503)]
    error_status: u16,
    /// Never refuse a probe.
    #[arg(long)]
    spare_probes: bool,
    /// Be healthy for this long, then respond with `--error-status` for as long, and so on.
    #[arg(long)]
    flap_ms: Option<u64>,
    /// Speak HTTP/2 with prior knowledge, and nothing else.
    #[arg(long)]
    http2: bool,
    /// Reset every connection at once.
    #[arg(long)]
    refuse: bool,
}

/// What all connections of a backend share.
#[derive(Debug)]
struct Shared {
    options: Options,
    log: Writer,
    start: u64,
    permits: Semaphore,
    draining: watch::Receiver<bool>,
}

impl Options {
    /// Serves until SIGTERM. Then it stops accepting and finishes what runs.
    pub fn run(self) -> Result<()> {
        // Whoever started it owns it: it does not outlive that thread, even when that is killed.
        set_parent_process_death_signal(Some(KernelSignal::KILL)).explain("cannot follow the parent")?;
        let listener = listen(self.listen).explain(format_args!("cannot listen on {}", self.listen))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, serve(self, listener))
    }
}

/// The address is reserved by the owner, who has bound it and does not listen: `SO_REUSEPORT` lets both.
fn listen(address: SocketAddr) -> std::io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn serve(options: Options, listener: StdListener) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut stop = signal(SignalKind::terminate())?;
    let (drain, draining) = watch::channel(false);
    let shared = Rc::new(Shared {
        log: Writer::open(&options.log, options.number)?,
        start: clock::now(),
        permits: Semaphore::new(options.concurrency.unwrap_or(MOST_CONCURRENT)),
        draining,
        options,
    });
    let mut rng = Rng::new(shared.options.seed ^ clock::now());
    say_ready()?;
    loop {
        tokio::select! {
            // Connections that wait in the queue would be reset when the listener is closed.
            biased;
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Rc::clone(&shared);
                match shared.options.http2 {
                    true => tokio::task::spawn_local(http2::serve(stream, shared)),
                    false => tokio::task::spawn_local(connection::serve(stream, shared, rng.fork())),
                };
            }
            _ = stop.recv() => break,
        }
    }
    drop(listener);
    // Without connections nobody receives it.
    let _ = drain.send(true);
    // Each connection has its own reference.
    let finished = async {
        while Rc::strong_count(&shared) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    drop(timeout(DRAIN, finished).await);
    Ok(())
}

/// Under a test harness the line follows what the harness has written.
fn say_ready() -> Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n{READY}")?;
    stdout.flush()?;
    Ok(())
}
