//! The listening sockets: which ones the workers are to serve, and accepting the next connection from one.

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Settings;
use crate::net::{ClientAddress, Listener, StdListener, Stream};

/// The listeners that all workers are to serve.
#[derive(Debug, Default)]
pub struct ListenerList {
    /// Grows with every change.
    pub generation: u64,
    /// Larger than the id of every listener that there was.
    pub next_id: usize,
    /// Each with its own id.
    pub listeners: Vec<ListedListener>,
}

/// One listener in the list.
#[derive(Debug, Clone)]
pub struct ListedListener {
    /// Its settings, for connections that are accepted from now on.
    pub settings: Arc<Settings>,
    /// Its socket.
    pub sockets: Arc<SocketShares>,
}

/// One duplicate of a listening socket for each worker, which takes it when it begins to accept. A worker that is late gets
/// it all the same, and one that never comes does not keep a removed socket open.
#[derive(Debug)]
pub struct SocketShares(Mutex<BTreeMap<usize, StdListener>>);

impl SocketShares {
    /// One for each of these workers, by their numbers.
    pub fn new(shares: impl IntoIterator<Item = (usize, StdListener)>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(shares.into_iter().collect())))
    }

    /// Adds that of a worker that is started later.
    pub fn add(&self, worker: usize, share: StdListener) {
        self.shares().insert(worker, share);
    }

    /// That of a worker, unless it was taken.
    pub fn take(&self, worker: usize) -> Option<StdListener> {
        self.shares().remove(&worker)
    }

    fn shares(&self) -> MutexGuard<'_, BTreeMap<usize, StdListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listening socket of one worker and the settings of its listener.
pub(super) struct ListeningSocket {
    socket: Listener,
    settings: RefCell<Arc<Settings>>,
    /// Number of connections that were accepted.
    accepted: Cell<u64>,
    /// Whether one of them waits for room.
    has_waiting: Cell<bool>,
}

impl ListeningSocket {
    pub(super) fn new(socket: StdListener, settings: Arc<Settings>) -> Self {
        Self {
            socket: socket.into(),
            settings: RefCell::new(settings),
            accepted: Cell::new(0),
            has_waiting: Cell::new(false),
        }
    }

    /// Number of connections that were accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Whether an accepted connection waits for room: it would be lost with the task that accepts.
    pub(super) fn has_waiting(&self) -> bool {
        self.has_waiting.get()
    }

    /// Says that an accepted connection waits for room, or does not any more.
    pub(super) fn set_waiting(&self, is_waiting: bool) {
        self.has_waiting.set(is_waiting);
    }

    /// The settings for the next connection.
    pub(super) fn settings(&self) -> Ref<'_, Arc<Settings>> {
        self.settings.borrow()
    }

    pub(super) fn set_settings(&self, settings: &Arc<Settings>) {
        self.settings.replace(Arc::clone(settings));
    }

    /// Accepts the next connection. Yields once before it accepts a new one: the request has probably arrived by then, so that
    /// the connection need not be registered with the runtime to wait for it.
    pub(super) async fn next(&self) -> io::Result<(Stream, ClientAddress)> {
        loop {
            // A flood of new connections must not starve the open ones.
            tokio::task::coop::consume_budget().await;
            if let Some(accepted) = self.socket.accept() {
                self.accepted.set(self.accepted.get() + 1);
                return accepted;
            }
            poll_fn(|context| self.socket.poll_accept_ready(context)).await?;
            tokio::task::yield_now().await;
        }
    }

    /// Accepts a connection that the kernel has established already.
    ///
    /// # Errors
    /// As [`Listener::accept_queued`].
    pub(super) fn next_queued(&self) -> io::Result<(Stream, ClientAddress)> {
        self.socket.accept_queued()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::net::ListenAddress;

    /// More than the runtime's cooperative budget of one task.
    const FLOOD: usize = 200;

    fn socket() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.listen(2 * FLOOD as i32).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn a_flood_of_connections_yields_to_other_tasks() {
        let (socket, address) = socket();
        let _clients: Vec<_> = (0..FLOOD).map(|_| TcpStream::connect(address).unwrap()).collect();
        let settings = Settings {
            id: 0,
            address: ListenAddress::Ip(address),
            proxy_protocol: false,
            http2: false,
            tls: None,
            redirect: None,
            half_close: crate::proxy::HalfClose::default(),
        };
        let listening = ListeningSocket::new(StdListener::Tcp(socket.into()), Arc::new(settings));
        let other_task_has_run = Cell::new(false);
        let accepting = async {
            for _ in 0..FLOOD {
                listening.next().await.unwrap();
            }
            assert!(other_task_has_run.get());
        };
        tokio::join!(accepting, async { other_task_has_run.set(true) });
    }

    #[test]
    fn each_worker_takes_its_share_once() {
        let (socket, address) = socket();
        let shares = (0..2).map(|worker| (worker, StdListener::Tcp(socket.try_clone().unwrap().into())));
        let shares = SocketShares::new(shares.collect::<Vec<_>>());
        assert!(shares.take(1).is_some() && shares.take(1).is_none());
        assert!(shares.take(2).is_none(), "there is no such worker");
        shares.add(2, StdListener::Tcp(socket.try_clone().unwrap().into()));
        assert!(shares.take(2).is_some(), "it was started later");
        drop(socket);
        TcpStream::connect(address).unwrap();
        drop(shares);
        assert!(
            TcpStream::connect(address).is_err(),
            "a share that nobody took is closed"
        );
    }
}
