//! Reusable tasks that serve the requests of HTTP/2 streams. Spawning a task for each stream would cost a large part of what
//! the request itself costs, so a task that is done waits for the next stream of any connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::closing::linger;
use crate::clock::Instant;
use crate::http1::Malformed;
use crate::proxy::{self, Client, ConnectionDisposition, Failure, Incoming};
use crate::tasks::{LocalTasks, TaskGuard};

/// Maximum number of unused tasks that a worker keeps; further ones end.
const MAX_FREE: usize = 256;

/// The request of one stream.
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) incoming: Box<Incoming>,
    /// Whether the head is valid.
    pub(super) result: Result<(), Malformed>,
    pub(super) started: Instant,
}

/// The stream tasks of one worker.
#[derive(Clone, Default)]
pub(super) struct StreamTasks {
    free: Rc<RefCell<Vec<Rc<StreamTask>>>>,
}

/// The shared state of one task: its next job, and the waker that the task waits with.
#[derive(Default)]
struct StreamTask {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
}

struct Job {
    request: Request,
    /// Makes a drain wait for this job; a drain does not wait for unused tasks.
    guard: TaskGuard,
}

impl StreamTasks {
    /// Serves a request; it counts as one of `tasks`.
    pub(super) fn serve(&self, request: Request, tasks: &LocalTasks) {
        let drivers = request.client.worker.drivers.clone();
        let job = Job {
            request,
            guard: tasks.begin(),
        };
        let free = self.free.borrow_mut().pop();
        let task = free.clone().unwrap_or_default();
        task.job.set(Some(job));
        match free.and_then(|task| task.waker.take()) {
            Some(waker) => waker.wake(),
            None => drivers.spawn(run(task, self.clone())),
        }
    }
}

impl StreamTask {
    fn poll_job(&self, context: &Context<'_>) -> Poll<Job> {
        match self.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                self.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Serves one request after the other.
async fn run(task: Rc<StreamTask>, stream_tasks: StreamTasks) {
    loop {
        let Job { request, guard } = poll_fn(|context| task.poll_job(context)).await;
        request.serve().await;
        drop(guard);
        let mut free = stream_tasks.free.borrow_mut();
        if free.len() >= MAX_FREE {
            return;
        }
        free.push(Rc::clone(&task));
    }
}

impl Request {
    async fn serve(self) {
        let Self {
            mut client,
            incoming,
            result,
            started,
        } = self;
        let disposition = match result {
            Ok(()) => proxy::serve_request(&mut client, &incoming, started).await,
            Err(reason) => {
                let received = incoming.head.bytes.len();
                let failure = Failure::Malformed(reason);
                proxy::refuse(&mut client, failure, Some(&incoming.head), (started, received)).await
            }
        };
        match disposition {
            ConnectionDisposition::Reset => client.connection.reset(),
            // Dropping a stream while the client still sends would reset it, and the client could lose the response.
            ConnectionDisposition::Close => linger(&mut client).await,
            ConnectionDisposition::KeepAlive | ConnectionDisposition::End => {}
        }
        client.worker.give_back_head(incoming);
        client.connection.release(&client.worker.buffers);
    }
}
