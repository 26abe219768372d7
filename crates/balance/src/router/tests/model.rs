//! A naive router, written straight from the rules: looks at every route and host, and sorts what matches.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::*;

/// How well a host of a route fits; greater is better.
type HostRank = (u8, usize);
/// How well the path fits.
type PathRank = (u8, Reverse<usize>, usize);
/// How specific the conditions are, for the client of the request.
type ConditionRank = (bool, usize, usize, Option<u8>, bool);

pub(super) type Rank = (HostRank, PathRank, ConditionRank);

/// The rank of each route that matches, apart from its place in the file.
pub(super) fn ranks(matchers: &[Matcher], asked: &Asked) -> Vec<(Rank, usize)> {
    let mut found = Vec::new();
    for (index, matcher) in matchers.iter().enumerate() {
        let Some(conditions) = condition_rank(&matcher.conditions, asked) else {
            continue;
        };
        let ranks = host_names(matcher).into_iter().filter_map(|name| {
            let host = host_rank(name.as_deref(), asked)?;
            let path = path_rank(matchers, matcher, &name, asked)?;
            Some((host, path, conditions))
        });
        found.extend(ranks.max().map(|rank| (rank, index)));
    }
    found
}

/// The route of a request.
pub(super) fn find(matchers: &[Matcher], asked: &Asked) -> Option<usize> {
    let ranks = ranks(matchers, asked).into_iter();
    let best = ranks.max_by_key(|(rank, index)| (*rank, Reverse(*index)));
    best.map(|(_, index)| index)
}

/// Whether two routes match the same requests of a host.
pub(super) fn are_equal(one: &Matcher, other: &Matcher) -> bool {
    let path = |matcher: &Matcher| match &matcher.path {
        PathMatcher::Exact(path) => (0, path.clone()),
        PathMatcher::Prefix(path) => (1, path.strip_suffix('/').unwrap_or(path).to_owned()),
        PathMatcher::Regex(pattern) => (2, pattern.as_str().to_owned()),
    };
    let host_names = |matcher| BTreeSet::from_iter(host_names(matcher));
    let shares_host = !host_names(one).is_disjoint(&host_names(other));
    shares_host && path(one) == path(other) && parts(&one.conditions) == parts(&other.conditions)
}

/// Each condition as a text; headers in lower case.
fn parts(conditions: &Conditions) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    parts.extend(conditions.methods.iter().map(|method| format!("method {method}")));
    for kind in ["header", "query", "cookie"] {
        parts.extend(texts(kind, conditions));
    }
    parts.extend(conditions.client_ip.iter().map(|block| block.trunc().to_string()));
    parts.extend(
        conditions
            .listeners
            .iter()
            .map(|index| format!("listener {index}")),
    );
    parts
}

/// Each condition of one kind as a text; headers in lower case.
fn texts(kind: &str, conditions: &Conditions) -> BTreeSet<String> {
    let list = match kind {
        "header" => &conditions.headers,
        "query" => &conditions.query,
        _ => &conditions.cookies,
    };
    let name = |name: &str| match kind {
        "header" => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    };
    let text = |one: &ValueCondition| format!("{kind} {} {:?}", name(&one.name), one.value);
    list.iter().map(text).collect()
}

fn host_names(matcher: &Matcher) -> Vec<Option<String>> {
    match &*matcher.hosts {
        [] => vec![None],
        hosts => hosts.iter().map(|host| Some(host.to_ascii_lowercase())).collect(),
    }
}

fn host_rank(name: Option<&str>, asked: &Asked) -> Option<HostRank> {
    let host = String::from_utf8_lossy(&asked.host).to_ascii_lowercase();
    let host = host.split_once(':').map_or(&*host, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let Some(name) = name else {
        return Some((0, 0));
    };
    match name.strip_prefix('*') {
        Some(tail) => (host.ends_with(tail) && host.len() > tail.len()).then_some((1, tail.len())),
        None => (name == host).then_some((2, 0)),
    }
}

fn path_rank(all: &[Matcher], matcher: &Matcher, host: &Option<String>, asked: &Asked) -> Option<PathRank> {
    let path = &*asked.path;
    match &matcher.path {
        PathMatcher::Exact(exact) => (path == exact.as_bytes()).then_some((2, Reverse(0), 0)),
        PathMatcher::Regex(pattern) => {
            let is_same = |other: &Matcher| other.path == matcher.path && host_names(other).contains(host);
            let first = all.iter().position(is_same)?;
            pattern.is_match(path).then_some((1, Reverse(first), 0))
        }
        PathMatcher::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
            let is_below = path
                .strip_prefix(prefix)
                .is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
            (prefix.is_empty() || is_below).then_some((0, Reverse(0), prefix.len()))
        }
    }
}

fn condition_rank(conditions: &Conditions, asked: &Asked) -> Option<ConditionRank> {
    let Conditions {
        methods,
        headers,
        query,
        cookies,
        client_ip,
        listeners,
    } = conditions;
    let fields = |name: &str| -> Vec<Vec<u8>> {
        let named = |(field, _): &&(Vec<u8>, Vec<u8>)| field.eq_ignore_ascii_case(name.as_bytes());
        asked
            .fields
            .iter()
            .filter(named)
            .map(|(_, value)| value.clone())
            .collect()
    };
    let parameters: Vec<_> = pairs(asked.query.as_deref().unwrap_or_default(), b'&')
        .map(|(name, value)| (decoded(name), decoded(value.unwrap_or_default())))
        .collect();
    let cookie_lines = fields("cookie");
    let cookie_pairs: Vec<_> = cookie_lines
        .iter()
        .flat_map(|line| pairs(line, b';'))
        .filter_map(|(name, value)| Some((name.to_vec(), unquoted(value?).to_vec())))
        .collect();
    let named = |pairs: &[(Vec<u8>, Vec<u8>)], name: &str| -> Vec<Vec<u8>> {
        let named = pairs.iter().filter(|(other, _)| other == name.as_bytes());
        named.map(|(_, value)| value.clone()).collect()
    };
    let block = client_ip.iter().filter(|block| {
        let ip = asked.client_ip.map(|ip| ip.to_canonical());
        ip.is_some_and(|ip| block.contains(&ip))
    });
    let block = block.map(|block| block.prefix_len()).max();
    let holds = (methods.is_empty() || methods.iter().any(|one| one.as_bytes() == asked.method))
        && headers.iter().all(|one| fits(one, &fields(&one.name)))
        && query.iter().all(|one| fits(one, &named(&parameters, &one.name)))
        && cookies
            .iter()
            .all(|one| fits(one, &named(&cookie_pairs, &one.name)))
        && (client_ip.is_empty() || block.is_some())
        && (listeners.is_empty() || listeners.contains(&asked.listener));
    // What is written twice counts once.
    let count = |kind| texts(kind, conditions).len();
    holds.then(|| {
        (
            !methods.is_empty(),
            count("header"),
            count("query") + count("cookie"),
            block,
            !listeners.is_empty(),
        )
    })
}

fn fits(condition: &ValueCondition, values: &[Vec<u8>]) -> bool {
    match &condition.value {
        ValueMatcher::Exact(text) => values.iter().any(|value| value == text.as_bytes()),
        ValueMatcher::Present => !values.is_empty(),
        ValueMatcher::Absent => values.is_empty(),
        ValueMatcher::Regex(pattern) => values.iter().any(|value| pattern.is_match(value)),
    }
}

fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let pairs = text.split(move |byte| *byte == separator);
    let trimmed = pairs.map(move |pair| match separator {
        b';' => pair.trim_ascii(),
        _ => pair,
    });
    trimmed.filter(|pair| !pair.is_empty()).map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=');
        at.map_or((pair, None), |at| (&pair[..at], Some(&pair[at + 1..])))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let escape = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        let is_hex = |digits: &&[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        if let Some(digits) = escape.filter(is_hex) {
            let digits = std::str::from_utf8(digits).unwrap();
            out.push(u8::from_str_radix(digits, 16).unwrap());
            at += 3;
            continue;
        }
        out.push(if text[at] == b'+' { b' ' } else { text[at] });
        at += 1;
    }
    out
}
