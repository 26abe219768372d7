//! The metrics of a balancer, as its admin API shows them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Proxy, wait_until};

/// The samples of one scrape.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Vec<Sample>);

/// One sample.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Its name, with its labels as they are written.
    pub(crate) series: String,
    pub(crate) value: f64,
}

/// The value of a metric, summed over the series that begin like this.
pub(crate) fn metric(proxy: &Proxy, beginning: &str) -> f64 {
    let Metrics(all) = Metrics::of(proxy);
    let mut meant = all
        .iter()
        .filter(|sample| sample.series.starts_with(beginning))
        .peekable();
    assert!(meant.peek().is_some(), "no {beginning} in {all:?}");
    meant.map(|sample| sample.value).sum()
}

/// Waits until a series has this value.
pub(crate) fn wait_for_metric(proxy: &Proxy, series: &str, value: usize) {
    wait_until(&format!("{series} is {value}"), || {
        let all = Metrics::of(proxy);
        let mut all = all.samples().iter();
        all.any(|sample| sample.series == series && sample.value == value as f64)
    });
}

impl Metrics {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        let text = proxy.get_admin("/metrics").text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            Sample {
                series: series.to_owned(),
                value: value.parse().expect("a number"),
            }
        };
        Self(lines.map(sample).collect())
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.0
    }

    /// The sum of the samples with this name and these labels, which are whole numbers.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let mut named = self.named(name).peekable();
        assert!(named.peek().is_some(), "no {name}");
        let has =
            |of: &BTreeMap<&str, &str>| labels.iter().all(|(label, value)| of.get(label) == Some(value));
        let meant = named.filter(|(_, of)| has(of));
        meant.map(|(sample, _)| sample.value as u64).sum()
    }

    /// The values of a label.
    pub(crate) fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let values = self.named(name).filter_map(|(_, of)| of.get(label).copied());
        values.map(str::to_owned).collect()
    }

    /// The samples with this name, and their labels.
    fn named(&self, name: &str) -> impl Iterator<Item = (&Sample, BTreeMap<&str, &str>)> {
        self.0.iter().filter_map(move |sample| {
            let (known, labels) = sample.series.split_once('{').unwrap_or((&sample.series, "}"));
            (known == name).then(|| (sample, read_labels(labels)))
        })
    }
}

/// The labels of a series. No label value of these tests has a quotation mark or a comma.
fn read_labels(labels: &str) -> BTreeMap<&str, &str> {
    let labels = labels.trim_end_matches('}').split(',');
    let labels = labels.filter(|label| !label.is_empty());
    let labels = labels.map(|label| label.split_once('=').expect("a label"));
    labels
        .map(|(label, value)| (label, value.trim_matches('"')))
        .collect()
}
