//! The end of the process, by a signal or by an upgrade, and what the service manager is told of it.

use std::sync::PoisonError;
use std::time::Duration;
use std::{future, io, mem};

use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::eligible::Eligibility;
use super::pid_file::PidFile;
use super::service_manager::ServiceManager;
use super::signals::{self, Event};
use super::upgrade::Sockets;
use super::{Server, Stage};
use crate::admin::{Command, NotPlanned, Readiness, ReloadRequest};
use crate::clock;
use crate::health::{Change, State};
use crate::proxy::SnapshotCell;

/// Longest wait for the first probes of all backends, before a new process takes over.
const FIRST_PROBES: Duration = Duration::from_secs(3);
/// Why a reload or an upgrade is not done any more.
const STOPS: &str = "this process is stopping";
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

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It lets running requests finish.
    Drain,
    /// It aborts them: a second stop signal has come.
    Abort,
}

/// What happens to a process that stops.
enum Happened {
    Signal(Event),
    /// Nobody serves any more, because the process that has replaced this one has failed.
    ServerFailed,
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

    /// Starts an upgrade, unless one runs already. One that a signal requests during a reload waits for the end of that, as those over
    /// the admin API do.
    pub(super) fn start_upgrade(&mut self, reply: Option<oneshot::Sender<Result<u32, String>>>) {
        self.is_upgrade_postponed = self.reloads.is_running();
        if self.is_upgrade_postponed {
            tracing::info!("Upgrade postponed: a reload is running");
            return;
        }
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
        let running = self.upgrade.is_running().then_some("another upgrade is running");
        if let Some(refusal) = running.or(self.no_upgrade) {
            return Err(refusal.to_owned());
        }
        let bound = self.listeners.sockets().chain(self.admin.socket());
        let passed = self.role.pass();
        let passed = passed.map_err(|error| format!("cannot make a pipe for the new process: {error}"))?;
        Sockets::of(bound, passed)
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
    pub(super) async fn give_up_upgrade(&mut self) -> Ending {
        if !self.upgrade.is_running() {
            return Ending::Drain;
        }
        tracing::info!("Stop requested; giving up the upgrade");
        self.is_reload_postponed = false;
        self.upgrade.give_up();
        let result = loop {
            tokio::select! {
                result = self.upgrade.ended() => break result,
                event = self.signals.next() => {
                    if event == Event::Stop {
                        self.upgrade.told().into_iter().for_each(|process| self.stop_other(process, true));
                        return Ending::Abort;
                    }
                    self.act_while_stopping(event);
                }
            }
        };
        let process = result.clone().ok();
        if self.finish_upgrade(result, true)
            && let Some(process) = process.and_then(|process| Pid::from_raw(process.cast_signed()))
        {
            self.stop_other(process, false);
        }
        Ending::Drain
    }

    /// Stops the new process, as this one was stopped. A service manager sends the signal to all processes of the service, and process 1
    /// of a container to all that serve: a second one would cut requests.
    fn stop_other(&self, process: Pid, is_second: bool) {
        if !self.manager.is_present() && !self.role.is_supervised() {
            signals::stop(process, is_second);
        }
    }

    /// Lets running requests finish, until a second stop signal or the end of `timeouts.drain`.
    pub(super) async fn drain(&mut self) {
        self.state.config_state().readiness = Readiness::NotReady("stopping".to_owned());
        if !self.is_replaced {
            self.manager.stopping();
            if !self.wait_before_drain().await {
                self.abort();
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
        let ended = self.workers.all_ended();
        let deadline = tokio::time::sleep(self.timeouts.drain);
        tokio::pin!(deadline, ended);
        loop {
            tokio::select! {
                () = &mut ended => return,
                () = &mut deadline => break,
                happened = self.next_while_stopping() => {
                    let Happened::Signal(event) = happened else { break };
                    self.act_while_stopping(event);
                    if self.role.ends_drain(event) { break }
                }
            }
        }
        self.abort();
    }

    /// Aborts the requests that still run.
    pub(super) fn abort(&self) {
        tracing::warn!("Stopping now; aborting the remaining requests");
        if let Some(logs) = &*self.state.logs.lock().unwrap_or_else(PoisonError::into_inner) {
            logs.stop_waiting();
        }
        self.workers.advance(Stage::Ending);
    }

    /// Waits until something happens to a process that stops, and does meanwhile what it still has to do.
    async fn next_while_stopping(&mut self) -> Happened {
        loop {
            tokio::select! {
                event = self.signals.next() => return Happened::Signal(event),
                () = self.role.changed(), if !self.upgrade.is_running() => if self.role.has_failed() { return Happened::ServerFailed },
                Some(change) = self.changes.recv() => self.apply_health_changes(change),
                Some(change) = self.operations.recv() => self.change_backend(change),
                Some(command) = self.commands.recv() => refuse(command),
                () = self.eligibility.due() => self.eligibility.update_due(&self.state.shared.snapshot().pools),
                // Workers end one after the other: only the control plane still says that it makes progress.
                () = next(&mut self.watchdog), if !self.is_replaced => self.manager.alive(),
            }
        }
    }

    /// Acts on a signal while this process stops. What is meant for the process that serves, process 1 of a container passes on.
    fn act_while_stopping(&self, event: Event) {
        match event {
            Event::ReopenLogs => self.reopen_logs(),
            Event::Reload | Event::Upgrade if self.role.is_supervised() && self.is_replaced => {}
            Event::Reload => tracing::warn!("Reload ignored: {STOPS}"),
            Event::Upgrade => tracing::warn!("Upgrade ignored: {STOPS}"),
            Event::Stop => {}
        }
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
                happened = self.next_while_stopping() => match happened {
                    Happened::Signal(Event::Stop) => return false,
                    Happened::Signal(event) => self.act_while_stopping(event),
                    Happened::ServerFailed => {}
                },
            }
        }
    }
}

/// Refuses a command: this process stops.
fn refuse(command: Command) {
    // The client may have left.
    match command {
        Command::Reload(request) => {
            let reply = request.reply.map(|reply| reply.send(Err(vec![STOPS.to_owned()])));
            drop(reply);
        }
        Command::Plan(request) => drop(
            request
                .reply
                .send(Err(NotPlanned::Invalid(vec![STOPS.to_owned()]))),
        ),
        Command::Upgrade(reply) => drop(reply.send(Err(STOPS.to_owned()))),
    }
}
