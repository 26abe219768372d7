//! What a load shows.

use std::time::Duration;

/// What came of a load while it was counted.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    /// Requests that were answered whole with a status from 200 to 299.
    pub(crate) answered: u64,
    pub(crate) faults: Faults,
    /// Of an open loop: from when a request was due to the end of its answer.
    pub(crate) latencies: Vec<Duration>,
}

/// Why a result does not count, by how often each happened, the warm-up included.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// A status other than 200 to 299.
    pub(crate) status: u64,
    /// A connection that could not be opened.
    pub(crate) connect: u64,
    /// A connection that ended before its answer did.
    pub(crate) cut: u64,
    /// A connection that was closed after an answer though it should have stayed open, or the other way round.
    pub(crate) reconnect: u64,
    /// A request that had no answer for two seconds when the load ended, or was never sent.
    pub(crate) unanswered: u64,
}

impl Report {
    /// One line of JSON; latencies in µs.
    pub(crate) fn json(mut self) -> String {
        self.latencies.sort_unstable();
        let Faults {
            status,
            connect,
            cut,
            reconnect,
            unanswered,
        } = self.faults;
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(|part| self.percentile(part));
        format!(
            "{{\"seconds\":{:.6},\"answered\":{},\
             \"faults\":{{\"status\":{status},\"connect\":{connect},\"cut\":{cut},\"reconnect\":{reconnect},\
             \"unanswered\":{unanswered}}},\
             \"latency_us\":{{\"p50\":{p50:.1},\"p90\":{p90:.1},\"p99\":{p99:.1},\"p999\":{p999:.1},\"max\":{max:.1}}}}}",
            self.seconds, self.answered
        )
    }

    /// The latency that `part` of all stay at or below, in µs; 0 without any.
    fn percentile(&self, part: f64) -> f64 {
        let rank = (self.latencies.len() as f64 * part).ceil() as usize;
        let at = self.latencies.get(rank.saturating_sub(1));
        at.map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let report = Report {
            latencies: (1..=100).map(Duration::from_micros).collect(),
            ..Report::default()
        };
        assert_eq!(
            [0.5, 0.99, 0.999, 1.0].map(|part| report.percentile(part).round()),
            [50.0, 99.0, 100.0, 100.0]
        );
    }

    #[test]
    fn nothing_has_no_latency() {
        assert!(Report::default().json().contains("\"p99\":0.0"));
    }
}
