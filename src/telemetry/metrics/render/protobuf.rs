//! The protobuf format of Prometheus: a message `io.prometheus.client.MetricFamily` for each metric, each after its length. It is the
//! only format with native histograms, which Prometheus asks for with `scrape_native_histograms`.

use std::sync::LazyLock;

use super::page::{Durations, Number, Page, Series, cumulative};
use crate::telemetry::metrics::DURATION_BOUNDS;
use crate::telemetry::metrics::metric::{Kind, Metric, Resolution};
use crate::telemetry::protobuf::{bytes, double, message, raw, raw_signed, raw_varint, signed, varint};

/// The resolution of native histograms: bounds are powers of 2^(1/256), the finest that there is. A bucket of ours becomes one of
/// these, in its middle, so that a percentile is as exact as with all of our buckets; finer ones cost nothing, since empty
/// buckets are not sent.
const SCHEMA: i32 = 8;

/// The fields of a `MetricFamily`, as `io/prometheus/client/metrics.proto` numbers them.
mod family {
    pub(super) const NAME: u64 = 1;
    pub(super) const HELP: u64 = 2;
    pub(super) const TYPE: u64 = 3;
    pub(super) const METRIC: u64 = 4;
    pub(super) const UNIT: u64 = 5;
}

/// Those of a `Metric`. `Gauge` and `Counter` have one field, their value.
mod metric {
    pub(super) const LABEL: u64 = 1;
    pub(super) const GAUGE: u64 = 2;
    pub(super) const COUNTER: u64 = 3;
    pub(super) const HISTOGRAM: u64 = 7;
    pub(super) const VALUE: u64 = 1;
}

/// Those of a `LabelPair`.
mod label {
    pub(super) const NAME: u64 = 1;
    pub(super) const VALUE: u64 = 2;
}

/// Those of a `Histogram`, of its `Bucket` and of a `BucketSpan`.
mod histogram {
    pub(super) const SAMPLE_COUNT: u64 = 1;
    pub(super) const SAMPLE_SUM: u64 = 2;
    pub(super) const BUCKET: u64 = 3;
    pub(super) const BUCKET_CUMULATIVE_COUNT: u64 = 1;
    pub(super) const BUCKET_UPPER_BOUND: u64 = 2;
    pub(super) const SCHEMA: u64 = 5;
    pub(super) const ZERO_THRESHOLD: u64 = 6;
    pub(super) const ZERO_COUNT: u64 = 7;
    pub(super) const POSITIVE_SPAN: u64 = 12;
    pub(super) const SPAN_OFFSET: u64 = 1;
    pub(super) const SPAN_LENGTH: u64 = 2;
    pub(super) const POSITIVE_DELTA: u64 = 13;
}

/// The native bucket of each of our buckets after the first, which is the zero bucket.
static NATIVE: LazyLock<Vec<i32>> = LazyLock::new(|| {
    let middles = DURATION_BOUNDS.windows(2).map(|pair| match pair {
        // The middle that is equally far from both bounds, in parts of them.
        [low, high] => 2.0 * (*low as f64) * (*high as f64) / (low + high) as f64,
        _ => 0.0,
    });
    // Of longer durations only the bound is known.
    let longer = DURATION_BOUNDS.last().map(|bound| *bound as f64 * 1.01);
    middles
        .chain(longer)
        .map(|micros| native_bucket(micros / 1e6))
        .collect()
});

/// The index of the native bucket that holds a value: its upper bound is 2^(index / 2^[`SCHEMA`]).
fn native_bucket(seconds: f64) -> i32 {
    (seconds.log2() * f64::from(1 << SCHEMA)).ceil() as i32
}

/// A page of messages.
#[derive(Debug, Default)]
pub(super) struct ProtobufPage {
    out: Vec<u8>,
    /// The message of the metric that has begun.
    family: Vec<u8>,
}

impl ProtobufPage {
    /// Adds a sample, whose value is a message that `write` appends.
    fn add(&mut self, series: Series<'_>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
        message(family::METRIC, &mut self.family, |out| {
            raw(series.labels, out);
            raw(series.more, out);
            message(field, out, write);
        });
    }
}

impl Page for ProtobufPage {
    fn labels(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in labels {
            message(metric::LABEL, &mut out, |out| {
                bytes(label::NAME, name.as_bytes(), out);
                bytes(label::VALUE, value.as_bytes(), out);
            });
        }
        out
    }

    fn begin(&mut self, metric: &Metric) {
        // `COUNTER`, `GAUGE` and `HISTOGRAM` of the enumeration `MetricType`.
        let kind = match metric.kind {
            Kind::Counter => 0,
            Kind::Gauge | Kind::Info => 1,
            Kind::Histogram => 4,
        };
        bytes(family::NAME, metric.name.as_bytes(), &mut self.family);
        bytes(family::HELP, metric.help.as_bytes(), &mut self.family);
        varint(family::TYPE, kind, &mut self.family);
        if let Some(unit) = metric.unit() {
            bytes(family::UNIT, unit.as_bytes(), &mut self.family);
        }
    }

    fn sample(&mut self, metric: &Metric, series: Series<'_>, value: Number) {
        let value = match value {
            Number::Whole(value) => value as f64,
            Number::Millis(millis) => millis as f64 / 1000.0,
        };
        let field = match metric.kind {
            Kind::Counter => metric::COUNTER,
            _ => metric::GAUGE,
        };
        self.add(series, field, |out| double(metric::VALUE, value, out));
    }

    fn histogram(
        &mut self,
        _: &Metric,
        series: Series<'_>,
        (resolution, durations): (Resolution, &Durations),
    ) {
        self.add(series, metric::HISTOGRAM, |out| {
            let (counts, sum) = durations;
            varint(histogram::SAMPLE_COUNT, counts.iter().sum(), out);
            double(histogram::SAMPLE_SUM, *sum as f64 / 1e6, out);
            classic_buckets(resolution, durations, out);
            native_buckets(durations, out);
        });
    }

    fn end(&mut self) {
        raw_varint(self.family.len() as u64, &mut self.out);
        self.out.append(&mut self.family);
    }

    fn finish(self) -> Vec<u8> {
        self.out
    }
}

fn classic_buckets(resolution: Resolution, durations: &Durations, out: &mut Vec<u8>) {
    for (position, below) in cumulative(resolution, durations).0 {
        let bound = DURATION_BOUNDS.get(position).copied().unwrap_or_default();
        message(histogram::BUCKET, out, |out| {
            varint(histogram::BUCKET_CUMULATIVE_COUNT, below, out);
            double(histogram::BUCKET_UPPER_BOUND, bound as f64 / 1e6, out);
        });
    }
}

fn native_buckets((counts, _): &Durations, out: &mut Vec<u8>) {
    let [first, others @ ..] = counts;
    let [shortest, ..] = DURATION_BOUNDS;
    signed(histogram::SCHEMA, i64::from(SCHEMA), out);
    double(histogram::ZERO_THRESHOLD, shortest as f64 / 1e6, out);
    varint(histogram::ZERO_COUNT, *first, out);
    let filled = || NATIVE.iter().zip(others).filter(|(_, count)| **count > 0);
    // Each bucket is a span of its own: ours are further apart than theirs.
    let mut next = 0;
    for (index, _) in filled() {
        span(i64::from(index - next), 1, out);
        next = index + 1;
    }
    if filled().next().is_none() {
        // A span without buckets says that this is a native histogram, though it is empty.
        span(0, 0, out);
    }
    message(histogram::POSITIVE_DELTA, out, |out| {
        let mut before = 0_u64;
        for (_, count) in filled() {
            raw_signed(count.wrapping_sub(before) as i64, out);
            before = *count;
        }
    });
}

/// A span of native buckets, which begins so many buckets after the end of the one before.
fn span(offset: i64, length: u64, out: &mut Vec<u8>) {
    message(histogram::POSITIVE_SPAN, out, |out| {
        signed(histogram::SPAN_OFFSET, offset, out);
        varint(histogram::SPAN_LENGTH, length, out);
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::metrics::{Histogram, METRICS};
    use crate::telemetry::protobuf::{Value, fields};

    /// The values of a field that holds bytes.
    fn all(message: &[u8], field: u64) -> Vec<&[u8]> {
        let bytes = fields(message).filter_map(|(found, value)| match value {
            Value::Bytes(bytes) if found == field => Some(bytes),
            _ => None,
        });
        bytes.collect()
    }

    /// The only value of such a field.
    fn one(message: &[u8], field: u64) -> &[u8] {
        let [value] = all(message, field)[..] else {
            panic!("not one {field} in {message:?}")
        };
        value
    }

    fn number(message: &[u8], field: u64) -> u64 {
        let mut numbers = fields(message).filter_map(|(found, value)| match value {
            Value::Number(number) if found == field => Some(number),
            _ => None,
        });
        numbers.next().expect("it is there")
    }

    fn read_signed(number: u64) -> i64 {
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    /// The only family of a page, without its length.
    fn written(kind: Kind, write: impl FnOnce(&mut ProtobufPage, &Metric)) -> Vec<u8> {
        let metric = METRICS.iter().find(|metric| metric.kind == kind).unwrap();
        let mut page = ProtobufPage::default();
        page.begin(metric);
        write(&mut page, metric);
        page.end();
        let bytes = page.finish();
        let mut length = Vec::new();
        raw_varint((bytes.len() - 2) as u64, &mut length);
        assert_eq!(length, bytes[..2], "these families have 128 bytes to 16 KiB");
        assert_eq!(one(&bytes[2..], family::NAME), metric.name.as_bytes());
        bytes[2..].to_vec()
    }

    /// The native buckets of a histogram with these durations: bounds in seconds and count.
    fn native(durations: &[Duration]) -> Vec<(f64, f64, u64)> {
        let recorded = Histogram::default();
        durations.iter().for_each(|duration| recorded.record(*duration));
        let values = recorded.values();
        let family = written(Kind::Histogram, |page, metric| {
            page.histogram(metric, Series::default(), (Resolution::Coarse, &values));
        });
        let written = one(one(&family, family::METRIC), metric::HISTOGRAM);
        assert_eq!(number(written, histogram::SAMPLE_COUNT), durations.len() as u64);
        assert_eq!(number(written, histogram::SCHEMA), 16);
        // As fields with the number 0, so that the reader takes them.
        let deltas = one(written, histogram::POSITIVE_DELTA).to_vec();
        let mut numbers = Vec::new();
        for byte in deltas {
            if numbers
                .last()
                .is_none_or(|number: &Vec<u8>| number.last().is_some_and(|last| *last < 0x80))
            {
                numbers.push(vec![8]);
            }
            numbers.last_mut().unwrap().push(byte);
        }
        let mut deltas = numbers.iter().map(|bytes| read_signed(number(bytes, 1)));
        let (mut index, mut count) = (0, 0);
        let mut buckets = Vec::new();
        for span in all(written, histogram::POSITIVE_SPAN) {
            index += read_signed(number(span, histogram::SPAN_OFFSET));
            for _ in 0..number(span, histogram::SPAN_LENGTH) {
                count += deltas.next().unwrap();
                let bound = |index: i64| (index as f64 / 256.0).exp2();
                buckets.push((bound(index - 1), bound(index), count as u64));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        buckets
    }

    #[test]
    fn a_sample_has_its_labels_and_its_value() {
        let labels = ProtobufPage::labels(&[("pool", "a \"b\""), ("class", "2xx")]);
        let more = ProtobufPage::labels(&[("kind", "x")]);
        let family = written(Kind::Counter, |page, metric| {
            page.sample(metric, Series::of(&labels).with(&more), Number::Millis(2_500));
        });
        assert_eq!(number(&family, family::TYPE), 0);
        let counter = one(&family, family::METRIC);
        let pairs = all(counter, metric::LABEL);
        let pairs = pairs
            .iter()
            .map(|pair| [one(pair, label::NAME), one(pair, label::VALUE)]);
        let expected = [["pool", "a \"b\""], ["class", "2xx"], ["kind", "x"]];
        let expected = expected.map(|pair| pair.map(str::as_bytes));
        assert_eq!(pairs.collect::<Vec<_>>(), expected);
        let value = one(counter, metric::COUNTER);
        assert_eq!((value[0], &value[1..]), (9, &2.5_f64.to_le_bytes()[..]));
    }

    #[test]
    fn a_native_bucket_is_within_a_tenth_of_each_duration_in_it() {
        for bound in DURATION_BOUNDS.into_iter().skip(1) {
            for micros in [bound, bound * 5 / 6 + 1, bound * 10 / 11] {
                let seconds = micros as f64 / 1e6;
                let buckets = native(&[Duration::from_micros(micros)]);
                let [(low, high, 1)] = buckets[..] else {
                    panic!("{buckets:?}")
                };
                assert!(
                    low >= seconds * 0.9 && high <= seconds * 1.1,
                    "{seconds}: {low} to {high}"
                );
            }
        }
        let buckets = native(&[Duration::from_secs(3_600)]);
        assert!(buckets.len() == 1 && buckets[0].0 >= 60.0, "{buckets:?}");
    }

    #[test]
    fn native_buckets_are_in_order_and_have_all_durations_but_the_shortest() {
        let durations: Vec<Duration> = (1..=90_000)
            .step_by(7)
            .map(|ms| Duration::from_millis(ms).mul_f64(0.9))
            .collect();
        let short = [Duration::from_micros(3); 5];
        let buckets = native(&[&durations[..], &short].concat());
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "{buckets:?}"
        );
        let counted: u64 = buckets.iter().map(|(.., count)| count).sum();
        assert_eq!(counted, durations.len() as u64);
        assert!(native(&short).is_empty() && native(&[]).is_empty());
    }
}
