//! Counts the TLS settings that a pool has had, so that no request uses a connection that was established with others.

use std::sync::{Arc, Mutex, PoisonError};

use crate::tls::Client;

/// The TLS settings that were asked for last, and their generation. Outlives reloads.
#[derive(Debug, Default)]
pub(super) struct TlsGenerations(Mutex<(Option<Arc<Client>>, u64)>);

impl TlsGenerations {
    /// The generation of these settings: the current one if they are equal to those of the last call, or else a new one. A reload
    /// that fails afterwards leaves a gap, which does no harm.
    pub(super) fn of(&self, tls: Option<&Arc<Client>>) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (settings, generation) = &mut *last;
        if settings.as_ref() != tls {
            *settings = tls.cloned();
            *generation += 1;
        }
        *generation
    }
}
