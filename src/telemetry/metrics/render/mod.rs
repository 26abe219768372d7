//! Writes the metrics as text: in the Prometheus format, or in OpenMetrics 1.0 for clients that accept it.

use std::fmt::Write as _;

use super::metric::{Kind, Metric, Resolution, Scope, Source};
use super::snapshot::{BackendSample, Snapshot};
use super::table::METRICS;
use super::traffic::CLASSES;
use super::{DURATION_BOUNDS, Histogram, PolicyCounters, PolicyOutcome, TrafficCounters};

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
    for metric in METRICS {
        head(&mut out, metric, format);
        samples(&mut out, metric, snapshot);
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

fn samples(out: &mut String, metric: &Metric, snapshot: &Snapshot) {
    let name = metric.name;
    match metric.source {
        Source::Threads(value) => sample(out, name, &[], snapshot.sum(value)),
        Source::Process(value) => sample(out, name, &[], value(&snapshot.process)),
        Source::ProcessMillis(value) => {
            let millis = value(&snapshot.process);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name} {}.{:03}", millis / 1000, millis % 1000);
        }
        Source::Version => sample(out, name, &[("version", snapshot.process.version)], 1),
        Source::Each { label, values, count } => {
            for (position, value) in values().into_iter().enumerate() {
                sample(
                    out,
                    name,
                    &[(label, value)],
                    snapshot.sum(|thread| count(thread, position)),
                );
            }
        }
        Source::EachPair {
            labels,
            values,
            count,
        } => {
            let total = |position| snapshot.sum(|thread| count(thread, position));
            pairs(out, name, labels, values, total);
        }
        Source::Logs(value) => {
            for log in &snapshot.logs {
                sample(out, name, &[("log", log.log.as_str())], value(log));
            }
        }
        Source::ProcessEach { label, values, count } => {
            for (position, value) in values().into_iter().enumerate() {
                let count = count(&snapshot.process, position);
                sample(out, name, &[(label, value)], count);
            }
        }
        Source::Pools(value) => {
            for pool in &snapshot.pools {
                sample(out, name, &[("pool", pool.name.as_str())], value(pool));
            }
        }
        Source::Backends(value) => backends(out, name, snapshot, value),
        Source::Policies(value) => decisions(out, name, snapshot, value),
        Source::Certificates(value) => {
            for certificate in &snapshot.certificates {
                let labels = [("file", certificate.file.as_str())];
                sample(out, name, &labels, value(certificate));
            }
        }
        Source::Durations(of, resolution) => {
            let values = Histogram::merged(snapshot.threads.iter().map(|thread| of(thread)));
            histogram(out, name, (&[], resolution), &values);
        }
        Source::Classes(scope) => each(snapshot, scope, |labels, traffic| {
            for (class, text) in CLASSES.into_iter().enumerate() {
                let labels = [labels, &[("class", text)]].concat();
                sample(out, name, &labels, traffic.responses(class));
            }
        }),
        Source::Latencies(scope, resolution) => each(snapshot, scope, |labels, traffic| {
            histogram(out, name, (labels, resolution), &traffic.durations());
        }),
    }
}

/// Writes one sample per pair of values of two labels; `total` receives the position of the pair.
fn pairs(
    out: &mut String,
    name: &str,
    [one, other]: [&str; 2],
    values: &[(&str, &str)],
    total: impl Fn(usize) -> u64,
) {
    for (position, (of_one, of_other)) in values.iter().enumerate() {
        sample(out, name, &[(one, of_one), (other, of_other)], total(position));
    }
}

/// Writes one sample per policy and outcome.
fn decisions(
    out: &mut String,
    name: &str,
    snapshot: &Snapshot,
    value: fn(&PolicyCounters, PolicyOutcome) -> u64,
) {
    for policy in &snapshot.policies {
        for outcome in PolicyOutcome::ALL {
            let labels = [("policy", policy.name()), ("outcome", outcome.name())];
            sample(out, name, &labels, value(policy, outcome));
        }
    }
}

/// Writes one sample per backend.
fn backends(out: &mut String, name: &str, snapshot: &Snapshot, value: fn(&BackendSample) -> u64) {
    for pool in &snapshot.pools {
        for backend in &pool.backends {
            let labels = [("pool", pool.name.as_str()), ("backend", backend.url.as_str())];
            sample(out, name, &labels, value(backend));
        }
    }
}

/// Calls `write` with the labels and the counters of each route, pool or backend.
fn each(snapshot: &Snapshot, scope: Scope, mut write: impl FnMut(&[(&str, &str)], &TrafficCounters)) {
    match scope {
        Scope::Route => {
            for route in &snapshot.routes {
                write(&[("route", route.name())], route);
            }
        }
        Scope::Pool => {
            for pool in &snapshot.pools {
                write(&[("pool", &pool.name)], &pool.traffic);
            }
        }
        Scope::Backend => {
            for pool in &snapshot.pools {
                for backend in &pool.backends {
                    write(
                        &[("pool", &pool.name), ("backend", &backend.url)],
                        &backend.traffic,
                    );
                }
            }
        }
    }
}

/// The bounds that are shown with [`Resolution::Coarse`], in microseconds.
const COARSE_BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

fn histogram(
    out: &mut String,
    name: &str,
    (labels, resolution): (&[(&str, &str)], Resolution),
    (counts, sum): &([u64; DURATION_BOUNDS.len() + 1], u64),
) {
    // The text before the bound is the same in every line.
    let mut series = format!("{name}_bucket{{");
    for (label, value) in labels {
        push(&mut series, &[label, "=\""]);
        escape(&mut series, value);
        series.push_str("\",");
    }
    series.push_str("le=\"");
    let mut total = 0;
    let mut number = itoa::Buffer::new();
    for (bound, count) in DURATION_BOUNDS.iter().zip(counts) {
        total += count;
        if resolution == Resolution::Full || COARSE_BOUNDS.contains(bound) {
            push(
                out,
                &[&series, &bound_text(*bound), "\"} ", number.format(total), "\n"],
            );
        }
    }
    total += counts.last().unwrap_or(&0);
    push(out, &[&series, "+Inf\"} ", number.format(total), "\n"]);
    push(out, &[name, "_sum"]);
    label_set(out, labels);
    // Writing to a string cannot fail.
    let _ = writeln!(out, " {}.{:06}", sum / 1_000_000, sum % 1_000_000);
    push(out, &[name, "_count"]);
    label_set(out, labels);
    push(out, &[" ", number.format(total), "\n"]);
}

/// A bound in seconds as OpenMetrics requires it: always with a fraction, without trailing zeros.
fn bound_text(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') {
        format!("{short}0")
    } else {
        short.to_owned()
    }
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    out.push_str(name);
    label_set(out, labels);
    push(out, &[" ", itoa::Buffer::new().format(value), "\n"]);
}

fn label_set(out: &mut String, labels: &[(&str, &str)]) {
    let mut before = '{';
    for (label, value) in labels {
        out.push(before);
        before = ',';
        push(out, &[label, "=\""]);
        escape(out, value);
        out.push('"');
    }
    if before == ',' {
        out.push('}');
    }
}

/// Both formats escape the same three characters in a label value, and no others.
fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str(r"\n"),
            plain => out.push(plain),
        }
    }
}

fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests;
