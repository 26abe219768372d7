//! What the config and an operator say of one backend: its name, its weight and whether it is drained. What an operator has changed
//! stays until the config says something else than before. Control plane only, except for what workers read in `Member`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Member;
use super::settings::BackendSettings;
use crate::clock;

/// What was said of a backend.
#[derive(Debug)]
pub(super) struct Operated(Mutex<State>);

#[derive(Debug)]
struct State {
    name: Option<Arc<str>>,
    /// What the config said when it was read last.
    weight: u32,
    is_drained: bool,
    drained_since: Option<SystemTime>,
}

impl Operated {
    pub(super) fn new(settings: &BackendSettings) -> Self {
        Self(Mutex::new(State {
            name: settings.name.clone(),
            weight: settings.weight,
            is_drained: settings.is_drained,
            drained_since: settings.is_drained.then(clock::wall),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Its name in the pool, if the config gives it one.
    pub fn name(&self) -> Option<Arc<str>> {
        self.operated.state().name.clone()
    }

    /// Since when it is drained.
    pub fn drained_since(&self) -> Option<SystemTime> {
        self.operated.state().drained_since
    }

    /// Drains it, or lets it get requests again. Returns whether that is a change. The pool has to be refreshed then.
    pub fn set_drained(&self, is_drained: bool) -> bool {
        let before = self.is_drained.swap(is_drained, Ordering::Relaxed);
        if before != is_drained {
            self.operated.state().drained_since = is_drained.then(clock::wall);
        }
        before != is_drained
    }

    /// Gives it another weight. Returns the previous one. The pool has to be refreshed then.
    pub fn set_weight(&self, weight: u32) -> u32 {
        self.backend.weight.swap(weight, Ordering::Relaxed)
    }

    /// Adapts a backend that stays to what the config says now. Returns whether its weight, its tier or its state has changed.
    pub(super) fn adapt(&self, wanted: &BackendSettings) -> bool {
        let mut state = self.operated.state();
        state.name.clone_from(&wanted.name);
        let weight_before = std::mem::replace(&mut state.weight, wanted.weight);
        let drained_before = std::mem::replace(&mut state.is_drained, wanted.is_drained);
        drop(state);
        let mut is_changed = false;
        if weight_before != wanted.weight {
            is_changed |= self.set_weight(wanted.weight) != wanted.weight;
        }
        if drained_before != wanted.is_drained {
            is_changed |= self.set_drained(wanted.is_drained);
        }
        let tier_before = self.backend.is_backup.swap(wanted.is_backup, Ordering::Relaxed);
        is_changed | (tier_before != wanted.is_backup)
    }
}
