//! Task sets that own what they spawn: every task of the control plane and of a worker has an owner and an end.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A set of tasks that are aborted when it is dropped.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
}

impl Tasks {
    /// Starts a task on the current runtime. It is aborted when the set is dropped.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.reap();
        self.set.spawn(task);
    }

    /// Number of running tasks.
    pub fn running(&mut self) -> usize {
        self.reap();
        self.set.len()
    }

    fn reap(&mut self) {
        while self.set.try_join_next().is_some() {}
    }
}

/// The tasks of one worker: they stay on its thread and end at the latest with its runtime. Cheaper than [`Tasks`], because
/// there may be one task per connection.
#[derive(Debug, Default, Clone)]
pub struct LocalTasks {
    state: Rc<LocalState>,
}

#[derive(Debug, Default)]
struct LocalState {
    running: Cell<usize>,
    ended: Notify,
}

impl LocalTasks {
    /// Starts a task on the current worker's runtime.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the owner that the ban on bare spawns asks for"
    )]
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let guard = self.begin();
        tokio::task::spawn_local(Counted { task, guard });
    }

    /// Counts work that has no task of its own, until the returned guard is dropped.
    pub fn begin(&self) -> TaskGuard {
        self.state.running.set(self.state.running.get() + 1);
        TaskGuard(Rc::clone(&self.state))
    }

    /// Number of running tasks.
    pub fn running(&self) -> usize {
        self.state.running.get()
    }

    /// Waits until all tasks have ended.
    pub async fn join(&self) {
        while self.state.running.get() > 0 {
            self.state.ended.notified().await;
        }
    }
}

pin_project! {
    /// A counted task. A wrapping `async` block would hold the future twice: as its argument and while it runs.
    struct Counted<F> {
        #[pin]
        task: F,
        guard: TaskGuard,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().task.poll(context)
    }
}

/// Guard that counts as one of the tasks until it is dropped.
#[derive(Debug)]
pub struct TaskGuard(Rc<LocalState>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            self.0.ended.notify_one();
        }
    }
}
