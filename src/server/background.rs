//! What runs in the background for a config: feeds read the data of policies, stores hold the limits that instances share, and spans
//! of traces are exported.
//! A reload keeps what stays and stops what is gone. What runs already is changed only when the config becomes active.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem;
use std::path::Path;
use std::sync::Arc;

use evenkeel_balance::policy::{Apply, Feed, FeedError, Policy, SharedLimit, Source};
use tokio::sync::watch;

use super::RoutesError;
use super::feeds::{Feeds, Fetcher, load_file};
use super::stores::Store;
use super::traces;
use crate::kept::KeptBuilder;
use crate::proxy::StoreSettings;
use crate::tasks::Tasks;
use crate::telemetry::trace::{Settings, SpanQueue};
use crate::tls::{CertificateError, Client, ClientSettings, SystemAuthorities};

/// Paths of files are absolute in a config that was read.
const FOLDER: &str = "";

/// What is to run for a config that was assembled.
#[derive(Default)]
pub(super) struct Background {
    /// With what fetches each.
    feeds: Vec<(Feed, Arc<Fetcher>)>,
    /// Gives policies the content of their files, and what runs already its new settings.
    changes: Vec<Apply>,
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
        keep: &mut KeptBuilder,
    ) -> Result<Self, RoutesError> {
        let mut background = Self::default();
        for (name, policy) in policies {
            for feed in policy.feeds() {
                let loaded =
                    load_file(&feed, Path::new(FOLDER)).map_err(|error| RoutesError::PolicyFile {
                        policy: name.into(),
                        data: feed.source.clone(),
                        error,
                    })?;
                background.changes.extend(loaded);
                let ca = ca_of(&feed);
                let fetcher = fetcher(ca, keep).map_err(|error| RoutesError::PolicyFile {
                    policy: name.into(),
                    data: Source::File(ca.map(|ca| ca.display().to_string()).unwrap_or_default()),
                    error: FeedError(error.to_string()),
                })?;
                background.feeds.push((feed, fetcher));
            }
            background.limits.extend(policy.shared_limit());
        }
        for StoreSettings { name, url, ca } in stores {
            let is_used = background.limits.iter().any(|limit| limit.store() == &**name);
            if !is_used {
                continue;
            }
            let invalid = |error| RoutesError::Store {
                store: Arc::clone(name),
                error,
            };
            let fetcher = fetcher(ca.as_deref(), keep).map_err(|error| invalid(error.into()))?;
            let identity = identity(name, url, &fetcher);
            let store = Store::new(name, url, fetcher).map_err(invalid)?;
            background.stores.push((identity, store));
        }
        Ok(background)
    }

    /// Exports the spans of this queue, which a reload keeps as long as tracing is on.
    pub(super) fn export(&mut self, settings: &Settings, queue: Arc<SpanQueue>) {
        self.export = Some((Arc::new(settings.clone()), queue));
    }

    /// Starts what does not run yet, on the control runtime. It runs as long as a config keeps it. What runs already goes on as before.
    pub(super) fn start(&mut self, keep: &mut KeptBuilder) {
        for (feed, fetcher) in mem::take(&mut self.feeds) {
            let name = format!("feed/{}/{:p}", feed.identity(), Arc::as_ptr(&fetcher));
            keep.get_or_insert(&name, || Feeds::start(vec![feed], Path::new(FOLDER), &fetcher));
        }
        for (name, store) in mem::take(&mut self.stores) {
            let limits = self.limits.iter().filter(|limit| limit.store() == store.name());
            let limits: Arc<[_]> = limits.cloned().collect();
            let running = keep.get_or_insert(&name, || RunningStore::start(store, Arc::clone(&limits)));
            self.changes
                .push(Box::new(move || drop(running.limits.send_replace(limits))));
        }
        if let Some((settings, queue)) = self.export.take() {
            let start = || RunningExporter::start(Arc::clone(&settings), &queue);
            let running = keep.get_or_insert("tracing", start);
            self.changes
                .push(Box::new(move || drop(running.settings.send_replace(settings))));
        }
    }

    /// Changes what the config shares with the one before. To be called when nothing can fail any more, before requests see the config.
    pub(super) fn activate(self) {
        self.changes.into_iter().for_each(|change| change());
    }
}

impl RunningStore {
    fn start(store: Store, limits: Arc<[Arc<SharedLimit>]>) -> Self {
        let (limits, current) = watch::channel(limits);
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

/// The file with the CAs of the server that a feed comes from; `None` for those of this machine.
fn ca_of(feed: &Feed) -> Option<&Path> {
    match &feed.source {
        Source::Url { ca, .. } => ca.as_deref().map(Path::new),
        Source::File(_) => None,
    }
}

/// What connects to servers whose certificates are signed by the CAs of this file, or by those of this machine. A reload keeps it while
/// the content of the file stays the same, so that what uses it goes on.
fn fetcher(ca: Option<&Path>, keep: &mut KeptBuilder) -> Result<Arc<Fetcher>, CertificateError> {
    let Some(ca) = ca else {
        return Ok(keep.get_or_insert("fetcher", Fetcher::default));
    };
    let settings = ClientSettings {
        ca: Some(ca.to_owned()),
        ..ClientSettings::default()
    };
    let client = Client::load(settings, &SystemAuthorities::default())?;
    let next = |before: Option<&Arc<Fetcher>>| match before {
        Some(before) if before.is_of(&client) => Arc::clone(before),
        _ => Arc::new(Fetcher::of(client)),
    };
    Ok(keep.follow(&format!("fetcher/{}", ca.display()), next))
}

/// The identity of a store over reloads. The URL may contain a password, so it is no part of a name.
fn identity(name: &str, url: &str, fetcher: &Arc<Fetcher>) -> String {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    format!("store/{name}/{:016x}/{:p}", hasher.finish(), Arc::as_ptr(fetcher))
}

/// The ids of the limits of all running stores.
#[cfg(test)]
pub(super) fn limits_of_stores(kept: &crate::kept::Kept) -> Vec<String> {
    let stores = kept.names().filter_map(|name| kept.get::<RunningStore>(name));
    let ids = |store: Arc<RunningStore>| {
        let limits = Arc::clone(&store.limits.borrow());
        limits
            .iter()
            .map(|limit| limit.id().to_owned())
            .collect::<Vec<_>>()
    };
    stores.flat_map(ids).collect()
}
