//! The two text formats: that of Prometheus, and OpenMetrics 1.0.

use std::io::Write as _;
use std::sync::LazyLock;

use super::Format;
use super::page::{Durations, Number, Page, Series, cumulative};
use crate::telemetry::metrics::DURATION_BOUNDS;
use crate::telemetry::metrics::metric::{Kind, Metric, Resolution};

/// What follows the other labels in the line of each bucket.
static BOUNDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let bounds = DURATION_BOUNDS.iter();
    bounds
        .map(|micros| format!("le=\"{}\"}} ", bound_text(*micros)))
        .collect()
});

/// A page of text.
pub(super) struct TextPage {
    out: Vec<u8>,
    format: Format,
}

impl TextPage {
    /// An empty page in a text format.
    pub(super) fn new(format: Format) -> Self {
        Self {
            out: Vec::with_capacity(16 * 1024),
            format,
        }
    }

    fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }

    fn series(&mut self, name: &str, suffix: &[u8], series: Series<'_>) {
        self.push(&[name.as_bytes(), suffix]);
        match (series.labels, series.more) {
            ([], []) => {}
            ([], labels) | (labels, []) => self.push(&[b"{", labels, b"}"]),
            (labels, more) => self.push(&[b"{", labels, b",", more, b"}"]),
        }
    }
}

impl Page for TextPage {
    fn labels(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (label, value) in labels {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(label.as_bytes());
            text.extend_from_slice(b"=\"");
            escape(&mut text, value);
            text.push(b'"');
        }
        text
    }

    fn begin(&mut self, metric: &Metric) {
        let (name, kind) = match (self.format, metric.kind) {
            (Format::OpenMetrics, Kind::Counter) => (metric.family(), "counter"),
            (Format::OpenMetrics, Kind::Info) => (metric.family(), "info"),
            (_, Kind::Counter) => (metric.name, "counter"),
            // The Prometheus format has no info type.
            (_, Kind::Info | Kind::Gauge) => (metric.name, "gauge"),
            (_, Kind::Histogram) => (metric.name, "histogram"),
        };
        let parts = [
            "# HELP ",
            name,
            " ",
            metric.help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ];
        self.push(&parts.map(str::as_bytes));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, metric.unit()) {
            self.push(&["# UNIT ", name, " ", unit, "\n"].map(str::as_bytes));
        }
    }

    fn sample(&mut self, metric: &Metric, series: Series<'_>, value: Number) {
        self.series(metric.name, b"", series);
        match value {
            Number::Whole(value) => self.push(&[b" ", itoa::Buffer::new().format(value).as_bytes(), b"\n"]),
            Number::Millis(millis) => {
                // Writing to a vector cannot fail.
                let _ = writeln!(self.out, " {}.{:03}", millis / 1000, millis % 1000);
            }
        }
    }

    fn histogram(
        &mut self,
        metric: &Metric,
        series: Series<'_>,
        (resolution, durations): (Resolution, &Durations),
    ) {
        // The text before the bound is the same in every line: it is copied from the first one.
        let start = self.out.len();
        self.push(&[metric.name.as_bytes(), b"_bucket{", series.labels]);
        if !series.labels.is_empty() {
            self.out.push(b',');
        }
        let beginning = start..self.out.len();
        let mut number = itoa::Buffer::new();
        let (shown, total) = cumulative(resolution, durations);
        for (position, below) in shown {
            if let Some(bound) = BOUNDS.get(position) {
                self.push(&[bound.as_bytes(), number.format(below).as_bytes(), b"\n"]);
                self.out.extend_from_within(beginning.clone());
            }
        }
        let total = number.format(total).as_bytes();
        self.push(&[b"le=\"+Inf\"} ", total, b"\n"]);
        self.series(metric.name, b"_sum", series);
        let sum = durations.1;
        // Writing to a vector cannot fail.
        let _ = writeln!(self.out, " {}.{:06}", sum / 1_000_000, sum % 1_000_000);
        self.series(metric.name, b"_count", series);
        self.push(&[b" ", total, b"\n"]);
    }

    fn end(&mut self) {}

    fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.push(&[b"# EOF\n"]);
        }
        self.out
    }
}

/// Both formats escape the same three characters in a label value, and no others.
fn escape(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(br"\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(br"\n"),
            plain => out.push(plain),
        }
    }
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
