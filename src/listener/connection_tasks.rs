//! Where clients are served. Serving needs much more state than waiting does, so a client comes to a desk with the first
//! byte of a request and leaves it when it is idle again: an idle connection costs no more than its socket and a name,
//! and a worker has as many desks as clients were served at once. Desks are lent again, so that coming and leaving
//! allocates nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::connection::{ClientConnection, ServeEnd};
use super::eviction::EvictionQueue;
use super::parked::ParkedConnections;
use super::stream_tasks::StreamTasks;
use crate::telemetry::metrics::WorkerCounters;

/// Desks that a worker keeps for reuse; more are freed.
const KEPT: usize = 256;

/// The desks of one worker, the list of its clients that wait, where those stand that do so for long, and who
/// serves streams.
#[derive(Clone)]
pub(super) struct ConnectionTasks {
    inner: Rc<Inner>,
}

struct Inner {
    spare: RefCell<Vec<ConnectionTask>>,
    waiting: EvictionQueue,
    parked_connections: ParkedConnections,
    stream_tasks: StreamTasks,
}

/// One desk. Its work is a single future for all who come one after the other, which is what makes it reusable.
pub(super) struct ConnectionTask {
    cell: Rc<HandOffCell>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// Who comes and who leaves.
#[derive(Default)]
struct HandOffCell {
    on_accept: Cell<Option<Box<ClientConnection>>>,
    left: Cell<Option<(Box<ClientConnection>, ServeEnd)>>,
}

impl ConnectionTasks {
    /// Those of a worker, on its runtime.
    ///
    /// # Errors
    /// As of [`ParkedConnections::new`].
    pub(super) fn new(counters: &Arc<WorkerCounters>) -> io::Result<Self> {
        let waiting = EvictionQueue::default();
        let parked_connections = ParkedConnections::new(waiting.clone(), Arc::clone(counters))?;
        let inner = Inner {
            spare: RefCell::default(),
            waiting,
            parked_connections,
            stream_tasks: StreamTasks::default(),
        };
        Ok(Self {
            inner: Rc::new(inner),
        })
    }

    /// Where clients are parked.
    pub(super) fn parked_connections(&self) -> &ParkedConnections {
        &self.inner.parked_connections
    }

    /// Who serves streams.
    pub(super) fn stream_tasks(&self) -> &StreamTasks {
        &self.inner.stream_tasks
    }

    /// The clients that wait.
    pub(super) fn waiting(&self) -> &EvictionQueue {
        &self.inner.waiting
    }

    /// Lends a desk at which nobody sits.
    pub(super) fn take(&self) -> ConnectionTask {
        let spare = self.inner.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| ConnectionTask::new(self.inner.waiting.clone()))
    }

    /// Takes a desk back, which its client has left.
    pub(super) fn give_back(&self, task: ConnectionTask) {
        let mut spare = self.inner.spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(task);
        }
    }
}

impl ConnectionTask {
    fn new(waiting: EvictionQueue) -> Self {
        let cell = Rc::<HandOffCell>::default();
        let work = work(Rc::clone(&cell), waiting);
        Self {
            cell,
            work: Box::pin(work),
        }
    }

    /// Begins to serve a client.
    pub(super) fn handle(&mut self, connection: Box<ClientConnection>) {
        self.cell.on_accept.set(Some(connection));
    }

    /// Serves the client; ready when it leaves, with why.
    pub(super) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<(Box<ClientConnection>, ServeEnd)> {
        // It never ends: it waits for the next client, who brings a waker.
        let _: Poll<()> = self.work.as_mut().poll(context);
        self.cell.left.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Serves whoever comes, one after the other.
async fn work(cell: Rc<HandOffCell>, waiting: EvictionQueue) {
    loop {
        let on_accept = |_: &mut Context<'_>| cell.on_accept.take().map_or(Poll::Pending, Poll::Ready);
        let mut connection: Box<ClientConnection> = std::future::poll_fn(on_accept).await;
        let left = connection.serve_all(&waiting).await;
        cell.left.set(Some((connection, left)));
    }
}
