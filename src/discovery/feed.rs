//! Where one source reports its lists. Applies the rules of all sources, logs what is wrong with a source, and sends updates.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep_until;

use super::ages::Aged;
use super::rules::{Effect, Report, SourceState};
use super::{SourceSettings, Update};
use crate::clock::{self, Instant};
use crate::pool::BackendSettings;
use crate::telemetry::metrics::SourceSample;

/// The feed of one source.
#[derive(Debug)]
pub(super) struct Feed {
    pool: Arc<str>,
    source: &'static str,
    location: String,
    state: Mutex<SourceState>,
    /// When it last had a list, or when it was started.
    last_good: Mutex<Instant>,
    changed: Notify,
    /// Whether it has reported anything, even a failure.
    has_answered: watch::Sender<bool>,
}

/// When a source asks for its list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// When it would anyway.
    Later,
    /// Soon, even if nothing seems to have changed: the list must be confirmed.
    Soon,
}

impl Feed {
    pub(super) fn new(settings: &SourceSettings) -> Self {
        Self {
            pool: Arc::clone(&settings.pool),
            source: settings.source.name,
            location: settings.location().to_owned(),
            state: Mutex::new(SourceState::new(settings.source.limit, settings.has_tls)),
            last_good: Mutex::new(clock::now()),
            changed: Notify::new(),
            has_answered: watch::Sender::new(false),
        }
    }

    /// Records what a source has found.
    pub(super) fn report(&self, report: Report) -> Again {
        let mut state = self.state();
        let (effect, is_news) = state.record(report);
        if is_news {
            self.log(state.error());
        }
        drop(state);
        if effect != Effect::Failed {
            *self.last_good() = clock::now();
        }
        self.has_answered.send_replace(true);
        match effect {
            Effect::Changed => self.changed.notify_one(),
            Effect::Unconfirmed => return Again::Soon,
            Effect::Same | Effect::Failed => {}
        }
        Again::Later
    }

    /// Records that the source still has what it reported last.
    pub(super) fn unchanged(&self) {
        let is_good = self.state().error().is_none();
        if is_good {
            *self.last_good() = clock::now();
        }
    }

    /// The last list that was believed.
    pub(super) fn list(&self) -> Arc<[BackendSettings]> {
        Arc::clone(self.state().list())
    }

    /// Waits until the source has reported anything.
    pub(super) async fn answered(&self) {
        // The sender is in `self`, so the channel is open.
        let _ = self.has_answered.subscribe().wait_for(|answered| *answered).await;
    }

    /// Logs that a start or a reload does not wait for the source any longer.
    pub(super) fn log_no_answer(&self) {
        tracing::warn!(
            pool = &*self.pool,
            source = self.source,
            location = self.location,
            "Source of backends has not answered within `timeouts.connect`; continuing without its backends until it does"
        );
    }

    /// Sends updates until the task is aborted. An update says that there is a list, and does not hold it, so that a list is
    /// never older than the moment in which it is put into effect.
    pub(super) async fn send_updates(self: Arc<Self>, updates: mpsc::Sender<Update>) {
        loop {
            self.changed.notified().await;
            let next = self.state().next_update(clock::now());
            let Some(next) = next else { continue };
            sleep_until(clock::to_std(next).into()).await;
            self.state().update_sent(clock::now());
            let pool = Arc::clone(&self.pool);
            if updates.send(Update { pool }).await.is_err() {
                return;
            }
        }
    }

    fn log(&self, error: Option<&str>) {
        let (pool, source, location) = (&*self.pool, self.source, &self.location);
        match error {
            Some(error) => tracing::warn!(
                pool,
                source,
                location,
                error,
                "Source of backends failed; keeping its last good list"
            ),
            None => tracing::info!(pool, source, location, "Source of backends works again"),
        }
    }

    fn last_good(&self) -> MutexGuard<'_, Instant> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, SourceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aged for Feed {
    fn age(&self, now: Instant) -> SourceSample {
        SourceSample {
            pool: self.pool.to_string(),
            source: self.source,
            location: self.location.clone(),
            age: now.saturating_duration_since(*self.last_good()),
        }
    }
}
