//! The task that probes one backend for as long as the backend is in the config. It runs on the control runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, sleep_until};

use crate::backend::{Backend, BackendId};
use crate::clock;
use crate::net::Lookup;
use crate::rng::Rng;

use super::probe::{Outcome, ProbeError, probe};
use super::status::{Health, Probed, State, Status};
use super::tracker::Tracker;
use super::{Check, Kind};

/// Probes at one time in this process: a storm of them must leave descriptors for clients.
const MAX_PROBES: usize = 256;

static PROBES: Semaphore = Semaphore::const_new(MAX_PROBES);

/// Without probes, suspicions lead to lookups of the name, at most one in this time.
const LOOKUP_GAP: Duration = Duration::from_secs(1);

/// A backend became eligible or stopped being so.
#[derive(Debug)]
pub struct Change {
    /// Which one.
    pub backend: BackendId,
    /// What it is now.
    pub state: State,
    /// Dropped once requests go by it: the log tells of it then, and not before it is true.
    pub in_force: oneshot::Sender<()>,
}

/// Whom to probe, and how.
pub struct Watch {
    /// The backend.
    pub backend: Arc<Backend>,
    /// The name of its pool, for the log.
    pub pool: Arc<str>,
    /// Where what is found is written down.
    pub health: Arc<Health>,
    /// How it is probed.
    pub check: Check,
    /// Who resolves its name, if it has one.
    pub lookup: Option<Arc<Lookup>>,
    /// How long after the beginning the first probe follows, unless a request fails before.
    pub first_after: Duration,
}

/// Probes a backend for ever; ends by being aborted. Its health is up to date before `on_change` hears of it. With
/// [`Kind::None`] nothing is probed and the backend is eligible.
pub async fn watch(watch: Watch, on_change: mpsc::Sender<Change>) {
    let Watch {
        backend,
        pool,
        health,
        check,
        lookup,
        first_after,
    } = watch;
    let tracker = Tracker::new(&check, health.status().state);
    let mut watcher = Watcher {
        backend,
        pool,
        health,
        lookup,
        tracker,
        on_change,
    };
    if check.kind == Kind::None {
        watcher.trust().await;
    } else {
        watcher.probe_for_ever(&check, first_after).await;
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
    async fn probe_for_ever(&mut self, check: &Check, first_after: Duration) {
        let mut rng = Rng::fresh();
        let first = clock::now() + first_after;
        // In place of a probe that waits for it, and keeps others waiting.
        self.backend.first_lookup.settled().await;
        self.wait_until(first).await;
        loop {
            // The semaphore is never closed.
            let permit = PROBES.acquire().await;
            self.health.clear_suspicion();
            let outcome = probe(&self.backend, check).await;
            drop(permit);
            self.take(outcome).await;
            let now = clock::now();
            self.wait_until(self.tracker.next_probe(now, rng.bits())).await;
        }
    }

    /// Waits until a probe is due or a request has failed, which is not long after the last probe at the earliest.
    async fn wait_until(&self, due: Instant) {
        tokio::select! {
            () = sleep_until(due.into()) => {}
            () = self.health.suspected() => {
                let nudged = self.tracker.next_nudged(clock::now());
                sleep_until(nudged.min(due).into()).await;
            }
        }
    }

    async fn take(&mut self, outcome: Outcome) {
        let now = clock::now();
        match &outcome.result {
            Err(error) if error.is_ours() => {
                self.tracker.postpone(now);
                // Every backend has this at once: not worth a line each.
                tracing::debug!(backend = %self.backend.address, reason = %error, "backend could not be probed");
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

    /// Writes down what is known now, and tells of a change.
    async fn publish(&self, change: Option<State>, probed: Option<Probed>) {
        let before = self.health.status();
        let mut status = Status {
            successes: self.tracker.successes(),
            failures: self.tracker.failures(),
            probed,
            ..Status::clone(&before)
        };
        if let Some(state) = change {
            status.state = state;
            status.since = clock::now();
            status.since_wall = clock::wall();
            let error = status.probed.as_ref().and_then(|probed| probed.error.clone());
            status.why = error.filter(|_| state == State::Down);
        }
        let state = status.state;
        self.health.set(status);
        if state.is_eligible() != before.state.is_eligible() {
            let (in_force, wait) = oneshot::channel();
            let change = Change {
                backend: self.backend.id,
                state,
                in_force,
            };
            // Without a listener there is nobody to tell, as at the end of the process.
            let _ = self.on_change.send(change).await;
            let _ = wait.await;
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

    /// No probes: eligible, whatever it was before a reload. Suspicions still lead to lookups.
    async fn trust(&mut self) {
        if self.tracker.state() != State::Unknown {
            self.publish(Some(State::Unknown), None).await;
        }
        loop {
            self.health.suspected().await;
            self.health.clear_suspicion();
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

    /// A backend that is being watched.
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

        /// The state that the next change leads to.
        async fn change(&mut self) -> State {
            let change = tokio::time::timeout(DEADLINE, self.changes.recv())
                .await
                .expect("a change")
                .unwrap();
            assert_eq!(self.health.is_eligible(), change.state.is_eligible());
            change.state
        }

        /// Waits until the status is as wanted.
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
    async fn the_first_probe_comes_at_once_and_decides() {
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
    async fn a_first_probe_that_is_to_come_later_comes_at_once_when_a_request_fails() {
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
    async fn a_suspicion_leads_to_probes_that_take_the_backend_down_and_back() {
        let mut scripted = Scripted::start(OK).await;
        let backend = scripted.backend();
        // The interval is an hour: without the suspicion there would be no second probe.
        let mut watched = Watched::start(&backend, check(None), None);
        watched.status(|status| status.state == State::Up).await;
        scripted.request().await;
        scripted.script.store(REFUSAL.into());
        watched.health.request_probe();
        assert_eq!(watched.change().await, State::Down);
        assert_eq!(watched.health.status().failures, 3);
        scripted.script.store(OK.into());
        assert_eq!(watched.change().await, State::Up);
        assert_eq!(
            (watched.health.status().successes, &watched.health.status().why),
            (2, &None)
        );
    }

    #[tokio::test]
    async fn many_suspicions_of_one_moment_are_one_probe() {
        let mut scripted = Scripted::start(OK).await;
        let watched = Watched::start(&scripted.backend(), check(None), None);
        watched.status(|status| status.successes == 1).await;
        scripted.request().await;
        for _ in 0..1_000 {
            watched.health.request_probe();
        }
        watched.status(|status| status.successes == 2).await;
        scripted.request().await;
        // One more than the suspicions asked for would come after the gap, before this one.
        watched.health.request_probe();
        watched.status(|status| status.successes == 3).await;
        scripted.request().await;
        assert_eq!(scripted.unseen(), 0);
    }

    #[tokio::test]
    async fn a_name_is_probed_once_its_first_lookup_has_ended() {
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
        assert_eq!(watched.change().await, State::Up);
    }

    #[tokio::test]
    async fn a_backend_that_is_down_stays_so_over_a_reload() {
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
        assert_eq!(watched.change().await, State::Up);
        assert_eq!(watched.health.status().successes, 2);
    }

    #[tokio::test]
    async fn without_probes_a_backend_is_eligible_also_when_it_was_down() {
        let scripted = Scripted::start(REFUSAL).await;
        let backend = scripted.backend();
        let mut watched = Watched::start(&backend, check(None), None);
        assert_eq!(watched.change().await, State::Down);
        let none = Check {
            kind: Kind::None,
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
