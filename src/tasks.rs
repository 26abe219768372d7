//! The owned spawner: every task of the control plane and of a worker has an owner and an end.

use std::future::Future;

use tokio::task::JoinSet;

/// A set of tasks that end with it.
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

    /// Number of tasks that run.
    pub fn running(&mut self) -> usize {
        self.reap();
        self.set.len()
    }

    /// Waits until all have ended.
    pub async fn join(&mut self) {
        while self.set.join_next().await.is_some() {}
    }

    fn reap(&mut self) {
        while self.set.try_join_next().is_some() {}
    }
}
