//! Finds out whether a value in the config holds variables of requests, such as `${client_ip}`, by the keys that lead to it.

use crate::schema::{Kind, Section};

/// Whether the value at this path of keys, which starts at the first of the sections, holds variables of requests.
pub(super) fn has_template(sections: &[&Section], path: &[&str]) -> bool {
    let root = sections.first();
    root.is_some_and(|root| in_section(root, path))
}

fn in_section(section: &Section, path: &[&str]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return false;
    };
    let key = section.key_or_any(name);
    key.is_some_and(|key| in_kind(&key.kind, rest))
}

fn in_kind(kind: &Kind, path: &[&str]) -> bool {
    match kind {
        Kind::Text(form) => path.is_empty() && form.is_template,
        Kind::List(of) => in_kind(of, path),
        Kind::Section(section) => in_section(section, path),
        Kind::Named(section) => path
            .split_first()
            .is_some_and(|(_, rest)| in_section(section, rest)),
        Kind::Map(of) => path.split_first().is_some_and(|(_, rest)| in_kind(of, rest)),
        Kind::Either(one, other) => in_kind(one, path) || in_kind(other, path),
        Kind::Row(table) => path.split_first().is_some_and(|(name, rest)| {
            let row = table.row(name);
            row.is_some_and(|row| in_section(&row.section(), rest))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::SECTIONS;

    #[test]
    fn values_of_headers_and_replacements_are_templates() {
        for path in [
            &["routes", "request_headers", "set", "X-Any"][..],
            &["route_defaults", "response_headers", "add", "X-Any"],
            &["routes", "respond", "headers", "X-Any"],
            &["routes", "rewrite", "path_regex", "replace"],
        ] {
            assert!(has_template(&SECTIONS, path), "{path:?}");
        }
        for path in [
            &["routes", "headers", "X-Any"][..],
            &["routes", "respond", "body"],
            &["routes", "pool"],
            &["policies", "a", "jwt", "issuer"],
            &["set", "X-Any"],
            &[],
        ] {
            assert!(!has_template(&SECTIONS, path), "{path:?}");
        }
    }
}
