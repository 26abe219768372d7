//! Accepts connections. Every worker listens on every socket, so that a busy one delays nobody; whoever accepts hands
//! the connection on to the worker that has the fewest, so that long-lived connections spread evenly.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Settings;
use super::connection;
use super::connection_tasks::ConnectionTasks;
use super::eviction::WakeTarget;
use super::handshake_permits::HandshakePermits;
use super::parked::Parked;
use super::proxy_header::{is_trusted, receive_proxy_header};
use super::settings::Redirect;
use super::tls_accept::{self, AcceptContext};
use super::worker_set::{Command, Handed, OpenConnection, WorkerHandle};
use crate::message::Connection;
use crate::net::{self, ClientAddress, Listener, StdListener, Stream};
use crate::proxy::{Client, ListenerPolicy, Peer, Worker};
use crate::tasks::LocalTasks;

/// Connections taken from each socket's queue when the process is to stop.
const ACCEPTED_AT_END: usize = 4096;
/// Turns of the scheduler in which a connection that has to go is given the chance to.
const YIELDS_TO_EVICT: usize = 8;
/// How long accepting rests when there is no descriptor or no room and nobody waits who could be closed.
const BACK_OFF: Duration = Duration::from_millis(20);
/// The operations log hears of missing room at most once in this time.
const WARNING_GAP: Duration = Duration::from_secs(1);

/// One socket that clients come through.
struct ListeningSocket {
    socket: Listener,
    settings: Arc<Settings>,
}

impl ListeningSocket {
    /// The next connection. One that has just come is given the time of a turn: its request is likely to be there when it is
    /// accepted, and then it may end without ever having been waited for.
    async fn next(&self) -> std::io::Result<(Stream, ClientAddress)> {
        loop {
            // A flood of connections must not keep this worker from those that it has.
            tokio::task::coop::consume_budget().await;
            if let Some(accepted) = self.socket.accept() {
                return accepted;
            }
            poll_fn(|context| self.socket.poll_arrival(context)).await?;
            tokio::task::yield_now().await;
        }
    }
}

/// Accepts for one worker.
pub struct Acceptor {
    worker: Rc<Worker>,
    handle: WorkerHandle,
    connection_tasks: ConnectionTasks,
    permits: HandshakePermits,
    tasks: LocalTasks,
    /// Empty once no more connections are accepted: the last owner of a socket closes it.
    sockets: RefCell<Vec<Rc<ListeningSocket>>>,
    last_warning: Cell<Option<Instant>>,
    /// For tasks that outlive a call of it.
    me: Weak<Self>,
}

impl Acceptor {
    /// Starts accepting on all of `sockets` as tasks of `accepting`. Connections become tasks of `connections`.
    ///
    /// # Errors
    /// The process or the machine lacks something.
    pub fn start(
        worker: &Rc<Worker>,
        handle: WorkerHandle,
        sockets: Vec<(StdListener, Arc<Settings>)>,
        accepting: &mut tokio::task::JoinSet<()>,
        connections: &LocalTasks,
    ) -> std::io::Result<Rc<Self>> {
        let listening = |(socket, settings)| {
            let socket = Listener::from(socket);
            Rc::new(ListeningSocket { socket, settings })
        };
        let sockets = sockets.into_iter().map(listening).collect();
        let connection_tasks = ConnectionTasks::new(&worker.counters)?;
        let acceptor = Rc::new_cyclic(|me| Self {
            worker: Rc::clone(worker),
            handle,
            connection_tasks,
            permits: HandshakePermits::default(),
            tasks: connections.clone(),
            sockets: RefCell::new(sockets),
            last_warning: Cell::new(None),
            me: me.clone(),
        });
        for listening in acceptor.sockets.borrow().iter() {
            let (acceptor, listening) = (Rc::clone(&acceptor), Rc::clone(listening));
            accepting.spawn_local(async move { acceptor.accept_from(&listening).await });
        }
        Ok(acceptor)
    }

    /// Accepts what the kernel has accepted already, because closing the socket would reset it.
    pub fn accept_queued_connections(&self) {
        for listening in self.sockets.take() {
            for _ in 0..ACCEPTED_AT_END {
                match listening.socket.accept_queued() {
                    Ok((stream, peer)) => self.on_accept(stream, peer, &listening.settings),
                    Err(error) if is_of_the_client(&error) => {}
                    Err(_) => break,
                }
            }
        }
        self.run(self.handle.take_commands());
    }

    /// Lets every waiting connection know that the worker is draining.
    pub fn drain(&self) {
        for target in self.connection_tasks.waiting().all() {
            if let WakeTarget::Timer(timer) = target {
                self.worker.wheel.notify(timer);
            }
        }
        for parked in self.connection_tasks.parked_connections().take_all() {
            self.unpark(parked);
        }
    }

    /// Does what other workers ask for, and serves who was parked and has news, for as long as they do.
    pub async fn run_commands(&self) {
        loop {
            tokio::select! {
                () = self.handle.notified() => self.run(self.handle.take_commands()),
                closing = self.connection_tasks.parked_connections().closing() => match closing {
                    Ok(closing) => closing.into_iter().for_each(|parked| self.unpark(parked)),
                    // Only of a runtime that ends.
                    Err(_) => tokio::time::sleep(BACK_OFF).await,
                }
            }
        }
    }

    /// Lets the other workers know that this one moves, and does what was asked of those that do not. Called at every
    /// tick.
    pub fn tick(&self) {
        let now = self.worker.wheel.now();
        self.handle.record_tick(now);
        self.run(self.handle.steal(now));
        let idle = self.worker.local().snapshot.timeouts.idle;
        self.connection_tasks.parked_connections().close_old(now, idle);
    }

    fn run(&self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            match command {
                Command::Serve(handed) => self.take(handed),
                Command::MakeRoom { others } => drop(self.evict(others)),
            }
        }
    }

    async fn accept_from(&self, listening: &ListeningSocket) {
        'next: loop {
            match listening.next().await {
                Ok((mut stream, peer)) => {
                    while net::is_reserved(&stream) {
                        self.warn_no_room(&"the last descriptors are kept back");
                        self.evict(self.handle.others());
                        tokio::time::sleep(BACK_OFF).await;
                        let Some(renumbered) = renumber(stream) else {
                            continue 'next;
                        };
                        stream = renumbered;
                    }
                    while !self.make_room().await {}
                    self.on_accept(stream, peer, &listening.settings);
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.warn_no_room(&error);
                    self.evict(self.handle.others());
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Makes sure that one more connection is allowed; `false` when the one that has come still has to wait.
    async fn make_room(&self) -> bool {
        let limit = self.worker.local().snapshot.limits.connections;
        let has_room = || limit.is_none_or(|limit| self.handle.worker_set.open() < limit);
        if has_room() {
            return true;
        }
        self.warn_no_room(&"limits.connections is reached");
        if self.evict(self.handle.others()) {
            // It is gone after a turn or two; one that cannot be told at once is not waited for.
            for _ in 0..YIELDS_TO_EVICT {
                tokio::task::yield_now().await;
                if has_room() {
                    return true;
                }
            }
        }
        tokio::time::sleep(BACK_OFF).await;
        has_room()
    }

    /// Closes the connection that has waited longest. Where none of this worker's waits, `others` that come after it
    /// are asked one after the other; `false` then.
    fn evict(&self, others: usize) -> bool {
        let longest = self.connection_tasks.waiting().evict_longest();
        if let Some(target) = longest {
            match target {
                WakeTarget::Timer(timer) => self.worker.wheel.notify(timer),
                WakeTarget::Parked(key) => drop(self.connection_tasks.parked_connections().take(key)),
            }
            self.worker.counters.connections_closed_by_limit.increment();
        } else if let Some(others) = others.checked_sub(1) {
            // A worker that is too far behind is asked again after a rest.
            drop(self.handle.send(self.handle.next(), Command::MakeRoom { others }));
        }
        longest.is_some()
    }

    fn warn_no_room(&self, reason: &dyn std::fmt::Display) {
        let now = self.worker.wheel.now();
        if self
            .last_warning
            .get()
            .is_none_or(|last| now.saturating_duration_since(last) >= WARNING_GAP)
        {
            self.last_warning.set(Some(now));
            tracing::warn!(%reason, open = self.handle.worker_set.open(), "No room for another connection");
        }
    }

    fn on_accept(&self, stream: Stream, peer: ClientAddress, settings: &Arc<Settings>) {
        self.worker.counters.connections_accepted.increment();
        if settings.proxy_protocol && !is_trusted(peer, &settings.address, &self.worker) {
            return;
        }
        let least_loaded = self.handle.least_loaded(self.worker.wheel.now());
        let mut open = OpenConnection::new(&self.handle.worker_set, least_loaded);
        if !settings.proxy_protocol {
            let limit = self.worker.local().snapshot.limits.connections_per_client;
            let ip = match peer {
                ClientAddress::Ip(address) => Some(address.ip()),
                ClientAddress::Unix => None,
            };
            if !open.set_client(ip, limit) {
                self.worker.counters.connections_rejected.increment();
                return;
            }
        }
        if least_loaded == self.handle.index {
            return self.begin((stream, peer), settings, open);
        }
        let Some(stream) = stream.into_descriptor() else {
            return;
        };
        let settings = Arc::clone(settings);
        let command = Command::Serve(Handed {
            stream,
            peer,
            settings,
            open,
        });
        self.run(self.handle.send(least_loaded, command).err());
    }

    /// Takes a connection that another worker accepted, or that could not be handed over.
    fn take(&self, handed: Handed) {
        let Handed {
            stream,
            peer,
            settings,
            mut open,
        } = handed;
        open.move_to(self.handle.index);
        self.begin((stream.into(), peer), &settings, open);
    }

    /// Begins to serve a connection here, once it is known whose it is.
    fn begin(
        &self,
        (mut stream, peer): (Stream, ClientAddress),
        settings: &Arc<Settings>,
        mut open: OpenConnection,
    ) {
        if !settings.proxy_protocol {
            return self.start_serving((stream, Peer::new(peer)), settings, open);
        }
        let (me, worker, settings) = (self.me.clone(), Rc::clone(&self.worker), Arc::clone(settings));
        let waiting = self.connection_tasks.waiting().clone();
        self.tasks.spawn(async move {
            let peer = receive_proxy_header(&mut stream, peer, &worker, &waiting, &mut open).await;
            if let (Some(peer), Some(me)) = (peer, me.upgrade()) {
                me.start_serving((stream, peer), &settings, open);
            }
        });
    }

    /// Begins to serve a connection here.
    fn start_serving(&self, (stream, mut peer): (Stream, Peer), settings: &Settings, open: OpenConnection) {
        let worker = &self.worker;
        peer.half_close = settings.half_close;
        if let Some(tls) = &settings.tls {
            let ctx = AcceptContext {
                worker: Rc::clone(worker),
                connection_tasks: self.connection_tasks.clone(),
                permits: self.permits.clone(),
                tasks: self.tasks.clone(),
            };
            let tls = Arc::clone(tls);
            return self
                .tasks
                .spawn(tls_accept::serve_tls(stream, peer, tls, ctx, open));
        }
        if let Some(Redirect::ToPort(port)) = settings.redirect {
            peer.policy = ListenerPolicy::Https(port);
        }
        let client = Client {
            connection: Connection::new(stream),
            peer: Rc::new(peer),
            timer: worker.wheel.timer(),
            worker: Rc::clone(worker),
            is_last_request: false,
            pinned: None,
        };
        let tasks = settings.http2.then(|| self.tasks.clone());
        self.tasks.spawn(connection::serve(
            client,
            0,
            tasks,
            self.connection_tasks.clone(),
            open,
        ));
    }

    /// Goes on serving one that was parked.
    fn unpark(&self, parked: Parked) {
        let worker = &self.worker;
        let Parked {
            stream,
            name,
            open,
            served,
            ..
        } = parked;
        let client = Client {
            connection: Connection::new(stream.into()),
            peer: name.into_peer(),
            timer: worker.wheel.timer(),
            worker: Rc::clone(worker),
            is_last_request: false,
            pinned: None,
        };
        self.tasks.spawn(connection::serve(
            client,
            served,
            None,
            self.connection_tasks.clone(),
            open,
        ));
    }
}

/// Gives a stream a lower descriptor, if one is free by now.
fn renumber(stream: Stream) -> Option<Stream> {
    let stream = stream.into_descriptor()?;
    match stream.try_clone() {
        Ok(lower) if !net::is_reserved(&lower) => Some(lower.into()),
        _ => Some(stream.into()),
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::net::ListenAddress;

    /// More than what a task may do before others have their turn.
    const FLOOD: usize = 200;

    #[tokio::test]
    async fn a_flood_of_connections_gives_way_to_others() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.listen(2 * FLOOD as i32).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _clients: Vec<_> = (0..FLOOD).map(|_| TcpStream::connect(address).unwrap()).collect();
        let listening = ListeningSocket {
            socket: StdListener::Tcp(socket.into()).into(),
            settings: Arc::new(Settings {
                address: ListenAddress::Ip(address),
                proxy_protocol: false,
                http2: false,
                tls: None,
                redirect: None,
                half_close: crate::proxy::HalfClose::default(),
            }),
        };
        let others_had_a_turn = Cell::new(false);
        let accepting = async {
            for _ in 0..FLOOD {
                listening.next().await.unwrap();
            }
            assert!(others_had_a_turn.get());
        };
        tokio::join!(accepting, async { others_had_a_turn.set(true) });
    }
}
