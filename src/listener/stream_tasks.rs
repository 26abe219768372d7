//! Serves the requests that come as streams. Each needs a task, and to make one for each costs as much as a good part of what
//! it does: a task that is done waits for the next stream of any connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::connection::linger;
use crate::http1::Malformed;
use crate::proxy::{self, Client, ConnectionDisposition, Failure, Incoming};
use crate::tasks::{LocalTasks, TaskGuard};

/// Tasks that a worker keeps for reuse; more end.
const KEPT: usize = 256;

/// One stream's request.
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) incoming: Box<Incoming>,
    pub(super) result: Result<(), Malformed>,
    pub(super) started: Instant,
}

/// The tasks of one worker.
#[derive(Clone, Default)]
pub(super) struct StreamTasks {
    free: Rc<RefCell<Vec<Rc<StreamTask>>>>,
}

/// One task, by what it is handed.
#[derive(Default)]
struct StreamTask {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
}

struct Job {
    request: Request,
    /// A stop waits for it, as it does not for tasks that wait.
    guard: TaskGuard,
}

impl StreamTasks {
    /// Serves a request, as one of `tasks`.
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
            None => drivers.spawn(work(task, self.clone())),
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
async fn work(task: Rc<StreamTask>, stream_tasks: StreamTasks) {
    loop {
        let Job { request, guard } = poll_fn(|context| task.poll_job(context)).await;
        request.serve().await;
        drop(guard);
        let mut free = stream_tasks.free.borrow_mut();
        if free.len() >= KEPT {
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
        let after = match result {
            Ok(()) => proxy::serve_request(&mut client, &incoming, started).await,
            Err(reason) => {
                let received = incoming.head.bytes.len();
                let failure = Failure::Malformed(reason);
                proxy::refuse(&mut client, failure, Some(&incoming.head), (started, received)).await
            }
        };
        match after {
            ConnectionDisposition::Reset => client.connection.reset(),
            // Dropping a stream that is still being sent to would take the answer back with it.
            ConnectionDisposition::Close => linger(&mut client).await,
            ConnectionDisposition::KeepAlive | ConnectionDisposition::End => {}
        }
        client.worker.give_back_head(incoming);
        client.connection.release(&client.worker.buffers);
    }
}
