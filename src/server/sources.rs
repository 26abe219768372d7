//! Puts the lists of sources into effect: at the start, when a reload is activated, and when a source sends an update.

use tokio::sync::mpsc;

use super::Server;
use super::assemble::Assembled;
use crate::config::{self, Config};
use crate::discovery::{Ages, SourceSettings, Sources, Starter, Update};
use crate::pool;
use crate::proxy::Snapshot;

/// Queued updates; when the queue is full, a source waits.
const UPDATES_BOUND: usize = 64;

/// The active sources, what starts others, and the updates of all.
pub(super) struct Discovery {
    pub(super) sources: Sources,
    pub(super) starter: Starter,
    pub(super) updates: mpsc::Receiver<Update>,
}

impl Discovery {
    /// Starts the sources of the first config, waits until they have answered, and fills its pools.
    pub(super) async fn start(config: &Config, assembled: &mut Assembled) -> Self {
        let (starter, updates) = starter();
        let sources = start(config, assembled, &starter);
        assembled.background.start(&mut assembled.keep);
        sources.answered().await;
        fill(&assembled.snapshot, &sources);
        Self {
            sources,
            starter,
            updates,
        }
    }
}

/// What starts sources, and where their updates arrive.
pub(super) fn starter() -> (Starter, mpsc::Receiver<Update>) {
    let (updates, receiver) = mpsc::channel(UPDATES_BOUND);
    (
        Starter {
            updates,
            parse: config::backends,
            ages: Ages::default(),
        },
        receiver,
    )
}

/// Starts the sources of a config, except those that run already.
pub(super) fn start(config: &Config, assembled: &mut Assembled, starter: &Starter) -> Sources {
    let fixed = |pool: &pool::Settings| SourceSettings::fixed(&pool.name, &pool.backends);
    // The list of the config comes first: its backends count if a source lists them too.
    let wanted = config.pools.iter().map(fixed).chain(config.sources.clone());
    Sources::start(wanted.collect(), &mut assembled.keep, starter)
}

/// Gives the pools of a snapshot the backends that their sources list now, and the servers of policies their addresses.
pub(super) fn fill(snapshot: &Snapshot, sources: &Sources) {
    for pool in &snapshot.pools {
        pool.update(&sources.backends(&pool.settings.name));
    }
    for server in &snapshot.servers {
        server.update(&server.settings.backends);
    }
}

impl Server {
    /// Changes a pool in place after one of its sources has changed its list.
    pub(super) fn apply_update(&mut self, update: &Update) {
        let snapshot = self.state.shared.snapshot();
        let mut pools = snapshot.pools.iter();
        let Some(pool) = pools.find(|pool| pool.settings.name == update.pool) else {
            return;
        };
        let backends = self.discovery.sources.backends(&update.pool);
        let change = pool.update(&backends);
        self.state.shared.changed();
        if change.is_none() {
            return;
        }
        tracing::info!(
            pool = &*update.pool,
            added = change.added,
            removed = change.removed,
            changed = change.changed,
            backends = backends.len(),
            "Backends of pool changed"
        );
        self.watchers.watch(&snapshot.watched());
        self.removed.expect();
        self.eligibility.update(&snapshot.pools, |_| false);
    }
}
