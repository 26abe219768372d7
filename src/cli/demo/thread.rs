//! A thread of the demo with a runtime of its own: nothing of the demo uses the threads of the load balancer.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::tasks::Tasks;

/// A thread that runs tasks until this is dropped.
pub(super) struct DemoThread {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DemoThread {
    /// Starts a thread with this runtime, and the tasks that `start` spawns on it.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn start(
        name: &str,
        runtime: Runtime,
        start: impl FnOnce() -> Tasks + Send + 'static,
    ) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let run = async move {
            let _tasks = start();
            // A value or a dropped sender: both mean the end.
            let _ = ended.await;
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(run))?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for DemoThread {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already printed to stderr.
            let _ = thread.join();
        }
    }
}

/// A runtime for one thread.
///
/// # Errors
/// The system has no descriptor for it.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
