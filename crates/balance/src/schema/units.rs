//! Parses and prints durations and sizes: a number and its unit. Pure; knows nothing of spans or keys.

use std::time::Duration;

/// Units of durations with their length in milliseconds, longest first.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of sizes with their number of bytes: powers of 1024 or, without the `i`, of 1000.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Parses `250ms`, `10s`, `1m`, `1h`, or several with descending units (`1m30s`). `None` when the text is not a duration
/// or does not fit in 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(end)?;
        let (_, millis) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        if *millis >= last_unit {
            return None;
        }
        last_unit = *millis;
        total = total.checked_add(number.checked_mul(*millis)?)?;
        rest = next;
    }
    (last_unit != u64::MAX).then(|| Duration::from_millis(total))
}

/// Prints a duration with the longest unit that divides it; fractions of a millisecond are cut off.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match DURATION_UNITS
        .iter()
        .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".to_owned(),
    }
}

/// Parses `64KiB`, `1MB`, `512B` or bytes without a unit. `None` when the text is not a size or does not fit in 64 bits.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// Prints a size with the largest binary unit that divides it.
pub fn show_size(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().filter(|(_, unit)| unit.is_power_of_two());
    for (name, unit) in binary {
        if bytes > 0 && bytes.is_multiple_of(*unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    "0B".to_owned()
}

/// The valid spelling of a duration that was written without a unit, with a long unit or in the wrong case.
pub fn nearest_duration(text: &str) -> Option<String> {
    if let Some(tenths) = tenths_of_seconds(text.trim()) {
        return Some(show_duration(Duration::from_millis(tenths.checked_mul(100)?)));
    }
    let (number, unit) = split_number(text.trim())?;
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// The 15 of `1.5s`.
fn tenths_of_seconds(text: &str) -> Option<u64> {
    let (whole, tenth) = text.strip_suffix('s')?.split_once('.')?;
    let digits = format!("{whole}{tenth}");
    let is_number = tenth.len() == 1 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// The valid spelling of a whole number that was written as a size or with separators.
pub fn nearest_count(text: &str) -> Option<String> {
    let plain: String = text.trim().chars().filter(|c| !matches!(c, '_' | '\'')).collect();
    let (number, unit) = split_number(&plain)?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        _ => return None,
    };
    Some(number.checked_mul(factor)?.to_string())
}

/// The valid spelling of a size whose unit is in the wrong case or abbreviated.
pub fn nearest_size(text: &str) -> Option<String> {
    let (number, unit) = split_number(text.trim())?;
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "bytes" => "B",
        "k" | "ki" | "kib" => "KiB",
        "kb" => "KB",
        "m" | "mi" | "mib" => "MiB",
        "mb" => "MB",
        "g" | "gi" | "gib" => "GiB",
        "gb" => "GB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// Splits off leading digits. `u64::from_str` alone would accept a sign.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1h0m5ms", 3_600_005),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1S",
            "1d",
            "30s1m",
            "1s1s",
            "99999999999999999999s",
            "9999999999999999999h",
            "1sm",
            "ten",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn shows_durations_so_that_they_read_back() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (3_600_000, "1h"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(show_duration(duration), text);
            assert_eq!(parse_duration(text), Some(duration));
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65536),
            ("64KB", 64000),
            ("1MiB", 1 << 20),
            ("1MB", 1_000_000),
            ("2GiB", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "+1B",
            "1.5MiB",
            "64 KiB",
            "64kib",
            "64K",
            "99999999999TiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn shows_sizes_so_that_they_read_back() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (65536, "64KiB"),
            (1 << 20, "1MiB"),
            (3 << 40, "3TiB"),
        ] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
    }

    #[test]
    fn suggests_valid_spellings() {
        assert_eq!(nearest_duration("10").as_deref(), Some("10s"));
        assert_eq!(nearest_duration("5 minutes").as_deref(), Some("5m"));
        assert_eq!(nearest_duration("1d"), None);
        assert_eq!(nearest_duration("1.5s").as_deref(), Some("1500ms"));
        assert_eq!(nearest_duration("1.5h"), None);
        assert_eq!(nearest_count("10k").as_deref(), Some("10000"));
        assert_eq!(nearest_count("1_000").as_deref(), Some("1000"));
        assert_eq!(nearest_count("many"), None);
        assert_eq!(nearest_size("64k").as_deref(), Some("64KiB"));
        assert_eq!(nearest_size("64 kib").as_deref(), Some("64KiB"));
        assert_eq!(nearest_size("x"), None);
    }
}
