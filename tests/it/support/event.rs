//! Waits for events of other threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::DEADLINE;

/// Closed until it is opened; then every waiter passes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    log: Log<()>,
}

impl Gate {
    /// Lets all present and future waiters pass.
    pub(crate) fn open(&self) {
        self.log.push(());
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self) {
        self.log
            .wait_for("the gate to open", |all| (!all.is_empty()).then_some(()));
    }
}

/// A log of events, in order, that a thread can wait on.
#[derive(Debug)]
pub(crate) struct Log<T> {
    shared: Arc<(Mutex<Vec<T>>, Condvar)>,
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            shared: Arc::new((Mutex::new(Vec::new()), Condvar::new())),
        }
    }
}

impl<T> Log<T> {
    /// Adds an event and wakes the waiters.
    pub(crate) fn push(&self, item: T) {
        self.all().push(item);
        self.shared.1.notify_all();
    }

    /// Waits until `look` returns a result for the events so far.
    pub(crate) fn wait_for<R>(&self, what: &str, mut look: impl FnMut(&[T]) -> Option<R>) -> R
    where
        T: std::fmt::Debug,
    {
        let mut found = None;
        let all = self.all();
        let (all, _) = self
            .shared
            .1
            .wait_timeout_while(all, DEADLINE, |all| {
                found = look(all);
                found.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        found.unwrap_or_else(|| panic!("waited {DEADLINE:?} for {what}; so far: {:#?}", *all))
    }

    /// The events so far.
    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<T>> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
