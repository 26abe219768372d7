//! Threads for computations that take too long for a worker, such as the check of a password. They run at a lower priority than
//! the workers, and only a bounded number of computations waits, so that a flood of them delays nothing else.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::priority;

/// Maximum number of computations that wait for a thread. The check of a password takes about 50 ms, so that more than this
/// would wait for longer than people do.
const WAITING_BOUND: usize = 64;

type Work = Box<dyn FnOnce() -> bool + Send>;

/// A computation and who waits for it.
struct Waiting {
    work: Work,
    done: oneshot::Sender<bool>,
}

/// Runs computations for all workers. Starts its threads with the first one.
#[derive(Default)]
pub struct Computations {
    queue: OnceLock<SyncSender<Waiting>>,
}

/// A computation that was handed over.
pub(super) struct Running(Option<oneshot::Receiver<bool>>);

impl Computations {
    /// Hands a computation over. It is not run when too many wait.
    pub(super) fn run(&self, work: Work) -> Running {
        let (done, result) = oneshot::channel();
        let queue = self.queue.get_or_init(start);
        match queue.try_send(Waiting { work, done }) {
            Ok(()) => Running(Some(result)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Running(None),
        }
    }
}

impl Running {
    /// Ready with the result, or with `None` when too many computations waited or the computation panicked.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<bool>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(result) => std::pin::Pin::new(result).poll(context).map(Result::ok),
        }
    }
}

impl std::fmt::Debug for Computations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Computations").finish_non_exhaustive()
    }
}

/// Starts a thread for every two cores. They end when the process drops the queue.
fn start() -> SyncSender<Waiting> {
    let (queue, waiting) = sync_channel(WAITING_BOUND);
    let waiting = Arc::new(Mutex::new(waiting));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for index in 0..cores.div_ceil(2) {
        let waiting = Arc::clone(&waiting);
        let thread = std::thread::Builder::new().name(format!("compute-{index}"));
        if let Err(error) = thread.spawn(move || work(&waiting)) {
            tracing::error!(%error, "Could not start a thread for computations; requests that need one get a 503 response");
        }
    }
    queue
}

fn work(waiting: &Mutex<Receiver<Waiting>>) {
    priority::lower();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Waiting { work, done }) = next else {
            return;
        };
        // Nobody waits for a computation whose client has left.
        if done.is_closed() {
            continue;
        }
        if let Ok(result) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            let _ = done.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_results_and_survives_a_panic() {
        let computations = Computations::default();
        let run = async |work: Work| {
            let mut running = computations.run(work);
            std::future::poll_fn(|context| running.poll(context)).await
        };
        assert_eq!(run(Box::new(|| true)).await, Some(true));
        assert_eq!(run(Box::new(|| panic!("on purpose"))).await, None);
        assert_eq!(run(Box::new(|| false)).await, Some(false));
    }

    #[tokio::test]
    async fn only_a_bounded_number_waits() {
        let computations = Computations::default();
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let held = Arc::new(Mutex::new(held));
        let mut running: Vec<Running> = Vec::new();
        for _ in 0..WAITING_BOUND * 4 {
            let held = Arc::clone(&held);
            running.push(computations.run(Box::new(move || held.lock().unwrap().recv().is_err())));
        }
        assert!(running.iter().any(|running| running.0.is_none()));
        drop(release);
        for mut running in running {
            std::future::poll_fn(|context| running.poll(context)).await;
        }
    }
}
