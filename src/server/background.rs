//! What runs in the background for a config: feeds read the data of policies, stores hold the limits that instances share, and spans
//! of traces are exported.
//! A reload keeps what stays and stops what is gone.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use evenkeel_balance::policy::{Feed, Policy, SharedLimit};
use tokio::sync::watch;

use super::RoutesError;
use super::feeds::{Feeds, Fetcher, load_file};
use super::stores::Store;
use super::traces;
use crate::kept::KeptBuilder;
use crate::proxy::StoreSettings;
use crate::tasks::Tasks;
use crate::telemetry::trace::{Settings, SpanQueue};

/// Paths of files are absolute in a config that was read.
const FOLDER: &str = "";

/// What is to run for a config that was assembled.
#[derive(Default)]
pub(super) struct Background {
    feeds: Vec<Feed>,
    limits: Vec<Arc<SharedLimit>>,
    /// With the identity of each.
    stores: Vec<(String, Store)>,
    /// Where spans are exported to, and where they come from.
    export: Option<(Arc<Settings>, Arc<SpanQueue>)>,
}

/// A running store, and its limits.
struct RunningStore {
    limits: watch::Sender<Arc<[Arc<SharedLimit>]>>,
    _tasks: Tasks,
}

/// A running exporter of spans, and its settings.
struct RunningExporter {
    settings: watch::Sender<Arc<Settings>>,
    _tasks: Tasks,
}

impl Background {
    /// Collects what policies need, and reads their files, so that a file which cannot be used is an error now. Blocks.
    ///
    /// # Errors
    /// A file or the URL of a store cannot be used.
    pub(super) fn prepare<'p>(
        policies: impl Iterator<Item = (&'p str, &'p Arc<dyn Policy>)>,
        stores: &[StoreSettings],
    ) -> Result<Self, RoutesError> {
        let mut background = Self::default();
        for (name, policy) in policies {
            for feed in policy.feeds() {
                load_file(&feed, Path::new(FOLDER)).map_err(|error| RoutesError::PolicyFile {
                    policy: name.into(),
                    data: feed.source.clone(),
                    error,
                })?;
                background.feeds.push(feed);
            }
            background.limits.extend(policy.shared_limit());
        }
        for StoreSettings { name, url } in stores {
            let is_used = background.limits.iter().any(|limit| limit.store() == &**name);
            if !is_used {
                continue;
            }
            let store = Store::new(name, url).map_err(|error| RoutesError::Store {
                store: Arc::clone(name),
                error,
            })?;
            background.stores.push((identity(name, url), store));
        }
        Ok(background)
    }

    /// Exports the spans of this queue, which a reload keeps as long as tracing is on.
    pub(super) fn export(&mut self, settings: &Settings, queue: Arc<SpanQueue>) {
        self.export = Some((Arc::new(settings.clone()), queue));
    }

    /// Starts what does not run yet, on the control runtime. It runs as long as a config keeps it.
    pub(super) fn start(self, keep: &mut KeptBuilder) {
        if !self.feeds.is_empty() {
            let fetcher = keep.get_or_insert("fetcher", Fetcher::default);
            for feed in self.feeds {
                let name = format!("feed/{}", feed.identity());
                keep.get_or_insert(&name, || Feeds::start(vec![feed], Path::new(FOLDER), &fetcher));
            }
        }
        for (name, store) in self.stores {
            let limits = self.limits.iter().filter(|limit| limit.store() == store.name());
            let limits: Arc<[_]> = limits.cloned().collect();
            let running = keep.get_or_insert(&name, || RunningStore::start(store));
            running.limits.send_replace(limits);
        }
        if let Some((settings, queue)) = self.export {
            let start = || RunningExporter::start(Arc::clone(&settings), &queue);
            let running = keep.get_or_insert("tracing", start);
            running.settings.send_replace(settings);
        }
    }
}

impl RunningStore {
    fn start(store: Store) -> Self {
        let (limits, current) = watch::channel(Arc::default());
        let mut tasks = Tasks::default();
        tasks.spawn(store.run(current));
        Self {
            limits,
            _tasks: tasks,
        }
    }
}

impl RunningExporter {
    fn start(settings: Arc<Settings>, queue: &Arc<SpanQueue>) -> Self {
        let (settings, current) = watch::channel(settings);
        let mut tasks = Tasks::default();
        // The queue belongs to this exporter: both are kept as long as tracing is on.
        if let Some(spans) = queue.receiver() {
            tasks.spawn(traces::export(current, spans));
        }
        Self {
            settings,
            _tasks: tasks,
        }
    }
}

/// The identity of a store over reloads. The URL may contain a password, so it is no part of a name.
fn identity(name: &str, url: &str) -> String {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    format!("store/{name}/{:016x}", hasher.finish())
}
