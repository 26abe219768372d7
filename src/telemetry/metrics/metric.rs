//! What a row of the table of metrics says: the kind of a metric, and where its values come from.

use super::snapshot::{BackendSample, CertificateSample, PoolSample, ProcessSample, SourceSample};
use super::{DroppedLines, Histogram, PolicyCounters, PolicyOutcome, WorkerCounters};

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A histogram of durations.
    Histogram,
    /// Always 1; its labels contain the information.
    Info,
}

/// The source of a metric's values, which also determines its labels.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// One value, the sum over all threads.
    Threads(fn(&WorkerCounters) -> u64),
    /// One sum over all threads per value of a label; the function receives the position of the value.
    Each {
        /// The label's name.
        label: &'static str,
        /// Its values.
        values: fn() -> Vec<&'static str>,
        /// The count of one thread.
        count: fn(&WorkerCounters, usize) -> u64,
    },
    /// One sum over all threads per pair of values of two labels; the function receives the position of the pair.
    EachPair {
        /// The labels' names.
        labels: [&'static str; 2],
        /// Their values.
        values: &'static [(&'static str, &'static str)],
        /// The count of one thread.
        count: fn(&WorkerCounters, usize) -> u64,
    },
    /// One value per worker; label `worker`.
    Workers(fn(&WorkerCounters) -> u64),
    /// The same in thousandths.
    WorkersMillis(fn(&WorkerCounters) -> u64),
    /// A histogram, summed over all threads.
    Durations(fn(&WorkerCounters) -> &Histogram, Resolution),
    /// One value per route, pool or backend and class of status codes.
    Classes(Scope),
    /// One histogram per route, pool or backend.
    Latencies(Scope, Resolution),
    /// One value per pool; label `pool`.
    Pools(fn(&PoolSample) -> u64),
    /// One value per backend; labels `pool` and `backend`.
    Backends(fn(&BackendSample) -> u64),
    /// One value per policy and outcome of its decisions; labels `policy` and `outcome`.
    Policies(fn(&PolicyCounters, PolicyOutcome) -> u64),
    /// One value per source of backends and name that is looked up; labels `pool`, `source` and `location`.
    Sources(fn(&SourceSample) -> u64),
    /// One value per log that has its own writer; label `log`.
    Logs(fn(&DroppedLines) -> u64),
    /// One value per active certificate; label `file`.
    Certificates(fn(&CertificateSample) -> u64),
    /// One value of the process.
    Process(fn(&ProcessSample) -> u64),
    /// One value of the process per value of a label; the function receives the position of the value.
    ProcessEach {
        /// The label's name.
        label: &'static str,
        /// Its values.
        values: fn() -> Vec<&'static str>,
        /// The count.
        count: fn(&ProcessSample, usize) -> u64,
    },
    /// One value of the process in thousandths.
    ProcessMillis(fn(&ProcessSample) -> u64),
    /// 1, with the version as label `version`.
    Version,
}

/// What the counters of traffic belong to.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// A route; label `route`.
    Route,
    /// A pool; label `pool`.
    Pool,
    /// A backend; labels `pool` and `backend`.
    Backend,
}

impl Scope {
    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Route => &["route"],
            Self::Pool => &["pool"],
            Self::Backend => &["pool", "backend"],
        }
    }
}

/// Which buckets of a histogram are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// All: percentiles are within 10% of the truth.
    Full,
    /// Two or three per power of ten, where there may be many histograms: a scrape of 1,000 backends stays small.
    Coarse,
}

impl Source {
    /// The names of the labels.
    pub fn labels(self) -> Vec<&'static str> {
        match self {
            Self::Threads(_) | Self::Process(_) | Self::ProcessMillis(_) => Vec::new(),
            Self::Each { label, .. } | Self::ProcessEach { label, .. } => vec![label],
            Self::EachPair { labels, .. } => labels.to_vec(),
            Self::Workers(_) | Self::WorkersMillis(_) => vec!["worker"],
            Self::Durations(..) => vec!["le"],
            Self::Classes(scope) => [scope.labels(), &["class"]].concat(),
            Self::Latencies(scope, _) => [scope.labels(), &["le"]].concat(),
            Self::Pools(_) => vec!["pool"],
            Self::Backends(_) => vec!["pool", "backend"],
            Self::Policies(_) => vec!["policy", "outcome"],
            Self::Sources(_) => vec!["pool", "source", "location"],
            Self::Logs(_) => vec!["log"],
            Self::Certificates(_) => vec!["file"],
            Self::Version => vec!["version"],
        }
    }
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, as in a query.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its meaning, a sentence.
    pub help: &'static str,
    /// Where its values come from.
    pub source: Source,
}

impl Metric {
    /// The name without the suffix of its kind: the name of the family in OpenMetrics.
    pub fn family(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.trim_end_matches("_total"),
            Kind::Info => self.name.trim_end_matches("_info"),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// The base unit of its values, as in its name; `None` for plain numbers.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"]
            .into_iter()
            .find(|unit| self.family().ends_with(unit))
    }
}
