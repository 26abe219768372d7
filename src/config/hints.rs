//! Suggests a valid value in place of an invalid one: wrong unit, wrong type, or a word in place of a map.

use evenkeel_balance::key;

use super::tree::{Node, Value};
use super::{suggest, vocabulary};
use crate::health;
use crate::schema::{Key, Kind, Section, units};

/// Longest text, in characters, that a suggestion repeats.
const LONGEST: usize = 60;

/// A suggestion for a text that is not valid for the key. `is_accepted` tests other texts.
pub(super) fn of_text(of: &Key, text: &str, is_accepted: impl Fn(&str) -> bool) -> Option<String> {
    let nearest = match &of.kind {
        Kind::Flag => flag(text).map(str::to_owned),
        Kind::Duration { .. } => return of_duration(text, is_accepted),
        Kind::Size { .. } => units::nearest_size(text),
        Kind::Count { .. } => units::nearest_count(text),
        Kind::Choice(words) => suggest::nearest(text, words.iter().copied()).map(str::to_owned),
        Kind::Text(form) if form.what == key::FORM => request_key(text),
        _ => None,
    };
    let is_offered = |near: &String| near != text && (is_accepted(near) || matches!(of.kind, Kind::Flag));
    nearest
        .filter(is_offered)
        .map(|near| format!("did you mean `{near}`?"))
        .or_else(|| suggest::did_you_mean(text, of.words.iter().copied()))
}

/// The key of requests that was meant: a name from elsewhere, a word that is near, or a kind with another separator or case.
fn request_key(text: &str) -> Option<String> {
    let of_kind = || {
        let (kind, name) = text.split_once(['.', ':'])?;
        let kind = suggest::nearest(kind, key::KINDS.iter().map(|kind| kind.trim_end_matches('.')))?;
        Some(format!("{kind}.{name}"))
    };
    vocabulary::request_key(text)
        .or_else(of_kind)
        .or_else(|| suggest::nearest(text, key::WORDS).map(str::to_owned))
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
        return Some("this timeout cannot be disabled: set a long one, such as 24h".to_owned());
    }
    let nearest = units::nearest_duration(text).filter(|near| near != text && is_accepted(near))?;
    // A three-digit number was probably meant in milliseconds, as other balancers count.
    let in_millis = format!("{text}ms");
    if text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_digit()) && is_accepted(&in_millis) {
        return Some(format!(
            "the unit is missing: did you mean `{in_millis}` or `{nearest}`?"
        ));
    }
    Some(format!("did you mean `{nearest}`?"))
}

/// A suggestion for a node of the wrong type for its key. `shown` is the node as messages may quote it.
pub(super) fn of_shape(kind: &Kind, node: &Node, shown: &str) -> Option<String> {
    let shown = short(shown).filter(|_| !is_expanded(&node.value))?;
    match (kind, &node.value) {
        (Kind::List(of), Value::Text(_)) => Some(list_of(of, shown)),
        (Kind::List(Kind::Section(_)), Value::Map(_)) => {
            Some("this must be a list: write `- ` before the first key of each item".to_owned())
        }
        (Kind::Either(_, Kind::List(Kind::Either(_, Kind::Either(Kind::Section(_), _)))), Value::Map(_)) => {
            Some("this must be a list: write `- ` before each item, without a name".to_owned())
        }
        (Kind::Named(Section { name: "pools.NAME", .. }), Value::List(_)) => Some(
            "this must be a map with a name for each item, such as `pools: { api: { backends: [http://localhost:8001] } }`"
                .to_owned(),
        ),
        (Kind::Named(_) | Kind::Map(_), Value::List(_)) => {
            Some("this must be a map with a name for each item".to_owned())
        }
        (Kind::Row(_) | Kind::Text(_), Value::List(items)) => Some(match items.len() {
            1 => "remove the brackets".to_owned(),
            _ => "this must be a single value, not a list".to_owned(),
        }),
        _ => None,
    }
}

/// Suggests the list form of a text, which may hold several values.
fn list_of(kind: &Kind, shown: &str) -> String {
    if matches!(shown, "none" | "off" | "false") {
        return "did you mean `[]`?".to_owned();
    }
    let items = split(shown);
    match (kind, items.as_slice()) {
        (Kind::Section(section), [item]) => map_form(section, item, shown).map_or_else(
            || "this must be a list of maps: write `- ` before the first key of each".to_owned(),
            |form| format!("did you mean `[{form}]`?"),
        ),
        (Kind::Section(_), _) => {
            "this must be a list of maps: write `- ` before the first key of each".to_owned()
        }
        _ => format!("did you mean `[{}]`?", items.join(", ")),
    }
}

/// Splits a text at commas and blanks into its values.
pub(super) fn split(text: &str) -> Vec<&str> {
    let text = text.trim_matches(['"', '\'']);
    text.split([',', ' ']).filter(|item| !item.is_empty()).collect()
}

/// A suggestion for a node in place of a map with the keys of a section.
pub(super) fn of_map(section: &Section, node: &Node, shown: &str) -> Option<String> {
    let shown = short(shown).filter(|_| !is_expanded(&node.value))?;
    match (&node.value, section.name) {
        (Value::Text(text), "top level") if text.content.contains('\n') || !text.content.contains(':') => {
            Some("the config must be YAML: write a key and its value as `key: value`".to_owned())
        }
        (Value::Text(text), _) => {
            let hint = of_word(section, &text.content);
            hint.or_else(|| {
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

/// A suggestion for a word in place of a map that has no equivalent map.
fn of_word(section: &Section, text: &str) -> Option<String> {
    let is_on = matches!(text, "true" | "on" | "yes" | "auto");
    let hint = match section.name {
        "health_check" if is_on => "did you mean `{ kind: http }`? That is the default",
        "health_check" | "retry" if matches!(text, "none" | "no") => "did you mean `off`?",
        "compress" if is_on => "did you mean `{}`? That turns it on with its defaults",
        "retry" if is_on => "retries are on by default: remove this key",
        "timeouts" | "pools.NAME.timeouts" if units::parse_duration(text).is_some() => {
            "name the timeout, such as `{ first_byte: 30s }`"
        }
        "pools.NAME.tls" if is_on => {
            "TLS is used for backends whose URL starts with `https://`: remove this key"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The map that is equivalent to a text in its place.
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

/// Whether the text holds the value of a variable. A suggestion could reveal that value.
fn is_expanded(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.is_expanded)
}

/// A text without the quotation marks, when it is short enough for a suggestion.
fn short(shown: &str) -> Option<&str> {
    let text = shown.trim_matches('`');
    (text.chars().count() <= LONGEST && !text.ends_with('…')).then_some(text)
}
