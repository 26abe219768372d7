//! What may have been meant by a value that is not accepted: in the wrong unit, in the wrong shape, or a word for a map.

use super::reference::{Key, Kind, Section};
use super::tree::{Node, Value};
use super::{suggest, units};
use crate::health;

/// Longest text, in characters, that is written into a suggestion.
const LONGEST: usize = 60;

/// What may have been meant by a text that the key does not accept. `is_accepted` says whether the key accepts another.
pub(super) fn of_text(key: &Key, text: &str, is_accepted: impl Fn(&str) -> bool) -> Option<String> {
    let nearest = match &key.kind {
        Kind::Flag => flag(text).map(str::to_owned),
        Kind::Duration { .. } => return of_duration(text, is_accepted),
        Kind::Size { .. } => units::nearest_size(text),
        Kind::Count { .. } => units::nearest_count(text),
        Kind::Choice(words) => suggest::nearest(text, words.iter().copied()).map(str::to_owned),
        _ => None,
    };
    let is_offered = |near: &String| near != text && (is_accepted(near) || matches!(key.kind, Kind::Flag));
    nearest
        .filter(is_offered)
        .map(|near| format!("did you mean `{near}`?"))
        .or_else(|| suggest::did_you_mean(text, key.words.iter().copied()))
}

fn flag(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" | "1" | "true" => Some("true"),
        "no" | "off" | "n" | "0" | "false" | "none" => Some("false"),
        _ => None,
    }
}

fn of_duration(text: &str, is_accepted: impl Fn(&str) -> bool) -> Option<String> {
    if matches!(
        text,
        "none" | "off" | "false" | "infinite" | "unlimited" | "0" | "0s"
    ) {
        return Some("this timeout cannot be switched off: write a long one".to_owned());
    }
    let nearest = units::nearest_duration(text).filter(|near| near != text && is_accepted(near))?;
    // Nobody waits for 500 seconds to connect: other balancers count in milliseconds.
    let in_millis = format!("{text}ms");
    if text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_digit()) && is_accepted(&in_millis) {
        return Some(format!(
            "the unit is missing: did you mean `{in_millis}` or `{nearest}`?"
        ));
    }
    Some(format!("did you mean `{nearest}`?"))
}

/// What may have been meant by a node that has the wrong shape for its key. `shown` is the node as it may be quoted.
pub(super) fn of_shape(kind: &Kind, node: &Node, shown: &str) -> Option<String> {
    let shown = short(shown).filter(|_| !is_expanded(&node.value))?;
    match (kind, &node.value) {
        (Kind::List(of), Value::Text(_)) => Some(list_of(of, shown)),
        (Kind::List(Kind::Section(_)), Value::Map(_)) => {
            Some("this is a list: write `- ` before the first key of each item".to_owned())
        }
        (Kind::Either(_, Kind::List(Kind::Either(_, Kind::Section(_)))), Value::Map(_)) => {
            Some("this is a list: write `- ` before each item, and no name".to_owned())
        }
        (Kind::Named(_), Value::List(_)) => Some(
            "this is a map from names, such as `pools: { api: { backends: [http://localhost:8001] } }`"
                .to_owned(),
        ),
        (Kind::Strategy, Value::Map(_)) => {
            Some("strategies of this version have no settings: write the name".to_owned())
        }
        (Kind::Strategy | Kind::Text(_), Value::List(items)) => Some(match items.len() {
            1 => "write it without brackets".to_owned(),
            _ => "one value is accepted here, and no list".to_owned(),
        }),
        _ => None,
    }
}

/// A list of what stands in a text, which may be several values.
fn list_of(kind: &Kind, shown: &str) -> String {
    if matches!(shown, "none" | "off" | "false") {
        return "did you mean `[]`?".to_owned();
    }
    let items = split(shown);
    match (kind, items.as_slice()) {
        (Kind::Section(section), [item]) => map_form(section, item, shown).map_or_else(
            || "this is a list of maps: write `- ` before the first key of each".to_owned(),
            |form| format!("did you mean `[{form}]`?"),
        ),
        (Kind::Section(_), _) => "this is a list of maps: write `- ` before the first key of each".to_owned(),
        _ => format!("did you mean `[{}]`?", items.join(", ")),
    }
}

/// The values of a text in which several stand, apart by commas or blanks.
pub(super) fn split(text: &str) -> Vec<&str> {
    let text = text.trim_matches(['"', '\'']);
    text.split([',', ' ']).filter(|item| !item.is_empty()).collect()
}

/// What may have been meant by a node where a map with the keys of a section is expected.
pub(super) fn of_map(section: &Section, node: &Node, shown: &str) -> Option<String> {
    let shown = short(shown).filter(|_| !is_expanded(&node.value))?;
    match (&node.value, section.name) {
        (Value::Text(text), "top level") if text.content.contains('\n') || !text.content.contains(':') => {
            Some("a config is YAML: a key and its value are written `key: value`".to_owned())
        }
        (Value::Text(text), _) => {
            let told = told(section, &text.content);
            told.or_else(|| {
                Some(format!(
                    "did you mean `{}`?",
                    map_form(section, &text.content, shown)?
                ))
            })
        }
        (Value::List(_), "pools.NAME") => Some(format!("did you mean `{{ backends: {shown} }}`?")),
        _ => None,
    }
}

/// What is said of a word in the place of a map, where no map would say the same.
fn told(section: &Section, text: &str) -> Option<String> {
    let is_on = matches!(text, "true" | "on" | "yes" | "auto");
    let hint = match section.name {
        "health_check" if is_on => "did you mean `{ kind: http }`? That is the default",
        "health_check" | "retry" if matches!(text, "none" | "no") => "did you mean `off`?",
        "retry" if is_on => "retries are on by default: leave it out",
        "timeouts" | "pools.NAME.timeouts" if units::parse_duration(text).is_some() => {
            "write which one is meant, such as `{ first_byte: 30s }`"
        }
        "pools.NAME.tls" if is_on => "TLS is spoken to backends whose URL begins with `https://`",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The map that says what a text in its place means.
fn map_form(section: &Section, text: &str, shown: &str) -> Option<String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(match section.name {
        "health_check" if health::by_name(text).is_some() => format!("{{ kind: {shown} }}"),
        "health_check" if text.starts_with('/') => format!("{{ path: {shown} }}"),
        "health_check" if units::parse_duration(text).is_some() => format!("{{ interval: {shown} }}"),
        "retry" if is_number => format!("{{ attempts: {shown} }}"),
        "listeners[]" => format!("{{ address: {shown} }}"),
        "listeners[].tls" => "{ certificates: [{ cert: site.pem, key: site.key }] }".to_owned(),
        "certificates[]" => format!("{{ cert: {shown}, key: site.key }}"),
        "pools.NAME" => format!("{{ backends: [{shown}] }}"),
        "routes[]" => format!("{{ pool: {shown} }}"),
        "admin" => format!("{{ address: {shown} }}"),
        _ => return None,
    })
}

/// Whether the text holds the value of a variable: what is said of it must not depend on that.
fn is_expanded(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.is_expanded)
}

/// A text without the marks of a quote, when it is short enough for a suggestion.
fn short(shown: &str) -> Option<&str> {
    let text = shown.trim_matches('`');
    (text.chars().count() <= LONGEST && !text.ends_with('…')).then_some(text)
}
