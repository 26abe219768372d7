//! The tasks that probe backends and resolve their names. A reload leaves those alone whose backend and check stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backend::BackendId;
use crate::discovery::Names;
use crate::health::{self, Change, Check};
use crate::pool::Pool;
use crate::tasks::Tasks;

/// From the first probe of one backend to that of the next. A probe takes some 0.1 ms of this process and of the machine: a thousand
/// at once would hold up requests, of backends too, for long.
const APART: Duration = Duration::from_millis(1);
/// However many there are, all have been probed after this.
const ALL_WITHIN: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Debug)]
pub(super) struct Watchers {
    changed: mpsc::Sender<Change>,
    names: Names,
    probes: HashMap<BackendId, (Check, Tasks)>,
}

impl Watchers {
    /// Watches nobody yet; changes go to `changed`.
    pub(super) fn new(changed: mpsc::Sender<Change>) -> Self {
        Self {
            changed,
            names: Names::default(),
            probes: HashMap::new(),
        }
    }

    /// Watches the backends of these pools, and no others.
    pub(super) fn watch(&mut self, pools: &[Arc<Pool>]) {
        self.names.follow(
            pools
                .iter()
                .flat_map(|pool| &pool.members)
                .map(|member| &member.backend),
        );
        let mut before = std::mem::take(&mut self.probes);
        let mut new = Vec::new();
        for pool in pools {
            let check = &pool.settings.health_check;
            for member in &pool.members {
                let id = member.backend.id;
                match before.remove(&id).filter(|(kept, _)| kept == check) {
                    Some(watched) => drop(self.probes.insert(id, watched)),
                    None => new.push((check, member)),
                }
            }
        }
        let apart = apart(new.len());
        for (nth, (check, member)) in (0..).zip(new) {
            let watch = health::Watch {
                backend: Arc::clone(&member.backend),
                health: Arc::clone(&member.health),
                check: check.clone(),
                lookup: self.names.lookup_of(&member.backend),
                first_after: apart * nth,
            };
            let mut tasks = Tasks::default();
            tasks.spawn(health::watch(watch, self.changed.clone()));
            self.probes.insert(member.backend.id, (check.clone(), tasks));
        }
    }
}

/// How far apart the first probes of so many backends are.
fn apart(backends: usize) -> Duration {
    let count = u32::try_from(backends).unwrap_or(u32::MAX).max(1);
    APART.min(ALL_WITHIN / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_probes_do_not_come_all_at_once_and_not_late() {
        assert_eq!(apart(0), APART);
        assert_eq!(apart(3) * 2, Duration::from_millis(2));
        assert_eq!(apart(10_000) * 10_000, ALL_WITHIN);
    }
}
