//! Expands `${VAR}` and `${VAR:-fallback}` in scalars. Pure: the environment is an argument.

/// Why a text could not be expanded. No variant carries a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum VariableError {
    /// `${` without `}`.
    #[error("unclosed `${{`: write a variable as ${{NAME}} or ${{NAME:-fallback}}")]
    Unclosed,
    /// The text between the braces is not a valid name.
    #[error(
        "invalid variable: write it as ${{NAME}} or ${{NAME:-fallback}}; a name consists of letters, digits and _, and does not start with a digit"
    )]
    Name,
    /// The variable is not set and has no fallback.
    #[error("the environment variable {0} is not set: set it, or write a fallback: ${{{0}:-VALUE}}")]
    Unset(String),
    /// The result is longer than [`LONGEST`].
    #[error("the text is longer than {} bytes after its variables are expanded", LONGEST)]
    TooLong,
}

/// Longest text, in bytes, after expansion.
const LONGEST: usize = 64 << 10;

/// Expands every variable of a text. A fallback is used when the variable is unset or empty, as in a shell; `$${` is a
/// literal `${`. `None` when there is nothing to expand.
pub(super) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, VariableError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (inside, after) = after.split_once('}').ok_or(VariableError::Unclosed)?;
        expanded.push_str(before);
        expanded.push_str(&value(inside, lookup)?);
        rest = after;
        if expanded.len() > LONGEST {
            return Err(VariableError::TooLong);
        }
    }
    expanded.push_str(rest);
    Ok(Some(expanded))
}

/// The same for a text with variables of requests, such as `${client_ip}`: expands only those whose names have capital letters,
/// digits and `_` alone. `$$` is a literal `$` there, so it stays; a `$` in a value becomes `$$`.
pub(super) fn expand_in_template(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, VariableError> {
    let mut expanded = String::new();
    let mut rest = text;
    let mut has_any = false;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let inside = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        match inside.filter(|(inside, _)| is_of_environment(inside)) {
            Some((inside, after)) => {
                has_any = true;
                expanded.push_str(&value(inside, lookup)?.replace('$', "$$"));
                rest = after;
            }
            None => {
                let stays = if after.starts_with('$') { "$$" } else { "$" };
                expanded.push_str(stays);
                rest = after.strip_prefix('$').unwrap_or(after);
            }
        }
        if expanded.len() > LONGEST {
            return Err(VariableError::TooLong);
        }
    }
    expanded.push_str(rest);
    Ok(has_any.then_some(expanded))
}

/// Whether what is in the braces is the name of an environment variable and not that of a request.
fn is_of_environment(inside: &str) -> bool {
    let name = inside.split_once(":-").map_or(inside, |(name, _)| name);
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn value(inside: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, VariableError> {
    let (name, fallback) = match inside.split_once(":-") {
        Some((name, fallback)) => (name, Some(fallback)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(VariableError::Name);
    }
    match (lookup(name), fallback) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(fallback)) => Ok(fallback.to_owned()),
        (None, None) => Err(VariableError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<Option<String>, VariableError> {
        expand(text, &|name| match name {
            "HOST" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn expands_variables_once() {
        for (text, meant) in [
            ("http://${HOST}:${PORT:-80}", "http://a:80"),
            ("${EMPTY:-b}", "b"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("$${HOST} $5", "${HOST} $5"),
            ("${TRICK}", "${HOST}"),
        ] {
            assert_eq!(expanded(text), Ok(Some(meant.to_owned())), "{text}");
        }
        assert_eq!(expanded("no $variable"), Ok(None));
    }

    #[test]
    fn variables_of_requests_stay_in_templates() {
        let expanded = |text: &str| {
            expand_in_template(text, &|name| match name {
                "HOST" => Some("a".to_owned()),
                "PRICE" => Some("5$".to_owned()),
                _ => None,
            })
        };
        for (text, meant) in [
            ("${HOST}-${client_ip}", "a-${client_ip}"),
            ("${PRICE} $$ ${jwt.sub}", "5$$ $$ ${jwt.sub}"),
            ("$${HOST} ${HOST}", "$${HOST} a"),
            ("$$${HOST}", "$$a"),
            ("${NONE:-b}$1", "b$1"),
        ] {
            assert_eq!(expanded(text), Ok(Some(meant.to_owned())), "{text}");
        }
        for text in [
            "${client_ip}",
            "$${HOST}",
            "/$1/${name}",
            "${",
            "$",
            "${1}",
            "${path.ID}",
        ] {
            assert_eq!(expanded(text), Ok(None), "{text}");
        }
        assert_eq!(expanded("${NONE}"), Err(VariableError::Unset("NONE".to_owned())));
    }

    #[test]
    fn reports_the_cause() {
        assert_eq!(expanded("${HOST"), Err(VariableError::Unclosed));
        assert_eq!(expanded("${}"), Err(VariableError::Name));
        assert_eq!(expanded("${1A}"), Err(VariableError::Name));
        assert_eq!(expanded("${NONE}"), Err(VariableError::Unset("NONE".to_owned())));
        let unset = VariableError::Unset("NONE".to_owned()).to_string();
        assert_eq!(
            unset,
            "the environment variable NONE is not set: set it, or write a fallback: ${NONE:-VALUE}"
        );
        assert_eq!(
            VariableError::Unclosed.to_string(),
            "unclosed `${`: write a variable as ${NAME} or ${NAME:-fallback}"
        );
    }

    #[test]
    fn bounds_the_result() {
        let long = |_: &str| Some("x".repeat(LONGEST));
        assert_eq!(expand("${A}${A}", &long), Err(VariableError::TooLong));
    }
}
