//! Formats RFC 3339 timestamps in UTC with milliseconds. Pure: the time is an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp as JiffTimestamp;
use jiff::tz::Offset;

use super::json::{digit, triple};

/// Length of `2026-11-24T10:15:30.`.
const PREFIX: usize = 20;

/// The text of second 0, also used for a second that cannot be formatted.
const EPOCH: [u8; PREFIX] = *b"1970-01-01T00:00:00.";

/// Some hours before the year 10000, which neither RFC 3339 §5.6 nor `jiff` can represent.
const LAST_SECOND: u64 = 253_402_200_000;

/// Writes timestamps. It keeps the text of the current second, so only the first line of a second formats it.
#[derive(Debug, Clone)]
pub struct Timestamp {
    second: u64,
    prefix: [u8; PREFIX],
}

impl Default for Timestamp {
    fn default() -> Self {
        Self {
            second: 0,
            prefix: EPOCH,
        }
    }
}

impl Timestamp {
    /// Formats a single timestamp.
    pub fn text(time: SystemTime) -> String {
        let mut text = Vec::with_capacity(24);
        Self::default().write(time, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Appends `time` as `2026-11-24T10:15:30.123Z`. A time before 1970 is written as the start of 1970, one after the year
    /// 9999 as the end of 9999.
    pub fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs().min(LAST_SECOND);
        if second != self.second {
            self.second = second;
            self.prefix = prefix(second);
        }
        let [a, b, c] = triple(u64::from(since.subsec_millis()));
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&[a, b, c, b'Z']);
    }
}

fn prefix(second: u64) -> [u8; PREFIX] {
    let time = i64::try_from(second)
        .ok()
        .and_then(|second| JiffTimestamp::from_second(second).ok());
    let Some(time) = time.map(|time| Offset::UTC.to_datetime(time)) else {
        return EPOCH;
    };
    let year = time.year().unsigned_abs();
    let [a, b] = [digit(u64::from(year / 1000)), digit(u64::from(year / 100))];
    let [c, d] = [digit(u64::from(year / 10)), digit(u64::from(year))];
    let ([e, f], [g, h]) = (two(time.month()), two(time.day()));
    let ([i, j], [k, l], [m, n]) = (two(time.hour()), two(time.minute()), two(time.second()));
    [
        a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n, b'.',
    ]
}

fn two(value: i8) -> [u8; 2] {
    let value = u64::from(value.unsigned_abs());
    [digit(value / 10), digit(value)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn written(timestamp: &mut Timestamp, time: SystemTime) -> String {
        let mut out = Vec::new();
        timestamp.write(time, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn shows_the_second_and_its_milliseconds_in_utc() {
        let mut timestamp = Timestamp::default();
        for (millis, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (951_782_400_999, "2000-02-29T00:00:00.999Z"),
            (1_795_478_399_120, "2026-11-23T23:59:59.120Z"),
            (1_795_478_400_000, "2026-11-24T00:00:00.000Z"),
            (1_795_478_399_120, "2026-11-23T23:59:59.120Z"),
        ] {
            assert_eq!(
                written(&mut timestamp, UNIX_EPOCH + Duration::from_millis(millis)),
                shown
            );
        }
    }

    #[test]
    fn a_time_out_of_range_is_written_as_the_nearest_valid_one() {
        let mut timestamp = Timestamp::default();
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(written(&mut timestamp, before), "1970-01-01T00:00:00.000Z");
        let after = UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(written(&mut timestamp, after).get(..5), Some("9999-"));
    }

    proptest! {
        #[test]
        fn every_timestamp_parses_back_to_its_time(millis in 0_u64..LAST_SECOND * 1000) {
            let shown = written(&mut Timestamp::default(), UNIX_EPOCH + Duration::from_millis(millis));
            prop_assert_eq!(shown.len(), PREFIX + 4);
            let read: JiffTimestamp = shown.parse().expect("RFC 3339");
            prop_assert_eq!(u64::try_from(read.as_millisecond()).expect("after 1970"), millis);
        }
    }
}
