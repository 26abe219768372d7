//! The control plane: assembles everything from a config, and owns every thread and task. It never works on a request.

mod assemble;
mod certificates;
mod changes;
mod eligible;
mod limits;
mod listeners;
mod reload;
mod signals;
mod start_error;
mod view;
mod watchers;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::admin::{self, COMMANDS_WAITING, Command, Control, Readiness, Reloaded};
use crate::clock;
use crate::config::{self, Config, Workers};
use crate::health::Change;
use crate::listener::{self, WorkerSet};
use crate::net::{self, ListenAddress};
use crate::proxy::SnapshotCell;
use crate::tasks::Tasks;
use crate::telemetry::Logs;
use crate::telemetry::metrics::WorkerCounters;
use eligible::WithoutEligible;
use reload::{ReloadResult, Reloads};
use signals::{Event, Signals};
pub use start_error::StartError;
use view::{AppState, ConfigState};
use watchers::Watchers;
use worker::WorkerThread;

/// Health changes that wait to be put in force; a probe waits when there are more.
const CHANGES_BOUND: usize = 1024;
/// What fails when a socket does not say its address.
const ASK_ADDRESS: &str = "find out the address of a listening socket";
/// How long the last log lines may take to be written at the end.
const LOG_GRACE: Duration = Duration::from_secs(2);

/// What is told when clients can come.
pub struct Running {
    /// Where clients come in.
    pub addresses: Vec<ListenAddress>,
    /// Where the admin API is.
    pub admin: Option<SocketAddr>,
}

impl Running {
    fn announce(&self) {
        for address in &self.addresses {
            tracing::info!(%address, "Listening");
        }
        if let Some(address) = &self.admin {
            tracing::info!(%address, "Admin listening");
        }
    }
}

/// What to run.
pub struct Plan {
    /// The config.
    pub config: Config,
    /// The file that a reload reads again.
    pub source: Option<PathBuf>,
    /// What the status calls the source of the config.
    pub source_name: String,
}

/// Runs until a signal ends it. `on_start` is called when clients can come, before that is logged.
///
/// # Errors
/// [`StartError`]; once it runs there are none.
pub fn run(plan: Plan, on_start: impl FnOnce(&Running)) -> Result<(), StartError> {
    let logs = Logs::start(&plan.config.access_log)?;
    // A second installation happens in tests only; the first one goes on.
    let _ = logs.layer(tracing::Level::INFO).install();
    let logs = Arc::new(Mutex::new(Some(logs)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("start the control runtime"))?;
    let result = runtime.block_on(async {
        let mut server = Server::start(plan, &logs, on_start)?;
        server.serve().await;
        server.join();
        Ok(())
    });
    // Probes and lookups that are stuck in the system are not waited for.
    runtime.shutdown_background();
    if result.is_ok() {
        tracing::info!("Stopped");
    }
    if let Some(logs) = logs.lock().unwrap_or_else(PoisonError::into_inner).take() {
        logs.close(LOG_GRACE);
    }
    result
}

/// Everything that lives as long as the process.
struct Server {
    drain: Duration,
    reloads: Reloads,
    state: Arc<AppState>,
    listeners: Vec<net::Bound>,
    workers: Vec<WorkerThread>,
    stop: watch::Sender<Stop>,
    watchers: Watchers,
    without_eligible: WithoutEligible,
    changes: mpsc::Receiver<Change>,
    commands: mpsc::Receiver<Command>,
    signals: Signals,
    _tasks: Tasks,
}

/// What workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Go on.
    No,
    /// Finish what runs.
    Drain,
    /// End at once.
    Now,
}

impl Server {
    fn start(
        plan: Plan,
        logs: &Arc<Mutex<Option<Logs>>>,
        on_start: impl FnOnce(&Running),
    ) -> Result<Self, StartError> {
        let Plan {
            mut config,
            source,
            source_name,
        } = plan;
        let descriptors = limits::raise_descriptors();
        limits::resolve(&mut config, descriptors);
        let config_text = config::print(&config);
        let listeners = bind_all(&config)?;
        let admin = config
            .admin
            .as_ref()
            .map(|admin| bind(&ListenAddress::Ip(admin.address)))
            .transpose()?;
        let (shared, pools) = assemble::first(&config)?;
        let (changed, changes) = mpsc::channel(CHANGES_BOUND);
        let mut watchers = Watchers::new(changed);
        watchers.watch(&pools);
        let signals = Signals::new().map_err(StartError::system("receive signals"))?;
        let (stop, stopped) = watch::channel(Stop::No);
        let addresses = open(&listeners, &config)?;
        let settings = listeners::all(&config.listeners, &addresses);
        let entrances = listeners.iter().zip(&settings).collect::<Vec<_>>();
        let workers = start_workers(&config, &entrances, &shared, logs, &stopped)?;
        let running = Running {
            addresses,
            admin: admin
                .as_ref()
                .map(net::Bound::ip)
                .transpose()
                .map_err(StartError::system(ASK_ADDRESS))?,
        };
        let state = Arc::new(AppState {
            shared,
            counters: workers
                .iter()
                .map(|worker| Arc::clone(&worker.counters))
                .collect(),
            logs: Arc::clone(logs),
            listeners: settings,
            started: (clock::now(), clock::wall()),
            changing: Mutex::new(ConfigState::new(config_text, source_name)),
        });
        let (commands, mut tasks) = start_admin(&config, admin, &state)?;
        on_start(&running);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            workers = workers.len(),
            descriptors,
            "Started"
        );
        running.announce();
        tasks.spawn(certificates::watch(Arc::clone(&state)));
        Ok(Self {
            drain: config.timeouts.drain,
            reloads: Reloads::new(source, config, descriptors, Arc::clone(&state.shared)),
            state,
            listeners,
            workers,
            stop,
            watchers,
            without_eligible: WithoutEligible::at_start(&pools),
            changes,
            commands,
            signals,
            _tasks: tasks,
        })
    }

    /// Acts on signals and health changes until it is to stop.
    async fn serve(&mut self) {
        loop {
            tokio::select! {
                event = self.signals.next() => match event {
                    Event::Stop => break,
                    Event::Reload => self.reloads.ask(None),
                    Event::ReopenLogs => self.reopen_logs(),
                    Event::Upgrade => tracing::warn!("SIGUSR2: replacing the running binary is not built yet"),
                },
                Some(change) = self.changes.recv() => self.put_in_force(change),
                Some(Command::Reload(reply)) = self.commands.recv(), if !self.reloads.is_under_way() => {
                    self.reloads.ask(Some(reply));
                }
                read = self.reloads.read() => self.conclude(read),
            }
        }
        self.drain().await;
    }

    fn reopen_logs(&self) {
        if let Some(logs) = &*self.state.logs.lock().unwrap_or_else(PoisonError::into_inner) {
            logs.reopen();
            tracing::info!("Log files are reopened");
        }
    }

    /// Lets workers see that a backend became eligible or stopped being so.
    fn put_in_force(&mut self, first: Change) {
        let mut changed = vec![first];
        while let Ok(change) = self.changes.try_recv() {
            changed.push(change);
        }
        let snapshot = self.state.shared.snapshot();
        for pool in &snapshot.pools {
            if changed.iter().any(|change| pool.member(change.backend).is_some()) {
                pool.refresh();
            }
        }
        self.state.shared.changed();
        self.without_eligible.look_at(&snapshot.pools);
    }

    /// Puts in force what a reload has read; where that has failed, nothing changes.
    fn conclude(&mut self, read: Result<ReloadResult, Vec<String>>) {
        let outcome = read.map(|result| {
            self.drain = result.drain;
            certificates::adopt(&self.state.listeners, &result.listeners);
            self.reloads.put_in_force(result.snapshot, result.config);
            let snapshot = self.state.shared.snapshot();
            self.watchers.watch(&snapshot.pools);
            self.without_eligible.look_at(&snapshot.pools);
            self.state.changing().config_text = result.text;
            result.told
        });
        self.reloads.log(&outcome);
        let outcome = outcome.map(|told| Reloaded {
            ignored_until_restart: told.ignored(),
        });
        self.state.changing().reloaded(&outcome);
        self.reloads.reply(outcome);
    }

    /// Lets running requests finish; a second signal, or the end of `timeouts.drain`, ends them.
    async fn drain(&mut self) {
        tracing::info!(
            timeout_s = self.drain.as_secs(),
            "Stopping: running requests may finish"
        );
        self.state.changing().readiness = Readiness::NotReady("stopping".to_owned());
        // Socket files go first: whoever finds one is still taken in.
        self.listeners.clear();
        let _ = self.stop.send(Stop::Drain);
        let deadline = tokio::time::sleep(self.drain);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = worker::all_ended(&self.workers) => return,
                () = &mut deadline => break,
                event = self.signals.next() => if event == Event::Stop { break },
                Some(change) = self.changes.recv() => self.put_in_force(change),
            }
        }
        tracing::warn!("Stopping now: requests that still run are cut");
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

/// Takes an address; it lets nobody in yet.
fn bind(address: &ListenAddress) -> Result<net::Bound, StartError> {
    net::bind(address).map_err(|source| StartError::bind(address, source))
}

/// Lets clients in; gives the addresses that the listeners have.
fn open(listeners: &[net::Bound], config: &Config) -> Result<Vec<ListenAddress>, StartError> {
    let open = |(bound, settings): (&net::Bound, &listener::Settings)| {
        let listening = bound.listen();
        listening.map_err(|source| StartError::bind(&settings.address, source))?;
        bound.address().map_err(StartError::system(ASK_ADDRESS))
    };
    listeners.iter().zip(&config.listeners).map(open).collect()
}

fn start_workers(
    config: &Config,
    entrances: &[(&net::Bound, &listeners::Running)],
    shared: &Arc<SnapshotCell>,
    logs: &Arc<Mutex<Option<Logs>>>,
    stopped: &watch::Receiver<Stop>,
) -> Result<Vec<WorkerThread>, StartError> {
    let logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    let logs = logs
        .as_ref()
        .ok_or(io::ErrorKind::NotConnected.into())
        .map_err(StartError::system("write the access log"))?;
    let mut workers = Vec::new();
    for (index, handle) in WorkerSet::of(worker_count(config.workers), crate::clock::now())
        .into_iter()
        .enumerate()
    {
        let sockets = entrances
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
                stopped: stopped.clone(),
            })
            .map_err(StartError::system("start a worker thread"))?,
        );
    }
    Ok(workers)
}

/// Lets the admin API in, if it is on. Without it, its channel of commands stays silent.
fn start_admin(
    config: &Config,
    bound: Option<net::Bound>,
    state: &Arc<AppState>,
) -> Result<(mpsc::Receiver<Command>, Tasks), StartError> {
    let (sender, commands) = mpsc::channel(COMMANDS_WAITING);
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
            commands: sender,
        };
        tasks.spawn(async move {
            if let Err(error) = admin::serve(listener, &settings, control, std::future::pending()).await {
                tracing::error!(%error, "The admin API has ended");
            }
        });
    }
    Ok((commands, tasks))
}

fn worker_count(workers: Workers) -> usize {
    match workers {
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Workers::Count(count) => count,
    }
}
