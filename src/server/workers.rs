//! The worker threads, as many as the config wants. A reload starts more of them, or lets the last ones end; the others are not touched.
//!
//! Each worker has a number, which no other has while it lives. What is counted by worker goes on when its number is used again.

use std::collections::BTreeSet;
use std::future::{Future as _, poll_fn};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use super::StartError;
use super::view::AppState;
use super::worker::{LogBuffers, Stage, Start, WorkerThread};
use crate::clock::{self, Instant};
use crate::listener::{ListenerList, WorkerSet};
use crate::proxy::Computations;
use crate::telemetry::Logs;

/// Maximum number of workers, with those that a reload has told to end and that still have connections: twice as many as a config may
/// have.
const MOST_WORKERS: usize = 2048;

/// How long workers that are busy are waited for, to accept on new listeners and to close removed ones: for as long as new connections
/// may come on these, and a little more.
const APPLY_LIMIT: Duration = Duration::from_secs(2);

/// The worker threads.
pub(super) struct Workers {
    serving: Vec<WorkerThread>,
    /// Those that a reload has told to end, until they have.
    leaving: Vec<WorkerThread>,
    shared: WorkerState,
    /// New buffers of the access log.
    access_logs: watch::Sender<LogBuffers>,
}

/// What workers share.
struct WorkerState {
    set: Arc<WorkerSet>,
    listeners: watch::Receiver<Arc<ListenerList>>,
    state: Arc<AppState>,
    computations: Arc<Computations>,
}

/// How the number of workers is to change.
#[derive(Debug, Default)]
pub(super) struct PreparedWorkers {
    /// How many there are to be.
    wanted: usize,
    /// Those that were started for it. They end when this is dropped.
    added: Vec<WorkerThread>,
}

impl PreparedWorkers {
    /// The numbers of the workers that were started.
    pub(super) fn added(&self) -> Vec<usize> {
        self.added.iter().map(|worker| worker.index).collect()
    }
}

impl Workers {
    /// Without any worker. The number of them is an expectation.
    pub(super) fn new(
        state: &Arc<AppState>,
        listeners: watch::Receiver<Arc<ListenerList>>,
        count: usize,
    ) -> Self {
        Self {
            serving: Vec::new(),
            leaving: Vec::new(),
            shared: WorkerState {
                set: WorkerSet::new(count, clock::now()),
                listeners,
                state: Arc::clone(state),
                computations: Arc::default(),
            },
            access_logs: watch::Sender::default(),
        }
    }

    /// Starts the workers that are missing, and waits until each can serve, which takes a few milliseconds. They accept nothing before
    /// [`Self::serve`].
    ///
    /// # Errors
    /// The system has no room for another thread or its descriptors, or too many workers have not ended yet.
    pub(super) fn prepare(&self, wanted: usize) -> Result<PreparedWorkers, StartError> {
        let failed = || StartError::system("start a worker thread");
        let missing = wanted.saturating_sub(self.serving.len());
        let numbers: Vec<usize> = self.free().take(missing).collect();
        if numbers.len() < missing {
            return Err(failed()(io::Error::other(
                "too many workers of earlier configs have not ended yet; reload again when their connections have ended",
            )));
        }
        let mut prepared = PreparedWorkers {
            wanted,
            added: Vec::new(),
        };
        let mut starting = Vec::new();
        for index in numbers {
            let spawned = self
                .shared
                .start(index, &self.access_logs)
                .and_then(WorkerThread::spawn);
            let (worker, ready) = spawned.map_err(failed())?;
            prepared.added.push(worker);
            starting.push(ready);
        }
        for ready in starting {
            let is_ready = ready
                .recv()
                .unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()));
            is_ready.map_err(failed())?;
        }
        Ok(prepared)
    }

    /// Numbers that no worker has.
    fn free(&self) -> impl Iterator<Item = usize> {
        let used: BTreeSet<usize> = self.all().map(|worker| worker.index).collect();
        (0..MOST_WORKERS).filter(move |index| !used.contains(index))
    }

    /// Lets the workers that were started serve, and the last ones end if there are too many.
    pub(super) fn serve(&mut self, prepared: PreparedWorkers) {
        let before = self.serving.len();
        // Before any of them accepts, so that the first connections spread over all.
        prepared.added.iter().for_each(WorkerThread::join_others);
        for worker in prepared.added {
            worker.advance(Stage::Serving);
            self.serving.push(worker);
        }
        let surplus = self.serving.split_off(prepared.wanted.min(self.serving.len()));
        for worker in surplus {
            worker.advance(Stage::Surplus);
            self.leaving.push(worker);
        }
        let now = self.serving.len();
        self.shared.state.counters.set_serving(now);
        if before != 0 && before != now {
            tracing::info!(workers = now, before, "Number of workers changed");
        }
    }

    /// The numbers of those that serve once this is in use, in their order.
    pub(super) fn numbers_with(&self, prepared: &PreparedWorkers) -> Vec<usize> {
        let all = self.serving.iter().chain(&prepared.added);
        all.map(|worker| worker.index).take(prepared.wanted).collect()
    }

    /// Gives each worker that goes on a buffer for the new access log.
    pub(super) fn replace_access_log(&self, logs: &Logs, prepared: &PreparedWorkers) {
        let workers = self.serving.iter().chain(&prepared.added);
        let buffers = workers.map(|worker| (worker.index, logs.buffer())).collect();
        self.access_logs.send_replace(Arc::new(Mutex::new(buffers)));
    }

    /// Tells all how far to go.
    pub(super) fn advance(&self, stage: Stage) {
        self.all().for_each(|worker| worker.advance(stage));
    }

    /// Whether all have done something in the last `period`.
    pub(super) fn have_progressed(&self, now: Instant, period: Duration) -> bool {
        self.all().all(|worker| worker.has_progressed(now, period))
    }

    /// Waits until those that serve have applied this generation of the list of listeners, or have ended; `false` if one is busy, and
    /// applies it later.
    pub(super) async fn have_applied(&self, generation: u64) -> bool {
        let applied = async {
            for worker in &self.serving {
                worker.has_applied(generation).await;
            }
        };
        tokio::time::timeout(APPLY_LIMIT, applied).await.is_ok()
    }

    /// Completes when all have ended.
    pub(super) fn all_ended(&self) -> impl Future<Output = ()> + use<> {
        let ends: Vec<_> = self.all().map(WorkerThread::ended).collect();
        async move {
            for end in ends {
                end.await;
            }
        }
    }

    /// Waits for the end of a worker that a reload has told to end, and forgets it. Returns its number.
    pub(super) async fn next_ended(&mut self) -> usize {
        let mut ends: Vec<_> = self
            .leaving
            .iter()
            .map(|worker| Box::pin(worker.ended()))
            .collect();
        let next = poll_fn(|context| {
            let ended = ends
                .iter_mut()
                .position(|end| end.as_mut().poll(context).is_ready());
            ended.map_or(Poll::Pending, Poll::Ready)
        });
        let place = next.await;
        drop(ends);
        let worker = self.leaving.remove(place);
        let index = worker.index;
        worker.join();
        tracing::info!(worker = index, "A worker has ended");
        index
    }

    /// Waits until all threads have ended. Blocks.
    pub(super) fn join(self) {
        for worker in self.serving.into_iter().chain(self.leaving) {
            worker.join();
        }
    }

    fn all(&self) -> impl Iterator<Item = &WorkerThread> {
        self.serving.iter().chain(&self.leaving)
    }
}

impl WorkerState {
    /// What the worker with this number needs.
    fn start(&self, index: usize, access_logs: &watch::Sender<LogBuffers>) -> io::Result<Start> {
        let logs = self.state.logs();
        let logs = logs.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Start {
            index,
            handle: self.set.handle(index),
            listeners: self.listeners.clone(),
            shared: Arc::clone(&self.state.shared),
            counters: self.state.counters.of(index),
            log: logs.buffer(),
            logs: access_logs.subscribe(),
            computations: Arc::clone(&self.computations),
        })
    }
}
