//! Exports spans of traces to a collector by OTLP, in batches, on the control runtime. No request ever waits for it: what the collector
//! does not take is dropped and counted.

mod collector;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::collector::{Collector, ExportError};
use crate::rng::{Rng, jittered};
use crate::telemetry::trace::{EncodedSpans, Settings, SpanDrop, SpanReceiver};

/// Longest time that spans wait for others of their batch.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pauses after exports that failed: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How often a batch is sent before it is dropped. While the collector is away, each further batch is sent once.
const TRIES: u32 = 3;

/// Exports the spans of a queue until the task is aborted or the process stops.
pub(super) async fn export(settings: watch::Receiver<Arc<Settings>>, mut spans: SpanReceiver) {
    let mut exporter = Exporter {
        settings,
        collector: Collector::default(),
        state: State::Unknown,
        pause: BACKOFF.0,
        rng: Rng::fresh(),
    };
    loop {
        spans.wait(INTERVAL).await;
        while let Some(batch) = spans.batch() {
            exporter.export(batch, &spans).await;
            if !spans.has_batch() && !spans.is_closing() {
                break;
            }
        }
        if spans.is_closing() {
            spans.is_drained();
            return;
        }
    }
}

struct Exporter {
    settings: watch::Receiver<Arc<Settings>>,
    collector: Collector,
    state: State,
    /// The next pause after a failure.
    pause: Duration,
    rng: Rng,
}

/// The result of the last export, so that a change is logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There was none yet.
    Unknown,
    /// It was accepted.
    Accepted,
    /// The collector refused it.
    Refused,
    /// The collector was away.
    Away,
}

impl Exporter {
    /// Sends a batch, again after a pause if the collector is away.
    async fn export(&mut self, batch: EncodedSpans, spans: &SpanReceiver) {
        let tries = match self.state {
            State::Away => 1,
            _ => TRIES,
        };
        let counters = spans.counters();
        for attempt in 1..=tries {
            let settings = Arc::clone(&self.settings.borrow_and_update());
            let error = match self.collector.send(&settings, &batch.bytes).await {
                Ok(rejected) => {
                    let rejected = usize::try_from(rejected).unwrap_or(usize::MAX).min(batch.count);
                    counters.count_exported(batch.count - rejected);
                    counters.count_dropped(SpanDrop::Rejected, rejected);
                    self.accepted(&settings, rejected);
                    return;
                }
                Err(error) => error,
            };
            let Some(wait) = error.retry_after() else {
                counters.count_dropped(SpanDrop::Rejected, batch.count);
                self.refused(&settings, &error);
                return;
            };
            self.away(&settings, &error);
            if attempt == tries || spans.is_closing() {
                counters.count_dropped(SpanDrop::Unavailable, batch.count);
            }
            if spans.is_closing() {
                return;
            }
            let pause = jittered(self.pause, self.rng.bits());
            self.pause = (self.pause * 2).min(BACKOFF.1);
            spans.pause(pause.max(wait.min(BACKOFF.1))).await;
        }
    }

    fn accepted(&mut self, settings: &Settings, rejected: usize) {
        let collector = &settings.endpoint.url;
        self.pause = BACKOFF.0;
        match self.state {
            _ if rejected > 0 => {
                if self.state != State::Refused {
                    tracing::warn!(collector, rejected, "The collector refused spans");
                }
                self.state = State::Refused;
                return;
            }
            State::Refused | State::Away => tracing::info!(collector, "Spans are exported again"),
            State::Unknown | State::Accepted => {}
        }
        self.state = State::Accepted;
    }

    fn refused(&mut self, settings: &Settings, error: &ExportError) {
        if self.state != State::Refused {
            let collector = &settings.endpoint.url;
            tracing::warn!(collector, %error, "The collector refuses spans; they are dropped. Check `tracing`");
        }
        self.state = State::Refused;
        self.pause = BACKOFF.0;
    }

    fn away(&mut self, settings: &Settings, error: &ExportError) {
        if self.state != State::Away {
            let collector = &settings.endpoint.url;
            tracing::warn!(collector, %error, "Could not export spans; they are dropped until the collector is back");
        }
        self.state = State::Away;
    }
}

#[cfg(test)]
mod tests;
