//! The three backends of the demo on a thread of their own, so that the balancer's threads do what they always do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::backend::{self, Manner};
use crate::tasks::Tasks;

/// What the backends call themselves; the last one has the switch and does what it should not.
pub(super) const NAMES: [&str; 3] = ["one", "two", "three"];
/// Turns of the switch that wait for the backend.
const TURNS_BOUND: usize = 4;

/// Three backends that run until this is dropped.
pub(super) struct Backends {
    /// Where they are, in order; the last one is the one with the switch.
    pub(super) addresses: Vec<SocketAddr>,
    /// Where the switch is.
    pub(super) switch: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backends {
    /// Starts them on four ports in a row from `first`, the last for the switch; a port that is busy or in `reserved`
    /// gives way to a free one, and so do all when `first` is 0.
    ///
    /// # Errors
    /// Those of the system: no port or no thread is to be had.
    pub(super) fn start(first: u16, reserved: &[u16]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let within = runtime.enter();
        let mut listeners = Vec::new();
        for index in 0..=NAMES.len() as u16 {
            listeners.push(listen(first, index, reserved)?);
        }
        drop(within);
        let mut addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let switch = addresses.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (end, ended) = oneshot::channel();
        let its = addresses.clone();
        let thread = std::thread::Builder::new()
            .name("demo".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let _tasks = serve(listeners, &its);
                    // An answer or the sender's end: either way it is over.
                    let _ = ended.await;
                });
            })?;
        Ok(Self {
            addresses,
            switch,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // When it panicked, that was told on stderr already.
            let _ = thread.join();
        }
    }
}

/// A listener on the port that is meant, or else on a free one.
fn listen(first: u16, index: u16, reserved: &[u16]) -> io::Result<TcpListener> {
    let at = |port| backend::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let meant = first
        .checked_add(index)
        .filter(|port| first != 0 && !reserved.contains(port));
    match meant {
        Some(port) => at(port).or_else(|_| at(0)),
        None => at(0),
    }
}

fn serve(listeners: Vec<TcpListener>, addresses: &[SocketAddr]) -> Tasks {
    let mut tasks = Tasks::default();
    let (turn, turns) = mpsc::channel(TURNS_BOUND);
    let mut turns = Some(turns);
    let mut listeners = listeners.into_iter();
    // The addresses are the shorter side: they come first, so that the listener of the switch is left over.
    for (index, (address, listener)) in addresses.iter().zip(listeners.by_ref()).enumerate() {
        let is_odd = index + 1 == NAMES.len();
        let name = NAMES.get(index).copied().unwrap_or_default();
        let turns = turns.take_if(|_| is_odd).unwrap_or_else(|| mpsc::channel(1).1);
        tasks.spawn(backend::serve(listener, *address, Manner { name, is_odd }, turns));
    }
    if let Some(listener) = listeners.next() {
        tasks.spawn(backend::serve_switch(listener, turn));
    }
    tasks
}
