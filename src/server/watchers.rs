//! The tasks that probe backends and resolve their names. A reload leaves those alone whose backend and check stay.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::backend::BackendId;
use crate::discovery::Names;
use crate::health::{self, Change, Check};
use crate::pool::Pool;
use crate::tasks::Tasks;

/// All of them.
#[derive(Debug)]
pub(super) struct Watchers {
    changed: mpsc::Sender<Change>,
    names: Tasks,
    probes: HashMap<BackendId, (Check, Tasks)>,
}

impl Watchers {
    /// Watches nobody yet; changes go to `changed`.
    pub(super) fn new(changed: mpsc::Sender<Change>) -> Self {
        Self {
            changed,
            names: Tasks::default(),
            probes: HashMap::new(),
        }
    }

    /// Watches the backends of these pools, and no others.
    pub(super) fn watch(&mut self, pools: &[Arc<Pool>]) {
        let names = Names::of(
            pools
                .iter()
                .flat_map(|pool| &pool.members)
                .map(|member| &member.backend),
        );
        let mut before = std::mem::take(&mut self.probes);
        for pool in pools {
            let check = &pool.settings.health_check;
            for member in &pool.members {
                let id = member.backend.id;
                let kept = before.remove(&id).filter(|(kept, _)| kept == check);
                let watched = kept.unwrap_or_else(|| {
                    let mut tasks = Tasks::default();
                    tasks.spawn(health::watch(
                        Arc::clone(&member.backend),
                        Arc::clone(&member.health),
                        check.clone(),
                        names.lookup_of(&member.backend),
                        self.changed.clone(),
                    ));
                    (check.clone(), tasks)
                });
                self.probes.insert(id, watched);
            }
        }
        self.names = Tasks::default();
        names.follow(&mut self.names);
    }
}
