//! Numbers, times and states as people read them, and text of the process as a terminal may get it.

use std::time::SystemTime;

use super::super::printable::is_harmful;
use super::model::Event;
use crate::admin::{BackendState, Time};

/// A number with its thousands separated, and this number of decimals.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// A count.
pub(super) fn count(value: u64) -> String {
    number(value as f64, 0)
}

/// A rate: three significant digits below 100.
pub(super) fn rate(value: f64) -> String {
    number(value, decimals(value))
}

/// Milliseconds; from 10 s on in seconds.
pub(super) fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 10_000.0 => format!("{} s", number(value / 1000.0, 1)),
        Some(value) => format!("{} ms", number(value, decimals(value))),
    }
}

/// A part of a whole, at most all of it: what fails in an interval may have begun before it.
pub(super) fn percent(part: f64, whole: f64) -> String {
    let whole = whole.max(part);
    if whole <= 0.0 {
        return "–".to_owned();
    }
    let share = 100.0 * part / whole;
    let decimals = if share == 0.0 || share >= 10.0 { 0 } else { 1 };
    format!("{}%", number(share, decimals))
}

fn decimals(value: f64) -> usize {
    match value {
        0.0 => 0,
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    }
}

/// A duration, in its two largest units.
pub(super) fn duration(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let parts = UNITS.into_iter().map(|(unit, size)| {
        let count = rest / size;
        rest %= size;
        (count, unit)
    });
    let shown = parts.skip_while(|(count, _)| *count == 0).take(2);
    let shown: Vec<String> = shown
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

/// The time since then; `None` if it is not a time.
pub(super) fn ago(time: &Time, now: SystemTime) -> Option<String> {
    let then: jiff::Timestamp = time.0.parse().ok()?;
    let now = jiff::Timestamp::try_from(now).ok()?;
    let passed = now.as_second().saturating_sub(then.as_second());
    // The clocks of two machines may differ.
    Some(duration(u64::try_from(passed).unwrap_or_default()))
}

/// The time of the day of an RFC 3339 timestamp.
pub(super) fn time_of_day(time: &str) -> &str {
    time.get(11..19).unwrap_or("")
}

/// The sign of a state, so that colour is never the only one. The same as in the dashboard.
pub(super) fn state_sign(state: BackendState) -> &'static str {
    match state {
        BackendState::Up => "●",
        BackendState::Unknown => "○",
        BackendState::Down => "■",
        BackendState::Ejected => "▲",
        BackendState::Draining => "◆",
    }
}

/// The word for a state.
pub(super) fn state_word(state: BackendState) -> &'static str {
    match state {
        BackendState::Up => "up",
        BackendState::Unknown => "unchecked",
        BackendState::Down => "down",
        BackendState::Ejected => "ejected",
        BackendState::Draining => "draining",
    }
}

/// Text of the process for the terminal: without characters that control it or change the direction of text.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmful(c) { '\u{fffd}' } else { c })
        .collect()
}

/// An event in one line.
pub(super) fn event(event: &Event) -> String {
    let mut text = event.msg.clone();
    for (name, value) in &event.fields {
        text.push_str(" · ");
        text.push_str(name);
        text.push_str(": ");
        match value.as_str() {
            Some(value) => text.push_str(value),
            None => text.push_str(&value.to_string()),
        }
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_legible() {
        for (value, expected) in [
            (0.0, "0"),
            (0.234, "0.23"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(rate(value), expected);
        }
        assert_eq!(milliseconds(Some(1.5)), "1.50 ms");
        assert_eq!(milliseconds(Some(12_345.0)), "12.3 s");
        assert_eq!(milliseconds(None), "–");
        assert_eq!(percent(1.0, 8.0), "12%");
        assert_eq!(percent(1.0, 80.0), "1.2%");
        assert_eq!(percent(0.0, 8.0), "0%");
        assert_eq!(percent(0.0, 0.0), "–");
        assert_eq!(percent(6.0, 5.0), "100%");
        assert_eq!(percent(1.0, 0.0), "100%");
        assert_eq!(count(12_000), "12,000");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3700, "1h 1m"),
            (86_405, "1d"),
            (200_000, "2d 7h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_661);
        assert_eq!(
            ago(&Time("2026-01-01T00:00:00.000Z".to_owned()), now).as_deref(),
            Some("1m 1s")
        );
        assert_eq!(
            ago(&Time("2027-01-01T00:00:00.000Z".to_owned()), now).as_deref(),
            Some("0s")
        );
        assert_eq!(ago(&Time("soon".to_owned()), now), None);
        assert_eq!(time_of_day("2026-01-01T12:34:56.789Z"), "12:34:56");
        assert_eq!(time_of_day("ä"), "");
    }

    #[test]
    fn nothing_controls_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[2Jb\r\n\u{9b}c\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d"
        );
        assert_eq!(clean("Grüße ● 世界"), "Grüße ● 世界");
        let hostile = Event {
            msg: "m\u{7}".to_owned(),
            fields: serde_json::json!({ "a": "\u{1b}", "n": 1 })
                .as_object()
                .unwrap()
                .clone(),
            ..Event::default()
        };
        assert_eq!(event(&hostile), "m\u{fffd} · a: \u{fffd} · n: 1");
    }
}
