//! The word rules: what pure code must not name, which words only one place may use, and which words a place does not know.

use crate::tokens::{Token, tokens};
use crate::tree::File;

/// Every line under `pure` that names one of the `forbidden` paths.
pub(crate) fn impure(files: &[File], pure: &[&str], forbidden: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        if !pure.iter().any(|place| file.is_under(place)) {
            continue;
        }
        let (code, _) = file.production();
        for words in forbidden {
            for line in lines_of(&code, words) {
                found.push(format!("{}:{line}: pure code names {words}", file.path));
            }
        }
    }
    found
}

/// Every line outside its owner that names a word reserved for one place.
pub(crate) fn outside_owner(files: &[File], owners: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let (code, _) = file.production();
        for (words, owner) in owners {
            if file.is_under(owner) {
                continue;
            }
            for line in lines_of(&code, words) {
                found.push(format!("{}:{line}: {words} belongs to {owner}", file.path));
            }
        }
    }
    found
}

/// Every line in a place that names a word which the place does not know.
pub(crate) fn in_blind_code(files: &[File], blind: &[(&str, &[&str])]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, unknown) in blind {
        for file in files.iter().filter(|file| file.is_under(place)) {
            let (code, _) = file.production();
            for words in *unknown {
                for line in lines_of(&code, words) {
                    found.push(format!("{}:{line}: {place} does not know {words}", file.path));
                }
            }
        }
    }
    found
}

/// Listed places for which there is no file.
pub(crate) fn missing(files: &[File], places: &[&str]) -> Vec<String> {
    let is_there = |place: &&&str| files.iter().any(|file| file.is_under(place));
    places
        .iter()
        .filter(|place| !is_there(place))
        .map(|place| format!("{place}: no file is there"))
        .collect()
}

/// The lines that contain a path such as `Instant::now`, or a single word, as whole tokens.
fn lines_of(code: &[Token<'_>], words: &str) -> Vec<usize> {
    let wanted: Vec<&str> = tokens(words).iter().map(|token| token.text).collect();
    code.windows(wanted.len())
        .filter(|window| window.iter().map(|token| token.text).eq(wanted.iter().copied()))
        .map(|window| window[0].line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn finds_a_clock_in_pure_code() {
        let text = "use std::time::Instant;\nfn a(now: Instant) -> bool { now < Instant::now() }";
        let files = made_up(&[("src/retry/a.rs", text), ("src/server/a.rs", text)]);
        assert_eq!(
            impure(&files, &["src/retry"], &["Instant::now"]),
            ["src/retry/a.rs:2: pure code names Instant::now"]
        );
    }

    #[test]
    fn matches_whole_words_of_production_code_only() {
        let text = "// tokio\nfn tokio_like() { \"tokio\" }\n#[cfg(test)]\nmod tests { use tokio::test; }";
        assert!(impure(&made_up(&[("src/a.rs", text)]), &["src/a"], &["tokio"]).is_empty());
        assert_eq!(
            impure(
                &made_up(&[("src/a.rs", "use tokio::io;")]),
                &["src/a"],
                &["tokio"]
            )
            .len(),
            1
        );
    }

    #[test]
    fn finds_a_word_outside_its_owner() {
        let text = "unsafe { a() }";
        let files = made_up(&[("src/net/a.rs", text), ("src/proxy/a.rs", text)]);
        assert_eq!(
            outside_owner(&files, &[("unsafe", "src/net")]),
            ["src/proxy/a.rs:1: unsafe belongs to src/net"]
        );
    }

    #[test]
    fn finds_a_protocol_in_a_place_that_is_blind_to_it() {
        let text =
            "use crate::http2::Stream;\nfn http2_like() {}\n#[cfg(test)]\nmod tests { use crate::http2; }";
        let files = made_up(&[("src/proxy/a.rs", text), ("src/message/a.rs", text)]);
        assert_eq!(
            in_blind_code(&files, &[("src/proxy", &["http1", "http2"])]),
            ["src/proxy/a.rs:1: src/proxy does not know http2"]
        );
    }

    #[test]
    fn finds_places_that_do_not_exist() {
        let files = made_up(&[("src/a/b.rs", ""), ("src/c.rs", "")]);
        assert!(missing(&files, &["src/a", "src/a/b", "src/c"]).is_empty());
        assert_eq!(missing(&files, &["src/d"]), ["src/d: no file is there"]);
    }
}
