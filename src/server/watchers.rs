//! The tasks that probe backends and resolve their names. A reload keeps the probe task of a backend whose health check is unchanged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backend::BackendId;
use crate::discovery::{Ages, Names};
use crate::health::{self, Change, Check};
use crate::pool::Pool;
use crate::tasks::Tasks;

/// Number of backends whose first probes start together. A thousand at once delay requests, here and at the backends; one at a time
/// costs twice the work, because each wakes the control runtime separately.
const GROUP_SIZE: u32 = 8;
/// Interval between two groups of first probes.
const GROUP_INTERVAL: Duration = Duration::from_millis(8);
/// All first probes have started after this time, however many there are.
const ALL_STARTED_WITHIN: Duration = Duration::from_secs(1);

/// All probe and lookup tasks.
#[derive(Debug)]
pub(super) struct Watchers {
    changed: mpsc::Sender<Change>,
    names: Names,
    probes: HashMap<BackendId, (Check, Tasks)>,
}

impl Watchers {
    /// Watches no backend yet. Health changes are sent to `changed`; `ages` lists the names.
    pub(super) fn new(changed: mpsc::Sender<Change>, ages: Ages) -> Self {
        Self {
            changed,
            names: Names::new(ages),
            probes: HashMap::new(),
        }
    }

    /// Looks up the names of all watched backends again.
    pub(super) fn look_up_again(&self) {
        self.names.look_up_again();
    }

    /// Watches the backends of these pools and stops watching all others.
    pub(super) fn watch(&mut self, pools: &[Arc<Pool>]) {
        let rosters: Vec<_> = pools.iter().map(|pool| (pool, pool.roster())).collect();
        let members = rosters.iter().flat_map(|(_, roster)| roster.members());
        self.names.follow(members.map(|member| &member.backend));
        let mut before = std::mem::take(&mut self.probes);
        let mut new = Vec::new();
        for (pool, roster) in &rosters {
            let check = &pool.settings.health_check;
            for member in roster.members() {
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

/// The delay of the first probe of backend number `nth` of `count`.
fn first_after(nth: usize, count: usize) -> Duration {
    let groups = |backends: usize| u32::try_from(backends).unwrap_or(u32::MAX) / GROUP_SIZE;
    let apart = GROUP_INTERVAL.min(ALL_STARTED_WITHIN / (groups(count) + 1));
    apart * groups(nth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_probes_of_many_backends_are_spread_over_a_second() {
        assert_eq!(first_after(7, 8), Duration::ZERO, "the first group");
        assert_eq!(first_after(8, 9), GROUP_INTERVAL);
        assert_eq!(
            first_after(999, 1_000),
            124 * GROUP_INTERVAL.min(ALL_STARTED_WITHIN / 126)
        );
        for count in [1_000, 10_000, 1_000_000] {
            let last = first_after(count - 1, count);
            assert!(
                last > ALL_STARTED_WITHIN * 9 / 10 && last < ALL_STARTED_WITHIN,
                "{last:?}"
            );
        }
    }
}
