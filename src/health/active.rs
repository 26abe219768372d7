//! The task that probes one backend while it is in the config. It runs on the control runtime.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, sleep_until};

use crate::backend::{Backend, BackendId};
use crate::clock::{self, Instant};
use crate::net::Lookup;
use crate::rng::Rng;

use super::Check;
use super::probe::{Outcome, ProbeError, probe};
use super::status::{Health, MAX_CHECKS, Probed, Status};
use super::{State, Tracker};

/// Maximum number of probes at the same time in this process, so that many probes leave descriptors for clients.
const MAX_PROBES: usize = 256;

static PERMITS: Semaphore = Semaphore::const_new(MAX_PROBES);

/// Minimum time between lookups that failed requests trigger for a backend that is not probed.
const LOOKUP_GAP: Duration = Duration::from_secs(1);

/// A backend became eligible or stopped being so, or it is out and its last check says something else than the one before.
#[derive(Debug)]
pub struct Change {
    /// The backend.
    pub backend: BackendId,
    /// Dropped once the change is active for requests. The change is logged after that.
    #[cfg_attr(not(test), expect(dead_code, reason = "the sender waits for its end"))]
    pub applied: oneshot::Sender<()>,
}

/// What the task needs to know about a backend.
pub struct Watch {
    /// The backend.
    pub backend: Arc<Backend>,
    /// The name of its pool, for the log.
    pub pool: Arc<str>,
    /// Where results are stored.
    pub health: Arc<Health>,
    /// How it is probed.
    pub check: Check,
    /// Requests lookups of its name, if it has one.
    pub lookup: Option<Arc<Lookup>>,
    /// Delay of the first probe, unless a request fails before.
    pub first_after: Duration,
}

/// Probes a backend until the task is aborted. Updates its health before it sends a change to `on_change`. A check without a
/// probe makes the backend eligible.
pub async fn watch(watch: Watch, on_change: mpsc::Sender<Change>) {
    let Watch {
        backend,
        pool,
        health,
        check,
        lookup,
        first_after,
    } = watch;
    let tracker = Tracker::new(check.thresholds(), health.status().state);
    let mut watcher = Watcher {
        backend,
        pool,
        health,
        lookup,
        tracker,
        on_change,
    };
    if check.probe.is_none() {
        watcher.run_without_probes().await;
    } else {
        watcher.run(&check, first_after).await;
    }
}

struct Watcher {
    backend: Arc<Backend>,
    pool: Arc<str>,
    health: Arc<Health>,
    lookup: Option<Arc<Lookup>>,
    tracker: Tracker,
    on_change: mpsc::Sender<Change>,
}

impl Watcher {
    async fn run(&mut self, check: &Check, first_after: Duration) {
        let mut rng = Rng::fresh();
        let first = clock::now() + first_after;
        // A probe would wait for the lookup, and hold its permit meanwhile.
        self.backend.first_lookup.settled().await;
        self.wait_until(first).await;
        loop {
            // The semaphore is never closed.
            let permit = PERMITS.acquire().await;
            self.health.clear_probe_request();
            let outcome = probe(&self.backend, check).await;
            drop(permit);
            self.record(outcome).await;
            let now = clock::now();
            self.wait_until(self.tracker.next_probe(now, rng.bits())).await;
        }
    }

    /// Waits until `due`, or until a failed request triggers a probe, which keeps a gap to the last one.
    async fn wait_until(&self, due: Instant) {
        tokio::select! {
            () = sleep_until(clock::to_std(due).into()) => {}
            () = self.health.probe_requested() => {
                let requested = self.tracker.next_requested(clock::now());
                sleep_until(clock::to_std(requested.min(due)).into()).await;
            }
        }
    }

    async fn record(&mut self, outcome: Outcome) {
        let now = clock::now();
        match &outcome.result {
            Err(error) if error.is_ours() => {
                self.tracker.postpone(now);
                // Debug, because this happens to all backends at the same time.
                tracing::debug!(backend = %self.backend.address, %error, "Could not probe backend; retrying");
                return;
            }
            Err(ProbeError::Connect(_)) => self.look_up(),
            _ => {}
        }
        let change = self.tracker.record(outcome.result.is_ok(), now);
        let probed = Probed {
            at: now,
            wall: clock::wall(),
            took: outcome.took,
            status_code: outcome.status_code(),
            error: outcome.result.err().map(|error| error.to_string().into()),
        };
        self.publish(change, Some(probed)).await;
    }

    fn look_up(&self) {
        if let Some(lookup) = &self.lookup {
            lookup.request();
        }
    }

    /// Stores the current status, then reports and logs a change.
    async fn publish(&self, change: Option<State>, probed: Option<Probed>) {
        let before = self.health.status();
        let older = before.checks.iter().cloned();
        let mut status = Status {
            state: before.state,
            since: before.since,
            since_wall: before.since_wall,
            why: before.why.clone(),
            successes: self.tracker.successes(),
            failures: self.tracker.failures(),
            checks: probed.iter().cloned().chain(older).take(MAX_CHECKS).collect(),
            probed,
        };
        if let Some(state) = change {
            status.state = state;
            status.since = clock::now();
            status.since_wall = clock::wall();
            let error = status.probed.as_ref().and_then(|probed| probed.error.clone());
            status.why = error.filter(|_| state == State::Down);
        }
        let is_other_state = status.state.is_eligible() != before.state.is_eligible();
        let is_other_result = status.may_respond() != before.may_respond();
        self.health.set(status);
        // One result in a row says whether a backend that is out may be used where no other can be reached.
        if is_other_state || is_other_result && !self.health.is_eligible() {
            let (applied, is_applied) = oneshot::channel();
            let change = Change {
                backend: self.backend.id,
                applied,
            };
            // The receiver is gone at shutdown.
            let _ = self.on_change.send(change).await;
            let _ = is_applied.await;
        }
        if change.is_some() {
            self.log(&self.health.status());
        }
    }

    fn log(&self, status: &Status) {
        let backend = &self.backend.address;
        let (pool, state) = (&*self.pool, status.state.as_str());
        match &status.why {
            Some(reason) => tracing::warn!(%backend, pool, state, %reason, "Backend is down"),
            None => tracing::info!(%backend, pool, state, "Backend is {state}"),
        }
    }

    /// Makes the backend eligible, whatever its state before a reload. Failed requests still trigger lookups of its name.
    async fn run_without_probes(&mut self) {
        if self.tracker.state() != State::Unknown {
            self.publish(Some(State::Unknown), None).await;
        }
        loop {
            self.health.probe_requested().await;
            self.health.clear_probe_request();
            self.look_up();
            sleep(LOOKUP_GAP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{DEADLINE, Script, Scripted, check};
    use super::*;
    use crate::backend::Address;
    use crate::tasks::Tasks;

    const OK: Script = Script::Response("HTTP/1.1 200 OK\r\n\r\n");
    const REFUSAL: Script = Script::Response("HTTP/1.1 503 no\r\n\r\n");

    /// The task that watches a backend.
    struct Watched {
        health: Arc<Health>,
        changes: mpsc::Receiver<Change>,
        tasks: Tasks,
    }

    impl Watched {
        fn start(backend: &Arc<Backend>, check: Check, lookup: Option<Arc<Lookup>>) -> Self {
            Self::resume(backend, Health::new(), check, lookup)
        }

        fn resume(
            backend: &Arc<Backend>,
            health: Arc<Health>,
            check: Check,
            lookup: Option<Arc<Lookup>>,
        ) -> Self {
            Self::of(Watch {
                backend: Arc::clone(backend),
                pool: "p".into(),
                health,
                check,
                lookup,
                first_after: Duration::ZERO,
            })
        }

        fn of(begun: Watch) -> Self {
            let health = Arc::clone(&begun.health);
            let (on_change, changes) = mpsc::channel(10);
            let mut tasks = Tasks::default();
            tasks.spawn(watch(begun, on_change));
            Self {
                health,
                changes,
                tasks,
            }
        }

        /// Receives the next change and returns its state.
        async fn change(&mut self) -> State {
            let change = tokio::time::timeout(DEADLINE, self.changes.recv())
                .await
                .expect("a change")
                .unwrap();
            let state = self.health.status().state;
            assert_eq!(self.health.is_eligible(), state.is_eligible());
            drop(change.applied);
            state
        }

        /// Receives changes until the state is not `state` any more.
        async fn change_to_another(&mut self, state: State) -> State {
            loop {
                let next = self.change().await;
                if next != state {
                    return next;
                }
            }
        }

        /// Waits until the status satisfies `is_wanted`.
        async fn status(&self, is_wanted: impl Fn(&Status) -> bool) -> Arc<Status> {
            let poll = async {
                loop {
                    let status = self.health.status();
                    if is_wanted(&status) {
                        return status;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(DEADLINE, poll).await.expect("a status")
        }
    }

    #[tokio::test]
    async fn a_backend_that_was_never_probed_is_eligible() {
        let health = Health::new();
        assert!(health.is_eligible());
        assert_eq!(health.status().state, State::Unknown);
    }

    #[tokio::test]
    async fn the_first_probe_runs_at_once_and_decides() {
        let scripted = Scripted::start(OK).await;
        let watched = Watched::start(&scripted.backend(), check(None), None);
        let status = watched.status(|status| status.state == State::Up).await;
        assert_eq!(
            (status.successes, status.failures, status.why.clone()),
            (1, 0, None)
        );
        assert_eq!(status.probed.clone().unwrap().status_code, Some(200));

        scripted.script.store(REFUSAL.into());
        let mut watched = Watched::start(&scripted.backend(), check(None), None);
        assert_eq!(watched.change().await, State::Down);
        let status = watched.health.status();
        assert_eq!(status.why.as_deref(), Some("status 503"));
        assert_eq!(
            status.probed.clone().unwrap().error.as_deref(),
            Some("status 503")
        );
    }

    #[tokio::test]
    async fn a_failed_request_triggers_a_delayed_first_probe_at_once() {
        let scripted = Scripted::start(OK).await;
        let watched = Watched::of(Watch {
            backend: scripted.backend(),
            pool: "p".into(),
            health: Health::new(),
            check: check(None),
            lookup: None,
            first_after: Duration::from_hours(1),
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(watched.health.status().probed, None);
        watched.health.request_probe();
        watched.status(|status| status.state == State::Up).await;
    }

    #[tokio::test]
    async fn a_failed_request_triggers_probes_that_take_the_backend_down_and_up() {
        let mut scripted = Scripted::start(OK).await;
        let backend = scripted.backend();
        // The interval is an hour: without `request_probe` there would be no second probe.
        let mut watched = Watched::start(&backend, check(None), None);
        watched.status(|status| status.state == State::Up).await;
        scripted.request().await;
        scripted.script.store(REFUSAL.into());
        watched.health.request_probe();
        assert_eq!(watched.change().await, State::Down);
        assert_eq!(watched.health.status().failures, 3);
        scripted.script.store(OK.into());
        assert_eq!(watched.change_to_another(State::Down).await, State::Up);
        assert_eq!(
            (watched.health.status().successes, &watched.health.status().why),
            (2, &None)
        );
    }

    #[tokio::test]
    async fn the_first_good_result_of_a_backend_that_is_down_is_news() {
        let scripted = Scripted::start(REFUSAL).await;
        let mut watched = Watched::start(&scripted.backend(), check(None), None);
        assert_eq!(watched.change().await, State::Down);
        assert!(!watched.health.may_respond());
        scripted.script.store(OK.into());
        assert_eq!(watched.change().await, State::Down);
        assert!(watched.health.may_respond());
        assert_eq!(watched.change().await, State::Up);
    }

    #[tokio::test]
    async fn requests_for_a_probe_at_the_same_time_are_merged() {
        let mut scripted = Scripted::start(OK).await;
        let watched = Watched::start(&scripted.backend(), check(None), None);
        watched.status(|status| status.successes == 1).await;
        scripted.request().await;
        for _ in 0..1_000 {
            watched.health.request_probe();
        }
        watched.status(|status| status.successes == 2).await;
        scripted.request().await;
        // A superfluous probe would run after the gap, before this one.
        watched.health.request_probe();
        watched.status(|status| status.successes == 3).await;
        scripted.request().await;
        assert_eq!(scripted.pending(), 0);
    }

    #[tokio::test]
    async fn a_backend_is_probed_after_its_first_lookup() {
        let scripted = Scripted::start(OK).await;
        let url = format!("http://a.invalid:{}", scripted.address.port());
        let backend = Backend::new(Address::parse(&url).unwrap(), 1, false);
        let lookup = Arc::new(Lookup::default());
        let mut watched = Watched::start(&backend, check(None), Some(Arc::clone(&lookup)));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(watched.health.status().probed, None);
        backend.first_lookup.settle();
        assert_eq!(watched.change().await, State::Down);
        assert_eq!(
            watched.health.status().why.as_deref(),
            Some("name does not resolve")
        );
        tokio::time::timeout(DEADLINE, lookup.requested())
            .await
            .expect("a request for a lookup");
        backend.resolved.store(vec![scripted.address].into());
        assert_eq!(watched.change_to_another(State::Down).await, State::Up);
    }

    #[tokio::test]
    async fn a_backend_stays_down_over_a_reload() {
        let mut scripted = Scripted::start(REFUSAL).await;
        let backend = scripted.backend();
        let mut watched = Watched::start(&backend, check(None), None);
        assert_eq!(watched.change().await, State::Down);
        let Watched { health, tasks, .. } = watched;
        drop(tasks);
        scripted.request().await;
        scripted.script.store(OK.into());
        let mut watched = Watched::resume(&backend, health, check(None), None);
        scripted.request().await;
        assert_eq!(watched.change_to_another(State::Down).await, State::Up);
        assert_eq!(watched.health.status().successes, 2);
    }

    #[tokio::test]
    async fn a_backend_without_probes_is_eligible_even_if_it_was_down() {
        let scripted = Scripted::start(REFUSAL).await;
        let backend = scripted.backend();
        let mut watched = Watched::start(&backend, check(None), None);
        assert_eq!(watched.change().await, State::Down);
        let none = Check {
            probe: None,
            ..check(None)
        };
        let Watched { health, tasks, .. } = watched;
        drop(tasks);
        let lookup = Arc::new(Lookup::default());
        let mut watched = Watched::resume(&backend, health, none, Some(Arc::clone(&lookup)));
        assert_eq!(watched.change().await, State::Unknown);
        assert!(watched.health.is_eligible());
        watched.health.request_probe();
        tokio::time::timeout(DEADLINE, lookup.requested())
            .await
            .expect("a request for a lookup");
    }
}
