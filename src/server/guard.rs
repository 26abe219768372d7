//! The guard of a reload: takes samples of what fails, and brings the config before back when it jumps. `reload_guard` decides; this
//! is what it needs to know and what follows.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::reload_guard::{Decision, History, Reason, ReloadGuard, Totals};
use tokio::time::{Interval, MissedTickBehavior};

use super::Server;
use super::changes::Changes;
use super::plan;
use super::reload::{ReloadKind, ReloadReport};
use super::stopping;
use super::view::AppState;
use crate::admin::{GuardChoice, ReloadOutcome, RollbackStatus, Time};
use crate::clock::{self, Instant};
use crate::config::Config;
use crate::schema::units;
use crate::telemetry::metrics::WorkerCounters;

/// Interval of the samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The samples of the last minute, and the guard that runs.
pub(super) struct Guard {
    /// Only while a reload is or may be guarded: when the config says so, and when the admin API is on, which can ask for it.
    interval: Option<Interval>,
    history: History,
    running: Option<RunningGuard>,
}

struct RunningGuard {
    watch: ReloadGuard,
    /// The failures of the minute before, which another reload is compared with as well.
    before: Totals,
    /// The config that comes back.
    previous: Arc<Config>,
    /// When the config was activated that is guarded.
    reloaded: Time,
    /// What it has changed.
    changes: Vec<String>,
}

impl Guard {
    /// Guards no reload yet.
    pub(super) fn new(config: &Config) -> Self {
        let mut guard = Self {
            interval: None,
            history: History::default(),
            running: None,
        };
        guard.configure(config);
        guard
    }

    /// Takes samples from now on, or no more, as this config and the guard that runs need.
    fn configure(&mut self, config: &Config) {
        if config.admin.is_none() && config.guard.is_none() && self.running.is_none() {
            self.interval = None;
            self.history.clear();
        } else if self.interval.is_none() {
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            self.interval = Some(interval);
        }
    }

    /// Waits until a sample is due, or the guard ends.
    pub(super) async fn due(&mut self) {
        let end = self.running.as_ref().map(|running| running.watch.until());
        // What could not be decided at the end is decided with the next sample.
        let end = end.filter(|end| *end > clock::now());
        tokio::select! {
            () = stopping::next(&mut self.interval) => {}
            () = until(end) => {}
        }
    }

    fn observe(&mut self, now: Instant, totals: Totals) -> Decision {
        self.history.record(now, totals);
        let running = self.running.as_ref();
        running.map_or(Decision::Wait, |running| running.watch.decide(now, totals))
    }

    /// Whether this config is the one that the guard that runs would bring back.
    fn is_over_with(&self, active: &Config) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| Changes::between(&running.previous, active).count() == 0)
    }

    /// Guards a config that has just replaced `previous`. A guard that still runs ends: its config never proved itself, so what was
    /// active before it comes back, and the failures before it count.
    fn begin(&mut self, now: Instant, length: Duration, (previous, totals): (Arc<Config>, Totals)) {
        let (previous, before) = match self.running.take() {
            Some(running) => (running.previous, running.before),
            None if self.history.is_empty() => (previous, totals),
            None => (previous, self.history.last_minute(now, totals)),
        };
        self.running = Some(RunningGuard {
            watch: ReloadGuard::new(now, length, totals, before),
            before,
            previous,
            reloaded: clock::wall().into(),
            changes: Vec::new(),
        });
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(clock::to_std(end).into()).await,
        None => std::future::pending().await,
    }
}

impl Server {
    /// Begins to guard the config that has replaced `previous`, if that is wanted. Returns for how long, as text.
    pub(super) fn guard_reload(&mut self, previous: Arc<Config>, report: &ReloadReport) -> Option<String> {
        let active = self.reloads.active();
        let length = self.begin_guard(&active, previous, report);
        // Afterwards: a guard that has begun needs samples even if its config turns the admin API off.
        self.guard.configure(&active);
        length
    }

    fn begin_guard(
        &mut self,
        active: &Config,
        previous: Arc<Config>,
        report: &ReloadReport,
    ) -> Option<String> {
        let length = match self.reloads.kind() {
            ReloadKind::Rollback(_) => None,
            ReloadKind::Requested(Some(GuardChoice::Off)) => None,
            // A guard that runs goes on.
            ReloadKind::Requested(_) if report.changes.count() == 0 => return None,
            ReloadKind::Requested(Some(GuardChoice::For(length))) => Some(length),
            ReloadKind::Requested(None) => active.guard,
        };
        let Some(length) = length.filter(|_| !self.guard.is_over_with(active)) else {
            self.guard.running = None;
            self.state.config_state().guarded_until = None;
            return None;
        };
        let now = clock::now();
        let totals = totals(&self.state);
        self.guard.begin(now, length, (previous, totals));
        if let Some(running) = &mut self.guard.running {
            running.changes = plan::lines(&report.changes);
        }
        self.state.config_state().guarded_until = Some((clock::wall() + length).into());
        let length = units::show_duration(length);
        tracing::info!(
            guard = length,
            "Reload is guarded: the previous configuration comes back if failures jump"
        );
        Some(length)
    }

    /// Takes a sample, and ends the guard or rolls back if it is time for that.
    pub(super) fn check_guard(&mut self) {
        match self.guard.observe(clock::now(), totals(&self.state)) {
            Decision::Wait => {}
            Decision::Keep => {
                self.guard.running = None;
                self.guard.configure(&self.reloads.active());
                self.state.config_state().guarded_until = None;
                tracing::info!("Guard has ended; the new configuration stays active");
            }
            // Another reload may put it right. The new process of an upgrade reads the file itself.
            Decision::RollBack(_) if self.reloads.is_running() || self.upgrade.is_running() => {}
            Decision::RollBack(reason) => self.roll_back(reason),
        }
    }

    fn roll_back(&mut self, reason: Reason) {
        let Some(running) = self.guard.running.take() else {
            return;
        };
        let mut config_state = self.state.config_state();
        config_state.guarded_until = None;
        config_state.rollback = Some(RollbackStatus {
            // That of the activation follows.
            time: clock::wall().into(),
            reloaded: running.reloaded,
            reason: reason.to_string(),
            changes: running.changes,
        });
        drop(config_state);
        self.notify_reloading();
        self.reloads.roll_back(running.previous, reason.to_string());
    }

    /// Records the result of a reload or a rollback.
    pub(super) fn record_reload(&mut self, outcome: &ReloadOutcome) {
        let mut config_state = self.state.config_state();
        match self.reloads.kind() {
            ReloadKind::Requested(_) => config_state.reloaded(outcome),
            ReloadKind::Rollback(_) => {
                config_state.rolled_back(outcome.is_ok());
                // The failures of that config say nothing about the one that is active again.
                self.guard.history.clear();
                self.guard.history.record(clock::now(), totals(&self.state));
            }
        }
    }
}

/// The counts of all workers.
fn totals(state: &AppState) -> Totals {
    let sum = |value: fn(&WorkerCounters) -> u64| state.sum(value);
    let connect_failures = sum(|counters| counters.backend_connections_failed.value());
    Totals {
        requests: sum(|counters| (1..=5).map(|class| counters.requests(class)).sum()),
        errors: sum(|counters| counters.requests(5)),
        attempts: sum(|counters| {
            counters.backend_connections_opened.value() + counters.backend_connections_reused.value()
        }) + connect_failures,
        connect_failures,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const LENGTH: Duration = Duration::from_secs(30);

    fn config(keys: &str) -> Arc<Config> {
        let text = format!("listen: 127.0.0.1:0\nbackends: [\"http://127.0.0.1:1\"]\n{keys}");
        let loaded = config::from_text(&text, "test", Path::new("."), &|_| None);
        Arc::new(loaded.unwrap_or_else(|report| panic!("{report}")).config)
    }

    fn requests(requests: u64, errors: u64) -> Totals {
        Totals {
            requests,
            errors,
            ..Totals::default()
        }
    }

    #[tokio::test]
    async fn samples_are_taken_only_while_a_reload_may_be_guarded() {
        for (keys, is_sampled) in [
            ("admin: off", false),
            ("admin: off\nguard: 10s", true),
            ("admin: 127.0.0.1:0", true),
        ] {
            let mut guard = Guard::new(&config(keys));
            assert_eq!(guard.interval.is_some(), is_sampled, "{keys}");
            guard.configure(&config("admin: off"));
            assert!(guard.interval.is_none());
        }
    }

    #[tokio::test]
    async fn samples_are_taken_while_a_config_without_admin_api_is_guarded() {
        let mut guard = Guard::new(&config("admin: 127.0.0.1:0"));
        guard.begin(clock::now(), LENGTH, (config(""), Totals::default()));
        guard.configure(&config("admin: off"));
        assert!(guard.interval.is_some());
        guard.running = None;
        guard.configure(&config("admin: off"));
        assert!(guard.interval.is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_guard_is_waited_for_without_samples_too() {
        let first = config("admin: off");
        let mut guard = Guard::new(&first);
        let waiting = tokio::time::timeout(Duration::from_millis(50), guard.due());
        assert!(waiting.await.is_err(), "nothing is due");
        let short = Duration::from_millis(50);
        guard.begin(clock::now(), short, (first, Totals::default()));
        let ended = tokio::time::timeout(Duration::from_secs(20), guard.due());
        assert!(ended.await.is_ok(), "its end is due");
    }

    #[tokio::test]
    async fn a_second_reload_is_guarded_against_what_was_before_the_first() {
        let (first, second) = (config(""), config("timeouts: { drain: 7s }"));
        let mut guard = Guard::new(&first);
        let begin = clock::now();
        guard.history.record(begin, requests(0, 0));
        let at = |seconds| begin + Duration::from_secs(seconds);
        guard.begin(at(10), LENGTH, (Arc::clone(&first), requests(100, 0)));
        assert_eq!(guard.observe(at(11), requests(110, 5)), Decision::Wait);
        guard.begin(at(12), LENGTH, (second, requests(118, 9)));
        let running = guard.running.as_ref().unwrap();
        assert!(Arc::ptr_eq(&running.previous, &first));
        assert_eq!(running.before, requests(100, 0));
        assert_eq!(
            guard.observe(at(41), requests(200, 9)),
            Decision::Wait,
            "it began anew"
        );
        assert_eq!(guard.observe(at(42), requests(200, 9)), Decision::Keep);
    }

    #[tokio::test]
    async fn without_samples_all_that_was_counted_is_before() {
        let first = config("admin: off");
        let mut guard = Guard::new(&first);
        let begin = clock::now();
        guard.begin(begin, LENGTH, (first, requests(1000, 500)));
        let second = begin + Duration::from_secs(1);
        assert_eq!(
            guard.observe(second, requests(1100, 550)),
            Decision::Wait,
            "as before"
        );
    }
}
