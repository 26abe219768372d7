//! The labels of what has many metrics, as a format writes them: made once for a page, not once for every sample.

use super::page::Page;
use crate::telemetry::metrics::traffic::CLASSES;
use crate::telemetry::metrics::{PolicyOutcome, Snapshot};

/// The labels of the parts of a snapshot, in its order.
pub(super) struct Labels {
    pub(super) workers: Vec<Vec<u8>>,
    pub(super) routes: Vec<Vec<u8>>,
    pub(super) pools: Vec<Vec<u8>>,
    /// Those of all pools, one pool after the other.
    pub(super) backends: Vec<Vec<u8>>,
    pub(super) policies: Vec<Vec<u8>>,
    pub(super) sources: Vec<Vec<u8>>,
    pub(super) logs: Vec<Vec<u8>>,
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) version: Vec<u8>,
    /// Those of the classes of status codes, which follow others.
    pub(super) classes: [Vec<u8>; CLASSES.len()],
    /// Those of what policies decide, which follow others.
    pub(super) outcomes: [Vec<u8>; PolicyOutcome::ALL.len()],
}

impl Labels {
    pub(super) fn of<P: Page>(snapshot: &Snapshot) -> Self {
        let one = |label: &str, value: &str| P::labels(&[(label, value)]);
        let backends = snapshot.pools.iter().flat_map(|pool| {
            let backends = pool.backends.iter();
            backends.map(|backend| P::labels(&[("pool", &pool.name), ("backend", &backend.url)]))
        });
        let sources = snapshot.sources.iter().map(|source| {
            P::labels(&[
                ("pool", &source.pool),
                ("source", source.source),
                ("location", &source.location),
            ])
        });
        Self {
            workers: (0..snapshot.threads.len())
                .map(|index| one("worker", itoa::Buffer::new().format(index)))
                .collect(),
            routes: all(&snapshot.routes, |route| one("route", route.name())),
            pools: all(&snapshot.pools, |pool| one("pool", &pool.name)),
            backends: backends.collect(),
            policies: all(&snapshot.policies, |policy| one("policy", policy.name())),
            sources: sources.collect(),
            logs: all(&snapshot.logs, |log| one("log", &log.log)),
            certificates: all(&snapshot.certificates, |of| one("file", &of.file)),
            version: one("version", snapshot.process.version),
            classes: CLASSES.map(|class| one("class", class)),
            outcomes: PolicyOutcome::ALL.map(|outcome| one("outcome", outcome.name())),
        }
    }
}

fn all<T>(parts: &[T], labels: impl Fn(&T) -> Vec<u8>) -> Vec<Vec<u8>> {
    parts.iter().map(labels).collect()
}
