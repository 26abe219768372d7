//! Task sets that own what they spawn: every task of the control plane and of a worker has an owner and an end.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

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

    /// Waits until all tasks have ended.
    pub async fn join(&mut self) {
        while self.set.join_next().await.is_some() {}
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

/// Tasks of one worker that can be aborted before its runtime ends.
#[derive(Debug, Default, Clone)]
pub struct TaskGroup {
    state: Rc<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    tasks: LocalTasks,
    /// Of the tasks that run; `None` while one is being spawned.
    handles: RefCell<Slab<Option<AbortHandle>>>,
}

impl TaskGroup {
    /// Starts a task on the current worker's runtime.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the owner that the ban on bare spawns asks for"
    )]
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let key = self.state.handles.borrow_mut().insert(None);
        let guard = GroupGuard {
            group: Rc::clone(&self.state),
            key,
            _counted: self.state.tasks.begin(),
        };
        let handle = tokio::task::spawn_local(Counted { task, guard }).abort_handle();
        // A runtime that shuts down has dropped the task already.
        if let Some(slot) = self.state.handles.borrow_mut().get_mut(key) {
            *slot = Some(handle);
        }
    }

    /// The count of its tasks, for work that has no task of its own: it is awaited, but not aborted.
    pub fn tasks(&self) -> &LocalTasks {
        &self.state.tasks
    }

    /// Aborts the tasks that were spawned. They are dropped when the runtime polls them next.
    pub fn abort(&self) {
        let handles = self.state.handles.borrow();
        for handle in handles.iter().filter_map(|(_, handle)| handle.as_ref()) {
            handle.abort();
        }
    }
}

/// Guard of one task of a group.
#[derive(Debug)]
struct GroupGuard {
    group: Rc<GroupState>,
    key: usize,
    _counted: TaskGuard,
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        self.group.handles.borrow_mut().try_remove(self.key);
    }
}

pin_project! {
    /// A task with its guard. A wrapping `async` block would hold the future twice: as its argument and while it runs.
    struct Counted<F, G> {
        #[pin]
        task: F,
        guard: G,
    }
}

impl<F: Future, G> Future for Counted<F, G> {
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
            self.0.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Runs a test as a worker runs: on a thread with local tasks.
    fn on_worker(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() });
    }

    #[test]
    fn aborting_a_group_ends_its_tasks_and_no_others() {
        on_worker(async {
            let (group, other) = (TaskGroup::default(), TaskGroup::default());
            for group in [&group, &group, &other] {
                group.spawn(pending());
            }
            group.spawn(async {});
            tokio::task::yield_now().await;
            assert_eq!(group.tasks().running(), 2, "one has ended by itself");
            group.abort();
            group.tasks().join().await;
            assert_eq!((group.tasks().running(), other.tasks().running()), (0, 1));
            assert!(group.state.handles.borrow().is_empty());
        });
    }

    #[test]
    fn several_can_wait_for_the_end_of_the_same_tasks() {
        on_worker(async {
            let tasks = LocalTasks::default();
            let guard = tasks.begin();
            let ending = async {
                tokio::task::yield_now().await;
                drop(guard);
            };
            tokio::join!(tasks.join(), tasks.join(), ending);
        });
    }
}
