//! The listening sockets: which ones the workers are to serve, and accepting the next connection from one.

use std::cell::{Ref, RefCell};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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
pub struct SocketShares(Vec<Mutex<Option<StdListener>>>);

impl SocketShares {
    /// One for each worker.
    pub fn new(shares: impl IntoIterator<Item = StdListener>) -> Arc<Self> {
        let shares = shares.into_iter().map(|share| Mutex::new(Some(share)));
        Arc::new(Self(shares.collect()))
    }

    /// That of a worker, unless it was taken.
    pub(super) fn take(&self, worker: usize) -> Option<StdListener> {
        let share = self.0.get(worker)?;
        share.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A listening socket of one worker and the settings of its listener.
pub(super) struct ListeningSocket {
    socket: Listener,
    settings: RefCell<Arc<Settings>>,
}

impl ListeningSocket {
    pub(super) fn new(socket: StdListener, settings: Arc<Settings>) -> Self {
        Self {
            socket: socket.into(),
            settings: RefCell::new(settings),
        }
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
        let shares = (0..2).map(|_| StdListener::Tcp(socket.try_clone().unwrap().into()));
        let shares = SocketShares::new(shares.collect::<Vec<_>>());
        drop(socket);
        assert!(shares.take(1).is_some() && shares.take(1).is_none());
        assert!(shares.take(2).is_none(), "there is no such worker");
        TcpStream::connect(address).unwrap();
        drop(shares);
        assert!(
            TcpStream::connect(address).is_err(),
            "a share that nobody took is closed"
        );
    }
}
