//! Describes settings: keys with their types, defaults and descriptions. Sections of the config and rows of tables, such
//! as a strategy, describe their settings with these types, so that one reader, one printer and one page serve them all.
//! Pure, and uses nothing but the standard library.

mod kind;
mod params;
pub mod units;

pub use kind::{Form, Kind};
pub use params::{Params, Value};

/// The name of a key that stands for every key that the section does not name, such as the statuses of `error_pages`. Its
/// values are [`Value::Named`] under this name, each of the type of the key, by the names that were written.
pub const ANY: &str = "*";

/// A map of settings.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name in messages and headings.
    pub name: &'static str,
    /// Its description, in a sentence or two.
    pub about: &'static str,
    /// Its keys, in reading order.
    pub keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Words that are accepted as well, such as `auto`, `none`, `off` or `all`.
    pub words: &'static [&'static str],
    /// The effect of leaving it out.
    pub presence: Presence,
    /// Its description.
    pub about: &'static str,
    /// Whether the effective config has the value in another section: short forms, and defaults that pools inherit.
    pub is_printed_elsewhere: bool,
    /// Whether no message and no printed config may show the value.
    pub is_secret: bool,
}

/// The effect of a key that is not written.
#[derive(Debug, Clone, Copy)]
pub enum Presence {
    /// An error.
    Required,
    /// This default, as it would be written.
    Default(&'static str),
    /// No default; the text describes the effect, if there is one.
    Optional(&'static str),
}

/// A table of things that the config selects by name and that bring their own keys, such as the strategies.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// What a row is, such as `strategy`.
    pub what: &'static str,
    /// How the config writes a row with its parameters.
    pub form: RowForm,
    /// Its rows, in the order of the docs. A function, because a constant cannot name the table itself.
    pub rows: fn() -> Vec<Row>,
}

/// How the config writes a row with its parameters. A row without parameters is its name alone in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// `{ kind: NAME, … }`: the parameters are beside the name.
    Kind,
    /// `{ NAME: { … } }`: the name is the only key, and its value has the parameters.
    Name,
}

/// A row of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in the config.
    pub name: &'static str,
    /// One line for the docs.
    pub summary: &'static str,
    /// Its parameters.
    pub keys: &'static [Key],
}

impl Section {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The key of that name, or the one for every name that the section does not name: see [`ANY`].
    pub fn key_or_any(&self, name: &str) -> Option<&'static Key> {
        self.key(name).or_else(|| self.key(ANY))
    }

    /// Adds the sections within this one, at any depth, each once.
    pub fn collect_sections(&self, found: &mut Vec<&'static Self>) {
        for key in self.keys {
            key.kind.collect_sections(found);
        }
    }

    /// The names of the secret keys of this section, of the sections within it and of the rows that its keys select.
    pub fn secret_keys(&self) -> Vec<&'static str> {
        let is_secret = |key: &&Key| key.is_secret || key.kind.form().is_some_and(|form| form.is_secret);
        let secret = self.keys.iter().filter(is_secret);
        let mut found: Vec<_> = secret.map(|key| key.name).collect();
        for key in self.keys {
            key.kind.collect_secret_keys(&mut found);
        }
        found
    }

    /// The names of all keys, for messages.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().map(|key| key.name)
    }
}

impl Key {
    /// An optional key without a default.
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            words: &[],
            presence: Presence::Optional(""),
            about,
            is_printed_elsewhere: false,
            is_secret: false,
        }
    }

    /// Every key that the section does not name: see [`ANY`].
    pub const fn any(kind: Kind, about: &'static str) -> Self {
        Self::new(ANY, kind, about)
    }

    /// The same key, which must be written.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.presence = Presence::Required;
        self
    }

    /// The same key with this default, as it would be written.
    #[must_use]
    pub const fn default(mut self, text: &'static str) -> Self {
        self.presence = Presence::Default(text);
        self
    }

    /// The same key with a description of the effect of leaving it out.
    #[must_use]
    pub const fn otherwise(mut self, text: &'static str) -> Self {
        self.presence = Presence::Optional(text);
        self
    }

    /// The same key, which accepts these words as well.
    #[must_use]
    pub const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    /// The same key, whose value the effective config has in another section.
    #[must_use]
    pub const fn printed_elsewhere(mut self) -> Self {
        self.is_printed_elsewhere = true;
        self
    }

    /// The same key, whose value no message and no printed config may show.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The default as it would be written; empty if there is none.
    pub fn default_text(&self) -> &'static str {
        match self.presence {
            Presence::Default(text) => text,
            Presence::Required | Presence::Optional(_) => "",
        }
    }

    /// A description of the accepted values.
    pub fn accepts(&self) -> String {
        let kind = self.kind.describe();
        match self.words {
            [] => kind,
            words => format!("{kind}, or {}", words.join(", ")),
        }
    }
}

impl Table {
    /// The row of that name.
    pub fn row(&self, name: &str) -> Option<Row> {
        (self.rows)().into_iter().find(|row| row.name == name)
    }

    /// The names of all rows, for messages.
    pub fn names(&self) -> Vec<&'static str> {
        (self.rows)().iter().map(|row| row.name).collect()
    }
}

impl Row {
    /// The section of its parameters.
    pub fn section(&self) -> Section {
        Section {
            name: self.name,
            about: self.summary,
            keys: self.keys,
        }
    }

    /// The type of the row's value when the row is one value and not a map of parameters, such as `body_limit: 1MiB`: its only
    /// key has no name then, and its parameters hold the value under that name.
    pub fn value(&self) -> Option<&'static Key> {
        match self.keys {
            [key] if key.name.is_empty() => Some(key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_only_key_has_no_name_is_one_value() {
        const SIZE: &[Key] = &[Key::new("", Kind::Size { least: 0, most: 9 }, "")];
        const MAP: &[Key] = &[Key::new("size", Kind::Size { least: 0, most: 9 }, "")];
        let row = |keys| Row {
            name: "limit",
            summary: "",
            keys,
        };
        assert!(row(SIZE).value().is_some());
        assert!(row(MAP).value().is_none() && row(&[]).value().is_none());
    }
}
