//! One worker: a thread with its own runtime that accepts client connections and serves them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Stop;
use crate::clock;
use crate::listener::{self, Acceptor, WorkerHandle};
use crate::net::StdListener;
use crate::proxy::{Computations, SnapshotCell, Worker};
use crate::tasks::LocalTasks;
use crate::telemetry::access_log::LogBuffer;
use crate::telemetry::metrics::WorkerCounters;

/// Number of task polls before `epoll_wait` is called again: fewer calls under load, with a bounded delay.
const EVENT_INTERVAL: u32 = 61;

/// What a worker needs to start.
pub(super) struct Start {
    pub(super) index: usize,
    pub(super) handle: WorkerHandle,
    pub(super) sockets: Vec<(StdListener, Arc<listener::Settings>)>,
    pub(super) shared: Arc<SnapshotCell>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) log: LogBuffer,
    pub(super) computations: Arc<Computations>,
    pub(super) stopped: watch::Receiver<Stop>,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct WorkerThread {
    thread: JoinHandle<()>,
    ended: watch::Receiver<()>,
    handle: WorkerHandle,
}

impl WorkerThread {
    pub(super) fn spawn(start: Start) -> io::Result<Self> {
        let (ending, ended) = watch::channel(());
        let handle = start.handle.clone();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{}", start.index))
            .spawn(move || {
                let _ending = ending;
                let worker = start.index;
                if let Err(error) = run(start) {
                    tracing::error!(worker, %error, "Could not start a worker");
                }
            })?;
        Ok(Self {
            thread,
            ended,
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
        let mut ended = worker.ended.clone();
        // The sender never sends: it is dropped when the worker ends.
        while ended.changed().await.is_ok() {}
    }
}

fn run(start: Start) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(tokio::runtime::LocalOptions::default())?;
    let worker = runtime.block_on(work(start))?;
    // Aborts the requests that still run; each writes its line to the access log.
    drop(runtime);
    worker.log.borrow_mut().flush();
    Ok(())
}

/// Serves until the drain is over. Requests that have not ended by then still run when it returns.
async fn work(start: Start) -> io::Result<Rc<Worker>> {
    let mut stopped = start.stopped;
    let worker = Worker::new(
        start.index,
        start.shared,
        start.counters,
        start.log,
        start.computations,
    );
    let connections = LocalTasks::default();
    let mut accepting = JoinSet::new();
    let acceptor = Acceptor::start(&worker, start.handle, start.sockets, &mut accepting, &connections)?;
    let mut background = JoinSet::new();
    background.spawn_local(tick(Rc::clone(&worker), Rc::clone(&acceptor)));
    let commands = Rc::clone(&acceptor);
    background.spawn_local(async move { commands.run_commands().await });
    let _ = stopped.wait_for(|stop| *stop != Stop::No).await;
    worker.is_draining.set(true);
    // A reload may have changed `timeouts.drain`.
    let drain = worker.local().snapshot.timeouts.drain;
    accepting.shutdown().await;
    acceptor.accept_queued_connections();
    acceptor.drain();
    tokio::select! {
        () = connections.join() => {}
        _ = stopped.wait_for(|stop| *stop == Stop::Now) => {}
        () = tokio::time::sleep(drain) => {}
    }
    Ok(worker)
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
