//! `Max-Forwards` of OPTIONS and TRACE (RFC 9110 §7.6.2): how many more times a request may be forwarded. Of other methods
//! it is a field like any other.

use crate::head::{FieldName, Method, RequestHead};

/// Largest value that is sent on. Recipients that keep it in a signed 32-bit number would take a larger one for something
/// else, and no way has as many proxies.
const LARGEST: u64 = i32::MAX as u64;

/// What the field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaxForwards {
    /// Nothing: it is absent, or not ours to know.
    Unbounded,
    /// That the next recipient gets this value.
    Left(u64),
    /// That the request goes no further.
    Reached,
    /// It is not `1*DIGIT`, or stands twice: neither what it says nor what the next one would make of it is known.
    Invalid,
}

impl MaxForwards {
    /// What it says in `head`.
    pub(super) fn of(head: &RequestHead) -> Self {
        match Self::is_counted(head.method) {
            true => Self::of_values(head.values(FieldName::MaxForwards)),
            false => Self::Unbounded,
        }
    }

    /// Whether it has to be obeyed and counted down in requests with this method.
    pub(super) fn is_counted(method: Method) -> bool {
        matches!(method, Method::Options | Method::Trace)
    }

    fn of_values<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Unbounded,
            (Some(value), None) if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let number = value.iter().fold(0_u64, |number, digit| {
                    number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
                });
                number
                    .checked_sub(1)
                    .map_or(Self::Reached, |left| Self::Left(left.min(LARGEST)))
            }
            _ => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, MaxForwards};

    fn of(values: &[&str]) -> MaxForwards {
        MaxForwards::of_values(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_number_is_counted_down_to_its_end() {
        for (value, expected) in [
            ("0", MaxForwards::Reached),
            ("000", MaxForwards::Reached),
            ("1", MaxForwards::Left(0)),
            ("010", MaxForwards::Left(9)),
            ("2147483649", MaxForwards::Left(LARGEST)),
            ("18446744073709551616", MaxForwards::Left(LARGEST)),
        ] {
            assert_eq!(of(&[value]), expected, "{value}");
        }
        assert_eq!(of(&[]), MaxForwards::Unbounded);
    }

    #[test]
    fn what_is_not_one_number_is_invalid() {
        for value in ["", "-1", "+1", "1 1", "1,1", "x", "0x1", "1.0"] {
            assert_eq!(of(&[value]), MaxForwards::Invalid, "{value}");
        }
        assert_eq!(of(&["1", "1"]), MaxForwards::Invalid);
    }
}
