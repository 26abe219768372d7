//! The rule of one way within a module: files beside each other, or folders, do not use each other in a circle. A parent
//! and its children do not count: a child may name what its parent holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::{Token, group_end};
use crate::tree::File;

/// Names of modules from the crate's root.
type Path<'a> = Vec<&'a str>;
/// Which of the children of a module use which of its other children.
type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Every circle between the children of a module, as `http1: body -> chunked -> body`.
pub(crate) fn circles(files: &[File]) -> Vec<String> {
    let modules: BTreeSet<Path<'_>> = files.iter().map(File::module).collect();
    let mut by_parent: BTreeMap<Path<'_>, Edges<'_>> = BTreeMap::new();
    for file in files {
        let user = file.module();
        for used in uses(file, &modules) {
            let shared = user.iter().zip(&used).take_while(|(a, b)| a == b).count();
            // Top-level modules have the rule of layers.
            if shared > 0 && shared < user.len() && shared < used.len() {
                let edges = by_parent.entry(user[..shared].to_vec()).or_default();
                edges.entry(user[shared]).or_default().insert(used[shared]);
            }
        }
    }
    let mut found = Vec::new();
    for (parent, edges) in &by_parent {
        for start in edges.keys() {
            let circle = path_back(edges, start);
            // Each is shown once, from the first of its names.
            if let Some(circle) = circle.filter(|circle| circle.iter().min() == Some(start)) {
                found.push(format!(
                    "{}: {} -> {start}",
                    parent.join("/"),
                    circle.join(" -> ")
                ));
            }
        }
    }
    found
}

/// The shortest way from `start` back to it, without its last step.
fn path_back<'a>(edges: &Edges<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| edges.get(last)).into_iter().flatten() {
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push([way.as_slice(), &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// The modules that a file names by paths that begin with `crate`, `super` or `self`.
fn uses<'a>(file: &'a File, modules: &BTreeSet<Path<'a>>) -> Vec<Path<'a>> {
    let (code, _) = file.production();
    let mut found = Vec::new();
    for at in 0..code.len() {
        let is_inside = at > 0 && code[at - 1].text == "::";
        if is_inside {
            continue;
        }
        let base = match code[at].text {
            "crate" => Some((Vec::new(), at + 1)),
            "self" => Some((file.module(), at + 1)),
            "super" => climb(file, &code, at),
            _ => None,
        };
        if let Some((base, at)) = base
            && code.get(at).is_some_and(|token| token.text == "::")
        {
            descend(&code, at + 1, &base, modules, &mut found);
        }
    }
    found
}

/// Where a row of `super` at `at` leads, and what follows it.
fn climb<'a>(file: &'a File, code: &[Token<'_>], mut at: usize) -> Option<(Path<'a>, usize)> {
    let mut base = file.module();
    loop {
        base.pop()?;
        let is_more = code.get(at + 2).is_some_and(|token| token.text == "super");
        if !is_more {
            return Some((base, at + 1));
        }
        at += 2;
    }
}

/// Follows the path, or the list of paths, that begins at `at`, as far as it names modules.
fn descend<'a>(
    code: &[Token<'_>],
    at: usize,
    base: &Path<'a>,
    modules: &BTreeSet<Path<'a>>,
    found: &mut Vec<Path<'a>>,
) {
    let Some(token) = code.get(at) else { return };
    if token.text == "{" {
        let end = group_end(code, at);
        let mut index = at + 1;
        let mut is_first = true;
        while index + 1 < end {
            if is_first {
                descend(code, index, base, modules, found);
            }
            is_first = code[index].text == ",";
            index = match code[index].text {
                "{" => group_end(code, index),
                _ => index + 1,
            };
        }
        return;
    }
    let child = modules.iter().find(|module| {
        module.len() == base.len() + 1 && module.starts_with(base) && module.last() == Some(&token.text)
    });
    if let Some(child) = child {
        found.push(child.clone());
        if code.get(at + 1).is_some_and(|token| token.text == "::") {
            descend(code, at + 2, child, modules, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        circles(&made_up(sources))
    }

    #[test]
    fn finds_two_files_that_use_each_other() {
        let files = [
            ("src/a/mod.rs", "mod b; mod c;"),
            ("src/a/b.rs", "use super::c::C;"),
            ("src/a/c.rs", "fn f() { super::b::go() }"),
        ];
        assert_eq!(found(&files), ["a: b -> c -> b"]);
    }

    #[test]
    fn finds_a_circle_of_three_and_through_folders() {
        let files = [
            ("src/a/mod.rs", "mod b; mod c; mod d;"),
            ("src/a/b/mod.rs", "mod x;"),
            ("src/a/mod.rs", "mod b; mod c; mod d;"),
            ("src/a/b/mod.rs", "mod x;"),
            ("src/a/b/x.rs", "use crate::a::{c::{self, C}, z};"),
            ("src/a/c.rs", "use super::d;"),
            ("src/a/d.rs", "use crate::a::b::x::X;"),
        ];
        assert_eq!(found(&files), ["a: b -> c -> d -> b"]);
    }

    #[test]
    fn allows_one_way_parents_and_tests() {
        let files = [
            ("src/a/mod.rs", "mod b; mod c; use b::B; pub struct A;"),
            ("src/a/b.rs", "use super::A; use super::c::C;"),
            (
                "src/a/c.rs",
                "#[cfg(test)] mod tests { use crate::a::b::B; }\n// super::b\nconst C: &str = \"super::b\";",
            ),
        ];
        assert!(found(&files).is_empty());
    }
}
