//! The table of all keys: type, range, default and description of each. The reader takes known keys, ranges and defaults
//! from it; the JSON Schema and `docs/config.md` are generated from it.

mod json;
mod page;
mod rules;
mod table;
mod tls;

use std::time::Duration;

use super::units;

pub use json::schema;
pub use page::page;
pub(super) use rules::{HEALTH_CHECK, LIMITS, POOL_LIMITS, POOL_TIMEOUTS, RETRY, TIMEOUTS};
pub(super) use table::{ACCESS_LOG, ADMIN, BACKEND, LISTENER, POOL, ROOT, ROUTE};
pub(super) use tls::{CERTIFICATE, LISTENER_TLS, POOL_TLS};

/// A map of the config file.
pub(super) struct Section {
    /// Its name in messages and headings.
    pub(super) name: &'static str,
    /// Its description, in a sentence or two.
    pub(super) about: &'static str,
    /// Its keys, in reading order.
    pub(super) keys: &'static [Key],
}

/// A key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Words that are accepted as well, such as `auto`, `none`, `off` or `all`.
    pub(super) words: &'static [&'static str],
    pub(super) presence: Presence,
    /// Its description.
    pub(super) about: &'static str,
}

/// The effect of a key that is not written.
#[derive(Clone, Copy)]
pub(super) enum Presence {
    /// An error.
    Required,
    /// This default, as it would be written.
    Default(&'static str),
    /// No default; the text describes the effect, if there is one.
    Optional(&'static str),
}

/// The type of a value.
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number and a unit of time; both bounds included.
    Duration { least: Duration, most: Duration },
    /// A number of bytes; both bounds included.
    Size { least: u64, most: u64 },
    /// A whole number; both bounds included.
    Count { least: u64, most: u64 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A name from the table of strategies.
    Strategy,
    /// Text of a certain form.
    Text(Form),
    /// A list.
    List(&'static Self),
    /// A map with the keys of a section.
    Section(&'static Section),
    /// A map from names to maps with the keys of a section.
    Named(&'static Section),
    /// One or the other.
    Either(&'static Self, &'static Self),
}

/// The form of a text.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// Its description, with an article.
    pub(super) what: &'static str,
    /// A regular expression that every valid text matches. Some invalid texts may match too.
    pub(super) pattern: Option<&'static str>,
    /// Whether a bare number is accepted as well.
    pub(super) or_number: bool,
}

impl Section {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys, for messages.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

impl Key {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            words: &[],
            presence: Presence::Optional(""),
            about,
        }
    }

    const fn required(mut self) -> Self {
        self.presence = Presence::Required;
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.presence = Presence::Default(text);
        self
    }

    const fn otherwise(mut self, text: &'static str) -> Self {
        self.presence = Presence::Optional(text);
        self
    }

    const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    /// The default as it would be written; empty if there is none.
    pub(super) fn default_text(&self) -> &'static str {
        match self.presence {
            Presence::Default(text) => text,
            Presence::Required | Presence::Optional(_) => "",
        }
    }

    /// A description of the accepted values.
    pub(super) fn accepts(&self) -> String {
        let kind = self.kind.describe();
        match self.words {
            [] => kind,
            words => format!("{kind}, or {}", words.join(", ")),
        }
    }
}

impl Kind {
    /// A description of the accepted values.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Duration { least, most } => format!(
                "a duration such as 250ms, 10s, 1m or 1h, from {} to {}",
                units::show_duration(*least),
                units::show_duration(*most)
            ),
            Self::Size {
                least,
                most: u64::MAX,
            } if *least == 0 => "a size such as 512B, 64KiB or 1MiB".to_owned(),
            Self::Size { least, most } => format!(
                "a size such as 512B, 64KiB or 1MiB, from {} to {}",
                units::show_size(*least),
                units::show_size(*most)
            ),
            Self::Count { least, most } => format!("a whole number from {least} to {most}"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Strategy => format!("one of {}", strategy_names().join(", ")),
            Self::Text(form) => form.what.to_owned(),
            Self::List(of) => format!("a list, each item {}", of.describe()),
            Self::Section(section) => {
                format!("a map with {}", section.names().collect::<Vec<_>>().join(", "))
            }
            Self::Named(section) => format!("a map from names to {}", section.name),
            Self::Either(one, Self::List(Self::Either(_, Self::Section(section)))) => {
                let names: Vec<_> = section.names().collect();
                format!(
                    "{}, or a list of these and of maps with {}",
                    one.describe(),
                    names.join(", ")
                )
            }
            Self::Either(one, Self::List(_)) => format!("{}, or a list of these", one.describe()),
            Self::Either(one, other) => format!("{}, or {}", one.describe(), other.describe()),
        }
    }
}

/// Names of the strategies, in the order of their table.
pub(super) fn strategy_names() -> Vec<&'static str> {
    crate::strategy::STRATEGIES
        .iter()
        .map(|entry| entry.name)
        .collect()
}

/// Every section, in reading order.
pub(super) const SECTIONS: [&Section; 16] = [
    &ROOT,
    &LISTENER,
    &LISTENER_TLS,
    &CERTIFICATE,
    &ADMIN,
    &ACCESS_LOG,
    &HEALTH_CHECK,
    &RETRY,
    &TIMEOUTS,
    &LIMITS,
    &POOL,
    &POOL_TLS,
    &BACKEND,
    &POOL_TIMEOUTS,
    &POOL_LIMITS,
    &ROUTE,
];
