//! How old what the sources and the lookups of names last said is: for the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::clock::Instant;
use crate::telemetry::metrics::SourceSample;

/// All that run, in the order in which they were started.
#[derive(Debug, Clone, Default)]
pub struct Ages(Arc<Mutex<Vec<Weak<dyn Aged>>>>);

/// What answers again and again.
pub(super) trait Aged: std::fmt::Debug + Send + Sync {
    /// Its age at this time.
    fn age(&self, now: Instant) -> SourceSample;
}

impl Ages {
    /// Adds one, which is listed as long as it is kept elsewhere.
    pub(super) fn add(&self, aged: Weak<dyn Aged>) {
        let mut all = self.all();
        all.retain(|known| known.strong_count() > 0);
        all.push(aged);
    }

    /// The ages at this time; nothing twice.
    pub fn list(&self, now: Instant) -> Vec<SourceSample> {
        let known: Vec<_> = self.all().iter().filter_map(Weak::upgrade).collect();
        let mut ages: Vec<SourceSample> = known.iter().map(|aged| aged.age(now)).collect();
        // While a reload runs, there may be two of them.
        ages.sort_by(|a, b| key(a).cmp(&key(b)).then(a.age.cmp(&b.age)));
        ages.dedup_by(|one, other| key(one) == key(other));
        ages
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<dyn Aged>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(sample: &SourceSample) -> (&str, &str, &str) {
    (&sample.pool, sample.source, &sample.location)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Fixed(&'static str, u64);

    impl Aged for Fixed {
        fn age(&self, _: Instant) -> SourceSample {
            SourceSample {
                pool: "api".to_owned(),
                source: "file",
                location: self.0.to_owned(),
                age: Duration::from_secs(self.1),
            }
        }
    }

    #[test]
    fn what_has_ended_is_listed_no_more_and_nothing_is_listed_twice() {
        let ages = Ages::default();
        let all = [("/b", 7), ("/a", 9), ("/a", 2), ("/c", 1)];
        let mut all = all.map(|(location, age)| Arc::new(Fixed(location, age))).to_vec();
        for aged in &all {
            let weak: Weak<Fixed> = Arc::downgrade(aged);
            ages.add(weak);
        }
        all.pop();
        let listed = ages.list(crate::clock::now());
        let listed: Vec<_> = listed
            .iter()
            .map(|age| (&*age.location, age.age.as_secs()))
            .collect();
        assert_eq!(listed, [("/a", 2), ("/b", 7)]);
    }
}
