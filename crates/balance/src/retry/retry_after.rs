//! `Retry-After` of backends that refuse requests (RFC 9110 §10.2.3): until when picks avoid a backend. Pure.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use evenkeel_wire::instant::Instant;

/// The longest time for which a backend is avoided. A longer one is more likely a mistake or meant for people, and health checks
/// find out sooner whether the backend is healthy.
const LONGEST: Duration = Duration::from_secs(60);

/// The length of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_LENGTH: usize = 29;
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// Reads the value of `Retry-After`: a number of seconds, or a date. At most `LONGEST`; `None` when it asks for no wait, is in
/// the past or cannot be understood. The obsolete forms of dates are not understood: the header is only advice.
pub fn parse(value: &[u8], wall: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    let time = match number(value) {
        Some(seconds) => Duration::from_secs(seconds),
        None => date(value)?.duration_since(wall).ok()?,
    };
    Some(time.min(LONGEST)).filter(|time| !time.is_zero())
}

/// Until when one backend wants no requests, on the clock of a [`HoldOff`].
#[derive(Debug, Default)]
pub struct NotBefore(AtomicU64);

/// Which backends of a pool want no requests for a while. Written only when a backend refuses a request; as long as none does,
/// a pick costs one load.
#[derive(Debug, Default)]
pub struct HoldOff {
    /// When the first one refused a request.
    started: OnceLock<Instant>,
    /// Milliseconds from the start until the last of them takes requests again; 0 if there never was one.
    until: AtomicU64,
}

impl HoldOff {
    /// Notes that the backend wants no requests for `time`.
    pub fn hold(&self, backend: &NotBefore, time: Duration, now: Instant) {
        self.started.get_or_init(|| now);
        // At least 1, since 0 stands for never.
        let until = 1 + self.elapsed(now) + millis(time.min(LONGEST));
        backend.0.fetch_max(until, Ordering::Relaxed);
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// Notes that the backend takes requests again.
    pub fn release(&self, backend: &NotBefore) {
        backend.0.store(0, Ordering::Relaxed);
    }

    /// Whether there may be such a backend now.
    #[inline]
    pub fn is_active(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && self.elapsed(now) < until
    }

    /// Whether the backend is one.
    pub fn holds(&self, backend: &NotBefore, now: Instant) -> bool {
        self.elapsed(now) < backend.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self, now: Instant) -> u64 {
        let started = self.started.get();
        started.map_or(0, |started| millis(now.saturating_duration_since(*started)))
    }
}

/// Whether picks may avoid `held` of `eligible` backends: at most half of them, else the others would get too much. When more of
/// them refuse requests, the pool as a whole is overloaded, and no choice helps.
pub fn may_avoid(held: usize, eligible: usize) -> bool {
    held > 0 && held.saturating_mul(2) <= eligible
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

/// A number in digits; a very large one is cut.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        digits.iter().fold(0_u64, |number, digit| {
            number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        })
    })
}

/// An IMF-fixdate (RFC 9110 §5.6.7), whose day of the week does not matter.
fn date(value: &[u8]) -> Option<SystemTime> {
    if value.len() != DATE_LENGTH || !value.ends_with(b" GMT") {
        return None;
    }
    let part = |from: usize, to: usize| value.get(from..to);
    let digits = |from, to| number(part(from, to)?);
    let month = MONTHS.chunks(3).position(|month| part(8, 11) == Some(month))?;
    let (day, year) = (digits(5, 7)?, digits(12, 16)?);
    let (hour, minute, second) = (digits(17, 19)?, digits(20, 22)?, digits(23, 25)?);
    let is_valid = (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60 && year >= 1970;
    let days = is_valid.then(|| days_since_1970(year, month as u64 + 1, day))?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days from 1 January 1970 to a date of the Gregorian calendar. Years are counted from March, so that a leap day is their last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn reads_seconds() {
        for (value, seconds) in [
            (&b"1"[..], Some(1)),
            (b" 30 ", Some(30)),
            (b"60", Some(60)),
            (b"3600", Some(60)),
            (b"99999999999999999999999", Some(60)),
            (b"0", None),
            (b"", None),
            (b"-1", None),
            (b"1.5", None),
            (b"soon", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse(value, at(0)), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn reads_dates() {
        let now = at(784_111_777 - 10);
        for (value, seconds) in [
            (&b"Sun, 06 Nov 1994 08:49:37 GMT"[..], Some(10)),
            (b"Sun, 06 Nov 1994 09:49:37 GMT", Some(60)),
            (b"Sun, 06 Nov 1994 08:49:27 GMT", None),
            (b"Sun, 06 Nov 1984 08:49:37 GMT", None),
            (b"Sun, 06 Nov 1994 08:49:37 CET", None),
            (b"Sun, 06 Foo 1994 08:49:37 GMT", None),
            (b"Sun, 00 Nov 1994 08:49:37 GMT", None),
            (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
            (b"Sun, 06 Jan 0000 08:49:37 GMT", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse(value, now), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (value, seconds) in [
            (&b"Thu, 01 Jan 1970 00:00:00 GMT"[..], 0),
            (b"Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            (b"Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            (b"Fri, 31 Dec 2038 23:59:59 GMT", 2_177_452_799),
        ] {
            assert_eq!(date(value), Some(at(seconds)), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_backend_is_held_off_until_its_time_is_over() {
        let now = crate::clock::now();
        let hold_off = HoldOff::default();
        let [one, other] = [NotBefore::default(), NotBefore::default()];
        assert!(!hold_off.is_active(now) && !hold_off.holds(&one, now));
        hold_off.hold(&one, 5 * SECOND, now + SECOND);
        assert!(hold_off.is_active(now + 2 * SECOND));
        assert!(hold_off.holds(&one, now + 2 * SECOND) && !hold_off.holds(&other, now + 2 * SECOND));
        hold_off.hold(&one, SECOND, now + 2 * SECOND);
        assert!(
            hold_off.holds(&one, now + 5 * SECOND),
            "a shorter time does not replace it"
        );
        let later = now + 6 * SECOND + Duration::from_millis(1);
        assert!(!hold_off.holds(&one, later) && !hold_off.is_active(later));
    }

    #[test]
    fn a_backend_that_is_released_is_held_off_no_more_and_others_are() {
        let now = crate::clock::now();
        let hold_off = HoldOff::default();
        let [one, other] = [NotBefore::default(), NotBefore::default()];
        for backend in [&one, &other] {
            hold_off.hold(backend, 5 * SECOND, now);
        }
        hold_off.release(&one);
        assert!(!hold_off.holds(&one, now) && hold_off.holds(&other, now));
        hold_off.hold(&one, SECOND, now);
        assert!(hold_off.holds(&one, now));
    }

    #[test]
    fn a_backend_is_held_off_for_a_minute_at_most() {
        let now = crate::clock::now();
        let (hold_off, backend) = (HoldOff::default(), NotBefore::default());
        hold_off.hold(&backend, Duration::MAX, now);
        assert!(hold_off.holds(&backend, now + 59 * SECOND));
        assert!(!hold_off.holds(&backend, now + LONGEST + Duration::from_millis(1)));
    }

    #[test]
    fn at_most_half_of_the_backends_are_avoided() {
        let may =
            [(0, 3), (1, 1), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)].map(|(held, all)| may_avoid(held, all));
        assert_eq!(may, [false, false, true, true, false, true, false]);
    }
}
