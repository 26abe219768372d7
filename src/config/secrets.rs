//! Finds secrets in one line of a config by its text alone, so that it works where the YAML is invalid. Pure.

use std::ops::Range;

/// Byte ranges of the line that are masked: the value of a key that ends with `token`, and the user and password of a
/// URL. A value that is only a variable is not masked, since its name is not a secret.
pub(super) fn in_line(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, word) in line.match_indices("token") {
        found.extend(value_after_key(line, at + word.len()));
    }
    for (at, mark) in line.match_indices("://") {
        found.extend(user_info(line, at + mark.len()));
    }
    found
}

/// The value after the colon that follows `at`, with or without the key's closing quote in between.
fn value_after_key(line: &str, at: usize) -> Option<Range<usize>> {
    let rest = line.get(at..)?;
    let rest = rest.trim_start_matches(['"', '\'', ' ']).strip_prefix(':')?;
    let value = rest.trim_start();
    let start = line.len() - value.len();
    let is_variable = value
        .strip_prefix("${")
        .and_then(|name| name.split_once('}'))
        .is_some_and(|(name, _)| !name.contains(":-"));
    if is_variable {
        return None;
    }
    let length = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.find(quote).map(|end| end + 2),
        _ => value.find([',', '}', ' ']),
    };
    Some(start..start + length.unwrap_or(value.len()))
}

fn user_info(line: &str, at: usize) -> Option<Range<usize>> {
    let rest = line.get(at..)?;
    let end = rest.find(['/', ' ', '"', '\'']).unwrap_or(rest.len());
    let length = rest.get(..end)?.rfind('@')?;
    (length > 0).then_some(at..at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> Vec<&str> {
        in_line(line).into_iter().map(|range| &line[range]).collect()
    }

    #[test]
    fn finds_tokens_and_passwords() {
        assert_eq!(masked("admin: { address: 1, token: hush }"), ["hush"]);
        assert_eq!(masked("  token: \"hu sh\" # x"), ["\"hu sh\""]);
        assert_eq!(masked("\"token\" : 'hush"), ["'hush"]);
        assert_eq!(masked("admin_token: hush"), ["hush"]);
        assert_eq!(masked("token: ${T:-hush}"), ["${T:-hush"]);
        assert_eq!(masked("- http://me:pw@a:80"), ["me:pw"]);
    }

    #[test]
    fn does_not_mask_other_text() {
        for line in [
            "token:",
            "token: ${T}",
            "http://a:80/@",
            "tokens are nice",
            "",
            "address: 127.0.0.1:1",
        ] {
            assert!(masked(line).is_empty(), "{line}");
        }
    }
}
