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

/// Backends whose first probes begin together. A thousand at once hold up requests for long, here and at backends; one at a time is
/// twice the work, because each wakes the control runtime by itself.
const TOGETHER: u32 = 8;
/// From some first probes to the next.
const APART: Duration = Duration::from_millis(8);
/// However many there are, the first probes of all have begun after this.
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
                    None => new.push((pool, member)),
                }
            }
        }
        let count = new.len();
        for (nth, (pool, member)) in new.into_iter().enumerate() {
            let check = &pool.settings.health_check;
            let watch = health::Watch {
                backend: Arc::clone(&member.backend),
                pool: Arc::clone(&pool.settings.name),
                health: Arc::clone(&member.health),
                check: check.clone(),
                lookup: self.names.lookup_of(&member.backend),
                first_after: first_after(nth, count),
            };
            let mut tasks = Tasks::default();
            tasks.spawn(health::watch(watch, self.changed.clone()));
            self.probes.insert(member.backend.id, (check.clone(), tasks));
        }
    }
}

/// When the first probe of one of so many backends is due.
fn first_after(nth: usize, count: usize) -> Duration {
    let groups = |backends: usize| u32::try_from(backends).unwrap_or(u32::MAX) / TOGETHER;
    let apart = APART.min(ALL_WITHIN / (groups(count) + 1));
    apart * groups(nth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_first_probes_do_not_come_all_at_once_and_not_late() {
        assert_eq!(first_after(7, 8), Duration::ZERO, "a few come together");
        assert_eq!(first_after(8, 9), APART);
        assert_eq!(first_after(999, 1_000), 124 * APART.min(ALL_WITHIN / 126));
        for count in [1_000, 10_000, 1_000_000] {
            let last = first_after(count - 1, count);
            assert!(last > ALL_WITHIN * 9 / 10 && last < ALL_WITHIN, "{last:?}");
        }
    }
}
