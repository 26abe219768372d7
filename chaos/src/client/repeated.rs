//! A client that does the same again and again, on a thread of its own, until it is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};

/// The running client, which has seen a `T` at its end.
#[derive(Debug)]
pub(super) struct Repeated<T> {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Default + Send + 'static> Repeated<T> {
    /// Starts to do `step`, with a pause of `interval` after each time.
    pub(super) fn start(
        name: &str,
        interval: Duration,
        mut step: impl FnMut(&mut T) + Send + 'static,
    ) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut seen = T::default();
            while !until.load(Ordering::Relaxed) {
                step(&mut seen);
                thread::sleep(interval);
            }
            seen
        })?;
        Ok(Self { is_over, thread })
    }

    /// Ends; returns what it has seen.
    pub(super) fn finish(self) -> Result<T> {
        self.is_over.store(true, Ordering::Relaxed);
        let seen = self.thread.join();
        seen.map_err(|_| Error::new("a client that repeats itself panicked"))
    }
}
