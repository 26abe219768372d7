//! What the workers share about client connections: how many each has, whether each is moving, and what one asks of
//! another. Time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Settings;
use crate::backend::Padded;
use crate::net::ClientAddress;

/// What waits for one worker; when it is so far behind, the acceptor keeps its own.
const ERRANDS_BOUND: usize = 1024;
/// A worker that has not turned for so long (five ticks) is stuck or starved: it is handed nothing, and what it was
/// handed goes to others.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// A connection on its way to another worker.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) stream: OwnedFd,
    pub(super) peer: ClientAddress,
    /// Those of the listener that it came through.
    pub(super) settings: Arc<Settings>,
    pub(super) open: Open,
}

/// What one worker asks of another.
#[derive(Debug)]
pub(super) enum Errand {
    /// To serve a connection.
    Serve(Handed),
    /// To close the connection that has waited longest. Where none waits, the next worker is asked, and so many more.
    MakeRoom { others: usize },
}

/// One worker, as the others see it.
#[derive(Debug, Default)]
struct Mate {
    /// Its open connections, those on their way to it included.
    open: Padded<AtomicUsize>,
    /// When it turned last, in milliseconds since the crew began; 0 before its first turn.
    turned: Padded<AtomicU64>,
    errands: Mutex<VecDeque<Errand>>,
    called: Notify,
}

/// The workers.
#[derive(Debug)]
pub struct Crew {
    began: Instant,
    mates: Vec<Mate>,
    /// Open connections of each client address; counted only where that is limited.
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

/// One worker's place in the crew.
#[derive(Debug, Clone)]
pub struct Seat {
    pub(super) crew: Arc<Crew>,
    pub(super) index: usize,
}

impl Crew {
    /// Makes a crew of so many workers, and gives their places.
    pub fn of(workers: usize, now: Instant) -> Vec<Seat> {
        let crew = Arc::new(Self {
            began: now,
            mates: (0..workers).map(|_| Mate::default()).collect(),
            by_client: Mutex::default(),
        });
        let seat = |index| Seat {
            crew: Arc::clone(&crew),
            index,
        };
        (0..workers).map(seat).collect()
    }

    /// Open connections of all workers.
    pub(super) fn open(&self) -> usize {
        self.mates
            .iter()
            .map(|mate| mate.open.0.load(Ordering::Relaxed))
            .sum()
    }

    fn mate(&self, index: usize) -> Option<&Mate> {
        self.mates.get(index)
    }

    fn is_stuck(&self, mate: &Mate, now: Instant) -> bool {
        let turned = self.began + Duration::from_millis(mate.turned.0.load(Ordering::Relaxed));
        now.saturating_duration_since(turned) >= STUCK_AFTER
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

impl Mate {
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Errand>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Says that this worker moves. Called at every tick.
    pub(super) fn turn(&self, now: Instant) {
        if let Some(mate) = self.crew.mate(self.index) {
            let elapsed = now.saturating_duration_since(self.crew.began).as_millis();
            mate.turned
                .0
                .store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The worker that is to serve the next connection: the one with the fewest, or this one when that has hardly more,
    /// because handing on has its price.
    pub(super) fn lightest(&self, now: Instant) -> usize {
        let mates = &self.crew.mates;
        let load = |mate: &Mate| mate.open.0.load(Ordering::Relaxed);
        let mine = self.crew.mate(self.index).map_or(0, load);
        mates
            .iter()
            .enumerate()
            .filter(|(index, mate)| *index != self.index && !self.crew.is_stuck(mate, now))
            .map(|(index, mate)| (load(mate), index))
            .min()
            .filter(|(load, _)| load + mine / 32 + 1 < mine)
            .map_or(self.index, |(_, index)| index)
    }

    /// How many workers there are beside this one.
    pub(super) fn others(&self) -> usize {
        self.crew.mates.len().saturating_sub(1)
    }

    /// The worker after this one, in a circle.
    pub(super) fn next(&self) -> usize {
        (self.index + 1) % self.crew.mates.len().max(1)
    }

    /// Asks something of a worker; gives it back when that one is too far behind.
    pub(super) fn ask(&self, worker: usize, errand: Errand) -> Result<(), Errand> {
        let Some(mate) = self.crew.mate(worker) else {
            return Err(errand);
        };
        let mut queue = mate.queue();
        if queue.len() >= ERRANDS_BOUND {
            return Err(errand);
        }
        queue.push_back(errand);
        drop(queue);
        mate.called.notify_one();
        Ok(())
    }

    /// Waits until something was asked of this worker.
    pub(super) async fn called(&self) {
        match self.crew.mate(self.index) {
            Some(mate) => mate.called.notified().await,
            None => std::future::pending().await,
        }
    }

    /// What was asked of this worker.
    pub(super) fn take_errands(&self) -> VecDeque<Errand> {
        let mate = self.crew.mate(self.index);
        mate.map(|mate| std::mem::take(&mut *mate.queue()))
            .unwrap_or_default()
    }

    /// What was asked of workers that do not move.
    pub(super) fn rescue(&self, now: Instant) -> VecDeque<Errand> {
        let mut rescued = VecDeque::new();
        for (index, mate) in self.crew.mates.iter().enumerate() {
            if index != self.index && self.crew.is_stuck(mate, now) {
                rescued.append(&mut mate.queue());
            }
        }
        rescued
    }
}

/// Counts an open connection for as long as it lives, on its way to another worker too.
#[derive(Debug)]
pub(super) struct Open {
    crew: Arc<Crew>,
    worker: usize,
    client: Option<IpAddr>,
}

impl Open {
    /// Counts one of this worker, whose client is not known yet.
    pub(super) fn new(crew: &Arc<Crew>, worker: usize) -> Self {
        if let Some(mate) = crew.mate(worker) {
            mate.open.0.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            crew: Arc::clone(crew),
            worker,
            client: None,
        }
    }

    /// Counts it as one of this client; `false` when the client has `limit` of them. Clients without an IP address cannot
    /// be told apart and have no limit.
    pub(super) fn is_of(&mut self, client: Option<IpAddr>, limit: Option<usize>) -> bool {
        let (Some(client), Some(_)) = (client, limit) else {
            return true;
        };
        let is_admitted = self.crew.admit_client(client, limit);
        self.client = is_admitted.then_some(client);
        is_admitted
    }

    /// Counts it for another worker from now on.
    pub(super) fn move_to(&mut self, worker: usize) {
        let places = (self.crew.mate(self.worker), self.crew.mate(worker));
        if let (Some(from), Some(to)) = places {
            from.open.0.fetch_sub(1, Ordering::Relaxed);
            to.open.0.fetch_add(1, Ordering::Relaxed);
            self.worker = worker;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mate) = self.crew.mate(self.worker) {
            mate.open.0.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(address) = self.client {
            self.crew.client_left(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use crate::net::ListenAddress;
    use std::os::unix::net::UnixStream;

    /// A crew of which everybody has just turned.
    fn crew(workers: usize) -> (Vec<Seat>, Instant) {
        let now = crate::clock::now();
        let seats = Crew::of(workers, now);
        seats.iter().for_each(|seat| seat.turn(now));
        (seats, now)
    }

    fn loads(seat: &Seat) -> Vec<usize> {
        let mates = seat.crew.mates.iter();
        mates.map(|mate| mate.open.0.load(Ordering::Relaxed)).collect()
    }

    /// The busiest worker's connections, relative to the mean.
    fn spread(seat: &Seat) -> f64 {
        let loads = loads(seat);
        let most = loads.iter().copied().max().unwrap_or(0) as f64;
        most * loads.len() as f64 / loads.iter().sum::<usize>() as f64
    }

    fn handed(seat: &Seat, worker: usize) -> Errand {
        let (stream, _) = UnixStream::pair().unwrap();
        Errand::Serve(Handed {
            peer: ClientAddress::Unix,
            settings: Arc::new(Settings {
                address: ListenAddress::Unix("socket".into()),
                proxy_protocol: false,
                http2: false,
                tls: None,
                redirect: None,
                half_close: crate::proxy::HalfClose::default(),
            }),
            stream: stream.into(),
            open: Open::new(&seat.crew, worker),
        })
    }

    /// Whoever accepts, be it always the same: connections that stay spread evenly, and go on doing so while others come
    /// and go.
    #[test]
    fn a_thousand_connections_spread_evenly_over_any_number_of_workers() {
        for workers in [2, 3, 16] {
            for favourite in [true, false] {
                let (seats, now) = crew(workers);
                let mut chance = Chance::seeded(7);
                let mut open = Vec::new();
                for step in 0..20_000 {
                    let who = if favourite {
                        0
                    } else {
                        chance.bits() as usize % workers
                    };
                    let target = seats[who].lightest(now);
                    open.push(Open::new(&seats[who].crew, target));
                    if step >= 1_000 {
                        open.swap_remove(chance.bits() as usize % open.len());
                        let spread = spread(&seats[0]);
                        assert!(spread <= 1.1, "{spread} of {workers} workers at step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn who_does_not_move_is_handed_nothing() {
        let (seats, now) = crew(2);
        let mine: Vec<_> = (0..10).map(|_| Open::new(&seats[0].crew, 0)).collect();
        assert_eq!(seats[0].lightest(now), 1);
        let later = now + STUCK_AFTER;
        assert_eq!(seats[0].lightest(later), 0, "it has not turned for too long");
        seats[1].turn(later);
        assert_eq!(seats[0].lightest(later), 1, "it moves again");
        drop(mine);
    }

    #[test]
    fn what_was_handed_to_a_worker_that_does_not_move_is_rescued_by_another() {
        let (seats, now) = crew(2);
        seats[0].ask(1, handed(&seats[0], 1)).unwrap();
        assert!(seats[0].rescue(now).is_empty(), "it has just turned");
        let mut rescued = seats[0].rescue(now + STUCK_AFTER);
        let Some(Errand::Serve(mut handed)) = rescued.pop_front() else {
            panic!("nothing was rescued");
        };
        assert!(seats[1].take_errands().is_empty(), "nobody serves it twice");
        handed.open.move_to(0);
        assert_eq!(loads(&seats[0]), [1, 0]);
        drop(handed);
        assert_eq!(loads(&seats[0]), [0, 0]);
    }

    #[test]
    fn what_is_handed_over_arrives_once() {
        let (seats, _) = crew(2);
        seats[0].ask(1, handed(&seats[0], 1)).unwrap();
        assert_eq!(seats[1].take_errands().len(), 1);
        assert!(seats[1].take_errands().is_empty());
        assert!(seats[0].take_errands().is_empty());
    }

    #[test]
    fn a_client_has_no_more_connections_than_its_limit() {
        let (seats, _) = crew(1);
        let client: Option<IpAddr> = "192.0.2.7".parse().ok();
        let mut open: Vec<_> = (0..3).map(|_| Open::new(&seats[0].crew, 0)).collect();
        assert!(open[0].is_of(client, Some(2)) && open[1].is_of(client, Some(2)));
        assert!(!open[2].is_of(client, Some(2)));
        assert!(
            open[2].is_of(None, Some(2)),
            "one without an address has no limit"
        );
        open.clear();
        let mut open = Open::new(&seats[0].crew, 0);
        assert!(
            open.is_of(client, Some(1)),
            "the others are gone, and the refused one never counted"
        );
    }
}
