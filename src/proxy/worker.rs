//! What the request path of one worker thread works with. Nothing here is shared with another thread but what the
//! snapshot holds.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel_balance::policy::Notes;

use super::Computations;
use super::snapshot::{SnapshotCell, SnapshotHandle};
use crate::buffer::Buffers;
use crate::clock::{self, Wheel};
use crate::coding::EncoderPool;
use crate::head::RequestHead;
use crate::message::HeadScan;
use crate::net::Relays;
use crate::pool::{IdleConnections, MultiplexedConnections};
use crate::rng::Rng;
use crate::tasks::LocalTasks;
use crate::telemetry::access_log::LogBuffer;
use crate::telemetry::metrics::WorkerCounters;

/// Request heads kept for reuse.
const HEADS_KEPT: usize = 256;
/// Notes of requests kept for reuse.
const NOTES_KEPT: usize = 256;
/// Log lines reach the sink within 100 ms: 80 here, the rest for the writer.
const TICKS_PER_FLUSH: u64 = 4;
/// Idle connections are looked through once a second, a part of them at every tick.
const TICKS_PER_SWEEP: u64 = 50;

/// One worker's context.
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// Timers.
    pub wheel: Rc<Wheel>,
    /// Read buffers.
    pub buffers: Buffers,
    /// Idle connections to backends.
    pub idle: IdleConnections,
    /// Connections to backends that requests share.
    pub multiplexed: Rc<MultiplexedConnections>,
    /// What moves their bytes.
    pub drivers: LocalTasks,
    /// The copies of requests that are on their way to a mirror.
    pub copies: LocalTasks,
    /// What moves the bytes of tunnels, once there was one.
    relays: OnceCell<Relays>,
    /// Counters, written by this worker only.
    pub counters: Arc<WorkerCounters>,
    /// Lines of the access log that were not handed over yet.
    pub log: RefCell<LogBuffer>,
    /// Encoders of compressed responses.
    pub encoders: EncoderPool,
    /// Threads for long computations, which all workers share.
    pub computations: Arc<Computations>,
    draining: Cell<Draining>,
    /// The listeners that were removed and have connections.
    removed_listeners: RefCell<Vec<usize>>,
    /// Those of them whose connections are being aborted.
    cut_listeners: RefCell<Vec<usize>>,
    shared: Arc<SnapshotCell>,
    local: RefCell<Rc<SnapshotHandle>>,
    /// Number of changes of the snapshot or of an eligible set that this worker has seen.
    changes: Cell<u64>,
    rng: RefCell<Rng>,
    wall: Cell<SystemTime>,
    date: RefCell<Vec<u8>>,
    ticks: Cell<u64>,
    #[allow(
        clippy::vec_box,
        reason = "a head goes from hand to hand with every request, which is cheaper for a box than for what is in it"
    )]
    heads: RefCell<Vec<Box<Incoming>>>,
    #[allow(clippy::vec_box, reason = "as heads: they go from hand to hand")]
    notes: RefCell<Vec<Box<Notes>>>,
}

/// Whose client connections are draining: they get a response with `Connection: close` to their next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draining {
    None,
    /// Those of removed listeners.
    Removed,
    /// All, because the process is to stop.
    All,
}

/// A request head and what reading it needs, reused from request to request.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The head.
    pub head: RequestHead,
    /// Finds its end.
    pub scan: HeadScan,
}

impl Worker {
    /// Makes the context of a worker.
    pub fn new(
        index: usize,
        shared: Arc<SnapshotCell>,
        counters: Arc<WorkerCounters>,
        log: LogBuffer,
        computations: Arc<Computations>,
    ) -> Rc<Self> {
        let local = RefCell::new(shared.load());
        let worker = Rc::new(Self {
            index,
            wheel: Wheel::new(clock::now()),
            buffers: Buffers::default(),
            idle: IdleConnections::default(),
            multiplexed: Rc::default(),
            drivers: LocalTasks::default(),
            copies: LocalTasks::default(),
            relays: OnceCell::new(),
            counters,
            log: RefCell::new(log),
            encoders: EncoderPool::default(),
            computations,
            draining: Cell::new(Draining::None),
            removed_listeners: RefCell::default(),
            cut_listeners: RefCell::default(),
            shared,
            local,
            changes: Cell::new(0),
            rng: RefCell::new(Rng::fresh()),
            wall: Cell::new(clock::wall()),
            date: RefCell::default(),
            ticks: Cell::new(0),
            heads: RefCell::default(),
            notes: RefCell::default(),
        });
        worker.write_date();
        worker
    }

    /// The active snapshot. Costs one acquire load a call while nothing has changed.
    pub fn local(&self) -> Rc<SnapshotHandle> {
        if self.local.borrow().is_stale(&self.shared) {
            *self.local.borrow_mut() = self.shared.load();
            self.changes.set(self.changes.get().wrapping_add(1));
            self.wheel.wake_listeners();
        }
        Rc::clone(&self.local.borrow())
    }

    /// Whether client connections of this listener are draining.
    #[inline]
    pub fn is_draining(&self, listener: usize) -> bool {
        match self.draining.get() {
            Draining::None => false,
            Draining::Removed => self.removed_listeners.borrow().contains(&listener),
            Draining::All => true,
        }
    }

    /// Drains all client connections, because the process is to stop.
    pub fn drain(&self) {
        self.draining.set(Draining::All);
    }

    /// Drains the connections of a listener that was removed.
    pub fn drain_listener(&self, listener: usize) {
        let mut removed = self.removed_listeners.borrow_mut();
        if !removed.contains(&listener) {
            removed.push(listener);
        }
        if self.draining.get() == Draining::None {
            self.draining.set(Draining::Removed);
        }
    }

    /// The connections of a removed listener are aborted now. Streams of HTTP/2 see their client gone then.
    pub fn cut_listener(&self, listener: usize) {
        self.cut_listeners.borrow_mut().push(listener);
    }

    /// Whether the connections of this listener are being aborted.
    pub(super) fn is_cut(&self, listener: usize) -> bool {
        self.cut_listeners.borrow().contains(&listener)
    }

    /// A removed listener has no connections any more.
    pub fn forget_listener(&self, listener: usize) {
        self.cut_listeners.borrow_mut().retain(|&known| known != listener);
        let mut removed = self.removed_listeners.borrow_mut();
        removed.retain(|&known| known != listener);
        if removed.is_empty() && self.draining.get() == Draining::Removed {
            self.draining.set(Draining::None);
        }
    }

    /// A number that differs once another snapshot or eligible set is active. Requests that wait for a backend are woken then.
    #[inline]
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// What moves the bytes of tunnels between plain sockets; `None` while the system is out of descriptors.
    pub(super) fn relays(&self) -> Option<&Relays> {
        if let Some(relays) = self.relays.get() {
            return Some(relays);
        }
        let relays = Relays::new(&self.wheel).ok()?;
        let run = relays.clone().run();
        // Fails only when the runtime ends.
        self.drivers.spawn(async move { drop(run.await) });
        Some(self.relays.get_or_init(|| relays))
    }

    /// Uniform bits, good enough to spread load and to name requests; not for secrets.
    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().bits()
    }

    /// What a worker does every [`clock::TICK`]: rings alarms, hands log lines over, closes idle connections that are old
    /// or of no use.
    pub fn tick(&self) {
        self.wheel.advance(clock::now());
        self.wall.set(clock::wall());
        let tick = self.ticks.get();
        self.ticks.set(tick.wrapping_add(1));
        if tick.is_multiple_of(TICKS_PER_FLUSH) {
            self.log.borrow_mut().flush();
            self.write_date();
        }
        // Also without requests: an old snapshot is let go of soon.
        let local = self.local();
        if tick.is_multiple_of(TICKS_PER_SWEEP) {
            self.idle.begin_sweep(TICKS_PER_SWEEP as usize);
            self.multiplexed
                .sweep(self.wheel.now(), |backend| local.kept(backend));
            self.counters.backend_connections_idle.set(self.idle.len() as u64);
        }
        self.idle.sweep(self.wheel.now(), |backend| local.member(backend));
    }

    /// Gives back what it holds for other workers, because it ends: idle connections to backends.
    pub fn give_back(&self) {
        let local = self.local();
        self.idle.share_all(|backend| local.member(backend));
        self.counters.backend_connections_idle.set(0);
    }

    /// The wall-clock time, at most about one tick old: for what expires, and for headers.
    #[inline]
    pub(super) fn wall(&self) -> SystemTime {
        self.wall.get()
    }

    /// The value of a `Date` field, at most a tenth of a second behind.
    pub(super) fn date(&self) -> Ref<'_, [u8]> {
        Ref::map(self.date.borrow(), Vec::as_slice)
    }

    fn write_date(&self) {
        let mut date = self.date.borrow_mut();
        date.clear();
        // Writing to a vector does not fail, and the current time has a year of four digits.
        if let Ok(now) = jiff::Timestamp::try_from(clock::wall()) {
            let _ = write!(date, "{}", now.strftime("%a, %d %b %Y %H:%M:%S GMT"));
        }
    }

    /// Lends an empty request head.
    pub fn lend_head(&self) -> Box<Incoming> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Lends empty notes.
    #[inline]
    pub(super) fn lend_notes(&self) -> Box<Notes> {
        self.notes.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes notes back, and drops what they hold.
    #[inline]
    pub(super) fn give_back_notes(&self, mut notes: Box<Notes>) {
        // Before the list is borrowed: dropping what they hold may do anything.
        notes.clear();
        let mut kept = self.notes.borrow_mut();
        if kept.len() < NOTES_KEPT {
            kept.push(notes);
        }
    }

    /// Takes a request head back.
    pub fn give_back_head(&self, mut incoming: Box<Incoming>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < HEADS_KEPT {
            incoming.head.clear();
            incoming.scan.clear();
            heads.push(incoming);
        }
    }
}
