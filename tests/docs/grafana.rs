//! Checks the Grafana dashboard: its queries name metrics that exist, and labels that these metrics have.

use std::collections::BTreeSet;

use evenkeel::internals::telemetry::metrics::METRICS;
use serde_json::Value;

/// Labels that Prometheus adds to what it scrapes.
const OF_SCRAPE: [&str; 2] = ["instance", "job"];
/// What follows the name of a histogram in queries.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A query and the text that names its results.
struct Query {
    text: String,
    legend: String,
}

/// All queries below a value.
fn queries(value: &Value, found: &mut Vec<Query>) {
    match value {
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
            // Panels and annotations have `expr`, variables a `definition`.
            if let Some(query) = text("expr").or_else(|| text("definition")) {
                let legend = text("legendFormat").or_else(|| text("textFormat"));
                found.push(Query {
                    text: query,
                    legend: legend.unwrap_or_default(),
                });
            }
            map.values().for_each(|value| queries(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// What is wrong with a query; nothing if it is right.
fn mistakes(query: &Query) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut known: BTreeSet<&str> = OF_SCRAPE.into();
    let words = query.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut is_without_metrics = true;
    for name in words.filter(|word| word.starts_with("evenkeel_") || word.starts_with("process_")) {
        is_without_metrics = false;
        let of_histogram = OF_HISTOGRAM.iter().find_map(|suffix| name.strip_suffix(suffix));
        let metric = METRICS.iter().find(|metric| {
            let is_histogram = metric.source.labels().contains(&"le");
            match of_histogram {
                Some(base) if is_histogram => metric.name == base,
                _ => metric.name == name && !is_histogram,
            }
        });
        match metric {
            Some(metric) => known.extend(metric.source.labels()),
            None => mistakes.push(format!("{name} is not a metric")),
        }
    }
    if is_without_metrics {
        mistakes.push("names no metric".to_owned());
    }
    let unknown = labels(query)
        .into_iter()
        .filter(|label| !known.contains(label.as_str()));
    mistakes.extend(unknown.map(|label| format!("no metric of the query has the label {label}")));
    mistakes
}

/// The labels that a query names: in matchers, in groupings, in `label_values` and in its legend.
fn labels(query: &Query) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for matchers in between(&query.text, "{", "}") {
        for matcher in matchers.split("\", ") {
            let name = matcher.split(['=', '!']).next().unwrap_or_default();
            found.insert(name.trim().to_owned());
        }
    }
    for grouping in ["by (", "on (", "without ("] {
        for names in between(&query.text, grouping, ")") {
            found.extend(names.split(',').map(|name| name.trim().to_owned()));
        }
    }
    if let Some(rest) = query.text.strip_prefix("label_values(") {
        let label = rest.trim_end_matches(')').rsplit(',').next();
        found.extend(label.map(|label| label.trim().to_owned()));
    }
    found.extend(between(&query.legend, "{{", "}}").map(str::to_owned));
    found
}

/// The texts between `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(begin).skip(1);
    parts.filter_map(move |part| part.split(end).next())
}

#[test]
fn the_grafana_dashboard_names_only_metrics_and_labels_that_exist() {
    let text = crate::read("packaging/grafana/evenkeel.json");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() > 50, "only {} queries", found.len());
    let mistakes: Vec<String> = found
        .iter()
        .flat_map(|query| {
            mistakes(query)
                .into_iter()
                .map(|mistake| format!("{}: {mistake}", query.text))
        })
        .collect();
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn every_panel_has_its_place_and_number() {
    let text = crate::read("packaging/grafana/evenkeel.json");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
        let of = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(of("x") + of("w") <= 24, "{}", panel["title"]);
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(cells.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn finds_queries_that_name_what_does_not_exist() {
    let check = |text: &str, legend: &str| {
        mistakes(&Query {
            text: text.to_owned(),
            legend: legend.to_owned(),
        })
        .len()
    };
    for (text, legend, expected) in [
        (
            r#"sum by (class) (rate(evenkeel_requests_total{class="5xx", instance=~"a"}[5m]))"#,
            "{{class}}",
            0,
        ),
        ("rate(evenkeel_request_total[5m])", "", 1),
        ("evenkeel_request_duration_seconds", "", 1),
        ("evenkeel_workers_bucket", "", 1),
        ("sum by (le) (evenkeel_request_duration_seconds_bucket)", "", 0),
        ("sum by (pool, backend) (evenkeel_queue_depth)", "", 1),
        (r#"evenkeel_queue_depth{backend="a"}"#, "", 1),
        ("evenkeel_queue_depth", "{{pool}} {{backend}}", 1),
        ("label_values(evenkeel_queue_depth, backend)", "", 1),
        ("vector(1)", "", 1),
    ] {
        assert_eq!(check(text, legend), expected, "{text} {legend}");
    }
}
