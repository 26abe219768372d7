//! The end of the process, by a signal or by an upgrade, and what the service manager is told of it.

use std::sync::PoisonError;
use std::time::Duration;
use std::{future, io, mem};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::eligible::Eligibility;
use super::pid_file::PidFile;
use super::service_manager::ServiceManager;
use super::signals::Event;
use super::upgrade::Sockets;
use super::{Server, Stage};
use crate::admin::{Readiness, ReloadRequest};
use crate::clock;
use crate::health::{Change, State};
use crate::proxy::SnapshotCell;

/// Longest wait for the first probes of all backends, before a new process takes over.
const FIRST_PROBES: Duration = Duration::from_secs(3);
/// Interval at which they are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until each backend that is probed was probed once, so that a process that takes over knows which are down.
pub(super) async fn first_probes(
    shared: &SnapshotCell,
    changes: &mut mpsc::Receiver<Change>,
    eligibility: &mut Eligibility,
) {
    let snapshot = shared.snapshot();
    let deadline = Instant::now() + FIRST_PROBES;
    let is_unknown = || {
        let pools = snapshot.pools.iter();
        let mut members = pools
            .filter(|pool| pool.settings.health_check.probe.is_some())
            .flat_map(|pool| {
                let roster = pool.roster();
                roster.members().to_vec()
            });
        members.any(|member| member.health.status().state == State::Unknown)
    };
    while is_unknown() && Instant::now() < deadline {
        tokio::select! {
            Some(_) = changes.recv() => eligibility.update(&snapshot.pools, |_| true),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// When `WATCHDOG=1` is due.
pub(super) fn watchdog(manager: &ServiceManager) -> Option<Interval> {
    let mut interval = tokio::time::interval(manager.watchdog()?);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    Some(interval)
}

/// Waits for the next tick; forever without an interval.
pub(super) async fn next(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => future::pending().await,
    }
}

impl Server {
    /// Tells the service manager that the process makes progress, if it does.
    pub(super) fn notify_watchdog(&self) {
        let period = self.manager.watchdog().unwrap_or_default();
        let now = clock::now();
        if self.workers.have_progressed(now, period) {
            self.manager.alive();
        } else {
            tracing::error!("A worker makes no progress; the service manager is not notified");
        }
    }

    /// Starts a reload. While an upgrade runs, a request with a reply is refused, because the new process reads the config
    /// itself; a signal has effect if the upgrade fails.
    pub(super) fn start_reload(&mut self, request: ReloadRequest) {
        if self.upgrade.is_running() {
            match request.reply {
                Some(reply) => {
                    let why = "an upgrade is running, and the new process reads the config; reload again if the upgrade fails";
                    tracing::warn!("Reload refused: {why}");
                    let _ = reply.send(Err(vec![why.to_owned()]));
                }
                None => {
                    tracing::info!(
                        "Reload postponed: an upgrade is running, and the new process reads the config"
                    );
                    self.is_reload_postponed = true;
                }
            }
            return;
        }
        // A reload that waits for another is announced when it starts.
        if !self.reloads.is_running() {
            self.notify_reloading();
        }
        self.reloads.start(request);
        if !self.reloads.is_running() {
            self.manager.ready();
        }
    }

    /// Tells the service manager that a reload has started.
    pub(super) fn notify_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
        self.manager.reloading(microseconds);
    }

    /// Starts an upgrade, unless one runs already.
    pub(super) fn start_upgrade(&mut self, reply: Option<oneshot::Sender<Result<u32, String>>>) {
        let sockets = match self.may_upgrade() {
            Ok(sockets) => sockets,
            Err(why) => {
                tracing::error!(why, "Upgrade refused; this process goes on");
                let _ = reply.map(|reply| reply.send(Err(why)));
                return;
            }
        };
        tracing::info!("Upgrading: starting the new process");
        self.upgrade.start(sockets, self.timeouts.upgrade, reply);
    }

    fn may_upgrade(&mut self) -> Result<Sockets, String> {
        let refusal = match () {
            () if self.upgrade.is_running() => "another upgrade is running",
            () if self.reloads.is_running() => "a reload is running; try again",
            () if self.state.config_state().source == "stdin" => {
                "the config came from standard input, which a new process cannot read again"
            }
            () => "",
        };
        if !refusal.is_empty() {
            return Err(refusal.to_owned());
        }
        let bound = self.listeners.sockets().chain(self.admin.socket());
        let pipe = self.role.pipe();
        let pipe = pipe.map_err(|error| format!("cannot make a pipe for the new process: {error}"))?;
        Sockets::of(bound, pipe)
            .map_err(|error: io::Error| format!("cannot duplicate a listening socket: {error}"))
    }

    /// Returns whether another process serves now. `is_stopping` tells whether a stop was requested meanwhile.
    pub(super) fn finish_upgrade(&mut self, result: Result<u32, String>, is_stopping: bool) -> bool {
        match result {
            Ok(process) => {
                tracing::info!(process, "Upgraded: the new process serves");
                // The main process of a container stays process 1.
                if !self.role.is_supervised() {
                    self.manager.replaced_by(process);
                }
                self.role.replaced_by(process, is_stopping);
                self.is_replaced = true;
                // Responses that run are finished, such as the one to the request to upgrade.
                self.admin.own_file(false);
                self.admin.stop();
                let are_unused = self.listeners.are_unused(&self.upgrade);
                self.listeners.own_files(are_unused);
            }
            Err(why) => {
                tracing::error!(why, "Upgrade failed; this process goes on");
                // The new process may have written its id to it before it failed.
                self.pid_file.iter().for_each(PidFile::restore);
                if mem::take(&mut self.is_reload_postponed) {
                    self.start_reload(ReloadRequest::default());
                }
            }
        }
        self.is_replaced
    }

    /// Gives up an upgrade that runs, before this process stops. If the new process was told to serve already, it is awaited
    /// and stopped too. A second stop signal ends the wait.
    pub(super) async fn give_up_upgrade(&mut self) {
        if !self.upgrade.is_running() {
            return;
        }
        tracing::info!("Stop requested; giving up the upgrade");
        self.is_reload_postponed = false;
        self.upgrade.give_up();
        let result = loop {
            tokio::select! {
                result = self.upgrade.ended() => break result,
                event = self.signals.next() => if event == Event::Stop { return },
            }
        };
        let process = result.clone().ok();
        // A service manager sends the signal to all processes of the service, and process 1 of a container to all that serve: a
        // second one would cut requests.
        if self.finish_upgrade(result, true)
            && !self.manager.is_present()
            && !self.role.is_supervised()
            && let Some(process) = process.and_then(|process| Pid::from_raw(process.cast_signed()))
        {
            let _ = kill_process(process, Signal::TERM);
        }
    }

    /// Lets running requests finish, until a second stop signal or the end of `timeouts.drain`.
    pub(super) async fn drain(&mut self) {
        self.state.config_state().readiness = Readiness::NotReady("stopping".to_owned());
        if !self.is_replaced {
            self.manager.stopping();
            if !self.wait_before_drain().await {
                self.workers.advance(Stage::Ending);
                return;
            }
        }
        tracing::info!(
            timeout_s = self.timeouts.drain.as_secs(),
            "Stopping; waiting for running requests to finish"
        );
        // A reload that has not ended is given up.
        self.waiting = None;
        if self.is_replaced {
            self.close_unused().await;
        }
        // Removes Unix sockets first: a client that has found one is still accepted.
        self.listeners.close(self.is_replaced);
        self.workers.advance(Stage::Draining {
            is_replaced: self.is_replaced,
        });
        let deadline = tokio::time::sleep(self.timeouts.drain);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = self.workers.all_ended() => return,
                () = &mut deadline => break,
                event = self.signals.next() => {
                    if event == Event::ReopenLogs {
                        self.reopen_logs();
                    }
                    if self.role.ends_drain(event) { break }
                }
                () = self.role.changed(), if !self.upgrade.is_running() => if self.role.has_failed() { break },
                Some(change) = self.changes.recv() => self.apply_health_changes(change),
                () = self.eligibility.due() => self.eligibility.update_due(&self.state.shared.snapshot().pools),
            }
        }
        tracing::warn!("Stopping now; aborting the remaining requests");
        if let Some(logs) = &*self.state.logs.lock().unwrap_or_else(PoisonError::into_inner) {
            logs.stop_waiting();
        }
        self.workers.advance(Stage::Ending);
    }

    /// Closes the listeners whose sockets the process that serves now has not taken, as a reload would.
    async fn close_unused(&mut self) {
        let are_unused = self.listeners.are_unused(&self.upgrade);
        let config = self.reloads.active();
        let listeners = config.listeners.iter().zip(are_unused);
        let kept: Vec<_> = listeners
            .filter(|(_, is_unused)| !is_unused)
            .map(|(settings, _)| settings.clone())
            .collect();
        if kept.len() < config.listeners.len() {
            let generation = self.listeners.activate(&kept, Vec::new());
            self.workers.have_applied(generation).await;
        }
    }

    /// Accepts for `timeouts.drain_delay`. Returns whether no second stop signal has come.
    async fn wait_before_drain(&mut self) -> bool {
        let delay = self.timeouts.drain_delay;
        if delay.is_zero() {
            return true;
        }
        tracing::info!(
            delay_s = delay.as_secs_f64(),
            "Stop requested; still accepting for timeouts.drain_delay"
        );
        let deadline = tokio::time::sleep(delay);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => return true,
                event = self.signals.next() => if event == Event::Stop { return false },
                Some(change) = self.changes.recv() => self.apply_health_changes(change),
                () = self.eligibility.due() => self.eligibility.update_due(&self.state.shared.snapshot().pools),
            }
        }
    }
}
