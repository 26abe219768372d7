//! Writes the metrics as text: in the Prometheus format, or in OpenMetrics 1.0 for clients that accept it.

use std::fmt::Write as _;

use super::counters::DURATION_BOUNDS;
use super::snapshot::Snapshot;
use super::table::{Kind, METRICS, Metric, Source};
use super::{Histogram, PolicyOutcome, WorkerCounters};

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
        Source::Pools(value) => {
            for pool in &snapshot.pools {
                sample(out, name, &[("pool", pool.name.as_str())], value(pool));
            }
        }
        Source::Backends(value) => {
            for pool in &snapshot.pools {
                for backend in &pool.backends {
                    let labels = [("pool", pool.name.as_str()), ("backend", backend.url.as_str())];
                    sample(out, name, &labels, value(backend));
                }
            }
        }
        Source::Policies(value) => {
            for policy in &snapshot.policies {
                for outcome in PolicyOutcome::ALL {
                    let labels = [("policy", policy.name()), ("outcome", outcome.name())];
                    sample(out, name, &labels, value(policy, outcome));
                }
            }
        }
        Source::Certificates(value) => {
            for certificate in &snapshot.certificates {
                let labels = [("file", certificate.file.as_str())];
                sample(out, name, &labels, value(certificate));
            }
        }
        Source::Durations(histogram) => durations(out, name, snapshot, histogram),
    }
}

fn durations(out: &mut String, name: &str, snapshot: &Snapshot, of: fn(&WorkerCounters) -> &Histogram) {
    let mut counts = [0; DURATION_BOUNDS.len() + 1];
    let mut sum = 0_u64;
    for thread in &snapshot.threads {
        let (more, micros) = of(thread).values();
        for (count, more) in counts.iter_mut().zip(more) {
            *count += more;
        }
        sum = sum.wrapping_add(micros);
    }
    let bucket = format!("{name}_bucket");
    let bounds = DURATION_BOUNDS
        .iter()
        .map(|bound| bound_text(*bound))
        .chain(["+Inf".to_owned()]);
    let mut total = 0;
    for (bound, count) in bounds.zip(counts) {
        total += count;
        sample(out, &bucket, &[("le", &bound)], total);
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name}_sum {}.{:06}", sum / 1_000_000, sum % 1_000_000);
    let _ = writeln!(out, "{name}_count {total}");
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
    out.push(' ');
    out.push_str(itoa::Buffer::new().format(value));
    out.push('\n');
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
