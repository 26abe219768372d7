//! Accepts client connections. Every worker accepts from every listening socket, so that a busy worker does not delay new
//! clients. It hands each connection to the worker that has the fewest, so that long-lived connections spread evenly.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::JoinSet;

use super::Settings;
use super::connection;
use super::connection_tasks::ConnectionTasks;
use super::eviction::WakeTarget;
use super::groups::ConnectionGroups;
use super::handshake_permits::HandshakePermits;
use super::listening::{ListenerList, ListeningSocket};
use super::parked::Parked;
use super::proxy_header::{admit, is_trusted, receive_proxy_header};
use super::settings::Redirect;
use super::tls_accept::{self, AcceptContext};
use super::worker_set::{Command, HandedConnection, OpenConnection, WorkerHandle};
use crate::clock;
use crate::message::Connection;
use crate::net::{self, ClientAddress, StdListener, Stream};
use crate::proxy::{Client, ListenerPolicy, Peer, Worker};

/// Maximum number of connections accepted from a socket's queue before it is closed.
const ACCEPTED_AT_CLOSE: usize = 4096;
/// How long no connection must have come before a socket is closed that lets no new ones begin: handshakes that have begun end
/// within this time, if a round trip takes no longer.
const QUIET: Duration = Duration::from_millis(100);
/// Maximum number of such times, in all of which connections came.
const MOST_QUIET_TIMES: usize = 10;
/// Time limit for accepted connections that wait for room.
const ROOM_LIMIT: Duration = Duration::from_secs(1);
/// How often the acceptor yields to let an evicted connection close.
const YIELDS_TO_EVICT: usize = 8;
/// How long accepting pauses when no descriptor or connection is free and no waiting connection can be closed.
const BACK_OFF: Duration = Duration::from_millis(20);
/// Minimum time between two warnings about missing room, of all workers.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A listener that accepts.
struct Accepting {
    listening: Rc<ListeningSocket>,
    /// The task that accepts.
    task: JoinSet<()>,
}

/// Accepts connections on one worker.
pub struct Acceptor {
    worker: Rc<Worker>,
    handle: WorkerHandle,
    connection_tasks: ConnectionTasks,
    permits: HandshakePermits,
    groups: Rc<ConnectionGroups>,
    accepting: RefCell<Vec<Accepting>>,
    /// For tasks that outlive a call.
    this: Weak<Self>,
}

impl Acceptor {
    /// Accepts nothing until [`Self::apply`].
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory.
    pub fn start(worker: &Rc<Worker>, handle: WorkerHandle) -> std::io::Result<Rc<Self>> {
        let connection_tasks = ConnectionTasks::new(&worker.counters)?;
        Ok(Rc::new_cyclic(|this| Self {
            worker: Rc::clone(worker),
            handle,
            connection_tasks,
            permits: HandshakePermits::default(),
            groups: ConnectionGroups::new(worker),
            accepting: RefCell::default(),
            this: this.clone(),
        }))
    }

    /// Begins to accept for listeners that are new in the list, gives the others their present settings, and drains those
    /// that are not in it any more.
    pub async fn apply(&self, list: &ListenerList) {
        let mut before = self.accepting.take();
        for listed in &list.listeners {
            let id = listed.settings.id;
            let known = before
                .iter()
                .position(|accepting| accepting.listening.settings().id == id);
            if let Some(known) = known {
                let accepting = before.swap_remove(known);
                accepting.listening.set_settings(&listed.settings);
                self.accepting.borrow_mut().push(accepting);
            } else if let Some(socket) = listed.sockets.take(self.handle.index) {
                self.accept_on(socket, &listed.settings);
            }
        }
        for removed in &before {
            self.worker.drain_listener(removed.listening.settings().id);
        }
        self.close(before).await;
        for listener in self.groups.follow(list) {
            self.groups.drain(listener);
            self.notify(Some(listener));
        }
    }

    /// Closes all listening sockets, on which no connection begins any more.
    pub async fn stop(&self) {
        let all = self.accepting.take();
        self.close(all).await;
        self.run(self.handle.leave());
    }

    /// Closes this worker's shares of all listening sockets, from which others accept.
    pub async fn leave(&self) {
        self.run(self.handle.leave());
        let all = self.accepting.take();
        end_accepting(&all).await;
    }

    /// Number of connections that have a task, and of their HTTP/2 streams.
    pub fn running(&self) -> usize {
        self.groups.running()
    }

    /// Waits until no connection is left.
    pub async fn join(&self) {
        self.groups.join().await;
    }

    fn accept_on(&self, socket: StdListener, settings: &Arc<Settings>) {
        let listening = Rc::new(ListeningSocket::new(socket, Arc::clone(settings)));
        let (this, accepted) = (self.this.clone(), Rc::clone(&listening));
        let mut task = JoinSet::new();
        task.spawn_local(async move {
            if let Some(this) = this.upgrade() {
                this.accept_from(&accepted).await;
            }
        });
        self.accepting.borrow_mut().push(Accepting { listening, task });
    }

    /// Closes this worker's shares of listening sockets on which no connection begins any more. Closing a socket resets the
    /// connections that nobody has accepted, so those that have begun are accepted first.
    async fn close(&self, closing: Vec<Accepting>) {
        // A connection to a Unix socket has begun when it is in the queue.
        let has_handshakes = |one: &Accepting| one.listening.settings().address.ip().is_some();
        let (closing, unix): (Vec<_>, Vec<_>) = closing.into_iter().partition(has_handshakes);
        self.close_now(unix).await;
        let accepted = || closing.iter().map(|one| one.listening.accepted()).sum::<u64>();
        let most = if closing.is_empty() { 0 } else { MOST_QUIET_TIMES };
        for _ in 0..most {
            let before = accepted();
            clock::sleep(QUIET).await;
            if accepted() == before {
                break;
            }
        }
        self.close_now(closing).await;
    }

    /// Closes this worker's shares of listening sockets, and accepts what is in their queues.
    async fn close_now(&self, mut closing: Vec<Accepting>) {
        end_accepting(&closing).await;
        closing.iter_mut().for_each(|one| one.task.abort_all());
        for Accepting { listening, mut task } in closing {
            task.shutdown().await;
            let settings = listening.settings();
            for _ in 0..ACCEPTED_AT_CLOSE {
                match listening.next_queued() {
                    Ok((stream, peer)) => self.on_accept(stream, peer, &settings),
                    Err(error) if is_client_error(&error) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// Notifies every waiting connection that the worker is draining.
    pub fn drain(&self) {
        self.notify(None);
    }

    /// Notifies waiting connections that they are draining: all, or those of one listener. Which listener those with a timer
    /// belong to is not known here; a notification of another one has no effect.
    fn notify(&self, listener: Option<usize>) {
        let has_tasks = |listener| self.groups.of(listener).tasks().running() > 0;
        if listener.is_none_or(has_tasks) {
            for target in self.connection_tasks.waiting().all() {
                if let WakeTarget::Timer(timer) = target {
                    self.worker.wheel.notify(timer);
                }
            }
        }
        for parked in self.connection_tasks.parked_connections().take_all(listener) {
            self.unpark(parked);
        }
    }

    /// Runs the commands of other workers, and serves parked connections that become readable or closed. Never returns.
    pub async fn run_commands(&self) {
        loop {
            tokio::select! {
                () = self.handle.notified() => self.run(self.handle.take_commands()),
                readable = self.connection_tasks.parked_connections().take_readable() => match readable {
                    Ok(readable) => readable.into_iter().for_each(|parked| self.unpark(parked)),
                    // Only while the runtime shuts down.
                    Err(_) => clock::sleep(BACK_OFF).await,
                }
            }
        }
    }

    /// Records that this worker makes progress, runs the commands of workers that do not, and closes parked connections after
    /// `client_idle`. Called at every tick.
    pub fn tick(&self) {
        let now = self.worker.wheel.now();
        self.handle.record_tick(now);
        self.run(self.handle.steal(now));
        let idle = self.worker.local().snapshot.timeouts.idle;
        self.connection_tasks.parked_connections().close_idle(now, idle);
    }

    fn run(&self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            match command {
                Command::Serve(handed) => self.serve_handed(handed),
                Command::MakeRoom { others } => drop(self.evict(others)),
            }
        }
    }

    async fn accept_from(&self, listening: &ListeningSocket) {
        'next: loop {
            match listening.next().await {
                Ok((mut stream, peer)) => {
                    listening.set_waiting(true);
                    while net::is_reserved(&stream) {
                        self.warn_no_room(&"no file descriptor is free except the reserved ones: raise the limit of open files");
                        yield_to_accepted().await;
                        self.evict(self.handle.others());
                        clock::sleep(BACK_OFF).await;
                        let Some(renumbered) = renumber(stream) else {
                            listening.set_waiting(false);
                            continue 'next;
                        };
                        stream = renumbered;
                    }
                    while !self.make_room().await {}
                    self.on_accept(stream, peer, &listening.settings());
                    listening.set_waiting(false);
                }
                Err(error) if is_client_error(&error) => {}
                Err(error) => {
                    self.warn_no_room(&error);
                    yield_to_accepted().await;
                    self.evict(self.handle.others());
                    clock::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Makes room for one more connection within `limits.connections`; `false` if there is still none.
    async fn make_room(&self) -> bool {
        let limit = self.worker.local().snapshot.limits.connections;
        let has_room = || limit.is_none_or(|limit| self.handle.worker_set.open() < limit);
        if has_room() {
            return true;
        }
        self.warn_no_room(&"limits.connections is reached");
        yield_to_accepted().await;
        if has_room() {
            return true;
        }
        if self.evict(self.handle.others()) {
            // It closes within a few polls of the scheduler; one that needs longer is not waited for.
            for _ in 0..YIELDS_TO_EVICT {
                tokio::task::yield_now().await;
                if has_room() {
                    return true;
                }
            }
        }
        clock::sleep(BACK_OFF).await;
        has_room()
    }

    /// Closes a connection that waits, as the eviction queue chooses. If none of this worker waits, returns `false` and asks the next worker,
    /// which asks the one after it, up to `others` workers.
    fn evict(&self, others: usize) -> bool {
        let longest = self.connection_tasks.waiting().evict();
        if let Some(target) = longest {
            match target {
                WakeTarget::Timer(timer) => self.worker.wheel.notify(timer),
                WakeTarget::Parked(key) => drop(self.connection_tasks.parked_connections().take(key)),
            }
            self.worker.counters.connections_closed_by_limit.increment();
        } else if let Some(others) = others.checked_sub(1) {
            // If its command queue is full, the acceptor tries again after a pause.
            drop(self.handle.send(self.handle.next(), Command::MakeRoom { others }));
        }
        longest.is_some()
    }

    fn warn_no_room(&self, reason: &dyn std::fmt::Display) {
        let now = self.worker.wheel.now();
        if self.handle.worker_set.is_warning_due(now, WARNING_INTERVAL) {
            let open_connections = self.handle.worker_set.open();
            tracing::warn!(%reason, open_connections, "Cannot accept new connections; clients wait until one is closed");
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
            return self.start_connection((stream, peer), settings, open);
        }
        let Some(stream) = stream.into_descriptor() else {
            return;
        };
        let settings = Arc::clone(settings);
        let command = Command::Serve(HandedConnection {
            stream,
            peer,
            settings,
            open,
        });
        self.run(self.handle.send(least_loaded, command).err());
    }

    /// Serves a connection that another worker accepted, or that could not be handed over.
    fn serve_handed(&self, handed: HandedConnection) {
        let HandedConnection {
            stream,
            peer,
            settings,
            mut open,
        } = handed;
        open.move_to(self.handle.index);
        self.start_connection((stream.into(), peer), &settings, open);
    }

    /// Starts serving a connection on this worker, after its PROXY header if the listener expects one.
    fn start_connection(
        &self,
        (mut stream, peer): (Stream, ClientAddress),
        settings: &Arc<Settings>,
        mut open: OpenConnection,
    ) {
        if !settings.proxy_protocol {
            return self.start_serving((stream, Peer::new(peer)), settings, open);
        }
        let (this, worker, settings) = (self.this.clone(), Rc::clone(&self.worker), Arc::clone(settings));
        let waiting = self.connection_tasks.waiting().clone();
        self.groups.of(settings.id).spawn(async move {
            let peer = receive_proxy_header(&mut stream, peer, &worker, &waiting, settings.id).await;
            if let (Some(peer), Some(this)) = (peer, this.upgrade())
                && admit(&peer, &worker, &mut open)
            {
                this.start_serving((stream, peer), &settings, open);
            }
        });
    }

    /// Starts serving a connection on this worker; `peer` is its client.
    fn start_serving(&self, (stream, mut peer): (Stream, Peer), settings: &Settings, open: OpenConnection) {
        let worker = &self.worker;
        peer.half_close = settings.half_close;
        peer.listener = settings.id;
        let group = self.groups.of(settings.id);
        if let Some(tls) = &settings.tls {
            let ctx = AcceptContext {
                worker: Rc::clone(worker),
                connection_tasks: self.connection_tasks.clone(),
                permits: self.permits.clone(),
                tasks: group.tasks().clone(),
            };
            let tls = Arc::clone(tls);
            return group.spawn(tls_accept::serve_tls(stream, peer, tls, ctx, open));
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
        let tasks = settings.http2.then(|| group.tasks().clone());
        group.spawn(connection::serve(
            client,
            0,
            tasks,
            self.connection_tasks.clone(),
            open,
        ));
    }

    /// Serves a connection again that was parked.
    fn unpark(&self, parked: Parked) {
        let worker = &self.worker;
        let Parked {
            stream,
            peer,
            open,
            served,
            ..
        } = parked;
        let group = self.groups.of(peer.listener());
        let client = Client {
            connection: Connection::new(stream.into()),
            peer: peer.into_peer(),
            timer: worker.wheel.timer(),
            worker: Rc::clone(worker),
            is_last_request: false,
            pinned: None,
        };
        group.spawn(connection::serve(
            client,
            served,
            None,
            self.connection_tasks.clone(),
            open,
        ));
    }
}

/// Waits until no accepted connection waits for room any more, so that none is lost with the tasks that accept.
async fn end_accepting(closing: &[Accepting]) {
    let start = clock::now();
    let is_over = || clock::now().saturating_duration_since(start) >= ROOM_LIMIT;
    while closing.iter().any(|one| one.listening.has_waiting()) && !is_over() {
        clock::sleep(BACK_OFF).await;
    }
}

/// Lets connections that were accepted just now join the eviction queue: otherwise an idle one would be closed in their place.
async fn yield_to_accepted() {
    tokio::task::yield_now().await;
}

/// Moves a stream to a lower descriptor, if one is free now.
fn renumber(stream: Stream) -> Option<Stream> {
    let stream = stream.into_descriptor()?;
    match stream.try_clone() {
        Ok(lower) if !net::is_reserved(&lower) => Some(lower.into()),
        _ => Some(stream.into()),
    }
}

/// Whether accepting failed only because this client's connection is gone already. Accepting the next one may succeed.
fn is_client_error(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::NETDOWN | Errno::HOSTUNREACH)
    )
}
