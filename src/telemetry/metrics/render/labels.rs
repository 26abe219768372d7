//! The labels of what has many metrics, as text: made once for a page, not once for every line.

use crate::telemetry::metrics::Snapshot;

/// The labels of the parts of a snapshot, in its order, without braces.
pub(super) struct Labels {
    pub(super) workers: Vec<String>,
    pub(super) routes: Vec<String>,
    pub(super) pools: Vec<String>,
    /// Those of all pools, one pool after the other.
    pub(super) backends: Vec<String>,
}

impl Labels {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let worker = |index: usize| label_text(&[("worker", itoa::Buffer::new().format(index))]);
        let routes = snapshot.routes.iter();
        let backends = snapshot.pools.iter().flat_map(|pool| {
            let backends = pool.backends.iter();
            backends.map(|backend| label_text(&[("pool", &pool.name), ("backend", &backend.url)]))
        });
        Self {
            workers: (0..snapshot.threads.len()).map(worker).collect(),
            routes: routes
                .map(|route| label_text(&[("route", route.name())]))
                .collect(),
            pools: snapshot
                .pools
                .iter()
                .map(|pool| label_text(&[("pool", &pool.name)]))
                .collect(),
            backends: backends.collect(),
        }
    }
}

/// Names and values of labels, without braces.
pub(super) fn label_text(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (label, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(label);
        text.push_str("=\"");
        escape(&mut text, value);
        text.push('"');
    }
    text
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
