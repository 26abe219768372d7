//! Writes the metrics as text: in the Prometheus format, or in OpenMetrics 1.0 for clients that accept it.

mod labels;
mod text;

use labels::{Labels, label_text};
use text::{Series, histogram, push, sample, thousandths};

use super::metric::{Kind, Metric, Scope, Source};
use super::snapshot::Snapshot;
use super::table::METRICS;
use super::traffic::CLASSES;
use super::{Histogram, PolicyOutcome, TrafficCounters};

/// The text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` header (RFC 9110 §12.5.1): OpenMetrics if it is listed with a weight above 0.
    pub fn accepted(accept: &str) -> Self {
        let is_named = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            let is_refused = parts.any(|part| {
                part.strip_prefix("q=")
                    .and_then(|weight| weight.parse().ok())
                    .is_some_and(|q: f32| q <= 0.0)
            });
            is_it && !is_refused
        });
        if is_named {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all metrics of `snapshot`.
pub fn render(snapshot: &Snapshot, format: Format) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let labels = Labels::of(snapshot);
    for metric in METRICS {
        head(&mut out, metric, format);
        samples(&mut out, metric, (snapshot, &labels));
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, metric: &Metric, format: Format) {
    let (name, kind) = match (format, metric.kind) {
        (Format::OpenMetrics, Kind::Counter) => (metric.family(), "counter"),
        (Format::OpenMetrics, Kind::Info) => (metric.family(), "info"),
        (Format::Prometheus, Kind::Counter) => (metric.name, "counter"),
        // The Prometheus format has no info type.
        (Format::Prometheus, Kind::Info) | (_, Kind::Gauge) => (metric.name, "gauge"),
        (_, Kind::Histogram) => (metric.name, "histogram"),
    };
    push(
        out,
        &[
            "# HELP ",
            name,
            " ",
            metric.help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ],
    );
    if let (Format::OpenMetrics, Some(unit)) = (format, metric.unit()) {
        push(out, &["# UNIT ", name, " ", unit, "\n"]);
    }
}

/// Writes the samples of a metric.
fn samples(out: &mut String, metric: &Metric, (snapshot, labels): (&Snapshot, &Labels)) {
    let name = metric.name;
    let plain = Series::plain(name);
    match metric.source {
        Source::Threads(value) => sample(out, plain, snapshot.sum(value)),
        Source::Process(value) => sample(out, plain, value(&snapshot.process)),
        Source::ProcessMillis(value) => thousandths(out, plain, value(&snapshot.process)),
        Source::Version => {
            let version = label_text(&[("version", snapshot.process.version)]);
            sample(out, plain.of(&version), 1);
        }
        Source::Each { label, values, count } => {
            for (position, value) in values().into_iter().enumerate() {
                let text = label_text(&[(label, value)]);
                sample(
                    out,
                    plain.of(&text),
                    snapshot.sum(|thread| count(thread, position)),
                );
            }
        }
        Source::EachPair {
            labels: [one, other],
            values,
            count,
        } => {
            for (position, pair) in values.iter().enumerate() {
                let text = label_text(&[(one, pair.0), (other, pair.1)]);
                sample(
                    out,
                    plain.of(&text),
                    snapshot.sum(|thread| count(thread, position)),
                );
            }
        }
        Source::ProcessEach { label, values, count } => {
            for (position, value) in values().into_iter().enumerate() {
                let text = label_text(&[(label, value)]);
                sample(out, plain.of(&text), count(&snapshot.process, position));
            }
        }
        Source::Durations(of, resolution) => {
            let values = Histogram::merged(snapshot.threads.iter().map(|thread| of(thread)));
            histogram(out, plain, resolution, &values);
        }
        Source::Classes(scope) => each(snapshot, labels, scope, |text, traffic| {
            for (class, label) in CLASSES.iter().enumerate() {
                let series = plain.of(text).with("class", label);
                sample(out, series, traffic.responses(class));
            }
        }),
        Source::Latencies(scope, resolution) => each(snapshot, labels, scope, |text, traffic| {
            histogram(out, plain.of(text), resolution, &traffic.durations());
        }),
        _ => samples_of_parts(out, metric, (snapshot, labels)),
    }
}

/// Writes the samples of a metric that has one for each part of the snapshot.
fn samples_of_parts(out: &mut String, metric: &Metric, (snapshot, labels): (&Snapshot, &Labels)) {
    let plain = Series::plain(metric.name);
    match metric.source {
        Source::Workers(value) => {
            for (text, thread) in labels.workers.iter().zip(&snapshot.threads) {
                sample(out, plain.of(text), value(thread));
            }
        }
        Source::WorkersMillis(value) => {
            for (text, thread) in labels.workers.iter().zip(&snapshot.threads) {
                thousandths(out, plain.of(text), value(thread));
            }
        }
        Source::Pools(value) => {
            for (text, pool) in labels.pools.iter().zip(&snapshot.pools) {
                sample(out, plain.of(text), value(pool));
            }
        }
        Source::Backends(value) => {
            let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
            for (text, backend) in labels.backends.iter().zip(backends) {
                sample(out, plain.of(text), value(backend));
            }
        }
        Source::Policies(value) => {
            for policy in &snapshot.policies {
                let text = label_text(&[("policy", policy.name())]);
                for outcome in PolicyOutcome::ALL {
                    let series = plain.of(&text).with("outcome", outcome.name());
                    sample(out, series, value(policy, outcome));
                }
            }
        }
        Source::Sources(value) => {
            for source in &snapshot.sources {
                let text = label_text(&[
                    ("pool", &source.pool),
                    ("source", source.source),
                    ("location", &source.location),
                ]);
                sample(out, plain.of(&text), value(source));
            }
        }
        Source::Logs(value) => {
            for log in &snapshot.logs {
                sample(out, plain.of(&label_text(&[("log", &log.log)])), value(log));
            }
        }
        Source::Certificates(value) => {
            for certificate in &snapshot.certificates {
                let text = label_text(&[("file", &certificate.file)]);
                sample(out, plain.of(&text), value(certificate));
            }
        }
        // Those of the whole process are above.
        _ => {}
    }
}

/// Calls `write` with the labels and the counters of each route, pool or backend.
fn each(snapshot: &Snapshot, labels: &Labels, scope: Scope, mut write: impl FnMut(&str, &TrafficCounters)) {
    match scope {
        Scope::Route => {
            for (text, route) in labels.routes.iter().zip(&snapshot.routes) {
                write(text, route);
            }
        }
        Scope::Pool => {
            for (text, pool) in labels.pools.iter().zip(&snapshot.pools) {
                write(text, &pool.traffic);
            }
        }
        Scope::Backend => {
            let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
            for (text, backend) in labels.backends.iter().zip(backends) {
                write(text, &backend.traffic);
            }
        }
    }
}

#[cfg(test)]
mod tests;
