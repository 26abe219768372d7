//! Runs the three backends of the demo on a separate thread, so that they do not use the threads of the load balancer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::backend::{self, Behaviour, Command};
use super::thread::{DemoThread, runtime};
use crate::tasks::Tasks;

/// Names of the backends. The last one can be switched off and can be told to misbehave.
pub(super) const NAMES: [&str; 3] = ["one", "two", "three"];
/// Bound of commands that wait for the backend.
const COMMANDS_BOUND: usize = 4;

/// Three backends that run until this is dropped.
pub(super) struct Backends {
    /// Their addresses, in order; the last backend is the one with the switch.
    pub(super) addresses: Vec<SocketAddr>,
    /// The address of the switch.
    pub(super) switch: SocketAddr,
    /// Commands for the last backend.
    pub(super) commands: mpsc::Sender<Command>,
    _thread: DemoThread,
}

impl Backends {
    /// Starts them on four consecutive ports from `first`, the last one for the switch. A port that is busy or in
    /// `reserved` is replaced by a free one, and all are if `first` is 0.
    ///
    /// # Errors
    /// The system has no free port or cannot start a thread.
    pub(super) fn start(first: u16, reserved: &[u16]) -> io::Result<Self> {
        let runtime = runtime()?;
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
        let (commands, received) = mpsc::channel(COMMANDS_BOUND);
        let of_switch = commands.clone();
        let at = addresses.clone();
        let thread = DemoThread::start("demo", runtime, move || {
            serve(listeners, &at, (of_switch, received))
        })?;
        Ok(Self {
            addresses,
            switch,
            commands,
            _thread: thread,
        })
    }
}

/// A listener on the preferred port, or else on a free one.
fn listen(first: u16, index: u16, reserved: &[u16]) -> io::Result<TcpListener> {
    let at = |port| backend::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let preferred = first
        .checked_add(index)
        .filter(|port| first != 0 && !reserved.contains(port));
    match preferred {
        Some(port) => at(port).or_else(|_| at(0)),
        None => at(0),
    }
}

fn serve(
    listeners: Vec<TcpListener>,
    addresses: &[SocketAddr],
    (of_switch, received): (mpsc::Sender<Command>, mpsc::Receiver<Command>),
) -> Tasks {
    let mut tasks = Tasks::default();
    let mut commands = Some(received);
    let mut listeners = listeners.into_iter();
    // The addresses are the shorter side of the zip and come first, so that the listener of the switch remains.
    for (index, (address, listener)) in addresses.iter().zip(listeners.by_ref()).enumerate() {
        let is_faulty = index + 1 == NAMES.len();
        let name = NAMES.get(index).copied().unwrap_or_default();
        let commands = commands
            .take_if(|_| is_faulty)
            .unwrap_or_else(|| mpsc::channel(1).1);
        tasks.spawn(backend::serve(
            listener,
            *address,
            Behaviour::new(name, is_faulty),
            commands,
        ));
    }
    if let Some(listener) = listeners.next() {
        tasks.spawn(backend::serve_switch(listener, of_switch));
    }
    tasks
}
