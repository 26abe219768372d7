//! The control plane: builds everything from a config and owns every thread and task. It never handles a request.

mod activation;
mod admin_api;
mod all_counters;
mod assemble;
mod background;
mod certificates;
mod changes;
mod config_watch;
mod container;
mod differences;
mod eligible;
pub mod feeds;
mod guard;
mod history;
mod limits;
mod listeners;
mod operate;
mod pid_file;
mod plan;
mod reload;
mod removed;
mod servers;
mod service_manager;
mod signals;
mod silence;
mod sources;
mod start;
mod start_error;
mod stopping;
pub mod stores;
mod ticks;
mod traces;
mod upgrade;
mod view;
mod waiting_reload;
mod watchers;
mod worker;
mod workers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Interval;

use crate::admin::{BackendChange, Command, ReloadRequest, SAMPLES_KEPT};
use crate::clock;
use crate::config::{self, Config};
use crate::health::Change;
use crate::net::ListenAddress;
use crate::proxy::ClientTimeouts;
use crate::tasks::Tasks;
use crate::telemetry::{Feed, Logs};
use admin_api::AdminApi;
use all_counters::AllCounters;
pub use assemble::snapshot_of;
use config_watch::ConfigWatch;
use container::{Role, Supervisor};
use eligible::Eligibility;
use guard::Guard;
use listeners::Listeners;
use pid_file::PidFile;
use reload::Reloads;
use removed::RemovedBackends;
use service_manager::ServiceManager;
use signals::{Event, Signals};
use sources::Discovery;
use start::{Backends, Listening};
pub use start_error::{RoutesError, StartError};
use stopping::Ending;
pub use upgrade::Launch;
use upgrade::Upgrade;
use view::{AppState, ConfigState};
use waiting_reload::WaitingReload;
use watchers::Watchers;
use worker::Stage;
use workers::Workers;

/// Time limit for writing the last log lines at the end.
const LOG_GRACE: Duration = Duration::from_secs(2);
/// Time limit for exporting the last spans at the end.
const SPANS_GRACE: Duration = Duration::from_secs(2);

/// The addresses of a started process.
pub struct Running {
    /// The listeners' addresses.
    pub addresses: Vec<ListenAddress>,
    /// The admin API's address.
    pub admin: Option<ListenAddress>,
}

impl Running {
    fn announce(&self, workers: usize, descriptors: u64) {
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, workers, descriptors, "Started");
        for address in &self.addresses {
            tracing::info!(%address, "Listening");
        }
        if let Some(address) = &self.admin {
            tracing::info!(%address, "Admin API listening");
        }
    }
}

/// What [`run`] needs.
pub struct Plan {
    /// The config.
    pub config: Config,
    /// The config file, which a reload reads again.
    pub source: Option<PathBuf>,
    /// The name of the config's source in the status.
    pub source_name: String,
    /// The file for the id of the process.
    pub pid_file: Option<PathBuf>,
    /// What this process was started with.
    pub launch: Launch,
    /// Why the process cannot be upgraded, if it cannot.
    pub no_upgrade: Option<&'static str>,
}

/// Runs until a signal stops it; returns the exit code. That is 0, or, in process 1 of a container after an upgrade, the one of
/// the process that served last. `on_start` is called when the listeners accept, before that is logged.
///
/// # Errors
/// [`StartError`] when the process cannot start. A started process returns no error.
pub fn run(plan: Plan, on_start: impl FnOnce(&Running)) -> Result<u8, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("start the control runtime"))?;
    // Before anything that takes long: a signal without a handler ends the process, and the kernel drops it in process 1 of a container.
    let signals = runtime.block_on(async { Ok((Signals::new()?, Signals::new()?)) });
    let (signals, mut at_start) = signals.map_err(StartError::system("receive signals"))?;
    let logs = Logs::start(&plan.config.access_log)?;
    // A second installation happens in tests only; the first one stays.
    let _ = logs.layer(tracing::Level::INFO).install();
    let logs = Arc::new(Mutex::new(Some(logs)));
    let result: Result<_, StartError> = runtime.block_on(async {
        let started = tokio::select! {
            // The other branch would lose a process that was told to serve; both branches see each signal.
            biased;
            started = Server::start(plan, &logs, signals, on_start) => started?,
            () = at_start.stop() => {
                tracing::info!("Stop requested during the start");
                return Ok(None);
            }
        };
        Ok(started.live().await)
    });
    // Does not wait for probes and lookups that are blocked in a system call.
    runtime.shutdown_background();
    match &result {
        Ok(Some(_)) => tracing::info!(
            "Drained; stays as process 1 of the container and passes signals on to the process that serves"
        ),
        Ok(None) => tracing::info!("Stopped"),
        Err(_) => {}
    }
    if let Some(logs) = logs.lock().unwrap_or_else(PoisonError::into_inner).take() {
        logs.close(LOG_GRACE);
    }
    match result? {
        Some((supervisor, signals)) => {
            let code = supervisor.run(signals);
            code.map_err(StartError::system("supervise the process that serves"))
        }
        None => Ok(0),
    }
}

/// The control plane's state.
struct Server {
    timeouts: ClientTimeouts,
    reloads: Reloads,
    guard: Guard,
    config_watch: ConfigWatch,
    state: Arc<AppState>,
    listeners: Listeners,
    admin: AdminApi,
    upgrade: Upgrade,
    /// Whether another process serves now.
    is_replaced: bool,
    /// What this process is in its container.
    role: Role,
    /// Whether a reload was requested by a signal during the upgrade that runs.
    is_reload_postponed: bool,
    /// Whether an upgrade was requested by a signal during the reload that runs.
    is_upgrade_postponed: bool,
    /// Why this process cannot be upgraded, if it cannot.
    no_upgrade: Option<&'static str>,
    manager: ServiceManager,
    /// When `WATCHDOG=1` is due.
    watchdog: Option<Interval>,
    pid_file: Option<PidFile>,
    workers: Workers,
    watchers: Watchers,
    eligibility: Eligibility,
    removed: RemovedBackends,
    discovery: Discovery,
    waiting: Option<WaitingReload>,
    changes: mpsc::Receiver<Change>,
    commands: mpsc::Receiver<Command>,
    operations: mpsc::Receiver<BackendChange>,
    signals: Signals,
    tasks: Tasks,
}

impl Server {
    async fn start(
        plan: Plan,
        logs: &Arc<Mutex<Option<Logs>>>,
        signals: Signals,
        on_start: impl FnOnce(&Running),
    ) -> Result<Self, StartError> {
        let mut config = plan.config;
        let Launch { program, inherited } = plan.launch;
        let mut inherited = inherited.map_err(StartError::system("take over listening sockets"))?;
        let role = Role::of_this_process(inherited.take_pipe())?;
        let manager = ServiceManager::of_this_process(inherited.is_upgrade(), role.is_supervised());
        let descriptors = limits::raise_descriptors();
        limits::resolve(&mut config, descriptors);
        let mut sockets = Listening::bind(&config, &mut inherited)?;
        let backends = Backends::start(&config, inherited.is_upgrade()).await?;
        // What may fail comes before `ready`: a process that was told to serve may have accepted connections.
        let (addresses, admin) = (sockets.open(&config)?, sockets.admin_address()?);
        let running = Running { addresses, admin };
        let bound = std::mem::take(&mut sockets.listeners);
        let mut listeners = Listeners::start(bound, &config.listeners, &Vec::from_iter(0..backends.workers))?;
        let state = Arc::new(AppState {
            shared: Arc::clone(&backends.shared),
            ages: backends.discovery.starter.ages.clone(),
            counters: AllCounters::default(),
            logs: Arc::clone(logs),
            listeners: listeners.running(),
            started: (clock::now(), clock::wall()),
            config_state: Mutex::new(ConfigState::new(&config, plan.source_name)),
            samples: Arc::new(Feed::new(SAMPLES_KEPT)),
        });
        let tasks = watch(&state);
        let (mut admin, requests) = AdminApi::new(&state);
        admin.apply(config.admin.as_ref(), sockets.admin.take())?;
        let pid_file = plan.pid_file.map(PidFile::prepare).transpose()?;
        let mut workers = Workers::new(&state, listeners.list(), backends.workers);
        let prepared = workers.prepare(backends.workers)?;
        let ready = inherited.ready();
        ready.map_err(StartError::system("take over from the running process"))?;
        workers.serve(prepared);
        // Who waits for the line of the start finds the file.
        pid_file.iter().for_each(PidFile::publish);
        on_start(&running);
        running.announce(backends.workers, descriptors);
        inherited.serving(&role);
        listeners.own_files(sockets.files);
        admin.own_file(sockets.admin_file);
        manager.ready();
        Ok(Self {
            timeouts: config.timeouts,
            guard: Guard::new(&config),
            config_watch: ConfigWatch::off(),
            reloads: Reloads::new(plan.source, config, descriptors, backends.shared, backends.keep),
            state,
            listeners,
            admin,
            upgrade: Upgrade::new(program),
            is_replaced: false,
            role,
            is_reload_postponed: false,
            is_upgrade_postponed: false,
            no_upgrade: plan.no_upgrade,
            watchdog: stopping::watchdog(&manager),
            manager,
            pid_file,
            workers,
            watchers: backends.watchers,
            eligibility: backends.eligibility,
            removed: RemovedBackends::default(),
            discovery: backends.discovery,
            waiting: None,
            changes: backends.changes,
            commands: requests.commands,
            operations: requests.changes,
            signals,
            tasks,
        })
    }

    /// Serves and drains. Returns what remains of process 1 of a container that was replaced.
    async fn live(mut self) -> Option<(Supervisor, Signals)> {
        match self.serve().await {
            Ending::Drain => self.drain().await,
            Ending::Abort => {
                self.manager.stopping();
                self.abort();
            }
        }
        self.admin.finish().await;
        self.join().await
    }

    /// Handles signals, commands and health changes until a stop signal, or until another process serves.
    async fn serve(&mut self) -> Ending {
        self.config_watch.configure(&self.reloads);
        loop {
            tokio::select! {
                event = self.signals.next() => match event {
                    Event::Stop => return self.give_up_upgrade().await,
                    Event::Reload => self.start_reload(ReloadRequest::default()),
                    Event::ReopenLogs => self.reopen_logs(),
                    Event::Upgrade => self.start_upgrade(None),
                },
                Some(change) = self.changes.recv() => self.apply_health_changes(change),
                Some(command) = self.commands.recv(), if !self.reloads.is_running() => match command {
                    Command::Reload(request) => self.start_reload(request),
                    Command::Plan(request) => self.reloads.plan(request),
                    Command::Upgrade(reply) => self.start_upgrade(Some(reply)),
                },
                result = self.upgrade.ended() => if self.finish_upgrade(result, false) { return Ending::Drain },
                () = stopping::next(&mut self.watchdog) => self.notify_watchdog(),
                Some(change) = self.operations.recv() => self.change_backend(change),
                read = self.reloads.read(), if self.waiting.is_none() => self.prepare_reload(read).await,
                reload = WaitingReload::take_answered(&mut self.waiting) => self.finish_reload(Ok(reload)).await,
                Some(update) = self.discovery.updates.recv() => self.apply_update(&update),
                () = self.guard.due() => self.check_guard(),
                hash = self.config_watch.changed() => self.reload_changed_file(hash),
                () = self.eligibility.due() => self.eligibility.update_due(&self.state.shared.snapshot().pools),
                worker = self.workers.next_ended() => self.listeners.discard_shares(worker),
                () = self.role.changed(), if !self.upgrade.is_running() => {}
                () = self.removed.due() => self.removed.release(&self.state.shared.snapshot().watched()),
            }
        }
    }

    fn reopen_logs(&self) {
        if let Some(logs) = &*self.state.logs.lock().unwrap_or_else(PoisonError::into_inner) {
            logs.reopen();
            tracing::info!("Reopening log files");
        }
    }

    /// Publishes to the workers which backends became eligible or stopped being eligible.
    fn apply_health_changes(&mut self, first: Change) {
        let mut changed = vec![first];
        while let Ok(change) = self.changes.try_recv() {
            changed.push(change);
        }
        let snapshot = self.state.shared.snapshot();
        self.eligibility.update(&snapshot.pools, |pool| {
            let roster = pool.roster();
            let mut changed = changed.iter();
            changed.any(|change| roster.member(change.backend).is_some())
        });
    }

    /// Ends everything. Returns what remains of process 1 of a container that was replaced.
    async fn join(self) -> Option<(Supervisor, Signals)> {
        self.workers.join();
        // The spans of the last requests are there now.
        if let Some(tracer) = &self.state.shared.snapshot().tracer {
            tracer.queue.drain(SPANS_GRACE).await;
        }
        let supervisor = self.role.supervisor().filter(|_| self.is_replaced);
        supervisor.map(|supervisor| (supervisor, self.signals))
    }
}

/// Starts the tasks that watch certificates, and backends that respond to nothing.
fn watch(state: &AppState) -> Tasks {
    let mut tasks = Tasks::default();
    let shared = Arc::clone(&state.shared);
    tasks.spawn(certificates::watch(state.listeners.clone(), shared));
    tasks.spawn(silence::watch(Arc::clone(&state.shared)));
    tasks
}

fn worker_count(workers: config::Workers) -> usize {
    match workers {
        config::Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        config::Workers::Count(count) => count,
    }
}

#[cfg(test)]
mod tests;
