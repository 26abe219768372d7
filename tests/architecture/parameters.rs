//! The rule for parameters: a function takes at most a few, and a tuple does not hide further ones.

use crate::tokens::{Token, group_end};
use crate::tree::File;

/// Functions outside tests that take more than `most` values, where a tuple counts as its elements. The receiver does not
/// count.
pub(crate) fn many(files: &[File], most: usize) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let (code, _) = file.production();
        for at in 0..code.len() {
            let Some(parameters) = parameters(&code, at) else {
                continue;
            };
            let count: usize = split(parameters).into_iter().map(values).sum();
            if count > most {
                let (name, line) = (code[at + 1].text, code[at].line);
                found.push(format!(
                    "{}:{line}: {name} takes {count} values, at most {most}",
                    file.path
                ));
            }
        }
    }
    found
}

/// What stands between the parentheses of the function whose `fn` is at `at`.
fn parameters<'c, 'a>(code: &'c [Token<'a>], at: usize) -> Option<&'c [Token<'a>]> {
    let is_named = code[at].text == "fn" && code.get(at + 1)?.text != "(";
    let mut index = if is_named { at + 2 } else { return None };
    if code.get(index)?.text == "<" {
        index = generics_end(code, index);
    }
    let is_list = code.get(index)?.text == "(";
    is_list.then(|| &code[index + 1..group_end(code, index) - 1])
}

/// The index after the `>` that closes the `<` at `at`.
fn generics_end(code: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for index in at..code.len() {
        depth = deeper(code, index, depth);
        if depth == 0 {
            return index + 1;
        }
    }
    code.len()
}

/// The depth of brackets after the token at `index`. The `>` of an arrow closes nothing.
fn deeper(code: &[Token<'_>], index: usize, depth: usize) -> usize {
    let is_arrow = index > 0 && matches!(code[index - 1].text, "-" | "=");
    match code[index].text {
        "(" | "[" | "{" | "<" => depth + 1,
        ")" | "]" | "}" => depth.saturating_sub(1),
        ">" if !is_arrow => depth.saturating_sub(1),
        _ => depth,
    }
}

/// Splits at the commas outside of brackets.
fn split<'c, 'a>(list: &'c [Token<'a>]) -> Vec<&'c [Token<'a>]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for index in 0..list.len() {
        depth = deeper(list, index, depth);
        if depth == 0 && list[index].text == "," {
            parts.push(&list[start..index]);
            start = index + 1;
        }
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// How many values a parameter passes: none for the receiver, the elements of a tuple, else one.
fn values(parameter: &[Token<'_>]) -> usize {
    let mut depth = 0;
    let colon = (0..parameter.len()).find(|&index| {
        depth = deeper(parameter, index, depth);
        depth == 0 && parameter[index].text == ":"
    });
    let is_receiver = parameter.iter().any(|token| token.text == "self");
    let Some(colon) = colon else {
        return usize::from(!is_receiver);
    };
    if parameter[..colon].iter().any(|token| token.text == "self") {
        return 0;
    }
    let kind = &parameter[colon + 1..];
    match kind.iter().position(|token| token.text == "(") {
        Some(0) => split(&kind[1..group_end(kind, 0) - 1]).len().max(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn counts(text: &str, most: usize) -> Vec<String> {
        many(&made_up(&[("src/a.rs", text)]), most)
    }

    #[test]
    fn counts_the_elements_of_a_tuple() {
        let text = "fn f(a: A, (b, c): (&B<'_>, C<D, E>), g: fn(u8) -> u8) {}";
        assert!(counts(text, 4).is_empty());
        assert_eq!(counts(text, 3), ["src/a.rs:1: f takes 4 values, at most 3"]);
    }

    #[test]
    fn counts_no_receiver() {
        assert!(
            counts(
                "impl A { fn f(&'a mut self, b: B) {} fn g(self: Arc<Self>) {} }",
                1
            )
            .is_empty()
        );
    }

    #[test]
    fn reads_past_generics() {
        let text = "fn f<'a, F: Fn(A, B) -> C>(f: F, items: &[(A, B)]) {}";
        assert!(counts(text, 2).is_empty());
        assert_eq!(counts(text, 1).len(), 1);
    }

    #[test]
    fn a_unit_is_one_value_and_an_empty_list_none() {
        assert!(counts("fn f() {} fn g(a: ()) {}", 1).is_empty());
        assert_eq!(counts("fn g(a: ()) {}", 0).len(), 1);
    }
}
