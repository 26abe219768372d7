//! Writes the metrics in the format that the client prefers: the Prometheus text format, OpenMetrics 1.0, or the protobuf format of
//! Prometheus.

mod labels;
mod page;
mod protobuf;
mod text;

use labels::Labels;
use page::{Number, Page, Series};
use protobuf::ProtobufPage;
use text::TextPage;

use super::metric::{Metric, Scope, Source};
use super::snapshot::Snapshot;
use super::table::METRICS;
use super::{Histogram, PolicyOutcome, TrafficCounters};

/// The format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The protobuf format of Prometheus, which has native histograms.
    Protobuf,
}

impl Format {
    /// The format for an `Accept` header (RFC 9110 §12.5.1): the one with the highest weight of those that it names, the first of
    /// several. The Prometheus text format if it names none.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<String> = parts
                .map(|part| part.replace(' ', "").to_ascii_lowercase())
                .collect();
            let has = |parameter: &str| parameters.iter().any(|known| known == parameter);
            let format = match name.as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" => Self::Prometheus,
                // Protobuf says nothing without the message, and there are other ways to separate messages.
                "application/vnd.google.protobuf"
                    if has("proto=io.prometheus.client.metricfamily") && has("encoding=delimited") =>
                {
                    Self::Protobuf
                }
                _ => continue,
            };
            let weight = parameters
                .iter()
                .find_map(|parameter| parameter.strip_prefix("q="));
            let weight: f32 = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// Writes all metrics of `snapshot`.
pub fn render(snapshot: &Snapshot, format: Format) -> Vec<u8> {
    match format {
        Format::Prometheus | Format::OpenMetrics => write(TextPage::new(format), snapshot),
        Format::Protobuf => write(ProtobufPage::default(), snapshot),
    }
}

fn write<P: Page>(mut page: P, snapshot: &Snapshot) -> Vec<u8> {
    let labels = Labels::of::<P>(snapshot);
    for metric in METRICS {
        page.begin(metric);
        samples(&mut page, metric, (snapshot, &labels));
        page.end();
    }
    page.finish()
}

/// Writes the samples of a metric.
fn samples<P: Page>(page: &mut P, metric: &Metric, (snapshot, labels): (&Snapshot, &Labels)) {
    let plain = Series::default();
    let backends = || snapshot.pools.iter().flat_map(|pool| &pool.backends);
    let mut whole = |series: Series<'_>, value| page.sample(metric, series, Number::Whole(value));
    match metric.source {
        Source::Threads(value) => whole(plain, snapshot.sum(value)),
        Source::Process(value) => whole(plain, value(&snapshot.process)),
        Source::ProcessMillis(value) => page.sample(metric, plain, Number::Millis(value(&snapshot.process))),
        Source::Version => whole(Series::of(&labels.version), 1),
        Source::Each { label, values, count } => {
            for (position, value) in values().into_iter().enumerate() {
                let sum = snapshot.sum(|thread| count(thread, position));
                whole(Series::of(&P::labels(&[(label, value)])), sum);
            }
        }
        Source::EachPair {
            labels: [one, other],
            values,
            count,
        } => {
            for (position, pair) in values.iter().enumerate() {
                let sum = snapshot.sum(|thread| count(thread, position));
                whole(Series::of(&P::labels(&[(one, pair.0), (other, pair.1)])), sum);
            }
        }
        Source::ProcessEach { label, values, count } => {
            for (position, value) in values().into_iter().enumerate() {
                let count = count(&snapshot.process, position);
                whole(Series::of(&P::labels(&[(label, value)])), count);
            }
        }
        Source::Workers(value) => each(&labels.workers, &snapshot.threads, |series, thread| {
            whole(series, value(thread));
        }),
        Source::WorkersMillis(value) => each(&labels.workers, &snapshot.threads, |series, thread| {
            page.sample(metric, series, Number::Millis(value(thread)));
        }),
        Source::Pools(value) => each(&labels.pools, &snapshot.pools, |series, pool| {
            whole(series, value(pool))
        }),
        Source::Backends(value) => each(&labels.backends, backends(), |series, backend| {
            whole(series, value(backend));
        }),
        Source::Policies(value) => each(&labels.policies, &snapshot.policies, |series, policy| {
            for (outcome, label) in PolicyOutcome::ALL.into_iter().zip(&labels.outcomes) {
                whole(series.with(label), value(policy, outcome));
            }
        }),
        Source::Sources(value) => each(&labels.sources, &snapshot.sources, |series, source| {
            whole(series, value(source));
        }),
        Source::Logs(value) => each(&labels.logs, &snapshot.logs, |series, log| {
            whole(series, value(log))
        }),
        Source::Certificates(value) => each(&labels.certificates, &snapshot.certificates, |series, of| {
            whole(series, value(of));
        }),
        Source::Durations(of, resolution) => {
            let values = Histogram::merged(snapshot.threads.iter().map(|thread| of(thread)));
            page.histogram(metric, plain, (resolution, &values));
        }
        Source::Classes(scope) => each_traffic(snapshot, labels, scope, |series, traffic| {
            for (class, label) in labels.classes.iter().enumerate() {
                whole(series.with(label), traffic.responses(class));
            }
        }),
        Source::Latencies(scope, resolution) => each_traffic(snapshot, labels, scope, |series, traffic| {
            page.histogram(metric, series, (resolution, &traffic.durations()));
        }),
    }
}

/// Calls `write` with the labels of each part.
fn each<'s, T: 's>(
    labels: &[Vec<u8>],
    parts: impl IntoIterator<Item = &'s T>,
    mut write: impl FnMut(Series<'_>, &T),
) {
    for (labels, part) in labels.iter().zip(parts) {
        write(Series::of(labels), part);
    }
}

/// Calls `write` with the labels and the counters of each route, pool or backend.
fn each_traffic(
    snapshot: &Snapshot,
    labels: &Labels,
    scope: Scope,
    mut write: impl FnMut(Series<'_>, &TrafficCounters),
) {
    match scope {
        Scope::Route => each(&labels.routes, &snapshot.routes, |series, route| {
            write(series, route)
        }),
        Scope::Pool => each(&labels.pools, &snapshot.pools, |series, pool| {
            write(series, &pool.traffic)
        }),
        Scope::Backend => {
            let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
            each(&labels.backends, backends, |series, backend| {
                write(series, &backend.traffic)
            });
        }
    }
}

#[cfg(test)]
mod tests;
