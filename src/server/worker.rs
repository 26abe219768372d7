//! One worker: a thread with its own runtime that accepts client connections and serves them.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Stop;
use crate::clock::{self, Instant};
use crate::listener::{Acceptor, ListenerList, WorkerHandle};
use crate::proxy::{Computations, SnapshotCell, Worker};
use crate::telemetry::access_log::LogBuffer;
use crate::telemetry::metrics::WorkerCounters;

/// Number of task polls before `epoll_wait` is called again: fewer calls under load, with a bounded delay.
const EVENT_INTERVAL: u32 = 61;

/// What a worker needs to start.
pub(super) struct Start {
    pub(super) index: usize,
    pub(super) handle: WorkerHandle,
    pub(super) listeners: watch::Receiver<Arc<ListenerList>>,
    pub(super) shared: Arc<SnapshotCell>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) log: LogBuffer,
    /// New buffers, once a reload has changed the access log.
    pub(super) logs: watch::Receiver<LogBuffers>,
    pub(super) computations: Arc<Computations>,
    pub(super) stopped: watch::Receiver<Stop>,
}

/// A new buffer of the access log for each worker, which takes it.
pub(super) type LogBuffers = Arc<[Mutex<Option<LogBuffer>>]>;

/// A running worker.
#[derive(Debug)]
pub(super) struct WorkerThread {
    thread: JoinHandle<()>,
    /// The generation of the list of listeners that it has applied; closed when it has ended.
    applied: watch::Receiver<u64>,
    handle: WorkerHandle,
}

impl WorkerThread {
    pub(super) fn spawn(start: Start) -> io::Result<Self> {
        let (sender, applied) = watch::channel(0);
        let handle = start.handle.clone();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{}", start.index))
            .spawn(move || {
                let worker = start.index;
                if let Err(error) = run(start, &sender) {
                    tracing::error!(worker, %error, "Could not start a worker");
                }
            })?;
        Ok(Self {
            thread,
            applied,
            handle,
        })
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
}

/// Completes when all workers have ended.
pub(super) async fn all_ended(workers: &[WorkerThread]) {
    for worker in workers {
        let mut applied = worker.applied.clone();
        while applied.changed().await.is_ok() {}
    }
}

/// Completes when all workers have applied this generation of the list of listeners, or have ended.
pub(super) async fn all_applied(workers: &[WorkerThread], generation: u64) {
    for worker in workers {
        let mut applied = worker.applied.clone();
        let _ = applied.wait_for(|&applied| applied >= generation).await;
    }
}

fn run(start: Start, applied: &watch::Sender<u64>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(tokio::runtime::LocalOptions::default())?;
    let worker = runtime.block_on(work(start, applied))?;
    // Aborts the requests that still run; each writes its line to the access log.
    drop(runtime);
    worker.log.borrow_mut().flush();
    Ok(())
}

/// Serves until the drain is over. Requests that have not ended by then still run when it returns.
async fn work(start: Start, applied: &watch::Sender<u64>) -> io::Result<Rc<Worker>> {
    let mut stopped = start.stopped;
    let worker = Worker::new(
        start.index,
        start.shared,
        start.counters,
        start.log,
        start.computations,
    );
    let acceptor = Acceptor::start(&worker, start.handle)?;
    let mut background = JoinSet::new();
    background.spawn_local(tick(Rc::clone(&worker), Rc::clone(&acceptor)));
    let commands = Rc::clone(&acceptor);
    background.spawn_local(async move { commands.run_commands().await });
    let (mut listeners, mut logs) = (start.listeners, start.logs);
    loop {
        let list = Arc::clone(&listeners.borrow_and_update());
        acceptor.apply(&list).await;
        applied.send_replace(list.generation);
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop != Stop::No) => break,
            Ok(()) = listeners.changed() => {}
            Ok(()) = logs.changed() => replace_log(&worker, &logs.borrow_and_update()),
        }
    }
    worker.drain();
    // A reload may have changed `timeouts.drain`.
    let drain = worker.local().snapshot.timeouts.drain;
    acceptor.stop().await;
    acceptor.drain();
    tokio::select! {
        () = acceptor.join() => {}
        _ = stopped.wait_for(|stop| *stop == Stop::Now) => {}
        () = tokio::time::sleep(drain) => {}
    }
    Ok(worker)
}

/// Writes to the new access log from now on. The lines of the old buffer go where they would have gone.
fn replace_log(worker: &Worker, buffers: &LogBuffers) {
    let buffer = buffers.get(worker.index);
    let buffer = buffer.and_then(|buffer| buffer.lock().unwrap_or_else(PoisonError::into_inner).take());
    if let Some(buffer) = buffer {
        worker.log.replace(buffer);
    }
}

async fn tick(worker: Rc<Worker>, acceptor: Rc<Acceptor>) {
    let mut interval = tokio::time::interval(clock::TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        worker.tick();
        acceptor.tick();
    }
}
