//! A reload between reading and activation: it waits until the sources that it adds have answered, so that no pool is empty
//! meanwhile.

use std::{future, mem};

use super::listeners::Listener;
use super::reload::ReloadResult;
use super::sources;
use crate::discovery::{Sources, Starter};

/// A reload that has been read and waits for the first lists of new sources.
pub(super) struct WaitingReload {
    pub(super) result: ReloadResult,
    pub(super) sources: Sources,
    /// The listeners that it adds, which listen already.
    pub(super) added: Vec<Listener>,
}

impl WaitingReload {
    /// Starts the sources that the new config adds, and what its policies need in the background.
    pub(super) fn new(mut result: ReloadResult, added: Vec<Listener>, starter: &Starter) -> Self {
        let assembled = &mut result.assembled;
        let sources = sources::start(&result.config, assembled, starter);
        mem::take(&mut assembled.background).start(&mut assembled.keep);
        Self {
            result,
            sources,
            added,
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
