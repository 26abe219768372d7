//! The results of a load.

use std::time::Duration;

/// The results of the measured part of a load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    /// Complete responses with a status from 200 to 299.
    pub(crate) answered: u64,
    pub(crate) faults: Faults,
    /// Open loop: from when a request was due to the end of its response.
    pub(crate) latencies: Vec<Duration>,
}

/// Counts of faults that invalidate a result, including the warm-up.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// A status other than 200 to 299.
    pub(crate) status: u64,
    /// A connection that could not be opened.
    pub(crate) connect: u64,
    /// A connection that ended before its response did.
    pub(crate) cut: u64,
    /// A connection that was closed after a response though it should have stayed open, or the reverse.
    pub(crate) reconnect: u64,
    /// A request without a response two seconds after the load ended, or never sent.
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

    /// The latency that `part` of all requests do not exceed, in µs; 0 without requests.
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
    fn no_requests_have_no_latency() {
        assert!(Report::default().json().contains("\"p99\":0.0"));
    }
}
