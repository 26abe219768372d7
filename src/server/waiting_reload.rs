//! A reload between reading and activation: it waits until the sources that it adds have answered, so that no pool is empty
//! meanwhile.

use std::future;

use super::listeners::{Listener, NewShare};
use super::reload::ReloadResult;
use super::sources;
use super::workers::PreparedWorkers;
use crate::discovery::{Sources, Starter};
use crate::net::Bound;
use crate::telemetry::NewAccessLog;

/// A reload that has been read and waits for the first lists of new sources.
pub(super) struct WaitingReload {
    pub(super) result: ReloadResult,
    pub(super) sources: Sources,
    pub(super) prepared: Prepared,
}

/// What a reload has opened and not put into use. Its sockets listen already.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) listeners: Vec<Listener>,
    /// The workers, if there are to be more or fewer.
    pub(super) workers: PreparedWorkers,
    /// The sockets of listeners that stay, for workers that were started.
    pub(super) shares: Vec<NewShare>,
    /// That of the admin API, if it moves.
    pub(super) admin: Option<Bound>,
    /// The access log, if its settings have changed.
    pub(super) access_log: Option<NewAccessLog>,
}

impl WaitingReload {
    /// Starts the sources that the new config adds, and what its policies need in the background.
    pub(super) fn new(mut result: ReloadResult, prepared: Prepared, starter: &Starter) -> Self {
        let assembled = &mut result.assembled;
        let sources = sources::start(&result.config, assembled, starter);
        assembled.background.start(&mut assembled.keep);
        Self {
            result,
            sources,
            prepared,
        }
    }

    /// Waits until the reload can be activated, and takes it; forever when there is none.
    pub(super) async fn take_answered(waiting: &mut Option<Self>) -> Self {
        if let Some(reload) = waiting {
            reload.sources.answered().await;
        }
        match waiting.take() {
            Some(reload) => reload,
            None => future::pending().await,
        }
    }
}
