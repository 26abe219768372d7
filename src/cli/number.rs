//! Reads whole numbers among the arguments, with errors that name the range in words.

/// A whole number from 0 to `MOST`.
///
/// # Errors
/// Which numbers are expected, if it is none of them.
pub(super) fn whole<const MOST: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number <= MOST);
    number.ok_or_else(|| format!("expected a whole number from 0 to {MOST}"))
}
