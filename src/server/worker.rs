//! One worker: a thread with its own runtime that accepts client connections and serves them.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ticks::Ticks;
use crate::clock::{self, Instant};
use crate::listener::{Acceptor, ListenerList, WorkerHandle};
use crate::proxy::{Computations, SnapshotCell, Worker};
use crate::telemetry::access_log::LogBuffer;
use crate::telemetry::metrics::WorkerCounters;

/// Number of task polls before `epoll_wait` is called again: fewer calls under load, with a bounded delay.
const EVENT_INTERVAL: u32 = 61;

/// How far the life of a worker is, as the control plane tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Accept nothing yet: the reload that has started it may fail.
    Prepared,
    /// Accept connections and serve them.
    Serving,
    /// A reload has lowered the number of workers: accept no new connections, which others do from the same sockets, and let running
    /// requests finish for `timeouts.drain`.
    Surplus,
    /// The process ends: accept no new connections, and let running requests finish until [`Self::Ending`]. Only the process bounds
    /// that.
    Draining {
        /// Whether another process accepts from the same sockets. If not, they are closed.
        is_replaced: bool,
    },
    /// End immediately.
    Ending,
}

impl Stage {
    /// Whether others accept from the same sockets, so that the worker that accepts no more leaves no connection in a queue.
    fn leaves_sockets_to_others(self) -> bool {
        matches!(self, Self::Surplus | Self::Draining { is_replaced: true })
    }
}

/// What a worker needs to start.
pub(super) struct Start {
    pub(super) handle: WorkerHandle,
    pub(super) index: usize,
    pub(super) listeners: watch::Receiver<Arc<ListenerList>>,
    pub(super) shared: Arc<SnapshotCell>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) log: LogBuffer,
    /// New buffers, once a reload has changed the access log.
    pub(super) logs: watch::Receiver<LogBuffers>,
    pub(super) computations: Arc<Computations>,
}

/// A new buffer of the access log for each worker, by its number. The worker takes it.
pub(super) type LogBuffers = Arc<Mutex<BTreeMap<usize, LogBuffer>>>;

/// A running worker.
#[derive(Debug)]
pub(super) struct WorkerThread {
    pub(super) index: usize,
    thread: JoinHandle<()>,
    /// How far it is to go. When this is dropped before it serves, it ends.
    stage: watch::Sender<Stage>,
    /// The generation of the list of listeners that it has applied; closed when it has ended.
    applied: watch::Receiver<u64>,
    handle: WorkerHandle,
}

impl WorkerThread {
    /// Starts a thread, which accepts nothing before it is told to serve. The receiver gets whether it can.
    pub(super) fn spawn(start: Start) -> io::Result<(Self, Receiver<io::Result<()>>)> {
        let (applied, has_applied) = watch::channel(0);
        let (stage, its_stage) = watch::channel(Stage::Prepared);
        let (ready, is_ready) = sync_channel(1);
        let (index, handle) = (start.index, start.handle.clone());
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || run(start, its_stage, ready, &applied))?;
        let thread = Self {
            index,
            thread,
            stage,
            applied: has_applied,
            handle,
        };
        Ok((thread, is_ready))
    }

    /// From now on other workers hand connections to it.
    pub(super) fn join_others(&self) {
        self.handle.join(clock::now());
    }

    /// Tells it how far to go.
    pub(super) fn advance(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Whether it has done something in the last `period`.
    pub(super) fn has_progressed(&self, now: Instant, period: Duration) -> bool {
        self.handle.has_progressed(now, period)
    }

    /// Waits until the thread ends.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("A worker thread panicked");
        }
    }

    /// Completes when it has ended.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut applied = self.applied.clone();
        async move { while applied.changed().await.is_ok() {} }
    }

    /// Completes when it has applied this generation of the list of listeners, or has ended.
    pub(super) async fn has_applied(&self, generation: u64) {
        let mut applied = self.applied.clone();
        let _ = applied.wait_for(|&applied| applied >= generation).await;
    }
}

/// Runs a worker to its end. Tells `ready` whether it can serve.
fn run(
    start: Start,
    stage: watch::Receiver<Stage>,
    ready: SyncSender<io::Result<()>>,
    applied: &watch::Sender<u64>,
) {
    // Without the timers of the runtime, which cost every request: see `ticks`.
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .event_interval(EVENT_INTERVAL)
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let Some(worker) = runtime.block_on(work(start, stage, ready, applied)) else {
        return;
    };
    worker.give_back();
    // Aborts the requests that still run; each writes its line to the access log.
    drop(runtime);
    worker.log.borrow_mut().flush();
    worker.counters.ends_here();
}

/// Serves until the drain is over. Requests that have not ended by then still run when it returns. `None` if it has not served.
async fn work(
    start: Start,
    mut stage: watch::Receiver<Stage>,
    ready: SyncSender<io::Result<()>>,
    applied: &watch::Sender<u64>,
) -> Option<Rc<Worker>> {
    let worker = Worker::new(
        start.index,
        start.shared,
        start.counters,
        start.log,
        start.computations,
    );
    let started = Acceptor::start(&worker, start.handle).and_then(|acceptor| Ok((acceptor, Ticks::begin()?)));
    let (acceptor, ticks) = match started {
        Ok(started) => started,
        Err(error) => {
            let _ = ready.send(Err(error));
            return None;
        }
    };
    let _ = ready.send(Ok(()));
    // An error: the reload that has started it has failed.
    let begun = stage.wait_for(|stage| *stage != Stage::Prepared).await;
    begun.ok()?;
    worker.counters.runs_here();
    let mut background = JoinSet::new();
    background.spawn_local(tick(Rc::clone(&worker), Rc::clone(&acceptor), ticks));
    let commands = Rc::clone(&acceptor);
    background.spawn_local(async move { commands.run_commands().await });
    let (mut listeners, mut logs) = (start.listeners, start.logs);
    if logs.has_changed().unwrap_or(false) {
        replace_log(&worker, &logs.borrow_and_update());
    }
    loop {
        let list = Arc::clone(&listeners.borrow_and_update());
        acceptor.apply(&list).await;
        applied.send_replace(list.generation);
        tokio::select! {
            _ = stage.wait_for(|stage| *stage != Stage::Serving) => break,
            Ok(()) = listeners.changed() => {}
            Ok(()) = logs.changed() => replace_log(&worker, &logs.borrow_and_update()),
        }
    }
    // An error: the control plane has gone without a word.
    let first = *stage.borrow();
    drain((&worker, &acceptor), first, stage).await;
    Some(worker)
}

/// Accepts nothing more, and waits for the end of the connections that are open. `first` is the stage that has ended
/// [`Stage::Serving`].
async fn drain(
    (worker, acceptor): (&Rc<Worker>, &Rc<Acceptor>),
    first: Stage,
    mut stage: watch::Receiver<Stage>,
) {
    worker.drain();
    acceptor.drain();
    // A reload may have changed `timeouts.drain`.
    let limit = worker.local().snapshot.timeouts.drain;
    let ending = async {
        match first.leaves_sockets_to_others() {
            true => acceptor.leave().await,
            false => acceptor.stop().await,
        }
        // Connections that were accepted meanwhile.
        acceptor.drain();
        acceptor.join().await;
    };
    let bound = async {
        let is_over = tokio::select! {
            () = clock::sleep(limit), if first == Stage::Surplus => true,
            _ = stage.wait_for(|stage| *stage != first || first == Stage::Ending) => false,
        };
        if is_over {
            let connections = acceptor.running();
            tracing::warn!(
                worker = worker.index,
                connections,
                "Connections of a worker that ends are still open after timeouts.drain; aborting them"
            );
        } else {
            // From now on the process bounds the drain.
            let _ = stage.wait_for(|stage| *stage == Stage::Ending).await;
        }
    };
    tokio::select! {
        () = ending => {}
        () = bound => {}
    }
}

/// Writes to the new access log from now on. The lines of the old buffer go where they would have gone.
fn replace_log(worker: &Worker, buffers: &LogBuffers) {
    let mut buffers = buffers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(buffer) = buffers.remove(&worker.index) {
        worker.log.replace(buffer);
    }
}

async fn tick(worker: Rc<Worker>, acceptor: Rc<Acceptor>, mut ticks: Ticks) {
    loop {
        ticks.next().await;
        worker.tick();
        acceptor.tick();
    }
}
