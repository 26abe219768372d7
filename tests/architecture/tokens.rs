//! Splits Rust source into tokens: drops comments and replaces literals with a placeholder. It is not a parser: it only
//! tells code from text, and test code from other code.

/// The placeholder for a string or character literal.
pub(crate) const LITERAL: &str = "\"";

/// A word, a literal's placeholder, `::`, or one punctuation character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// The token as written, or [`LITERAL`].
    pub(crate) text: &'a str,
    /// Its line; the first line is 1.
    pub(crate) line: usize,
}

/// Splits `source` into tokens.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (length, text) = next(rest, first);
        if let Some(text) = text {
            found.push(Token { text, line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// Removes the code that only tests compile: every item under a `cfg` that requires `test`. Also returns the number of
/// lines of those items.
pub(crate) fn without_tests<'a>(all: &[Token<'a>]) -> (Vec<Token<'a>>, usize) {
    let mut kept = Vec::new();
    let mut lines = 0;
    let mut at = 0;
    while at < all.len() {
        if asks_for_test(&all[at..]) {
            let end = item_end(all, at);
            lines += all[end - 1].line - all[at].line + 1;
            at = end;
        } else {
            kept.push(all[at]);
            at += 1;
        }
    }
    (kept, lines)
}

/// The modules that a file declares for tests only: `#[cfg(test)] mod name;`.
pub(crate) fn test_modules<'a>(all: &[Token<'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for at in 0..all.len() {
        if asks_for_test(&all[at..]) {
            let item = &all[at..item_end(all, at)];
            if let [.., keyword, name, end] = item
                && (keyword.text, end.text) == ("mod", ";")
            {
                names.push(name.text);
            }
        }
    }
    names
}

/// The index after the group that opens at `at`: after the matching bracket, or the end of the tokens.
pub(crate) fn group_end(all: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in all.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    all.len()
}

fn next(rest: &str, first: char) -> (usize, Option<&str>) {
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), None);
    }
    if let Some(length) = literal(rest) {
        return (length, Some(LITERAL));
    }
    if is_word(first) {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        return (length, Some(&rest[..length]));
    }
    let length = if rest.starts_with("::") {
        2
    } else {
        first.len_utf8()
    };
    (length, Some(&rest[..length]))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// Length of the literal at the front of `rest`, prefix included.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.bytes().take_while(|byte| b"bcr".contains(byte)).count();
    let prefix = if prefix <= 2 { prefix } else { return None };
    let quoted = &rest[prefix..];
    let is_raw = rest[..prefix].contains('r');
    let hashes = quoted.bytes().take_while(|&byte| byte == b'#').count();
    if is_raw && quoted[hashes..].starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let body = &quoted[hashes + 1..];
        let end = body.find(&close).map_or(body.len(), |at| at + close.len());
        return Some(prefix + hashes + 1 + end);
    }
    if quoted.starts_with('"') {
        return Some(prefix + closing_quote(quoted, b'"'));
    }
    let is_character = quoted.starts_with("'\\") || quoted.chars().nth(2) == Some('\'');
    if quoted.starts_with('\'') && is_character {
        return Some(prefix + closing_quote(quoted, b'\''));
    }
    None
}

fn closing_quote(quoted: &str, quote: u8) -> usize {
    let bytes = quoted.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn asks_for_test(all: &[Token<'_>]) -> bool {
    let texts: Vec<&str> = all.iter().take(8).map(|token| token.text).collect();
    matches!(
        texts.as_slice(),
        ["#", "[", "cfg", "(", "test", ..] | ["#", "[", "cfg", "(", "all" | "any", "(", "test", ..]
    )
}

/// The index after the item that the attribute at `at` belongs to.
fn item_end(all: &[Token<'_>], at: usize) -> usize {
    let mut at = at;
    while at + 1 < all.len() && all[at].text == "#" {
        at = group_end(all, at + 1);
    }
    while at < all.len() {
        match all[at].text {
            ";" => return at + 1,
            "}" | ")" | "]" => return at,
            "{" => {
                let end = group_end(all, at);
                let is_statement = all.get(end).is_some_and(|token| token.text == ";");
                return end + usize::from(is_statement);
            }
            "(" | "[" => at = group_end(all, at),
            _ => at += 1,
        }
    }
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn drops_comments_and_reduces_literals() {
        let source = "a /* b /* c */ d */ e // f\n\"g \\\" h\" r#\"i \" j\"# b'k' '\\'' 'l' b\"m\" 'n: o";
        let mark = LITERAL;
        assert_eq!(
            texts(source),
            ["a", "e", mark, mark, mark, mark, mark, mark, "'", "n", ":", "o"]
        );
    }

    #[test]
    fn keeps_words_that_begin_like_a_prefix_of_a_literal() {
        assert_eq!(texts("crate::bcr br r"), ["crate", "::", "bcr", "br", "r"]);
    }

    #[test]
    fn counts_lines_through_literals_and_comments() {
        let found = tokens("\"a\nb\"\n/* c\n */ d");
        assert_eq!(found.last(), Some(&Token { text: "d", line: 4 }));
    }

    #[test]
    fn splits_off_every_kind_of_test_item() {
        let source = "a;\n#[cfg(test)]\nuse b::{c, d};\n#[cfg(test)]\n#[rustfmt::skip]\nfn e(x: [u8; 2]) { f; }\n\
                      #[cfg(all(test, unix))]\nmod g { h; }\ni;";
        let all = tokens(source);
        let (kept, lines) = without_tests(&all);
        let kept: Vec<&str> = kept.iter().map(|token| token.text).collect();
        assert_eq!(kept, ["a", ";", "i", ";"]);
        assert_eq!(lines, 2 + 3 + 2);
    }

    #[test]
    fn keeps_code_under_other_conditions() {
        let source = "#[cfg(not(test))] fn a() {} #[cfg(unix)] fn b() {}";
        let all = tokens(source);
        assert_eq!(without_tests(&all).0, all);
    }

    #[test]
    fn names_modules_that_only_tests_have() {
        let all = tokens("mod a; #[cfg(test)] mod b; #[cfg(test)] mod c { mod d; }");
        assert_eq!(test_modules(&all), ["b"]);
    }
}
