//! The layer rule: a module uses only rows below its own.

use crate::tokens::{Token, group_end};
use crate::tree::File;

/// Lists every use of a module that the table does not allow.
pub(crate) fn breaks(files: &[File], layers: &[&[&str]]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.is_root()) {
        let user = file.module()[0];
        for used in uses(file, layers) {
            if used.text != user && !is_below(layers, used.text, user) {
                found.push(format!(
                    "{}:{}: {user} uses {}, which is not below it",
                    file.path, used.line, used.text
                ));
            }
        }
    }
    found
}

/// Lists every top-level module that the table does not contain, or contains twice.
pub(crate) fn unplaced(files: &[File], layers: &[&[&str]]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.is_root()) {
        let module = file.module()[0];
        let rows = layers.iter().filter(|row| row.contains(&module)).count();
        if rows != 1 {
            found.push(format!("{}: the table names {module} {rows} times", file.path));
        }
    }
    found
}

fn is_below(layers: &[&[&str]], used: &str, user: &str) -> bool {
    let row = |name: &str| layers.iter().position(|row| row.contains(&name));
    match (row(used), row(user)) {
        (Some(used), Some(user)) => used > user,
        _ => false,
    }
}

/// The top-level modules that a file names in paths from the crate root.
fn uses<'a>(file: &'a File, layers: &[&[&str]]) -> Vec<Token<'a>> {
    let (code, _) = file.production();
    let depth = file.module().len();
    let mut found = Vec::new();
    for at in 0..code.len() {
        match code[at].text {
            "crate" => found.extend(heads(&code, at + 1)),
            "evenkeel" if file.path == "src/main.rs" => found.extend(heads(&code, at + 1)),
            "super" => {
                let supers = count_supers(&code, at);
                let is_first = at < 2 || code[at - 2].text != "super";
                if is_first && supers >= depth {
                    // Inside an inline module the same path leads elsewhere, so only known names count.
                    let after = at + 2 * supers - 1;
                    let known = |token: &Token<'_>| layers.iter().any(|row| row.contains(&token.text));
                    found.extend(heads(&code, after).into_iter().filter(known));
                }
            }
            _ => {}
        }
    }
    found
}

fn count_supers(code: &[Token<'_>], at: usize) -> usize {
    let mut count = 1;
    while code
        .get(at + 2 * count)
        .is_some_and(|token| token.text == "super")
    {
        count += 1;
    }
    count
}

/// The first names after `::` at `at`: one for a path, several for `{a, b::c}`.
fn heads<'a>(code: &[Token<'a>], at: usize) -> Vec<Token<'a>> {
    let is_path = code.get(at).is_some_and(|token| token.text == "::");
    let Some(first) = code.get(at + 1).filter(|_| is_path) else {
        return Vec::new();
    };
    if first.text != "{" {
        return vec![*first];
    }
    let mut found = Vec::new();
    let end = group_end(code, at + 1);
    let mut index = at + 2;
    let mut is_head = true;
    while index + 1 < end {
        match code[index].text {
            "," => is_head = true,
            "{" => index = group_end(code, index) - 1,
            _ if is_head => {
                found.push(code[index]);
                is_head = false;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    const LAYERS: &[&[&str]] = &[&["main"], &["top"], &["left", "right"], &["low"]];

    fn broken(path: &str, text: &str) -> Vec<String> {
        breaks(&made_up(&[(path, text)]), LAYERS)
    }

    #[test]
    fn allows_rows_below_and_the_own_module() {
        assert!(broken("src/top/mod.rs", "use crate::{left::A, low, top::b};").is_empty());
        assert!(
            broken(
                "src/left/a.rs",
                "use crate::low::B; use crate::left::C; use super::right;"
            )
            .is_empty()
        );
    }

    #[test]
    fn finds_a_use_of_a_row_above() {
        assert_eq!(
            broken("src/low.rs", "\nfn f() { crate::top::go() }"),
            ["src/low.rs:2: low uses top, which is not below it"]
        );
    }

    #[test]
    fn finds_a_use_within_a_row() {
        assert_eq!(broken("src/left/mod.rs", "use crate::right::A;").len(), 1);
    }

    #[test]
    fn finds_uses_in_nested_lists() {
        let text = "use crate::{low::{x, top}, left::{\n  a::{b, c}, d}, right, top as t};";
        let found = broken("src/left/a.rs", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("uses right"), "{found:?}");
        assert!(found[1].contains("uses top"), "{found:?}");
    }

    #[test]
    fn finds_uses_through_super() {
        assert_eq!(broken("src/low.rs", "use super::top::A;").len(), 1);
        assert_eq!(broken("src/low/a.rs", "use super::super::top::A;").len(), 1);
        assert!(broken("src/low/a/b.rs", "use super::super::top::A;").is_empty());
    }

    #[test]
    fn finds_modules_that_the_table_does_not_contain() {
        assert_eq!(broken("src/top.rs", "use crate::helper::A;").len(), 1);
    }

    #[test]
    fn checks_the_binary_too() {
        assert!(broken("src/main.rs", "fn main() { evenkeel::top::main() }").is_empty());
        assert_eq!(
            broken("src/main.rs", "fn main() { evenkeel::nothing::main() }").len(),
            1
        );
    }

    #[test]
    fn ignores_tests_comments_and_strings() {
        let text = "/// See [`crate::top`].\nconst A: &str = \"crate::top\";\n#[cfg(test)]\nmod tests { use crate::top; }";
        assert!(broken("src/low.rs", text).is_empty());
    }

    #[test]
    fn finds_modules_without_a_row_or_with_two() {
        let files = made_up(&[("src/low.rs", ""), ("src/odd/a.rs", ""), ("src/lib.rs", "")]);
        assert_eq!(
            unplaced(&files, LAYERS),
            ["src/odd/a.rs: the table names odd 0 times"]
        );
        assert_eq!(unplaced(&files, &[&["low"], &["odd", "low"]]).len(), 1);
    }
}
