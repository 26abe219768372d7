//! The state about client connections that workers share: how many each worker has, whether it makes progress, and the
//! commands that workers send to each other. A reload may add workers and let some leave. Time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Settings;
use crate::backend::{Padded, PerWorker};
use crate::clock::Instant;
use crate::net::ClientAddress;

/// Maximum number of commands queued for one worker; when its queue is full, the acceptor serves the connection itself.
const COMMANDS_BOUND: usize = 1024;
/// A worker without a tick for this long (five ticks) is stuck or starved: it receives no connections, and other workers run
/// its queued commands.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// A connection on its way to another worker.
#[derive(Debug)]
pub(super) struct HandedConnection {
    pub(super) stream: OwnedFd,
    pub(super) peer: ClientAddress,
    /// The settings of its listener.
    pub(super) settings: Arc<Settings>,
    pub(super) open: OpenConnection,
}

/// What one worker sends to another.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve this connection.
    Serve(HandedConnection),
    /// Close a connection that waits. If none does, ask the next worker, and up to `others` in all.
    MakeRoom { others: usize },
}

/// The state of one worker that the others see.
#[derive(Debug, Default)]
struct WorkerSlot {
    /// Its open connections, including those being handed to it.
    open: Padded<AtomicUsize>,
    /// Its last tick, in milliseconds since the set was created; 0 before its first tick.
    last_tick: Padded<AtomicU64>,
    /// Whether other workers hand connections to it.
    is_active: AtomicBool,
    commands: Mutex<CommandQueue>,
    notified: Notify,
}

/// The commands that wait for one worker.
#[derive(Debug, Default)]
struct CommandQueue {
    waiting: VecDeque<Command>,
    /// Whether the worker takes commands: it has begun and does not stop.
    is_open: bool,
}

/// All workers of the process.
#[derive(Debug)]
pub struct WorkerSet {
    created: Instant,
    slots: PerWorker<WorkerSlot>,
    /// Open connections of each client address; counted only if `limits.connections_per_client` is set.
    by_client: Mutex<HashMap<IpAddr, usize>>,
    /// When a worker last warned that there is no room for a connection, in milliseconds since the set was created, plus
    /// one; 0 for never.
    warned: AtomicU64,
}

/// One worker's access to the set.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    pub(super) worker_set: Arc<WorkerSet>,
    pub(super) index: usize,
}

impl WorkerSet {
    /// An empty set, which usually has this many workers.
    pub fn new(workers: usize, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            created: now,
            slots: PerWorker::new(workers),
            by_client: Mutex::default(),
            warned: AtomicU64::new(0),
        })
    }

    /// The access of the worker with this number, which no other has. It belongs to the set from [`WorkerHandle::join`] on.
    pub fn handle(self: &Arc<Self>, index: usize) -> WorkerHandle {
        WorkerHandle {
            worker_set: Arc::clone(self),
            index,
        }
    }

    /// Open connections of all workers.
    pub(super) fn open(&self) -> usize {
        self.slots
            .iter()
            .map(|slot| slot.open.0.load(Ordering::Relaxed))
            .sum()
    }

    /// Whether a warning about missing room is due: the last one is at least `interval` old. True for only one of the workers.
    pub(super) fn is_warning_due(&self, now: Instant, interval: Duration) -> bool {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mark = millis(now.saturating_duration_since(self.created)).saturating_add(1);
        let last = self.warned.load(Ordering::Relaxed);
        (last == 0 || mark.saturating_sub(last) >= millis(interval))
            && self
                .warned
                .compare_exchange(last, mark, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The workers that connections are handed to, with their numbers.
    fn active(&self) -> impl Iterator<Item = (usize, &WorkerSlot)> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.is_active.load(Ordering::Relaxed))
    }

    fn is_stuck(&self, slot: &WorkerSlot, now: Instant) -> bool {
        let last_tick = self.created + Duration::from_millis(slot.last_tick.0.load(Ordering::Relaxed));
        now.saturating_duration_since(last_tick) >= STUCK_AFTER
    }

    /// Counts a connection of this client, unless it has `limit` connections already.
    fn admit_client(&self, address: IpAddr, limit: Option<usize>) -> bool {
        let Some(limit) = limit else { return true };
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_client.entry(address.to_canonical()).or_default();
        let is_admitted = *count < limit;
        *count += usize::from(is_admitted);
        is_admitted
    }

    fn release_client(&self, address: IpAddr) {
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_client.get_mut(&address.to_canonical()) {
            *count -= 1;
            if *count == 0 {
                by_client.remove(&address.to_canonical());
            }
        }
    }
}

impl WorkerSlot {
    fn queue(&self) -> std::sync::MutexGuard<'_, CommandQueue> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerHandle {
    fn slot(&self) -> &WorkerSlot {
        self.worker_set.slots.of(self.index)
    }

    /// From now on other workers hand connections to this one. It serves them once it runs.
    pub fn join(&self, now: Instant) {
        self.record_tick(now);
        self.slot().queue().is_open = true;
        self.slot().is_active.store(true, Ordering::Relaxed);
    }

    /// Whether the worker has made progress in the last `period`.
    pub fn has_progressed(&self, now: Instant, period: Duration) -> bool {
        let created = self.worker_set.created;
        let last = self.slot().last_tick.0.load(Ordering::Relaxed);
        now.saturating_duration_since(created + Duration::from_millis(last)) < period
    }

    /// Records that this worker makes progress. Called at every tick.
    pub(super) fn record_tick(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.worker_set.created).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.slot().last_tick.0.store(elapsed, Ordering::Relaxed);
    }

    /// The worker for the next connection: the one with the fewest connections, or this one if it has only slightly more,
    /// because a hand-over has a cost.
    pub(super) fn least_loaded(&self, now: Instant) -> usize {
        let load = |slot: &WorkerSlot| slot.open.0.load(Ordering::Relaxed);
        let mine = load(self.slot());
        self.worker_set
            .active()
            .filter(|(index, slot)| *index != self.index && !self.worker_set.is_stuck(slot, now))
            .map(|(index, slot)| (load(slot), index))
            .min()
            .filter(|(load, _)| load + mine / 32 + 1 < mine)
            .map_or(self.index, |(_, index)| index)
    }

    /// The number of other workers.
    pub(super) fn others(&self) -> usize {
        let active = self.worker_set.active();
        active.filter(|(index, _)| *index != self.index).count()
    }

    /// The worker after this one; after the last comes the first.
    pub(super) fn next(&self) -> usize {
        let active = || self.worker_set.active().map(|(index, _)| index);
        let after = active().find(|index| *index > self.index);
        after.or_else(|| active().next()).unwrap_or(self.index)
    }

    /// Sends a command to a worker; returns it if that worker's queue is full or closed.
    pub(super) fn send(&self, worker: usize, command: Command) -> Result<(), Command> {
        let slot = self.worker_set.slots.of(worker);
        let mut queue = slot.queue();
        if !queue.is_open || queue.waiting.len() >= COMMANDS_BOUND {
            return Err(command);
        }
        queue.waiting.push_back(command);
        drop(queue);
        slot.notified.notify_one();
        Ok(())
    }

    /// Waits until a command has been sent to this worker.
    pub(super) async fn notified(&self) {
        self.slot().notified.notified().await;
    }

    /// Takes the commands sent to this worker.
    pub(super) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.slot().queue().waiting)
    }

    /// Leaves the set: closes this worker's queue and takes what is in it. A connection that was sent to a worker that has ended would
    /// be lost.
    pub(super) fn leave(&self) -> VecDeque<Command> {
        let slot = self.slot();
        let mut queue = slot.queue();
        slot.is_active.store(false, Ordering::Relaxed);
        queue.is_open = false;
        std::mem::take(&mut queue.waiting)
    }

    /// Takes the commands of workers that are stuck.
    pub(super) fn steal(&self, now: Instant) -> VecDeque<Command> {
        let mut stolen = VecDeque::new();
        for (index, slot) in self.worker_set.active() {
            if index != self.index && self.worker_set.is_stuck(slot, now) {
                stolen.append(&mut slot.queue().waiting);
            }
        }
        stolen
    }
}

/// Counts an open connection until it is dropped, also while it is handed to another worker.
#[derive(Debug)]
pub(super) struct OpenConnection {
    worker_set: Arc<WorkerSet>,
    worker: usize,
    client: Option<IpAddr>,
}

impl OpenConnection {
    /// Counts a connection for this worker; its client is not known yet.
    pub(super) fn new(worker_set: &Arc<WorkerSet>, worker: usize) -> Self {
        worker_set.slots.of(worker).open.0.fetch_add(1, Ordering::Relaxed);
        Self {
            worker_set: Arc::clone(worker_set),
            worker,
            client: None,
        }
    }

    /// Counts it for this client; `false` if the client has `limit` connections already. Clients without an IP address cannot be
    /// distinguished and have no limit.
    pub(super) fn set_client(&mut self, client: Option<IpAddr>, limit: Option<usize>) -> bool {
        let (Some(client), Some(_)) = (client, limit) else {
            return true;
        };
        let is_admitted = self.worker_set.admit_client(client, limit);
        self.client = is_admitted.then_some(client);
        is_admitted
    }

    /// From now on counts it for another worker.
    pub(super) fn move_to(&mut self, worker: usize) {
        let slots = &self.worker_set.slots;
        slots.of(self.worker).open.0.fetch_sub(1, Ordering::Relaxed);
        slots.of(worker).open.0.fetch_add(1, Ordering::Relaxed);
        self.worker = worker;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let slot = self.worker_set.slots.of(self.worker);
        slot.open.0.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.client {
            self.worker_set.release_client(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ListenAddress;
    use crate::rng::Rng;
    use std::os::unix::net::UnixStream;

    #[test]
    fn one_of_several_workers_warns_and_not_again_for_a_while() {
        let (workers, start) = worker_set(2);
        let interval = Duration::from_secs(1);
        let due = |worker: usize, millis| {
            let now = start + Duration::from_millis(millis);
            workers[worker].worker_set.is_warning_due(now, interval)
        };
        assert!(due(0, 5));
        assert!(!due(1, 5) && !due(0, 1_004));
        assert!(due(1, 1_005));
        assert!(!due(0, 1_005));
    }

    /// A set whose workers have all just ticked.
    fn worker_set(workers: usize) -> (Vec<WorkerHandle>, Instant) {
        let now = crate::clock::now();
        let worker_set = WorkerSet::new(workers, now);
        let handles: Vec<_> = (0..workers).map(|index| worker_set.handle(index)).collect();
        handles.iter().for_each(|handle| handle.join(now));
        (handles, now)
    }

    fn loads(handle: &WorkerHandle) -> Vec<usize> {
        let slots = handle.worker_set.slots.iter();
        slots.map(|slot| slot.open.0.load(Ordering::Relaxed)).collect()
    }

    /// The busiest worker's connections, relative to the mean.
    fn spread(handle: &WorkerHandle) -> f64 {
        let loads = loads(handle);
        let most = loads.iter().copied().max().unwrap_or(0) as f64;
        most * loads.len() as f64 / loads.iter().sum::<usize>() as f64
    }

    fn handed(handle: &WorkerHandle, worker: usize) -> Command {
        let (stream, _) = UnixStream::pair().unwrap();
        Command::Serve(HandedConnection {
            peer: ClientAddress::Unix,
            settings: Arc::new(Settings {
                id: 0,
                address: ListenAddress::Unix("socket".into()),
                proxy_protocol: false,
                http2: false,
                tls: None,
                redirect: None,
                half_close: crate::proxy::HalfClose::default(),
            }),
            stream: stream.into(),
            open: OpenConnection::new(&handle.worker_set, worker),
        })
    }

    /// Whether always the same worker accepts or a random one: the connections are spread evenly, and stay so while others open
    /// and close.
    #[test]
    fn a_thousand_connections_spread_evenly_over_any_number_of_workers() {
        for workers in [2, 3, 16] {
            for is_always_first in [true, false] {
                let (handles, now) = worker_set(workers);
                let mut rng = Rng::seeded(7);
                let mut open = Vec::new();
                for step in 0..20_000 {
                    let target = if is_always_first {
                        0
                    } else {
                        rng.bits() as usize % workers
                    };
                    let target = handles[target].least_loaded(now);
                    open.push(OpenConnection::new(&handles[target].worker_set, target));
                    if step >= 1_000 {
                        open.swap_remove(rng.bits() as usize % open.len());
                        let spread = spread(&handles[0]);
                        assert!(spread <= 1.1, "{spread} of {workers} workers at step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_stuck_worker_receives_no_connections() {
        let (handles, now) = worker_set(2);
        let mine: Vec<_> = (0..10)
            .map(|_| OpenConnection::new(&handles[0].worker_set, 0))
            .collect();
        assert_eq!(handles[0].least_loaded(now), 1);
        let later = now + STUCK_AFTER;
        assert_eq!(handles[0].least_loaded(later), 0, "its last tick is too long ago");
        handles[1].record_tick(later);
        assert_eq!(handles[0].least_loaded(later), 1, "it ticks again");
        drop(mine);
    }

    #[test]
    fn another_worker_steals_the_commands_of_a_stuck_worker() {
        let (handles, now) = worker_set(2);
        handles[0].send(1, handed(&handles[0], 1)).unwrap();
        assert!(handles[0].steal(now).is_empty(), "it has just ticked");
        let mut stolen = handles[0].steal(now + STUCK_AFTER);
        let Some(Command::Serve(mut handed)) = stolen.pop_front() else {
            panic!("nothing was stolen");
        };
        assert!(handles[1].take_commands().is_empty(), "it is not served twice");
        handed.open.move_to(0);
        assert_eq!(loads(&handles[0]), [1, 0]);
        drop(handed);
        assert_eq!(loads(&handles[0]), [0, 0]);
    }

    #[test]
    fn a_worker_that_stops_gives_back_what_it_is_sent() {
        let (handles, _) = worker_set(2);
        handles[0].send(1, handed(&handles[0], 1)).unwrap();
        assert_eq!(handles[1].leave().len(), 1);
        assert!(handles[0].send(1, handed(&handles[0], 1)).is_err());
        assert!(handles[1].take_commands().is_empty());
    }

    #[test]
    fn workers_join_and_leave() {
        let (handles, now) = worker_set(2);
        let mine: Vec<_> = (0..10)
            .map(|_| OpenConnection::new(&handles[0].worker_set, 0))
            .collect();
        let _its = OpenConnection::new(&handles[0].worker_set, 1);
        let later = handles[0].worker_set.handle(4);
        assert_eq!((handles[0].least_loaded(now), handles[0].others()), (1, 1));
        assert!(
            handles[0].send(4, handed(&later, 4)).is_err(),
            "it has not joined"
        );
        later.join(now);
        assert_eq!((handles[0].least_loaded(now), handles[0].others()), (4, 2));
        assert_eq!((handles[1].next(), later.next()), (4, 0), "in a circle");
        handles[0].send(4, handed(&later, 4)).unwrap();
        assert_eq!(later.leave().len(), 1);
        assert_eq!((handles[0].least_loaded(now), handles[1].next()), (1, 0));
        handles[1].leave();
        assert_eq!((handles[0].least_loaded(now), handles[0].others()), (0, 0));
        assert_eq!((handles[0].next(), handles[1].next()), (0, 0));
        assert_eq!(
            handles[0].worker_set.open(),
            11,
            "those of workers that have left count"
        );
        later.join(now);
        assert_eq!(handles[0].least_loaded(now), 4, "its number is used again");
        drop(mine);
    }

    #[test]
    fn a_handed_over_connection_arrives_once() {
        let (handles, _) = worker_set(2);
        handles[0].send(1, handed(&handles[0], 1)).unwrap();
        assert_eq!(handles[1].take_commands().len(), 1);
        assert!(handles[1].take_commands().is_empty());
        assert!(handles[0].take_commands().is_empty());
    }

    #[test]
    fn a_client_has_no_more_connections_than_its_limit() {
        let (handles, _) = worker_set(1);
        let client: Option<IpAddr> = "192.0.2.7".parse().ok();
        let mut open: Vec<_> = (0..3)
            .map(|_| OpenConnection::new(&handles[0].worker_set, 0))
            .collect();
        assert!(open[0].set_client(client, Some(2)) && open[1].set_client(client, Some(2)));
        assert!(!open[2].set_client(client, Some(2)));
        assert!(
            open[2].set_client(None, Some(2)),
            "a client without an address has no limit"
        );
        open.clear();
        let mut open = OpenConnection::new(&handles[0].worker_set, 0);
        assert!(
            open.set_client(client, Some(1)),
            "the others are closed, and the rejected one was never counted"
        );
    }
}
