//! The parts of a start, before the process may serve.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::assemble::{self, Assembled};
use super::eligible::Eligibility;
use super::sources::Discovery;
use super::start_error::StartError;
use super::stopping;
use super::upgrade::Inherited;
use super::watchers::Watchers;
use crate::config::Config;
use crate::health::Change;
use crate::kept::Kept;
use crate::listener;
use crate::net::{self, ListenAddress};
use crate::proxy::SnapshotCell;

/// Queued health changes; when the queue is full, a probe waits.
const CHANGES_BOUND: usize = 1024;
/// The operation that fails when the address of a socket cannot be read, as in [`StartError::System`].
const READ_ADDRESS: &str = "read the address of a listening socket";

/// The listening sockets.
pub(super) struct Listening {
    pub(super) listeners: Vec<net::Bound>,
    pub(super) admin: Option<net::Bound>,
    /// Of each listener, whether this process removes its file once it serves.
    pub(super) files: Vec<bool>,
    /// The same of the admin API.
    pub(super) admin_file: bool,
}

/// The backends of the config, and what observes them.
pub(super) struct Backends {
    pub(super) discovery: Discovery,
    pub(super) watchers: Watchers,
    pub(super) shared: Arc<SnapshotCell>,
    /// Number of worker threads.
    pub(super) workers: usize,
    pub(super) keep: Kept,
    pub(super) eligibility: Eligibility,
    pub(super) changes: mpsc::Receiver<Change>,
}

impl Listening {
    /// Takes over the sockets that the process was started with, and binds the others without listening on them yet.
    pub(super) fn bind(config: &Config, inherited: &mut Inherited) -> Result<Self, StartError> {
        let mut bound = Self {
            listeners: Vec::new(),
            admin: None,
            files: Vec::new(),
            admin_file: false,
        };
        for listener in &config.listeners {
            let (socket, is_owned) = bind(&listener.address, inherited)?;
            bound.listeners.push(socket);
            bound.files.push(is_owned);
        }
        if let Some(admin) = &config.admin {
            let (socket, is_owned) = bind(&admin.address, inherited).map_err(StartError::of_admin)?;
            bound.admin = Some(socket);
            bound.admin_file = is_owned;
        }
        inherited.close_unused();
        Ok(bound)
    }

    /// Starts listening; returns the listeners' actual addresses.
    pub(super) fn open(&self, config: &Config) -> Result<Vec<ListenAddress>, StartError> {
        let open = |(bound, settings): (&net::Bound, &listener::Settings)| {
            let listening = bound.listen();
            listening.map_err(|source| StartError::bind(&settings.address, source))?;
            bound.address().map_err(StartError::system(READ_ADDRESS))
        };
        if let (Some(bound), Some(settings)) = (&self.admin, &config.admin) {
            let listening = bound.listen();
            listening.map_err(|source| StartError::bind(&settings.address, source).of_admin())?;
        }
        self.listeners.iter().zip(&config.listeners).map(open).collect()
    }

    /// The address of the admin API, if it is on.
    pub(super) fn admin_address(&self) -> Result<Option<ListenAddress>, StartError> {
        let address = self.admin.as_ref().map(net::Bound::address).transpose();
        address.map_err(StartError::system(READ_ADDRESS))
    }
}

impl Backends {
    /// Builds them and starts to observe them. A process that takes over from another probes them first.
    pub(super) async fn start(config: &Config, is_upgrade: bool) -> Result<Self, StartError> {
        let mut assembled = assemble::assemble(config, &Kept::default())?;
        let discovery = Discovery::start(config, &mut assembled).await;
        let Assembled {
            snapshot,
            workers,
            keep,
            background,
        } = assembled;
        background.activate();
        let (changed, mut changes) = mpsc::channel(CHANGES_BOUND);
        let mut watchers = Watchers::new(changed, discovery.starter.ages.clone());
        watchers.watch(&snapshot.watched());
        let shared = SnapshotCell::new(snapshot);
        let keep = keep.finish();
        let mut eligibility = Eligibility::start(&keep, &shared);
        if is_upgrade {
            stopping::first_probes(&shared, &mut changes, &mut eligibility).await;
        }
        Ok(Self {
            discovery,
            watchers,
            shared,
            workers,
            keep,
            eligibility,
            changes,
        })
    }
}

/// Takes over the socket of an address, or binds it. Returns as well whether its file is to be removed at the end.
fn bind(address: &ListenAddress, inherited: &mut Inherited) -> Result<(net::Bound, bool), StartError> {
    let bound = inherited.socket(address);
    let bound = bound.unwrap_or_else(|| net::bind(address).map(|bound| (bound, true)));
    bound.map_err(|source| StartError::bind(address, source))
}
