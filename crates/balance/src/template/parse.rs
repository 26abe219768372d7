//! Parses values with variables.

use super::{Fact, MAX_VALUE, Piece, Template, VARIABLES, Variable, is_clean, trim};
use crate::suggest;

/// Why a value is invalid, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A byte that no header may have.
    #[error("a value cannot contain line breaks or other control characters")]
    Control,
    /// A `$` alone.
    #[error("`$` begins a variable such as ${{client_ip}}: write `$$` for a `$`")]
    Dollar,
    /// `${` without `}`.
    #[error("unclosed `${{`: write a variable as ${{NAME}}")]
    Unclosed,
    /// A variable that does not exist.
    #[error("unknown variable ${{{name}}}{hint}: the variables are {}", known())]
    Unknown {
        /// Its name.
        name: String,
        /// The nearest one, if there is one.
        hint: String,
    },
    /// The name of an environment variable.
    #[error(
        "${{{0}}} is not a variable of requests, and no environment variable was expanded here: write `$${{{0}}}` for the text itself"
    )]
    Environment(String),
    /// A family of variables whose member has no valid name.
    #[error("invalid variable ${{{0}}}: write ${{{1}.NAME}} with the name of {2}")]
    Member(String, &'static str, &'static str),
    /// A group that `path_regex` does not have.
    #[error("the `path_regex` of the route has no group {name:?}{hint}: write it as (?<{name}>…)")]
    Group {
        /// Its name.
        name: String,
        /// The nearest one, if there is one.
        hint: String,
    },
    /// It cannot be used for any request.
    #[error("the value is longer than {MAX_VALUE} bytes")]
    TooLong,
}

/// The names of all variables, for messages.
fn known() -> String {
    let names: Vec<_> = VARIABLES.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

pub(super) fn template(text: &str, groups: &[&str]) -> Result<Template, TemplateError> {
    if !text.bytes().all(is_clean) {
        return Err(TemplateError::Control);
    }
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
        let inside = after.strip_prefix('{').ok_or(TemplateError::Dollar)?;
        let (name, after) = inside.split_once('}').ok_or(TemplateError::Unclosed)?;
        push_literal(&mut literal, &mut pieces);
        pieces.push(Piece::Variable(variable(name, groups)?));
        rest = after;
    }
    literal.extend_from_slice(rest.as_bytes());
    if pieces.is_empty() {
        trim(&mut literal, 0);
    }
    push_literal(&mut literal, &mut pieces);
    let length = pieces.iter().map(|piece| match piece {
        Piece::Literal(text) => text.len(),
        Piece::Variable(_) => 0,
    });
    if length.sum::<usize>() > MAX_VALUE {
        return Err(TemplateError::TooLong);
    }
    Ok(Template {
        pieces: pieces.into(),
    })
}

fn push_literal(literal: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
}

fn variable(name: &str, groups: &[&str]) -> Result<Variable, TemplateError> {
    if let Some((family, member)) = name.split_once('.') {
        return of_family(name, (family, member), groups);
    }
    let variable = match name {
        "client_ip" => Variable::ClientIp,
        "client_port" => Variable::ClientPort,
        "host" => Variable::Host,
        "path" => Variable::Path,
        "user" => Variable::User,
        "request_id" => Variable::Fact(Fact::RequestId),
        "trace_id" => Variable::Fact(Fact::TraceId),
        "route" => Variable::Fact(Fact::Route),
        "pool" => Variable::Fact(Fact::Pool),
        "backend" => Variable::Fact(Fact::Backend),
        "tls_version" => Variable::Fact(Fact::TlsVersion),
        "tls_sni" => Variable::Fact(Fact::TlsSni),
        "client_cert_subject" => Variable::Fact(Fact::ClientCertSubject),
        _ if is_environment(name) => return Err(TemplateError::Environment(name.to_owned())),
        _ => return Err(unknown(name)),
    };
    Ok(variable)
}

/// `header.NAME` and its like.
fn of_family(name: &str, (family, member): (&str, &str), groups: &[&str]) -> Result<Variable, TemplateError> {
    let text = || member.as_bytes().into();
    let is_token = !member.is_empty() && evenkeel_wire::http1::is_token(member.as_bytes());
    let invalid = |family, of| Err(TemplateError::Member(name.to_owned(), family, of));
    match family {
        "header" if is_token => Ok(Variable::Header(text())),
        "header" => invalid("header", "a header"),
        "cookie" if is_token => Ok(Variable::Cookie(text())),
        "cookie" => invalid("cookie", "a cookie"),
        "query" if !member.is_empty() => Ok(Variable::Query(text())),
        "query" => invalid("query", "a query parameter"),
        "jwt" if !member.is_empty() => Ok(Variable::Jwt(member.into())),
        "jwt" => invalid("jwt", "a claim"),
        "path" if groups.contains(&member) => Ok(Variable::PathGroup(member.into())),
        "path" if member.is_empty() => invalid("path", "a group of `path_regex`"),
        "path" => Err(TemplateError::Group {
            name: member.to_owned(),
            hint: suggest::hint(member, groups.iter().copied()),
        }),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> TemplateError {
    // A family that is misspelt is compared by its own name, with the member that was written.
    let spelt: Vec<String> = VARIABLES
        .iter()
        .map(
            |(known, _)| match (known.strip_suffix("NAME"), name.split_once('.')) {
                (Some(family), Some((_, member))) => format!("{family}{member}"),
                _ => (*known).to_owned(),
            },
        )
        .collect();
    let nearest = suggest::nearest(name, spelt.iter().map(String::as_str));
    TemplateError::Unknown {
        name: name.to_owned(),
        hint: nearest.map_or_else(String::new, |found| format!(" (did you mean ${{{found}}}?)")),
    }
}

/// Whether config would have expanded the name as an environment variable.
fn is_environment(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
