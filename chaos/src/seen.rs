//! What the clients of a run saw, in the same figures for every scenario and every balancer.

use serde_json::{Value, json};

use crate::client::{LongLivedOutcome, Method, Record};
use crate::executions::Executions;
use crate::report::quantile;

/// Counts and latencies. Responses that the client had asked to be cut are in none of them.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Idempotent requests.
    pub(crate) gets: Count,
    /// Requests that are not idempotent.
    pub(crate) posts: Count,
    /// POSTs that were executed more than once.
    pub(crate) twice: u64,
    /// WebSockets and downloads that were cut, where some run alongside.
    pub(crate) long_lived: Option<Count>,
    /// 99% of the latencies of GETs before the fault, and during or after it, where a scenario compares them.
    pub(crate) compared: Option<(u64, u64)>,
    latencies: Vec<u64>,
}

/// How many there were, and how many of them failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) failed: u64,
    pub(crate) all: u64,
}

impl Seen {
    /// Adds the requests of a rig.
    pub(crate) fn add(&mut self, records: &[Record], log: &Executions) {
        for record in records {
            let is_post = record.method == Method::Post;
            self.twice += u64::from(is_post && log.count(record.nonce) > 1);
            if record.is_cut {
                continue;
            }
            let count = if is_post { &mut self.posts } else { &mut self.gets };
            count.all += 1;
            count.failed += u64::from(!record.is_ok());
            if !is_post {
                self.latencies.push(record.latency());
            }
        }
    }

    /// Adds what ran alongside. WebSockets that were not cut are not counted: each of them lasts for the whole run.
    pub(crate) fn add_long_lived(&mut self, beside: &LongLivedOutcome) {
        let cut = beside.cut_websockets.len() + beside.cut_downloads.len();
        let failed = u64::try_from(cut).unwrap_or(u64::MAX);
        let count = self.long_lived.get_or_insert_default();
        count.failed += failed;
        count.all += beside.downloads + failed;
    }

    /// The latency of GETs that 99% of them did not exceed, in microseconds.
    pub(crate) fn p99(&self) -> u64 {
        quantile(&self.latencies, 990)
    }

    /// The figures for programs.
    pub(crate) fn json(&self) -> Value {
        let count = |count: Count| json!({ "failed": count.failed, "all": count.all });
        json!({
            "gets": count(self.gets), "posts": count(self.posts), "posts_executed_twice": self.twice,
            "long_lived": self.long_lived.map(count), "p99_of_gets_us": self.p99(),
            "p99_of_gets_compared_us": self.compared.map(|(before, with)| [before, with]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Class, Failure, Request};

    fn record(method: Method, failure: Option<Failure>) -> Record {
        Record {
            failure,
            ..Record::new(&Request::new(Class::KeepAlive, method), 0, 7)
        }
    }

    #[test]
    fn counts_requests_by_method_and_leaves_out_those_that_were_to_be_cut() {
        let failure = Some(Failure::Closed);
        let cut = Record {
            is_cut: true,
            ..record(Method::Get, failure)
        };
        let mut seen = Seen::default();
        let log = Executions::default();
        seen.add(
            &[record(Method::Get, None), record(Method::Get, failure), cut],
            &log,
        );
        seen.add(&[record(Method::Post, failure)], &log);
        assert_eq!(seen.gets, Count { failed: 1, all: 2 });
        assert_eq!(seen.posts, Count { failed: 1, all: 1 });
        assert_eq!(seen.twice, 0);
    }

    #[test]
    fn counts_what_was_cut_of_all_that_ran_alongside() {
        let mut seen = Seen::default();
        assert_eq!(seen.long_lived, None);
        seen.add_long_lived(&LongLivedOutcome {
            downloads: 5,
            cut_downloads: vec!["reset".to_owned()],
            cut_websockets: vec!["reset".to_owned()],
            ..LongLivedOutcome::default()
        });
        assert_eq!(seen.long_lived, Some(Count { failed: 2, all: 7 }));
    }
}
