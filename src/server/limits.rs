//! File descriptors: as many as the system allows, and what follows for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Without a limit of the system, descriptors are counted as so many.
const UNLIMITED: u64 = 1 << 20;

/// Raises the limit of open files to its hard value, and keeps the last of them back; gives what is in force then.
pub(super) fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where it cannot be raised, the lower one is reckoned with.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    crate::net::reserve(descriptors);
    descriptors
}

/// Fills in `limits.connections: auto`: 45% of the descriptors, because a request has a connection on either side and
/// probes, logs and the admin API need some too.
pub(super) fn resolve(config: &mut Config, descriptors: u64) {
    let auto = usize::try_from(descriptors / 100 * 45 + descriptors % 100 * 45 / 100).unwrap_or(usize::MAX);
    config.limits.connections.get_or_insert(auto.max(1));
}
