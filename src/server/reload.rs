//! Runs reloads, one at a time. Reading a large config and building its snapshot takes long, and so does freeing the old snapshot:
//! a thread of lower priority than the workers does both. The control plane decides when the result is activated.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;
use std::{future, io};

use tokio::sync::oneshot;

use super::assemble::{self, Assembled};
use super::changes::Changes;
use super::plan::{self, PlanResult, State};
use super::{certificates, limits, listeners, sources};
use crate::admin::{GuardChoice, NotPlanned, PlanRequest, Planned, ReloadOutcome, ReloadRequest};
use crate::backend::BackendId;
use crate::clock::{self, Instant};
use crate::config::{self, Config, ConfigText, Loaded};
use crate::discovery::Sources;
use crate::kept::Kept;
use crate::pool::Member;
use crate::priority;
use crate::proxy::{Snapshot, SnapshotCell};

/// Queued jobs of the thread: a replaced snapshot, the next reload and a plan.
const QUEUED_JOBS: usize = 3;
/// Interval at which the thread checks whether old snapshots are still in use. Idle workers release them within about 20 ms.
const FREE_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of old snapshots that wait to be freed here; beyond it, the last request that uses the oldest one frees it.
const SNAPSHOTS_KEPT: usize = 64;

/// What a reload has read and built, to be activated.
pub(super) struct ReloadResult {
    pub(super) assembled: Assembled,
    /// The config to be activated, and its text for the admin API.
    pub(super) config: Arc<Config>,
    pub(super) text: String,
    pub(super) report: ReloadReport,
}

/// What the log and the admin API report of a successful reload.
pub(super) struct ReloadReport {
    pub(super) changes: Changes,
}

/// Why a config is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReloadKind {
    /// It was requested. The guard is chosen, or else the config says whether there is one.
    Requested(Option<GuardChoice>),
    /// The config before is to become active again, for this reason.
    Rollback(String),
}

/// The result of reading a config.
type ReadResult = Result<ReloadResult, Vec<String>>;

/// Runs one reload after the other.
pub(super) struct Reloads {
    source: Option<PathBuf>,
    /// The active config.
    current: Arc<Config>,
    /// Larger than the id of every listener that there was.
    next_listener: usize,
    /// The limit of file descriptors.
    descriptors: u64,
    shared: Arc<SnapshotCell>,
    /// What the active config shares with the next one.
    kept: Kept,
    thread: Option<SyncSender<Job>>,
    running: Option<RunningReload>,
    /// Whether another reload was requested since the running one opened the file.
    is_requested: bool,
    /// Identifies the text of the file that was read last.
    text_hash: Arc<AtomicU64>,
    /// Shared with the plan that is being made: one at a time.
    planning: Arc<()>,
}

/// A reload that has started and not ended.
struct RunningReload {
    began: Instant,
    read: oneshot::Receiver<ReadResult>,
    reply: Option<oneshot::Sender<ReloadOutcome>>,
    kind: ReloadKind,
}

/// A job of the thread.
enum Job {
    Read(ReadJob, oneshot::Sender<ReadResult>),
    Plan(PlanJob),
    /// Frees a snapshot once it is no longer in use, and the config that it was built from.
    Free(Arc<Snapshot>, Arc<Config>),
}

struct ReadJob {
    from: ReadFrom,
    basis: Basis,
}

/// Where a config comes from.
enum ReadFrom {
    /// A file. The hash of its text is stored there.
    File(PathBuf, Arc<AtomicU64>),
    /// It was active before.
    Before(Arc<Config>),
}

/// A plan that is to be made.
struct PlanJob {
    source: Option<PathBuf>,
    text: Option<String>,
    basis: Basis,
    reply: oneshot::Sender<PlanResult>,
    planning: Arc<()>,
}

/// What a new config is built on and compared with.
struct Basis {
    current: Arc<Config>,
    next_listener: usize,
    kept: Kept,
    descriptors: u64,
}

impl Reloads {
    /// `started` is the config that the process was started with, `descriptors` the limit of file descriptors, `shared` the cell that
    /// holds the active snapshot, and `kept` the state behind it.
    pub(super) fn new(
        source: Option<PathBuf>,
        started: Config,
        descriptors: u64,
        shared: Arc<SnapshotCell>,
        kept: Kept,
    ) -> Self {
        let text_hash = Arc::new(AtomicU64::new(started.text_hash));
        Self {
            source,
            next_listener: listeners::next_id(&started.listeners),
            current: Arc::new(started),
            descriptors,
            shared,
            kept,
            thread: None,
            running: None,
            is_requested: false,
            text_hash,
            planning: Arc::default(),
        }
    }

    /// The config file, and what identifies the text that was read last.
    pub(super) fn file(&self) -> Option<(PathBuf, Arc<AtomicU64>)> {
        Some((self.source.clone()?, Arc::clone(&self.text_hash)))
    }

    /// Why the running reload runs.
    pub(super) fn kind(&self) -> ReloadKind {
        let running = self.running.as_ref().map(|running| running.kind.clone());
        running.unwrap_or(ReloadKind::Requested(None))
    }

    /// The active config.
    pub(super) fn active(&self) -> Arc<Config> {
        Arc::clone(&self.current)
    }

    /// Whether a reload is running.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a reload, or requests another one after the running one.
    pub(super) fn start(&mut self, request: ReloadRequest) {
        let ReloadRequest { guard, reply } = request;
        if self.is_running() {
            self.is_requested = true;
            return;
        }
        self.is_requested = false;
        let Some(source) = self.source.clone() else {
            let why = "nothing to reload: this process runs without a config file";
            tracing::warn!("{why}");
            // The receiver may have been dropped, here and below.
            let _ = reply.map(|reply| reply.send(Err(vec![why.to_owned()])));
            return;
        };
        let from = ReadFrom::File(source, Arc::clone(&self.text_hash));
        self.run(from, reply, ReloadKind::Requested(guard));
    }

    /// Starts to bring the config before back. No reload may be running.
    pub(super) fn roll_back(&mut self, before: Arc<Config>, reason: String) {
        self.run(ReadFrom::Before(before), None, ReloadKind::Rollback(reason));
    }

    fn run(&mut self, from: ReadFrom, reply: Option<oneshot::Sender<ReloadOutcome>>, kind: ReloadKind) {
        let (done, read) = oneshot::channel();
        self.running = Some(RunningReload {
            began: clock::now(),
            read,
            reply,
            kind,
        });
        let basis = self.basis();
        // A job that is not accepted drops its sender, and `read` returns an error.
        self.submit(Job::Read(ReadJob { from, basis }, done));
    }

    /// Has the thread find out what a reload would change, unless it does that already.
    pub(super) fn plan(&mut self, request: PlanRequest) {
        let PlanRequest { text, reply } = request;
        if Arc::strong_count(&self.planning) > 1 {
            let _ = reply.send(Err(NotPlanned::Busy));
            return;
        }
        let job = PlanJob {
            source: self.source.clone(),
            text,
            basis: self.basis(),
            reply,
            planning: Arc::clone(&self.planning),
        };
        self.submit(Job::Plan(job));
    }

    fn basis(&self) -> Basis {
        Basis {
            current: Arc::clone(&self.current),
            next_listener: self.next_listener,
            kept: self.kept.clone(),
            descriptors: self.descriptors,
        }
    }

    /// Waits for the result of the running reload; forever when none is running.
    pub(super) async fn read(&mut self) -> ReadResult {
        let Some(running) = &mut self.running else {
            return future::pending().await;
        };
        let read = (&mut running.read).await;
        read.unwrap_or_else(|_| {
            Err(vec![
                "the thread that reads configs has ended; restart the process".to_owned(),
            ])
        })
    }

    /// Activates a snapshot, and has the previous one freed by the thread, so that no request waits for that.
    pub(super) fn activate(&mut self, assembled: Assembled, config: Arc<Config>, sources: &Sources) {
        let Assembled {
            snapshot,
            keep,
            background,
            ..
        } = assembled;
        self.kept = keep.finish();
        self.next_listener = self.next_listener.max(listeners::next_id(&config.listeners));
        sources::fill(&snapshot, sources);
        background.activate();
        let before = self.shared.replace(snapshot);
        let config = std::mem::replace(&mut self.current, config);
        self.submit(Job::Free(before, config));
    }

    /// Logs the result of the running reload.
    pub(super) fn log(&self, outcome: &Result<ReloadReport, Vec<String>>) {
        let source = self.source.as_deref().unwrap_or(Path::new("-")).display();
        let began = self.running.as_ref().map(|running| running.began);
        let took = began.map_or(Duration::ZERO, |began| {
            clock::now().saturating_duration_since(began)
        });
        match (outcome, self.kind()) {
            (Ok(report), ReloadKind::Requested(_)) => report.changes.log(&source, took),
            (Ok(_), ReloadKind::Rollback(reason)) => tracing::error!(
                %source,
                reason,
                "Reload rolled back: the previous configuration is active again; correct the file and reload"
            ),
            (Err(errors), ReloadKind::Requested(_)) => {
                for error in errors {
                    tracing::error!(%source, %error, "Reload failed; the previous configuration stays active");
                }
            }
            (Err(errors), ReloadKind::Rollback(reason)) => {
                for error in errors {
                    tracing::error!(
                        %source, %error, reason,
                        "Rollback failed; the new configuration stays active: correct the file and reload"
                    );
                }
            }
        }
    }

    /// Ends the running reload, and starts the next one if it was requested meanwhile.
    pub(super) fn finish(&mut self, outcome: ReloadOutcome) {
        if let Some(reply) = self.running.take().and_then(|running| running.reply) {
            let _ = reply.send(outcome);
        }
        if self.is_requested {
            self.start(ReloadRequest::default());
        }
    }

    /// Queues a job for the thread, which is started with the first one. Without a thread the job is dropped.
    fn submit(&mut self, job: Job) {
        if self.thread.is_none() {
            match start_thread(Arc::clone(&self.shared)) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    tracing::error!(%error, "Could not start the reload thread; reloads are not possible")
                }
            }
        }
        if let Some(thread) = &self.thread {
            let _ = thread.try_send(job);
        }
    }
}

/// Starts the thread, which ends when its sender is dropped.
fn start_thread(shared: Arc<SnapshotCell>) -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = mpsc::sync_channel(QUEUED_JOBS);
    thread::Builder::new()
        .name("reload".to_owned())
        .spawn(move || work(&jobs, &shared))?;
    Ok(sender)
}

fn work(jobs: &Receiver<Job>, shared: &SnapshotCell) {
    priority::lower();
    let mut replaced: Vec<Arc<Snapshot>> = Vec::new();
    let mut old: Vec<Arc<Snapshot>> = Vec::new();
    loop {
        let job = match replaced.is_empty() && old.is_empty() {
            true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => jobs.recv_timeout(FREE_INTERVAL),
        };
        match job {
            Ok(Job::Read(job, done)) => drop(done.send(read(&job))),
            Ok(Job::Plan(job)) => {
                let planned = make_plan(job.source, job.text, &job.basis);
                // Before the answer: whoever has it may ask for the next one.
                drop(job.planning);
                let _ = job.reply.send(planned);
            }
            Ok(Job::Free(snapshot, config)) => {
                drop(config);
                replaced.push(snapshot);
            }
            // The workers have switched to the new snapshot by now.
            Err(RecvTimeoutError::Timeout) => {
                close_idle_of_removed(&replaced, &shared.snapshot());
                old.append(&mut replaced);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        old.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        old.drain(..old.len().saturating_sub(SNAPSHOTS_KEPT));
    }
}

/// Closes shared idle connections to backends that were removed: a tunnel may keep their snapshot alive for hours.
fn close_idle_of_removed(replaced: &[Arc<Snapshot>], current: &Snapshot) {
    let members = |snapshot: &Snapshot| -> Vec<Arc<Member>> {
        let watched = snapshot.watched();
        let rosters = watched.iter().map(|pool| pool.eligible());
        let members = rosters.flat_map(|eligible| eligible.roster().members().to_vec());
        members.collect()
    };
    let current: HashSet<BackendId> = members(current).iter().map(|member| member.backend.id).collect();
    for member in replaced.iter().flat_map(|snapshot| members(snapshot)) {
        if !current.contains(&member.backend.id) {
            member.shared_idle.clear();
        }
    }
}

/// Reads the file, or takes the config that was active before, and builds what is to be activated.
fn read(job: &ReadJob) -> ReadResult {
    let config = match &job.from {
        ReadFrom::File(path, text_hash) => {
            let text = ConfigText::read(path).map_err(|report| report.messages())?;
            text_hash.store(text.hash(), Ordering::Relaxed);
            let Loaded { config, warnings } = text.parse().map_err(|report| report.messages())?;
            for warning in &warnings {
                tracing::warn!(%warning, "Configuration warning");
            }
            config
        }
        ReadFrom::Before(config) => {
            certificates::refresh_inactive(&config.listeners);
            Config::clone(config)
        }
    };
    build(config, &job.basis, &job.basis.kept)
}

/// What a reload would change.
fn make_plan(source: Option<PathBuf>, text: Option<String>, basis: &Basis) -> PlanResult {
    let Loaded { config, warnings } = plan::load(source, text)?;
    // State that is in use would be changed by building on it.
    let built = build(config, basis, &Kept::default()).map_err(NotPlanned::Invalid)?;
    let next = built.assembled.keep.finish();
    let planned = plan::planned(&built.report.changes, &State::new(&basis.kept, &next));
    Ok(Planned {
        warnings: warnings.iter().map(ToString::to_string).collect(),
        ..planned
    })
}

/// Builds routes, pools, backends, timeouts and limits.
fn build(mut config: Config, basis: &Basis, kept: &Kept) -> ReadResult {
    limits::resolve(&mut config, basis.descriptors);
    // For a rollback too: a listener that it brings back is a new one, because the connections of the old one drain.
    let current = &basis.current;
    listeners::identify(&current.listeners, &mut config.listeners, basis.next_listener);
    let assembled = assemble::assemble(&config, kept).map_err(|error| vec![error.to_string()])?;
    let changes = Changes::between(current, &config);
    Ok(ReloadResult {
        assembled,
        text: config::print(&config),
        config: Arc::new(config),
        report: ReloadReport { changes },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::Reloaded;
    use crate::server::waiting_reload::{Prepared, WaitingReload};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A config file with one backend, and reloads of it. The file is removed at the end.
    struct Bench {
        path: PathBuf,
        reloads: Reloads,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("evenkeel-reload-{name}-{}", std::process::id()));
            std::fs::write(&path, "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1]\n").unwrap();
            let config = config::load(&path).unwrap().config;
            let mut assembled = assemble::assemble(&config, &Kept::default()).unwrap();
            let sources = sources::start(&config, &mut assembled, &sources::starter().0);
            let Assembled { snapshot, keep, .. } = assembled;
            sources::fill(&snapshot, &sources);
            let shared = SnapshotCell::new(snapshot);
            let reloads = Reloads::new(Some(path.clone()), config, 1000, shared, keep.finish());
            Self { path, reloads }
        }

        fn activate(&mut self, result: ReloadResult) {
            let waiting = WaitingReload::new(result, Prepared::default(), &sources::starter().0);
            let WaitingReload { result, sources, .. } = waiting;
            self.reloads.activate(result.assembled, result.config, &sources);
        }

        async fn read(&mut self) -> ReloadResult {
            let read = tokio::time::timeout(DEADLINE, self.reloads.read()).await;
            read.expect("the end of the reading")
                .unwrap_or_else(|errors| panic!("{errors:?}"))
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[tokio::test]
    async fn a_backend_drained_while_a_config_is_read_stays_drained() {
        let mut bench = Bench::new("drained");
        let shared = Arc::clone(&bench.reloads.shared);
        bench.reloads.start(ReloadRequest::default());
        let result = bench.read().await;
        let before = shared.snapshot();
        let roster = before.pools[0].roster();
        let member = &roster.members()[0];
        assert_eq!(before.pools[0].eligible().len(), 1);
        member.is_drained.store(true, Ordering::Relaxed);
        bench.activate(result);
        let after = shared.snapshot();
        assert!(
            Arc::ptr_eq(member, &after.pools[0].roster().members()[0]),
            "it stays"
        );
        assert!(after.pools[0].eligible().is_empty());
    }

    #[tokio::test]
    async fn a_pool_keeps_its_retry_budget_and_gets_its_backends_when_a_reload_is_activated() {
        let mut bench = Bench::new("backends");
        let before = bench.reloads.shared.snapshot();
        let text = "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1, http://127.0.0.1:2]\n";
        std::fs::write(&bench.path, text).unwrap();
        bench.reloads.start(ReloadRequest::default());
        let result = bench.read().await;
        assert_eq!(
            before.pools[0].roster().members().len(),
            1,
            "it is not active yet"
        );
        bench.activate(result);
        let after = bench.reloads.shared.snapshot();
        assert!(Arc::ptr_eq(&before.pools[0].budget, &after.pools[0].budget));
        assert_eq!(after.pools[0].eligible().len(), 2);
        assert_eq!(
            before.pools[0].eligible().len(),
            1,
            "requests that have begun are not affected"
        );
    }

    #[tokio::test]
    async fn requests_during_a_reload_lead_to_one_more_reload() {
        let mut bench = Bench::new("meanwhile");
        for _ in 0..3 {
            bench.reloads.start(ReloadRequest::default());
        }
        for is_followed in [true, false] {
            bench.read().await;
            bench.reloads.finish(Ok(Reloaded::default()));
            assert_eq!(bench.reloads.is_running(), is_followed);
        }
    }

    #[tokio::test]
    async fn a_snapshot_is_freed_by_the_thread_once_it_is_unused() {
        let mut bench = Bench::new("freed");
        let used = bench.reloads.shared.snapshot();
        bench.reloads.start(ReloadRequest::default());
        let result = bench.read().await;
        bench.activate(result);
        assert_eq!(Arc::strong_count(&used), 2, "ours and the thread's");
        let freed = Arc::downgrade(&used);
        drop(used);
        let start = clock::now();
        while freed.strong_count() > 0 {
            assert!(crate::clock::now() - start < DEADLINE, "it is freed");
            tokio::task::yield_now().await;
        }
    }
}
