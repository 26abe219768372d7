//! Accepts connections. Every worker listens on every socket, so that a busy one delays nobody; whoever accepts hands
//! the connection on to the worker that has the fewest, so that long-lived connections spread evenly.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Settings;
use super::arrival::{self, Host};
use super::connection;
use super::crew::{Errand, Handed, Open, Seat};
use super::desk::Desks;
use super::introduced::{introduced, is_believed};
use super::parking::Parked;
use super::settings::Redirect;
use super::turns::Turns;
use super::waiting::Who;
use crate::message::Connection;
use crate::net::{self, ClientAddress, Listener, StdListener, Stream};
use crate::proxy::{Client, Peer, Terms, Worker};
use crate::tasks::LocalTasks;

/// Connections taken from each socket's queue when the process is to stop.
const TAKEN_AT_END: usize = 4096;
/// Turns of the scheduler in which a connection that has to go is given the chance to.
const TURNS_TO_LEAVE: usize = 8;
/// How long accepting rests when there is no descriptor or no room and nobody waits who could be closed.
const REST: Duration = Duration::from_millis(20);
/// The operations log hears of missing room at most once in this time.
const COMPLAINT_GAP: Duration = Duration::from_secs(1);

/// One socket that clients come through.
struct Entrance {
    socket: Listener,
    settings: Arc<Settings>,
}

impl Entrance {
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
    seat: Seat,
    desks: Desks,
    turns: Turns,
    tasks: LocalTasks,
    /// Empty once no more connections are accepted: the last owner of a socket closes it.
    sockets: RefCell<Vec<Rc<Entrance>>>,
    complained: Cell<Option<Instant>>,
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
        seat: Seat,
        sockets: Vec<(StdListener, Arc<Settings>)>,
        accepting: &mut tokio::task::JoinSet<()>,
        connections: &LocalTasks,
    ) -> std::io::Result<Rc<Self>> {
        let entrance = |(socket, settings)| {
            let socket = Listener::from(socket);
            Rc::new(Entrance { socket, settings })
        };
        let sockets = sockets.into_iter().map(entrance).collect();
        let desks = Desks::new(&worker.counters)?;
        let acceptor = Rc::new_cyclic(|me| Self {
            worker: Rc::clone(worker),
            seat,
            desks,
            turns: Turns::default(),
            tasks: connections.clone(),
            sockets: RefCell::new(sockets),
            complained: Cell::new(None),
            me: me.clone(),
        });
        for entrance in acceptor.sockets.borrow().iter() {
            let (acceptor, entrance) = (Rc::clone(&acceptor), Rc::clone(entrance));
            accepting.spawn_local(async move { acceptor.accept_from(&entrance).await });
        }
        Ok(acceptor)
    }

    /// Accepts what the kernel has accepted already, because closing the socket would reset it.
    pub fn take_the_rest(&self) {
        for entrance in self.sockets.take() {
            for _ in 0..TAKEN_AT_END {
                match entrance.socket.accept_queued() {
                    Ok((stream, peer)) => self.arrived(stream, peer, &entrance.settings),
                    Err(error) if is_of_the_client(&error) => {}
                    Err(_) => break,
                }
            }
        }
        self.run(self.seat.take_errands());
    }

    /// Lets every waiting connection know that the worker is draining.
    pub fn drain(&self) {
        for who in self.desks.waiting().all() {
            if let Who::Alarm(alarm) = who {
                self.worker.wheel.ring(alarm);
            }
        }
        for parked in self.desks.lot().take_all() {
            self.unpark(parked);
        }
    }

    /// Does what other workers ask for, and serves who was parked and has news, for as long as they do.
    pub async fn run_errands(&self) {
        loop {
            tokio::select! {
                () = self.seat.called() => self.run(self.seat.take_errands()),
                leaving = self.desks.lot().leaving() => match leaving {
                    Ok(leaving) => leaving.into_iter().for_each(|parked| self.unpark(parked)),
                    // Only of a runtime that ends.
                    Err(_) => tokio::time::sleep(REST).await,
                }
            }
        }
    }

    /// Lets the other workers know that this one moves, and does what was asked of those that do not. Called at every
    /// tick.
    pub fn tick(&self) {
        let now = self.worker.wheel.now();
        self.seat.turn(now);
        self.run(self.seat.rescue(now));
        let idle = self.worker.local().snapshot.timeouts.idle;
        self.desks.lot().close_old(now, idle);
    }

    fn run(&self, errands: impl IntoIterator<Item = Errand>) {
        for errand in errands {
            match errand {
                Errand::Serve(handed) => self.take(handed),
                Errand::MakeRoom { others } => drop(self.evict(others)),
            }
        }
    }

    async fn accept_from(&self, entrance: &Entrance) {
        'next: loop {
            match entrance.next().await {
                Ok((mut stream, peer)) => {
                    while net::is_kept_back(&stream) {
                        self.complain(&"the last descriptors are kept back");
                        self.evict(self.seat.others());
                        tokio::time::sleep(REST).await;
                        let Some(renumbered) = renumber(stream) else {
                            continue 'next;
                        };
                        stream = renumbered;
                    }
                    while !self.make_room().await {}
                    self.arrived(stream, peer, &entrance.settings);
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.complain(&error);
                    self.evict(self.seat.others());
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Makes sure that one more connection is allowed; `false` when the one that has come still has to wait.
    async fn make_room(&self) -> bool {
        let limit = self.worker.local().snapshot.limits.connections;
        let has_room = || limit.is_none_or(|limit| self.seat.crew.open() < limit);
        if has_room() {
            return true;
        }
        self.complain(&"limits.connections is reached");
        if self.evict(self.seat.others()) {
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

    /// Closes the connection that has waited longest. Where none of this worker's waits, `others` that come after it
    /// are asked one after the other; `false` then.
    fn evict(&self, others: usize) -> bool {
        let longest = self.desks.waiting().evict_longest();
        if let Some(who) = longest {
            match who {
                Who::Alarm(alarm) => self.worker.wheel.ring(alarm),
                Who::Parked(key) => drop(self.desks.lot().take(key)),
            }
            self.worker.counters.connections_closed_by_limit.increment();
        } else if let Some(others) = others.checked_sub(1) {
            // A worker that is too far behind is asked again after a rest.
            drop(self.seat.ask(self.seat.next(), Errand::MakeRoom { others }));
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
            tracing::warn!(%reason, open = self.seat.crew.open(), "No room for another connection");
        }
    }

    fn arrived(&self, stream: Stream, peer: ClientAddress, settings: &Arc<Settings>) {
        self.worker.counters.connections_accepted.increment();
        if settings.proxy_protocol && !is_believed(peer, &settings.address, &self.worker) {
            return;
        }
        let lightest = self.seat.lightest(self.worker.wheel.now());
        let mut open = Open::new(&self.seat.crew, lightest);
        if !settings.proxy_protocol {
            let limit = self.worker.local().snapshot.limits.connections_per_client;
            let ip = match peer {
                ClientAddress::Ip(address) => Some(address.ip()),
                ClientAddress::Unix => None,
            };
            if !open.is_of(ip, limit) {
                self.worker.counters.connections_rejected.increment();
                return;
            }
        }
        if lightest == self.seat.index {
            return self.begin((stream, peer), settings, open);
        }
        let Some(stream) = stream.into_descriptor() else {
            return;
        };
        let settings = Arc::clone(settings);
        let errand = Errand::Serve(Handed {
            stream,
            peer,
            settings,
            open,
        });
        self.run(self.seat.ask(lightest, errand).err());
    }

    /// Takes a connection that another worker accepted, or that could not be handed over.
    fn take(&self, handed: Handed) {
        let Handed {
            stream,
            peer,
            settings,
            mut open,
        } = handed;
        open.move_to(self.seat.index);
        self.begin((stream.into(), peer), &settings, open);
    }

    /// Begins to serve a connection here, once it is known whose it is.
    fn begin(&self, (mut stream, peer): (Stream, ClientAddress), settings: &Arc<Settings>, mut open: Open) {
        if !settings.proxy_protocol {
            return self.welcome((stream, Peer::new(peer)), settings, open);
        }
        let (me, worker, settings) = (self.me.clone(), Rc::clone(&self.worker), Arc::clone(settings));
        let waiting = self.desks.waiting().clone();
        self.tasks.spawn(async move {
            let peer = introduced(&mut stream, peer, &worker, &waiting, &mut open).await;
            if let (Some(peer), Some(me)) = (peer, me.upgrade()) {
                me.welcome((stream, peer), &settings, open);
            }
        });
    }

    /// Begins to serve a connection here.
    fn welcome(&self, (stream, mut peer): (Stream, Peer), settings: &Settings, open: Open) {
        let worker = &self.worker;
        peer.half_close = settings.half_close;
        if let Some(tls) = &settings.tls {
            let host = Host {
                worker: Rc::clone(worker),
                desks: self.desks.clone(),
                turns: self.turns.clone(),
                tasks: self.tasks.clone(),
            };
            let tls = Arc::clone(tls);
            return self
                .tasks
                .spawn(arrival::serve_tls(stream, peer, tls, host, open));
        }
        if let Some(Redirect::ToPort(port)) = settings.redirect {
            peer.terms = Terms::Https(port);
        }
        let client = Client {
            connection: Connection::new(stream),
            peer: Rc::new(peer),
            alarm: worker.wheel.alarm(),
            worker: Rc::clone(worker),
            is_last_request: false,
            pinned: None,
        };
        let tasks = settings.http2.then(|| self.tasks.clone());
        self.tasks
            .spawn(connection::serve(client, 0, tasks, self.desks.clone(), open));
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
            alarm: worker.wheel.alarm(),
            worker: Rc::clone(worker),
            is_last_request: false,
            pinned: None,
        };
        self.tasks
            .spawn(connection::serve(client, served, None, self.desks.clone(), open));
    }
}

/// Gives a stream a lower descriptor, if one is free by now.
fn renumber(stream: Stream) -> Option<Stream> {
    let stream = stream.into_descriptor()?;
    match stream.try_clone() {
        Ok(lower) if !net::is_kept_back(&lower) => Some(lower.into()),
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
        let entrance = Entrance {
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
                entrance.next().await.unwrap();
            }
            assert!(others_had_a_turn.get());
        };
        tokio::join!(accepting, async { others_had_a_turn.set(true) });
    }
}
