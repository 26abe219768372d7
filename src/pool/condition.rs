//! The state of a backend with its reason, for the status, logs and metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::Member;
use crate::health::{BackendState, slow_start};

/// The state of a backend, and why it is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The state.
    pub state: BackendState,
    /// Why it gets no requests, or not its share of them.
    pub why: Option<Arc<str>>,
    /// When the state began.
    pub since: SystemTime,
    /// When an ejected backend gets its first trial request.
    pub ejected_until: Option<SystemTime>,
}

impl Member {
    /// Its state now.
    pub fn condition(&self) -> Condition {
        let status = self.health.status();
        let ejection = self.health.ejection();
        let is_drained = self.is_drained.load(Ordering::Relaxed);
        let state = BackendState::of(status.state, ejection.is_some(), is_drained);
        let ejection = ejection.filter(|_| state == BackendState::Ejected);
        let why = match (state, &ejection) {
            (BackendState::Draining, _) => Some("drained".into()),
            (_, Some(ejection)) => Some(Arc::clone(&ejection.why)),
            (BackendState::Down, _) => status.why.clone(),
            _ if self.is_excluded() => Some("weight 0".into()),
            _ => None,
        };
        Condition {
            state,
            why,
            since: ejection
                .as_ref()
                .map(|ejection| ejection.since_wall)
                .or(self.drained_since())
                .unwrap_or(status.since_wall),
            ejected_until: ejection.and_then(|ejection| ejection.until),
        }
    }

    /// Its weight as a share of requests now: less than the weight of the config during slow start.
    pub fn effective_weight(&self) -> f64 {
        let weight = f64::from(self.backend.weight.load(Ordering::Relaxed));
        weight * f64::from(self.ramp.share()) / f64::from(slow_start::WHOLE)
    }
}
