//! Writes the lines of samples, which both text formats share. A page may have tens of thousands of them: everything is written
//! straight into the page.

use std::fmt::Write as _;
use std::sync::LazyLock;

use crate::telemetry::metrics::DURATION_BOUNDS;
use crate::telemetry::metrics::metric::Resolution;

/// The bounds that are shown with [`Resolution::Coarse`], in microseconds.
const COARSE_BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// What follows the other labels in the line of each bucket, and whether the bucket is shown with [`Resolution::Coarse`].
static BOUNDS: LazyLock<Vec<(String, bool)>> = LazyLock::new(|| {
    let bound = |micros: &u64| {
        let text = format!("le=\"{}\"}} ", bound_text(*micros));
        (text, COARSE_BOUNDS.contains(micros))
    };
    DURATION_BOUNDS.iter().map(bound).collect()
});

/// Name and labels of samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series<'a> {
    name: &'a str,
    /// Labels as text, without braces; may be empty.
    labels: &'a str,
    /// Another label, whose value needs no escapes.
    more: Option<(&'a str, &'a str)>,
}

impl<'a> Series<'a> {
    /// One without labels.
    pub(super) fn plain(name: &'a str) -> Self {
        Self {
            name,
            labels: "",
            more: None,
        }
    }

    /// The same with these labels.
    pub(super) fn of(self, labels: &'a str) -> Self {
        Self { labels, ..self }
    }

    /// The same with another label, whose value needs no escapes.
    pub(super) fn with(self, label: &'a str, value: &'a str) -> Self {
        Self {
            more: Some((label, value)),
            ..self
        }
    }

    fn write(self, out: &mut String, suffix: &str) {
        push(out, &[self.name, suffix]);
        match self.more {
            None if self.labels.is_empty() => {}
            None => push(out, &["{", self.labels, "}"]),
            Some((label, value)) => {
                let comma = if self.labels.is_empty() { "" } else { "," };
                push(out, &["{", self.labels, comma, label, "=\"", value, "\"}"]);
            }
        }
    }
}

/// Writes one sample.
pub(super) fn sample(out: &mut String, series: Series<'_>, value: u64) {
    series.write(out, "");
    push(out, &[" ", itoa::Buffer::new().format(value), "\n"]);
}

/// Writes one sample whose value is given in thousandths.
pub(super) fn thousandths(out: &mut String, series: Series<'_>, millis: u64) {
    series.write(out, "");
    // Writing to a string cannot fail.
    let _ = writeln!(out, " {}.{:03}", millis / 1000, millis % 1000);
}

/// Writes the samples of a histogram of durations, from the number in each bucket and the sum in microseconds.
pub(super) fn histogram(
    out: &mut String,
    series: Series<'_>,
    resolution: Resolution,
    (counts, sum): &([u64; DURATION_BOUNDS.len() + 1], u64),
) {
    // The text before the bound is the same in every line: it is copied from the first one.
    let start = out.len();
    push(out, &[series.name, "_bucket{", series.labels]);
    if !series.labels.is_empty() {
        out.push(',');
    }
    let beginning = start..out.len();
    let mut is_first = true;
    let mut total = 0;
    let mut number = itoa::Buffer::new();
    for ((bound, is_coarse), count) in BOUNDS.iter().zip(counts) {
        total += count;
        if resolution == Resolution::Full || *is_coarse {
            if !std::mem::take(&mut is_first) {
                out.extend_from_within(beginning.clone());
            }
            push(out, &[bound, number.format(total), "\n"]);
        }
    }
    total += counts.last().unwrap_or(&0);
    out.extend_from_within(beginning);
    push(out, &["le=\"+Inf\"} ", number.format(total), "\n"]);
    series.write(out, "_sum");
    // Writing to a string cannot fail.
    let _ = writeln!(out, " {}.{:06}", sum / 1_000_000, sum % 1_000_000);
    series.write(out, "_count");
    push(out, &[" ", number.format(total), "\n"]);
}

/// Writes the parts one after the other.
#[inline]
pub(super) fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
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
