//! The size rules: files, functions, doc comments at the top of files, and how often code unwraps.

use crate::tokens::{Token, group_end};
use crate::tree::File;

/// The attribute that explains a longer function.
const ALLOW: [&str; 3] = ["clippy", "::", "too_many_lines"];

/// Files with more than `most` lines.
pub(crate) fn long_files(files: &[File], most: usize) -> Vec<String> {
    let long = files.iter().filter(|file| file.lines() > most);
    long.map(|file| format!("{}: {} lines, at most {most}", file.path, file.lines()))
        .collect()
}

/// The line count that nine of ten files do not exceed; 0 without files.
pub(crate) fn percentile_90(files: &[File]) -> usize {
    let mut lines: Vec<usize> = files.iter().map(File::lines).collect();
    lines.sort_unstable();
    let rank = (lines.len() * 9).div_ceil(10);
    rank.checked_sub(1).map_or(0, |index| lines[index])
}

/// Functions whose body has code on more than `most` lines, unless an `allow` with a reason precedes them. Blank lines,
/// comments and the lines of the outer braces do not count, as in clippy.
pub(crate) fn long_functions(files: &[File], most: usize) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let code = file.tokens();
        for at in 0..code.len() {
            let Some((start, end)) = body(&code, at) else {
                continue;
            };
            let lines = lines_between(&code[start..end]);
            if lines > most && !is_explained(&code[..at]) {
                let name = code[at + 1].text;
                found.push(format!(
                    "{}:{}: {name} has {lines} lines, at most {most}",
                    file.path, code[at].line
                ));
            }
        }
    }
    found
}

/// Files that do not begin with a `//!` comment.
pub(crate) fn untitled(files: &[File]) -> Vec<String> {
    let without = files.iter().filter(|file| !file.text.starts_with("//! "));
    without
        .map(|file| format!("{}: does not begin with `//! `", file.path))
        .collect()
}

/// Every `unwrap()` or `expect(…)` outside tests, and the number of lines of that code.
pub(crate) fn unwraps(files: &[File]) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    let mut total = 0;
    for file in files {
        let (code, lines) = file.production();
        total += lines;
        for three in code.windows(3) {
            let is_call = three[0].text == "." && three[2].text == "(";
            if is_call && matches!(three[1].text, "unwrap" | "expect") {
                found.push(format!("{}:{}: {}", file.path, three[1].line, three[1].text));
            }
        }
    }
    (found, total)
}

/// Start and end of the body of the function whose `fn` is at `at`, braces included.
fn body(code: &[Token<'_>], at: usize) -> Option<(usize, usize)> {
    let is_named = code[at].text == "fn" && code.get(at + 1)?.text != "(";
    let mut index = if is_named { at + 2 } else { return None };
    loop {
        match code.get(index)?.text {
            "{" => return Some((index, group_end(code, index))),
            ";" => return None,
            "(" | "[" => index = group_end(code, index),
            _ => index += 1,
        }
    }
}

fn lines_between(body: &[Token<'_>]) -> usize {
    let (Some(first), Some(last)) = (body.first(), body.last()) else {
        return 0;
    };
    let mut lines: Vec<usize> = body.iter().map(|token| token.line).collect();
    lines.dedup();
    lines
        .iter()
        .filter(|&&line| line != first.line && line != last.line)
        .count()
}

/// Whether the attributes directly before a function allow it to be long and give a reason.
fn is_explained(before: &[Token<'_>]) -> bool {
    let starts = before
        .iter()
        .rposition(|token| matches!(token.text, "{" | "}" | ";"));
    let attributes: Vec<&str> = before[starts.map_or(0, |at| at + 1)..]
        .iter()
        .map(|token| token.text)
        .collect();
    attributes.windows(ALLOW.len()).any(|words| words == ALLOW) && attributes.contains(&"reason")
}

/// Files `x.rs` beside a folder `x`.
pub(crate) fn beside_their_folder(files: &[File]) -> Vec<String> {
    let has_folder = |file: &&File| {
        let folder = format!("{}/", file.path.trim_end_matches(".rs"));
        files.iter().any(|other| other.path.starts_with(&folder))
    };
    let found = files.iter().filter(has_folder);
    found
        .map(|file| format!("{}: move it into its folder, as mod.rs", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn finds_a_file_that_is_too_long() {
        let files = made_up(&[("src/a.rs", "1\n2\n3\n"), ("src/b.rs", "1\n2\n")]);
        assert_eq!(long_files(&files, 2), ["src/a.rs: 3 lines, at most 2"]);
    }

    #[test]
    fn percentile_is_the_ninth_of_ten_files() {
        let texts: Vec<(String, String)> = (1..=10)
            .map(|lines| (format!("src/{lines}.rs"), "x\n".repeat(lines)))
            .collect();
        assert_eq!(percentile_90(&crate::tree::tree(texts)), 9);
        assert_eq!(percentile_90(&[]), 0);
    }

    #[test]
    fn finds_a_function_that_is_too_long() {
        let text =
            "impl A {\n  fn a(&self, f: fn(u8) -> [u8; 2]) {\n    b;\n\n    // c\n    d;\n    e;\n  }\n}";
        let files = made_up(&[("src/a.rs", text)]);
        assert_eq!(
            long_functions(&files, 2),
            ["src/a.rs:2: a has 3 lines, at most 2"]
        );
        assert!(long_functions(&files, 3).is_empty());
    }

    #[test]
    fn ignores_signatures_and_counts_each_function_separately() {
        let text = "trait A {\n fn a();\n fn b(&self) -> u8;\n}\nfn c() {\n 1\n}\nfn d() {\n 1\n}";
        assert!(long_functions(&made_up(&[("src/a.rs", text)]), 1).is_empty());
    }

    #[test]
    fn accepts_an_allow_only_with_a_reason_and_for_its_own_function() {
        let long = "fn a() {\n b;\n c;\n}\n";
        let with = |attribute: &str| made_up(&[("src/a.rs", &format!("{attribute}\npub {long}"))]);
        assert!(
            long_functions(
                &with("#[allow(clippy::too_many_lines, reason = \"one table\")]"),
                1
            )
            .is_empty()
        );
        assert_eq!(
            long_functions(&with("#[allow(clippy::too_many_lines)]"), 1).len(),
            1
        );
        let other = "#[allow(clippy::too_many_lines, reason = \"\")]\nfn z() {}\n";
        assert_eq!(long_functions(&with(other), 1).len(), 1);
    }

    #[test]
    fn finds_a_file_without_a_title() {
        let files = made_up(&[("src/a.rs", "//! A.\n"), ("src/b.rs", "// b\n"), ("src/c.rs", "")]);
        assert_eq!(untitled(&files).len(), 2);
    }

    #[test]
    fn counts_unwraps_outside_tests_only() {
        let text = "fn a() { b.unwrap(); c\n.expect(\"d\"); e.unwrap_or(1); expect(2) }\n#[cfg(test)]\nmod t {\n fn f() { g.unwrap() }\n}";
        let (found, lines) = unwraps(&made_up(&[("src/a.rs", text)]));
        assert_eq!(found, ["src/a.rs:1: unwrap", "src/a.rs:2: expect"]);
        assert_eq!(lines, 2);
    }

    #[test]
    fn finds_a_file_beside_its_folder() {
        let files = made_up(&[("src/a.rs", ""), ("src/a/b.rs", ""), ("src/c/mod.rs", "")]);
        assert_eq!(
            beside_their_folder(&files),
            ["src/a.rs: move it into its folder, as mod.rs"]
        );
    }
}
