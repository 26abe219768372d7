//! The control plane: builds everything from a config and owns every thread and task. It never handles a request.

mod assemble;
mod background;
mod certificates;
mod changes;
mod eligible;
pub mod feeds;
mod history;
mod limits;
mod listeners;
mod operate;
mod reload;
mod removed;
mod servers;
mod signals;
mod sources;
mod start_error;
pub mod stores;
mod view;
mod waiting_reload;
mod watchers;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::admin::{
    self, BackendChange, CHANGES_WAITING, COMMANDS_WAITING, Command, Control, Feeds, Readiness, Reloaded,
    SAMPLES_KEPT,
};
use crate::clock;
use crate::config::{self, Config, Workers};
use crate::health::Change;
use crate::kept::Kept;
use crate::listener::{self, WorkerSet};
use crate::net::{self, ListenAddress};
use crate::proxy::{Computations, SnapshotCell};
use crate::tasks::Tasks;
use crate::telemetry::metrics::WorkerCounters;
use crate::telemetry::{Feed, Logs};
use assemble::Assembled;
pub use assemble::snapshot_of;
use eligible::Eligibility;
use limits::Resources;
use reload::Reloads;
use removed::RemovedBackends;
use signals::{Event, Signals};
use sources::Discovery;
pub use start_error::{RoutesError, StartError};
use view::{AppState, ConfigState};
use waiting_reload::WaitingReload;
use watchers::Watchers;
use worker::WorkerThread;

/// Queued health changes; when the queue is full, a probe waits.
const CHANGES_BOUND: usize = 1024;
/// The operation that fails when the address of a socket cannot be read, as in [`StartError::System`].
const READ_ADDRESS: &str = "read the address of a listening socket";
/// Time limit for writing the last log lines at the end.
const LOG_GRACE: Duration = Duration::from_secs(2);

/// The addresses of a started process.
pub struct Running {
    /// The listeners' addresses.
    pub addresses: Vec<ListenAddress>,
    /// The admin API's address.
    pub admin: Option<SocketAddr>,
}

impl Running {
    fn announce(&self, Resources { descriptors, workers }: Resources) {
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
}

/// Runs until a signal stops it. `on_start` is called when the listeners accept, before that is logged.
///
/// # Errors
/// [`StartError`] when the process cannot start. A started process returns no error.
pub fn run(plan: Plan, on_start: impl FnOnce(&Running)) -> Result<(), StartError> {
    let logs = Logs::start(&plan.config.access_log)?;
    // A second installation happens in tests only; the first one stays.
    let _ = logs.layer(tracing::Level::INFO).install();
    let logs = Arc::new(Mutex::new(Some(logs)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("start the control runtime"))?;
    let result = runtime.block_on(async {
        let mut server = Server::start(plan, &logs, on_start).await?;
        server.serve().await;
        server.join();
        Ok(())
    });
    // Does not wait for probes and lookups that are blocked in a system call.
    runtime.shutdown_background();
    if result.is_ok() {
        tracing::info!("Stopped");
    }
    if let Some(logs) = logs.lock().unwrap_or_else(PoisonError::into_inner).take() {
        logs.close(LOG_GRACE);
    }
    result
}

/// The control plane's state.
struct Server {
    drain: Duration,
    reloads: Reloads,
    state: Arc<AppState>,
    listeners: Vec<net::Bound>,
    workers: Vec<WorkerThread>,
    stop: watch::Sender<Stop>,
    watchers: Watchers,
    eligibility: Eligibility,
    removed: RemovedBackends,
    discovery: Discovery,
    waiting: Option<WaitingReload>,
    changes: mpsc::Receiver<Change>,
    commands: mpsc::Receiver<Command>,
    operations: mpsc::Receiver<BackendChange>,
    signals: Signals,
    _tasks: Tasks,
}

/// The stop state that workers watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Keep serving.
    No,
    /// Accept no new connections; let running requests finish.
    Drain,
    /// End immediately.
    Now,
}

impl Server {
    async fn start(
        plan: Plan,
        logs: &Arc<Mutex<Option<Logs>>>,
        on_start: impl FnOnce(&Running),
    ) -> Result<Self, StartError> {
        let Plan {
            mut config,
            source,
            source_name,
        } = plan;
        let resources = Resources::take(config.workers);
        limits::resolve(&mut config, resources);
        let config_text = config::print(&config);
        let active = Arc::new(config.clone());
        let listeners = bind_all(&config)?;
        let admin = config.admin.as_ref();
        let admin = admin.map(|admin| bind(&ListenAddress::Ip(admin.address)));
        let admin = admin.transpose()?;
        let mut assembled = assemble::assemble(&config, &Kept::default())?;
        let discovery = Discovery::start(&config, &mut assembled).await;
        let Assembled { snapshot, keep, .. } = assembled;
        let (changed, changes) = mpsc::channel(CHANGES_BOUND);
        let mut watchers = Watchers::new(changed);
        watchers.watch(&snapshot.watched());
        let shared = SnapshotCell::new(snapshot);
        let keep = keep.finish();
        let eligibility = Eligibility::start(&keep, &shared);
        let signals = Signals::new().map_err(StartError::system("receive signals"))?;
        let (stop, stopped) = watch::channel(Stop::No);
        let addresses = open(&listeners, &config)?;
        let settings = listeners::all(&config.listeners, &addresses);
        let sockets = listeners.iter().zip(&settings).collect::<Vec<_>>();
        let workers = start_workers(&config, &sockets, &shared, logs, &stopped)?;
        let running = Running {
            addresses,
            admin: address_of(admin.as_ref())?,
        };
        let counters = workers.iter().map(|worker| Arc::clone(&worker.counters));
        let state = Arc::new(AppState {
            shared,
            counters: counters.collect(),
            logs: Arc::clone(logs),
            listeners: settings,
            started: (clock::now(), clock::wall()),
            config_state: Mutex::new(ConfigState::new(active, config_text, source_name)),
            samples: Arc::new(Feed::new(SAMPLES_KEPT)),
        });
        let (commands, operations, mut tasks) = start_admin(&config, admin, &state)?;
        on_start(&running);
        running.announce(resources);
        let watched = state.listeners.as_slice().into();
        tasks.spawn(certificates::watch(watched, Arc::clone(&state.shared)));
        Ok(Self {
            drain: config.timeouts.drain,
            reloads: Reloads::new(source, config, resources, Arc::clone(&state.shared), keep),
            state,
            listeners,
            workers,
            stop,
            watchers,
            eligibility,
            removed: RemovedBackends::default(),
            discovery,
            waiting: None,
            changes,
            commands,
            operations,
            signals,
            _tasks: tasks,
        })
    }

    /// Handles signals, commands and health changes until a stop signal.
    async fn serve(&mut self) {
        loop {
            tokio::select! {
                event = self.signals.next() => match event {
                    Event::Stop => break,
                    Event::Reload => self.reloads.start(None),
                    Event::ReopenLogs => self.reopen_logs(),
                    Event::Upgrade => tracing::warn!("SIGUSR2 ignored: upgrading the running binary is not implemented"),
                },
                Some(change) = self.changes.recv() => self.apply_health_changes(change),
                Some(Command::Reload(reply)) = self.commands.recv(), if !self.reloads.is_running() => {
                    self.reloads.start(Some(reply));
                }
                Some(change) = self.operations.recv() => self.change_backend(change),
                read = self.reloads.read(), if self.waiting.is_none() => match read {
                    Ok(result) => self.waiting = Some(WaitingReload::new(result, &self.discovery.starter)),
                    Err(errors) => self.finish_reload(Err(errors)),
                },
                reload = WaitingReload::take_answered(&mut self.waiting) => self.finish_reload(Ok(reload)),
                Some(update) = self.discovery.updates.recv() => self.apply_update(&update),
                () = self.eligibility.due() => self.eligibility.update_due(&self.state.shared.snapshot().pools),
                () = self.removed.due() => self.removed.release(&self.state.shared.snapshot().watched()),
            }
        }
        self.drain().await;
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

    /// Activates the config that a reload has read. If the reload failed, nothing changes.
    fn finish_reload(&mut self, read: Result<WaitingReload, Vec<String>>) {
        let outcome = read.map(|WaitingReload { result, sources }| {
            self.drain = result.drain;
            certificates::adopt(&self.state.listeners, &result.listeners);
            self.discovery.sources = sources;
            self.reloads
                .activate(result.assembled, result.config, &self.discovery.sources);
            let snapshot = self.state.shared.snapshot();
            self.removed.expect();
            self.watchers.look_up_again();
            self.watchers.watch(&snapshot.watched());
            self.eligibility.update(&snapshot.pools, |_| false);
            let mut config_state = self.state.config_state();
            config_state.config = self.reloads.active();
            let replaced = std::mem::replace(&mut config_state.config_text, result.text);
            config_state.previous_text = Some(replaced);
            drop(config_state);
            result.report
        });
        self.reloads.log(&outcome);
        let outcome = outcome.map(|report| Reloaded {
            ignored_until_restart: report.ignored(),
        });
        self.state.config_state().reloaded(&outcome);
        self.reloads.finish(outcome);
    }

    /// Lets running requests finish, until a second stop signal or the end of `timeouts.drain`.
    async fn drain(&mut self) {
        tracing::info!(
            timeout_s = self.drain.as_secs(),
            "Stopping; waiting for running requests to finish"
        );
        self.state.config_state().readiness = Readiness::NotReady("stopping".to_owned());
        // Removes Unix sockets first: a client that has found one is still accepted.
        self.listeners.clear();
        let _ = self.stop.send(Stop::Drain);
        let deadline = tokio::time::sleep(self.drain);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = worker::all_ended(&self.workers) => return,
                () = &mut deadline => break,
                event = self.signals.next() => if event == Event::Stop { break },
                Some(change) = self.changes.recv() => self.apply_health_changes(change),
                () = self.eligibility.due() => self.eligibility.update_due(&self.state.shared.snapshot().pools),
            }
        }
        tracing::warn!("Stopping now; aborting the remaining requests");
        if let Some(logs) = &*self.state.logs.lock().unwrap_or_else(PoisonError::into_inner) {
            logs.stop_waiting();
        }
        let _ = self.stop.send(Stop::Now);
    }

    fn join(self) {
        for worker in self.workers {
            worker.join();
        }
    }
}

fn bind_all(config: &Config) -> Result<Vec<net::Bound>, StartError> {
    config
        .listeners
        .iter()
        .map(|listener| bind(&listener.address))
        .collect()
}

/// Binds an address without listening on it yet.
fn bind(address: &ListenAddress) -> Result<net::Bound, StartError> {
    net::bind(address).map_err(|source| StartError::bind(address, source))
}

/// The address of the admin API, if it is on.
fn address_of(admin: Option<&net::Bound>) -> Result<Option<SocketAddr>, StartError> {
    let address = admin.map(net::Bound::ip).transpose();
    address.map_err(StartError::system(READ_ADDRESS))
}

/// Starts listening; returns the listeners' actual addresses.
fn open(listeners: &[net::Bound], config: &Config) -> Result<Vec<ListenAddress>, StartError> {
    let open = |(bound, settings): (&net::Bound, &listener::Settings)| {
        let listening = bound.listen();
        listening.map_err(|source| StartError::bind(&settings.address, source))?;
        bound.address().map_err(StartError::system(READ_ADDRESS))
    };
    listeners.iter().zip(&config.listeners).map(open).collect()
}

fn start_workers(
    config: &Config,
    bound: &[(&net::Bound, &listeners::Running)],
    shared: &Arc<SnapshotCell>,
    logs: &Arc<Mutex<Option<Logs>>>,
    stopped: &watch::Receiver<Stop>,
) -> Result<Vec<WorkerThread>, StartError> {
    let logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    let logs = logs
        .as_ref()
        .ok_or(io::ErrorKind::NotConnected.into())
        .map_err(StartError::system("write the access log"))?;
    let computations = Arc::<Computations>::default();
    let mut workers = Vec::new();
    for (index, handle) in WorkerSet::of(worker_count(config.workers), crate::clock::now())
        .into_iter()
        .enumerate()
    {
        let sockets = bound
            .iter()
            .map(|(bound, (_, settings))| Ok((bound.share()?, Arc::clone(settings))))
            .collect::<io::Result<_>>()
            .map_err(StartError::system("share a listening socket with a worker"))?;
        workers.push(
            WorkerThread::spawn(worker::Start {
                index,
                handle,
                sockets,
                shared: Arc::clone(shared),
                counters: Arc::new(WorkerCounters::default()),
                log: logs.buffer(),
                computations: Arc::clone(&computations),
                stopped: stopped.clone(),
            })
            .map_err(StartError::system("start a worker thread"))?,
        );
    }
    Ok(workers)
}

/// Starts the admin API if it is on. If it is off, nothing is ever received from the returned channels.
fn start_admin(
    config: &Config,
    bound: Option<net::Bound>,
    state: &Arc<AppState>,
) -> Result<(mpsc::Receiver<Command>, mpsc::Receiver<BackendChange>, Tasks), StartError> {
    let (sender, commands) = mpsc::channel(COMMANDS_WAITING);
    let (changes, operations) = mpsc::channel(CHANGES_WAITING);
    let mut tasks = Tasks::default();
    if let (Some(settings), Some(bound)) = (config.admin.clone(), bound) {
        bound
            .listen()
            .map_err(|source| StartError::bind(&ListenAddress::Ip(settings.address), source))?;
        let share = StartError::system("listen for the admin API");
        let net::StdListener::Tcp(listener) = bound.share().map_err(&share)? else {
            return Err(share(io::ErrorKind::Unsupported.into()));
        };
        let view: Arc<dyn admin::View> = Arc::<AppState>::clone(state);
        let control = Control {
            view,
            feeds: Feeds::new(state.events(), Arc::clone(&state.samples)),
            commands: sender,
            changes,
        };
        tasks.spawn(history::sample(Arc::clone(state)));
        tasks.spawn(async move {
            if let Err(error) = admin::serve(listener, &settings, control, std::future::pending()).await {
                tracing::error!(%error, "Admin API failed and is no longer served");
            }
        });
    }
    Ok((commands, operations, tasks))
}

fn worker_count(workers: Workers) -> usize {
    match workers {
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Workers::Count(count) => count,
    }
}

#[cfg(test)]
mod tests;
