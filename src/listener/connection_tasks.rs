//! Reusable tasks that serve the requests of client connections. Serving needs much more memory than waiting, so a
//! connection uses a task only from the first byte of a request until it is idle again: an idle connection costs little
//! more than its socket and its client's address. Tasks are pooled, so that the steady state allocates nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::client_connection::{ClientConnection, ServeEnd};
use super::eviction::EvictionQueue;
use super::parked::ParkedConnections;
use super::stream_tasks::StreamTasks;
use crate::telemetry::metrics::WorkerCounters;

/// Maximum number of unused tasks that a worker keeps; further ones are freed.
const MAX_FREE: usize = 256;

/// The connection tasks of one worker, and what its connections share: the eviction queue, the parked connections and the
/// HTTP/2 stream tasks.
#[derive(Clone)]
pub(super) struct ConnectionTasks {
    inner: Rc<Inner>,
}

struct Inner {
    free: RefCell<Vec<ConnectionTask>>,
    waiting: EvictionQueue,
    parked_connections: ParkedConnections,
    stream_tasks: StreamTasks,
}

/// One task. A single future serves all its connections, one after the other, which makes it reusable.
pub(super) struct ConnectionTask {
    cell: Rc<HandOffCell>,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// Passes connections into the task's future and back out.
#[derive(Default)]
struct HandOffCell {
    to_serve: Cell<Option<Box<ClientConnection>>>,
    served: Cell<Option<(Box<ClientConnection>, ServeEnd)>>,
}

impl ConnectionTasks {
    /// Creates an empty pool for a worker, on its runtime.
    ///
    /// # Errors
    /// As [`ParkedConnections::new`].
    pub(super) fn new(counters: &Arc<WorkerCounters>) -> io::Result<Self> {
        let waiting = EvictionQueue::default();
        let parked_connections = ParkedConnections::new(waiting.clone(), Arc::clone(counters))?;
        let inner = Inner {
            free: RefCell::default(),
            waiting,
            parked_connections,
            stream_tasks: StreamTasks::default(),
        };
        Ok(Self {
            inner: Rc::new(inner),
        })
    }

    /// The worker's parked connections.
    pub(super) fn parked_connections(&self) -> &ParkedConnections {
        &self.inner.parked_connections
    }

    /// The tasks that serve HTTP/2 streams.
    pub(super) fn stream_tasks(&self) -> &StreamTasks {
        &self.inner.stream_tasks
    }

    /// The waiting connections.
    pub(super) fn waiting(&self) -> &EvictionQueue {
        &self.inner.waiting
    }

    /// Takes an unused task from the pool, or makes one.
    pub(super) fn take(&self) -> ConnectionTask {
        let free = self.inner.free.borrow_mut().pop();
        free.unwrap_or_else(|| ConnectionTask::new(self.inner.waiting.clone()))
    }

    /// Returns a task to the pool.
    pub(super) fn give_back(&self, task: ConnectionTask) {
        let mut free = self.inner.free.borrow_mut();
        if free.len() < MAX_FREE {
            free.push(task);
        }
    }
}

impl ConnectionTask {
    fn new(waiting: EvictionQueue) -> Self {
        let cell = Rc::<HandOffCell>::default();
        let future = run(Rc::clone(&cell), waiting);
        Self {
            cell,
            future: Box::pin(future),
        }
    }

    /// Starts serving a connection.
    pub(super) fn start(&mut self, connection: Box<ClientConnection>) {
        self.cell.to_serve.set(Some(connection));
    }

    /// Serves the connection; ready with it and the reason when serving ends.
    pub(super) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<(Box<ClientConnection>, ServeEnd)> {
        // The future never ends: it waits for the next connection, and is then polled with that one's waker.
        let _: Poll<()> = self.future.as_mut().poll(context);
        self.cell.served.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Serves connections from the cell, one after the other.
async fn run(cell: Rc<HandOffCell>, waiting: EvictionQueue) {
    loop {
        let next = |_: &mut Context<'_>| cell.to_serve.take().map_or(Poll::Pending, Poll::Ready);
        let mut connection: Box<ClientConnection> = std::future::poll_fn(next).await;
        let end = connection.serve_requests(&waiting).await;
        cell.served.set(Some((connection, end)));
    }
}
