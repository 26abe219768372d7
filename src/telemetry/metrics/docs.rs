//! Generates `docs/metrics.md` from the table of metrics, so that it cannot drift.

use super::metric::Kind;
use super::table::METRICS;

/// The reference of all metrics as Markdown.
pub fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         The admin API serves the metrics at `/metrics`, in whichever the client prefers: the Prometheus text format, OpenMetrics, or the protobuf format of Prometheus.\n\
         This page is generated from `src/telemetry/metrics/table.rs`: `UPDATE_DOCS=1 cargo test reference`.\n\n\
         | name | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        let labels: Vec<String> = metric
            .source
            .labels()
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        out += &format!(
            "| `{}` | {kind} | {} | {} |\n",
            metric.name,
            labels.join(" "),
            metric.help
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_reference_in_the_docs_is_generated_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).expect("docs/ can be written");
        }
        let written = std::fs::read_to_string(path).expect("docs/metrics.md is there");
        assert_eq!(written, reference(), "run `UPDATE_DOCS=1 cargo test reference`");
    }
}
