//! Accepts connections. Every worker listens on every socket, so that a busy one delays nobody; whoever accepts hands
//! the connection on to the worker that has the fewest, so that long-lived connections spread evenly.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::connection;
use super::waiting::WaitingList;
use crate::backend::Padded;
use crate::http1::Connection;
use crate::net::Stream;
use crate::proxy::{Client, Peer, Worker};
use crate::tasks::LocalTasks;

/// Connections on their way from one worker to another; when a worker is so far behind, the acceptor keeps its own.
const HANDED_BOUND: usize = 1024;
/// Connections taken from each socket's queue when the process is to stop.
const TAKEN_AT_END: usize = 4096;
/// Turns of the scheduler in which a connection that has to go is given the chance to.
const TURNS_TO_LEAVE: usize = 8;
/// How long accepting rests when there is no descriptor or no room and nobody waits who could be closed.
const REST: Duration = Duration::from_millis(20);
/// The operations log hears of missing room at most once in this time.
const COMPLAINT_GAP: Duration = Duration::from_secs(1);

/// A connection on its way to another worker.
#[derive(Debug)]
struct Handed {
    stream: StdStream,
    peer: SocketAddr,
    open: Open,
}

/// What the workers share about connections.
#[derive(Debug)]
pub struct Crew {
    /// Open connections of each worker.
    open: Vec<Padded<AtomicUsize>>,
    /// Open connections of each client address; counted only where that is limited.
    by_client: Mutex<HashMap<IpAddr, usize>>,
    senders: Vec<mpsc::Sender<Handed>>,
}

/// One worker's place in the crew.
#[derive(Debug)]
pub struct Seat {
    crew: Arc<Crew>,
    index: usize,
    handed: mpsc::Receiver<Handed>,
}

impl Crew {
    /// Makes a crew of so many workers, and gives their places.
    pub fn of(workers: usize) -> Vec<Seat> {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(HANDED_BOUND)).unzip();
        let open = (0..workers).map(|_| Padded::default()).collect();
        let crew = Arc::new(Self {
            open,
            by_client: Mutex::default(),
            senders,
        });
        let seat = |(index, handed)| Seat {
            crew: Arc::clone(&crew),
            index,
            handed,
        };
        receivers.into_iter().enumerate().map(seat).collect()
    }

    /// Open connections of all workers.
    pub fn open(&self) -> usize {
        self.open
            .iter()
            .map(|count| count.0.load(Ordering::Relaxed))
            .sum()
    }

    /// The worker with the fewest connections, or `own` when that has hardly more: being handed on has its price.
    fn lightest(&self, own: usize) -> usize {
        let load = |index: usize| {
            self.open
                .get(index)
                .map_or(usize::MAX, |count| count.0.load(Ordering::Relaxed))
        };
        let mine = load(own);
        (0..self.open.len())
            .min_by_key(|&index| load(index))
            .filter(|&index| load(index) + mine / 64 < mine)
            .unwrap_or(own)
    }

    /// Counts a connection of this client, unless it has `limit` of them.
    fn admit_client(&self, address: IpAddr, limit: Option<usize>) -> bool {
        let Some(limit) = limit else { return true };
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_client.entry(address.to_canonical()).or_default();
        let is_admitted = *count < limit;
        *count += usize::from(is_admitted);
        is_admitted
    }

    fn client_left(&self, address: IpAddr) {
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_client.get_mut(&address.to_canonical()) {
            *count -= 1;
            if *count == 0 {
                by_client.remove(&address.to_canonical());
            }
        }
    }
}

/// Counts an open connection for as long as it lives, on its way to another worker too.
#[derive(Debug)]
struct Open {
    crew: Arc<Crew>,
    worker: usize,
    client: Option<IpAddr>,
}

impl Open {
    /// Counts one of this worker and this client; `None` when the client has `limit` of them.
    fn new(crew: &Arc<Crew>, worker: usize, (client, limit): (IpAddr, Option<usize>)) -> Option<Self> {
        if !crew.admit_client(client, limit) {
            return None;
        }
        if let Some(count) = crew.open.get(worker) {
            count.0.fetch_add(1, Ordering::Relaxed);
        }
        Some(Self {
            crew: Arc::clone(crew),
            worker,
            client: limit.map(|_| client),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(count) = self.crew.open.get(self.worker) {
            count.0.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(address) = self.client {
            self.crew.client_left(address);
        }
    }
}

/// Accepts for one worker.
pub struct Acceptor {
    worker: Rc<Worker>,
    crew: Arc<Crew>,
    index: usize,
    waiting: WaitingList,
    tasks: LocalTasks,
    /// Empty once no more connections are accepted: the last owner of a socket closes it.
    sockets: RefCell<Vec<Rc<TcpListener>>>,
    handed: RefCell<mpsc::Receiver<Handed>>,
    complained: Cell<Option<Instant>>,
}

impl Acceptor {
    /// Starts accepting on all of `sockets` as tasks of `accepting`. Connections become tasks of `connections`.
    ///
    /// # Errors
    /// Registering a socket with the runtime failed.
    pub fn start(
        worker: &Rc<Worker>,
        seat: Seat,
        sockets: Vec<StdListener>,
        accepting: &mut tokio::task::JoinSet<()>,
        connections: &LocalTasks,
    ) -> std::io::Result<Rc<Self>> {
        let Seat { crew, index, handed } = seat;
        let register = |socket| TcpListener::from_std(socket).map(Rc::new);
        let sockets = sockets
            .into_iter()
            .map(register)
            .collect::<std::io::Result<Vec<_>>>()?;
        let acceptor = Rc::new(Self {
            worker: Rc::clone(worker),
            crew,
            index,
            waiting: WaitingList::default(),
            tasks: connections.clone(),
            sockets: RefCell::new(sockets),
            handed: RefCell::new(handed),
            complained: Cell::new(None),
        });
        for socket in acceptor.sockets.borrow().iter() {
            let (acceptor, socket) = (Rc::clone(&acceptor), Rc::clone(socket));
            accepting.spawn_local(async move { acceptor.accept_from(&socket).await });
        }
        Ok(acceptor)
    }

    /// Accepts what the kernel has accepted already, because closing the socket would reset it.
    pub fn take_the_rest(&self) {
        let mut context = Context::from_waker(Waker::noop());
        for socket in self.sockets.take() {
            for _ in 0..TAKEN_AT_END {
                let Poll::Ready(Ok((stream, peer))) = socket.poll_accept(&mut context) else {
                    break;
                };
                self.arrived(stream, peer);
            }
        }
        while let Ok(handed) = self.handed.borrow_mut().try_recv() {
            self.take(handed);
        }
    }

    /// Lets every waiting connection know that the worker is draining.
    pub fn drain(&self) {
        for alarm in self.waiting.alarms() {
            self.worker.wheel.ring(alarm);
        }
    }

    /// Takes what other workers hand over, for as long as they do.
    pub async fn take_handed(&self) {
        loop {
            let handed = std::future::poll_fn(|context| self.handed.borrow_mut().poll_recv(context)).await;
            let Some(handed) = handed else { return };
            self.take(handed);
        }
    }

    async fn accept_from(&self, socket: &TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    while !self.make_room().await {}
                    self.arrived(stream, peer);
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.complain(&error);
                    self.evict();
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Makes sure that one more connection is allowed; `false` when the one that has come still has to wait.
    async fn make_room(&self) -> bool {
        let limit = self.worker.local().snapshot.limits.connections;
        let has_room = || limit.is_none_or(|limit| self.crew.open() < limit);
        if has_room() {
            return true;
        }
        self.complain(&"limits.connections is reached");
        if self.evict() {
            // It is gone after a turn or two; one that cannot be told at once is not waited for.
            for _ in 0..TURNS_TO_LEAVE {
                tokio::task::yield_now().await;
                if has_room() {
                    return true;
                }
            }
        }
        tokio::time::sleep(REST).await;
        has_room()
    }

    /// Closes the connection that has waited longest; `false` when none of this worker's waits.
    fn evict(&self) -> bool {
        let longest = self.waiting.evict_longest();
        if let Some(alarm) = longest {
            self.worker.wheel.ring(alarm);
            self.worker.counters.connections_closed_by_limit.increment();
        }
        longest.is_some()
    }

    fn complain(&self, reason: &dyn std::fmt::Display) {
        let now = self.worker.wheel.now();
        if self
            .complained
            .get()
            .is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_GAP)
        {
            self.complained.set(Some(now));
            tracing::warn!(%reason, open = self.crew.open(), "No room for another connection");
        }
    }

    fn arrived(&self, stream: TcpStream, peer: SocketAddr) {
        self.worker.counters.connections_accepted.increment();
        let limit = self.worker.local().snapshot.limits.connections_per_client;
        let lightest = self.crew.lightest(self.index);
        let Some(open) = Open::new(&self.crew, lightest, (peer.ip(), limit)) else {
            self.worker.counters.connections_rejected.increment();
            return;
        };
        match self.crew.senders.get(lightest) {
            Some(sender) if lightest != self.index => {
                let Ok(stream) = stream.into_std() else { return };
                if let Err(back) = sender.try_send(Handed { stream, peer, open }) {
                    self.take(back.into_inner());
                }
            }
            _ => self.welcome(stream, peer, open),
        }
    }

    /// Takes a connection that another worker accepted.
    fn take(&self, Handed { stream, peer, open }: Handed) {
        // Fails only where no descriptor can be watched; then the client sees its connection closed.
        if let Ok(stream) = TcpStream::from_std(stream) {
            self.welcome(stream, peer, open);
        }
    }

    /// Begins to serve a connection here.
    fn welcome(&self, stream: TcpStream, peer: SocketAddr, open: Open) {
        let worker = &self.worker;
        let _ = stream.set_nodelay(true);
        let client = Client {
            connection: Connection::new(Stream::from_tcp(stream)),
            peer: Peer::new(peer),
            alarm: worker.wheel.alarm(),
            worker: Rc::clone(worker),
            is_last_request: false,
        };
        worker.counters.connections_active.up();
        let (waiting, worker) = (self.waiting.clone(), Rc::clone(worker));
        self.tasks.spawn(async move {
            let _open = open;
            connection::serve(client, waiting).await;
            worker.counters.connections_active.down();
        });
    }
}

/// Whether accepting failed because of that client alone: it was gone already. The next one may be well.
fn is_of_the_client(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::NETDOWN | Errno::HOSTUNREACH)
    )
}
