//! Work that takes too long for the control runtime: on a busy machine it would take the processor from the workers, milliseconds at a
//! time.

use std::thread;

use tokio::sync::oneshot;

use crate::priority;

/// Runs `work` in a thread of its own, at a lower priority than the workers. `None` if no thread can be started, or if it panics.
pub(super) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || {
        priority::lower();
        // Nobody waits for it any more if the client has left.
        let _ = done.send(work());
    });
    match started {
        Ok(_) => result.await.ok(),
        Err(error) => {
            tracing::debug!(%error, name, "Could not start a thread");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_at_a_lower_priority_and_may_panic() {
        let own = rustix::process::nice(0).unwrap();
        let of_work = run("test", || rustix::process::nice(0).unwrap()).await;
        assert_eq!(of_work, Some((own + priority::NICENESS).min(19)));
        assert_eq!(run("test", || panic!("on purpose")).await, None::<()>);
        assert_eq!(rustix::process::nice(0).unwrap(), own);
    }
}
