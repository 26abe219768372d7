//! Reloads, one at a time. Reading a config and laying it out takes long when it is large, and so does freeing what it replaces: a
//! thread that gives way to the workers does both. What to put in force, and when, is left to the control plane.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};
use std::{future, io};

use tokio::sync::oneshot;

use super::changes::Changes;
use super::{assemble, certificates, limits};
use crate::admin::ReloadOutcome;
use crate::clock;
use crate::config::{self, Config};
use crate::listener;
use crate::proxy::{Snapshot, SnapshotCell};

/// How much the thread gives way. A worker that needs all of a core leaves it a tenth of that, so that a reload comes to its end.
const NICENESS: i32 = 10;
/// Jobs that wait for the thread: a snapshot that was replaced, and the next reload.
const JOBS: usize = 2;
/// How often the thread looks whether old snapshots are still in use. Idle workers let go of them within some 20 ms.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Snapshots kept until nobody uses them; with more, requests that began long ago free the oldest themselves.
const KEPT: usize = 64;

/// What a reload is to put in force.
pub(super) struct ReloadResult {
    pub(super) snapshot: Snapshot,
    /// What was read for TLS of these is shown by those that run.
    pub(super) listeners: Vec<listener::Settings>,
    pub(super) drain: Duration,
    /// What will be in force, and that as it is shown.
    pub(super) config: Arc<Config>,
    pub(super) text: String,
    pub(super) told: Told,
}

/// What people are told of a reload that is put in force.
pub(super) struct Told {
    changes: Changes,
    /// The keys whose change has no effect before a restart.
    ignored: Vec<&'static str>,
}

impl Told {
    /// The keys whose change has no effect before a restart.
    pub(super) fn ignored(&self) -> Vec<String> {
        self.ignored.iter().map(|&key| key.to_owned()).collect()
    }
}

/// What came of reading a config.
type Read = Result<ReloadResult, Vec<String>>;

/// Carries out one reload after the other.
pub(super) struct Reloads {
    source: Option<PathBuf>,
    /// What sockets and threads were made from: what a reload cannot change.
    started: Arc<Config>,
    /// What is in force.
    current: Arc<Config>,
    descriptors: u64,
    shared: Arc<SnapshotCell>,
    thread: Option<SyncSender<Job>>,
    under_way: Option<UnderWay>,
    /// Whether another was asked for since the file was opened.
    is_wanted: bool,
}

struct UnderWay {
    began: Instant,
    read: oneshot::Receiver<Read>,
    reply: Option<oneshot::Sender<ReloadOutcome>>,
}

/// What the thread does.
enum Job {
    Read(Reading, oneshot::Sender<Read>),
    /// Frees a snapshot when nobody uses it any more, and the config that it came from.
    Free(Arc<Snapshot>, Arc<Config>),
}

struct Reading {
    source: PathBuf,
    started: Arc<Config>,
    current: Arc<Config>,
    descriptors: u64,
}

impl Reloads {
    /// None yet. `started` is what the process was started with, `descriptors` what its limits follow from, and `shared` where
    /// snapshots are put in force.
    pub(super) fn new(
        source: Option<PathBuf>,
        started: Config,
        descriptors: u64,
        shared: Arc<SnapshotCell>,
    ) -> Self {
        let started = Arc::new(started);
        Self {
            source,
            current: Arc::clone(&started),
            started,
            descriptors,
            shared,
            thread: None,
            under_way: None,
            is_wanted: false,
        }
    }

    /// Whether one has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins one, or another after the one that is under way.
    pub(super) fn ask(&mut self, reply: Option<oneshot::Sender<ReloadOutcome>>) {
        if self.is_under_way() {
            self.is_wanted = true;
            return;
        }
        self.is_wanted = false;
        let Some(source) = self.source.clone() else {
            let why = "there is nothing to reload: this process runs without a config file";
            tracing::warn!("{why}");
            // Who asked may have gone, here and below.
            let _ = reply.map(|reply| reply.send(Err(vec![why.to_owned()])));
            return;
        };
        let (done, read) = oneshot::channel();
        self.under_way = Some(UnderWay {
            began: clock::now(),
            read,
            reply,
        });
        let reading = Reading {
            source,
            started: Arc::clone(&self.started),
            current: Arc::clone(&self.current),
            descriptors: self.descriptors,
        };
        // A job that is not taken drops its sender, and `read` says so.
        self.give(Job::Read(reading, done));
    }

    /// Waits until a config is read that was asked for; for ever when none is.
    pub(super) async fn read(&mut self) -> Read {
        let Some(under_way) = &mut self.under_way else {
            return future::pending().await;
        };
        let read = (&mut under_way.read).await;
        read.unwrap_or_else(|_| Err(vec!["the thread that reads configs has ended".to_owned()]))
    }

    /// Puts a snapshot in force, and lets the one before be freed where no request waits for that.
    pub(super) fn put_in_force(&mut self, snapshot: Snapshot, config: Arc<Config>) {
        // Backends that stay may have gone up or down since it was laid out.
        for pool in &snapshot.pools {
            pool.refresh();
        }
        let before = self.shared.replace(snapshot);
        let config = std::mem::replace(&mut self.current, config);
        self.give(Job::Free(before, config));
    }

    /// Tells people how the one under way went.
    pub(super) fn log(&self, outcome: &Result<Told, Vec<String>>) {
        let source = self.source.as_deref().unwrap_or(Path::new("-")).display();
        let began = self.under_way.as_ref().map(|under_way| under_way.began);
        let took = began.map_or(Duration::ZERO, |began| {
            clock::now().saturating_duration_since(began)
        });
        match outcome {
            Ok(told) => told.log(&source, took),
            Err(errors) => {
                for error in errors {
                    tracing::error!(%source, %error, "Reload failed; the previous configuration stays active");
                }
            }
        }
    }

    /// Ends the one under way, and begins the next if one was asked for meanwhile.
    pub(super) fn reply(&mut self, outcome: ReloadOutcome) {
        if let Some(reply) = self.under_way.take().and_then(|under_way| under_way.reply) {
            let _ = reply.send(outcome);
        }
        if self.is_wanted {
            self.ask(None);
        }
    }

    /// Gives the thread a job; it is started with the first one. Without a thread the job is dropped.
    fn give(&mut self, job: Job) {
        if self.thread.is_none() {
            match start(Arc::clone(&self.shared)) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => tracing::error!(%error, "No thread for reloads"),
            }
        }
        if let Some(thread) = &self.thread {
            let _ = thread.try_send(job);
        }
    }
}

impl Told {
    fn log(&self, source: &dyn Display, took: Duration) {
        for key in &self.ignored {
            tracing::warn!(key, "Changed setting is ignored until restart");
        }
        let Changes {
            pools,
            backends,
            routes,
            settings,
        } = &self.changes;
        let ignored = (!self.ignored.is_empty()).then(|| self.ignored.join(", "));
        tracing::info!(
            source = %source,
            took_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            changes = self.changes.count(),
            pools_added = pools.added.text(),
            pools_removed = pools.removed.text(),
            pools_changed = pools.changed.text(),
            backends_added = backends.added.text(),
            backends_removed = backends.removed.text(),
            backends_changed = backends.changed.text(),
            routes_added = routes.added.text(),
            routes_removed = routes.removed.text(),
            routes_changed = routes.changed.text(),
            settings_changed = settings.text(),
            ignored_until_restart = ignored,
            "Reloaded"
        );
    }
}

/// Starts the thread, which ends when its sender is dropped.
fn start(shared: Arc<SnapshotCell>) -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = mpsc::sync_channel(JOBS);
    thread::Builder::new()
        .name("reload".to_owned())
        .spawn(move || work(&jobs, &shared))?;
    Ok(sender)
}

fn work(jobs: &Receiver<Job>, shared: &SnapshotCell) {
    // Of this thread alone; where it is refused, reloads are as urgent as requests.
    let _ = rustix::process::nice(NICENESS);
    let mut replaced: Vec<Arc<Snapshot>> = Vec::new();
    let mut old: Vec<Arc<Snapshot>> = Vec::new();
    loop {
        let job = match replaced.is_empty() && old.is_empty() {
            true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => jobs.recv_timeout(LOOK_EVERY),
        };
        match job {
            Ok(Job::Read(reading, done)) => drop(done.send(read(&reading, shared))),
            Ok(Job::Free(snapshot, config)) => {
                drop(config);
                replaced.push(snapshot);
            }
            // The workers have looked at the new one by now.
            Err(RecvTimeoutError::Timeout) => {
                close_spares(&replaced, &shared.snapshot());
                old.append(&mut replaced);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        old.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        old.drain(..old.len().saturating_sub(KEPT));
    }
}

/// Closes spare connections to backends that are in no pool any more: a tunnel may hold the snapshot that they belong to for hours.
fn close_spares(replaced: &[Arc<Snapshot>], current: &Snapshot) {
    let pools = replaced.iter().flat_map(|snapshot| &snapshot.pools);
    for member in pools.flat_map(|pool| &pool.members) {
        if current.member(member.backend.id).is_none() {
            member.shared_idle.clear();
        }
    }
}

/// Reads the file, and lays out routes, pools, backends, timeouts and limits. What else is bound to sockets and threads stays as it
/// is, and is said so as long as the file has something else.
fn read(reading: &Reading, shared: &SnapshotCell) -> Read {
    let loaded = config::load(&reading.source).map_err(|report| {
        let problems = report.problems.iter();
        problems.map(ToString::to_string).collect::<Vec<_>>()
    })?;
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "The config has a doubtful place");
    }
    let mut config = loaded.config;
    limits::resolve(&mut config, reading.descriptors);
    let started = &reading.started;
    let stays = [
        ("listeners", !may_become(&started.listeners, &config.listeners)),
        ("workers", config.workers != started.workers),
        ("admin", config.admin != started.admin),
        ("access_log", config.access_log != started.access_log),
    ];
    let ignored = stays.iter().filter(|(_, has_changed)| *has_changed);
    let ignored = ignored.map(|(key, _)| *key).collect();
    let snapshot = assemble::next(&config, shared).map_err(|error| vec![error.to_string()])?;
    let config = Config {
        listeners: certificates::adopted(&started.listeners, &config.listeners),
        workers: started.workers,
        admin: started.admin.clone(),
        access_log: started.access_log.clone(),
        ..config
    };
    let changes = Changes::between(&reading.current, &config);
    Ok(ReloadResult {
        snapshot,
        drain: config.timeouts.drain,
        text: config::print(&config),
        listeners: config.listeners.clone(),
        config: Arc::new(config),
        told: Told { changes, ignored },
    })
}

/// Whether what was bound serves for these listeners too.
fn may_become(running: &[listener::Settings], wanted: &[listener::Settings]) -> bool {
    running.len() == wanted.len()
        && running
            .iter()
            .zip(wanted)
            .all(|(running, wanted)| running.may_become(wanted))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::Reloaded;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A config file with one backend, which is removed in the end, and reloads of it.
    struct Bench {
        path: PathBuf,
        reloads: Reloads,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("evenkeel-reload-{name}-{}", std::process::id()));
            std::fs::write(&path, "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1]\n").unwrap();
            let config = config::load(&path).unwrap().config;
            let (shared, _) = assemble::first(&config).unwrap();
            let reloads = Reloads::new(Some(path.clone()), config, 1000, shared);
            Self { path, reloads }
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
    async fn what_happens_to_a_backend_while_a_config_is_read_counts() {
        let mut bench = Bench::new("happens");
        let shared = Arc::clone(&bench.reloads.shared);
        bench.reloads.ask(None);
        let result = bench.read().await;
        let before = shared.snapshot();
        let member = &before.pools[0].members[0];
        assert_eq!(before.pools[0].eligible().len(), 1);
        member.is_drained.store(true, Ordering::Relaxed);
        bench.reloads.put_in_force(result.snapshot, result.config);
        let after = shared.snapshot();
        assert!(Arc::ptr_eq(member, &after.pools[0].members[0]), "it stays");
        assert!(after.pools[0].eligible().is_empty());
    }

    #[tokio::test]
    async fn however_often_one_is_asked_for_meanwhile_one_more_follows() {
        let mut bench = Bench::new("meanwhile");
        for _ in 0..3 {
            bench.reloads.ask(None);
        }
        for is_followed in [true, false] {
            bench.read().await;
            bench.reloads.reply(Ok(Reloaded::default()));
            assert_eq!(bench.reloads.is_under_way(), is_followed);
        }
    }

    #[tokio::test]
    async fn a_snapshot_is_freed_by_the_thread_once_nobody_uses_it() {
        let mut bench = Bench::new("freed");
        let used = bench.reloads.shared.snapshot();
        bench.reloads.ask(None);
        let result = bench.read().await;
        bench.reloads.put_in_force(result.snapshot, result.config);
        assert_eq!(Arc::strong_count(&used), 2, "ours and the thread's");
        let freed = Arc::downgrade(&used);
        drop(used);
        let start = clock::now();
        while freed.strong_count() > 0 {
            assert!(start.elapsed() < DEADLINE, "it is freed");
            tokio::task::yield_now().await;
        }
    }
}
