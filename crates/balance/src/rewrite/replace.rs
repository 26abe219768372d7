//! Replaces what a regular expression matches in a path.

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::InvalidPath;
use crate::policy::BuildError;
use crate::suggest;

/// Largest compiled regular expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Longest path that a replacement makes, in bytes: the default of `limits.head`. A short path could otherwise become a very
/// long one.
const MAX_PATH: usize = 32 << 10;

/// A regular expression, and what takes the place of a match.
#[derive(Debug, Clone)]
pub(super) struct Replace {
    regex: Regex,
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<[u8]>),
    /// By number.
    Group(usize),
}

impl Replace {
    pub(super) fn build(pattern: &str, replacement: &str) -> Result<Self, BuildError> {
        let invalid = |message| BuildError::of("path_regex", message);
        let regex = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
        let regex = regex.map_err(|error| {
            // The lines above the last one show the pattern.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            invalid(format!("`match` is not a valid regular expression: {why}"))
        })?;
        let pieces = pieces(replacement, &regex).map_err(|error| invalid(format!("`replace`: {error}")))?;
        Ok(Self { regex, pieces })
    }

    /// Appends the path with every match replaced to `out`; `false` if nothing matches.
    pub(super) fn replace(&self, path: &[u8], out: &mut Vec<u8>) -> Result<bool, InvalidPath> {
        let limit = MAX_PATH.max(path.len());
        let mut copied = 0;
        let mut is_changed = false;
        for captures in self.regex.captures_iter(path) {
            let Some(whole) = captures.get(0) else { continue };
            is_changed = true;
            out.extend_from_slice(path.get(copied..whole.start()).unwrap_or_default());
            self.append(&captures, out);
            // A replacement with many groups could make far more of a long path before the end is reached.
            if out.len() > limit {
                return Err(InvalidPath);
            }
            copied = whole.end();
        }
        out.extend_from_slice(path.get(copied..).unwrap_or_default());
        match out.len() > limit {
            true => Err(InvalidPath),
            false => Ok(is_changed),
        }
    }

    fn append(&self, captures: &Captures<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Group(number) => {
                    let group = captures.get(*number);
                    out.extend_from_slice(group.map_or(&[][..], |group| group.as_bytes()));
                }
            }
        }
    }
}

/// Parses `$1`, `${1}`, `${name}` and `$$`.
fn pieces(text: &str, regex: &Regex) -> Result<Box<[Piece]>, String> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        literal.extend_from_slice(before.as_bytes());
        if let Some(after) = after.strip_prefix('$') {
            literal.push(b'$');
            rest = after;
            continue;
        }
        let (name, after) = group_name(after)?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Group(number_of(name, regex)?));
        rest = after;
    }
    literal.extend_from_slice(rest.as_bytes());
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    Ok(pieces.into())
}

/// Splits the name of a group off what follows a `$`.
fn group_name(after: &str) -> Result<(&str, &str), String> {
    if let Some(inside) = after.strip_prefix('{') {
        let split = inside.split_once('}');
        return split.ok_or_else(|| "unclosed `${`: write a group as ${1} or ${name}".to_owned());
    }
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    match after.split_at_checked(digits) {
        Some((name, rest)) if !name.is_empty() => Ok((name, rest)),
        _ => Err("`$` begins a group such as $1 or ${name}: write `$$` for a `$`".to_owned()),
    }
}

fn number_of(name: &str, regex: &Regex) -> Result<usize, String> {
    let groups = regex.captures_len();
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = name.parse().ok().filter(|number| *number < groups);
        return number.ok_or_else(|| format!("`match` has no group {name}: it has {}", groups - 1));
    }
    let mut names = regex.capture_names();
    names.position(|known| known == Some(name)).ok_or_else(|| {
        let hint = suggest::hint(name, regex.capture_names().flatten());
        format!("`match` has no group {name:?}{hint}: write it as (?<{name}>…)")
    })
}
