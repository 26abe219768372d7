//! The types of values.

use std::time::Duration;

use super::units::{self, show_decimal, show_duration, show_size};
use super::{ANY, Key, RowForm, Section, Table, Value};

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number and a unit of time; both bounds included.
    Duration {
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// A number of bytes; both bounds included.
    Size {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A whole number; both bounds included.
    Count {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A number with at most three digits after the point; both bounds in thousandths, included.
    Decimal {
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of a row of a table, or a map from the name to the row's parameters.
    Row(&'static Table),
    /// Text of a certain form.
    Text(Form),
    /// A list.
    List(&'static Self),
    /// A map with the keys of a section.
    Section(&'static Section),
    /// A map from names to maps with the keys of a section.
    Named(&'static Section),
    /// A map from names to values of this type.
    Map(&'static Self),
    /// One or the other.
    Either(&'static Self, &'static Self),
}

/// The form of a text.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its description, with an article.
    pub what: &'static str,
    /// A regular expression that every valid text matches. Some invalid texts may match too.
    pub pattern: Option<&'static str>,
    /// Whether a bare number is accepted as well.
    pub or_number: bool,
    /// Whether messages and printed configs mask the text.
    pub is_secret: bool,
    /// Whether it names a file: a relative path starts at the folder of the config.
    pub is_file: bool,
    /// Whether it holds variables of requests such as `${client_ip}`, so that `$` has a meaning of its own in it.
    pub is_template: bool,
    /// Whether a text is valid. Sections that read their texts themselves leave this open.
    pub is_valid: fn(&str) -> bool,
}

impl Form {
    /// Any text.
    pub const fn new(what: &'static str) -> Self {
        Self {
            what,
            pattern: None,
            or_number: false,
            is_secret: false,
            is_file: false,
            is_template: false,
            is_valid: any_text,
        }
    }

    /// The same form with a regular expression that every valid text matches.
    #[must_use]
    pub const fn matching(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// The same form, which a bare number has as well.
    #[must_use]
    pub const fn or_number(mut self) -> Self {
        self.or_number = true;
        self
    }

    /// The same form, whose texts are masked wherever they would be shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The same form, whose texts are paths of files, or `file:PATH`, or URLs.
    #[must_use]
    pub const fn file(mut self) -> Self {
        self.is_file = true;
        self
    }

    /// The same form, whose texts hold variables of requests.
    #[must_use]
    pub const fn template(mut self) -> Self {
        self.is_template = true;
        self
    }

    /// The same form with a check of each text.
    #[must_use]
    pub const fn checked(mut self, is_valid: fn(&str) -> bool) -> Self {
        self.is_valid = is_valid;
        self
    }
}

const fn any_text(_: &str) -> bool {
    true
}

impl Kind {
    /// The value of a text; `None` when the text is not valid, or when the type needs more than a text.
    pub fn parse(&self, text: &str) -> Option<Value> {
        match self {
            Self::Flag => text.parse().ok().map(Value::Flag),
            Self::Duration { least, most } => units::parse_duration(text)
                .filter(|duration| duration >= least && duration <= most)
                .map(Value::Duration),
            Self::Size { least, most } => units::parse_size(text)
                .filter(|size| size >= least && size <= most)
                .map(Value::Size),
            // `u64::from_str` alone would accept a sign.
            Self::Count { least, most } if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let count = text.parse().ok();
                count
                    .filter(|count| count >= least && count <= most)
                    .map(Value::Count)
            }
            Self::Decimal { least, most } => units::parse_decimal(text)
                .filter(|number| number >= least && number <= most)
                .map(Value::Decimal),
            Self::Choice(words) => {
                let word = words.iter().find(|word| **word == text);
                word.map(|word| Value::Word(word))
            }
            Self::Text(form) => (form.is_valid)(text).then(|| Value::Text(text.to_owned())),
            Self::Either(one, other) => one.parse(text).or_else(|| other.parse(text)),
            Self::Count { .. }
            | Self::Row(_)
            | Self::List(_)
            | Self::Section(_)
            | Self::Named(_)
            | Self::Map(_) => None,
        }
    }

    /// Adds the sections that values of this type can hold, at any depth, each once.
    pub fn collect_sections(&self, found: &mut Vec<&'static Section>) {
        match self {
            Self::List(of) | Self::Map(of) => of.collect_sections(found),
            Self::Section(section) | Self::Named(section)
                if !found.iter().any(|other| other.name == section.name) =>
            {
                found.push(section);
                section.collect_sections(found);
            }
            Self::Either(one, other) => {
                one.collect_sections(found);
                other.collect_sections(found);
            }
            _ => {}
        }
    }

    /// Adds the names of the secret keys that values of this type can have.
    pub(super) fn collect_secret_keys(&self, found: &mut Vec<&'static str>) {
        match self {
            Self::List(of) | Self::Map(of) => of.collect_secret_keys(found),
            Self::Section(section) | Self::Named(section) => found.extend(section.secret_keys()),
            Self::Row(table) => {
                let rows = (table.rows)();
                found.extend(rows.iter().flat_map(|row| row.section().secret_keys()));
            }
            Self::Either(one, other) => {
                one.collect_secret_keys(found);
                other.collect_secret_keys(found);
            }
            _ => {}
        }
    }

    /// The form of the texts that values of this type are or hold, of the first alternative that has one.
    pub fn form(&self) -> Option<&Form> {
        match self {
            Self::Text(form) => Some(form),
            Self::List(of) | Self::Map(of) => of.form(),
            Self::Either(one, other) => one.form().or_else(|| other.form()),
            _ => None,
        }
    }

    /// The table whose row a value of this type is or holds, if there is one.
    pub fn table(&self) -> Option<&'static Table> {
        match self {
            Self::Row(table) => Some(table),
            Self::List(of) | Self::Map(of) => of.table(),
            Self::Either(one, other) => one.table().or_else(|| other.table()),
            _ => None,
        }
    }

    /// The keys of the section that values of this type hold, in a list or under names; empty for other types.
    pub fn keys(&self) -> &'static [Key] {
        match self {
            Self::Section(section) | Self::Named(section) => section.keys,
            Self::List(of) | Self::Map(of) => of.keys(),
            Self::Either(one, other) => match one.keys() {
                [] => other.keys(),
                keys => keys,
            },
            _ => &[],
        }
    }

    /// A description of the accepted values.
    pub fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Duration { least, most } => format!(
                "a duration such as 250ms, 10s, 1m or 1h, from {} to {}",
                show_duration(*least),
                show_duration(*most)
            ),
            Self::Size {
                least,
                most: u64::MAX,
            } if *least == 0 => "a size such as 512B, 64KiB or 1MiB".to_owned(),
            Self::Size { least, most } => format!(
                "a size such as 512B, 64KiB or 1MiB, from {} to {}",
                show_size(*least),
                show_size(*most)
            ),
            Self::Count { least, most } => format!("a whole number from {least} to {most}"),
            Self::Decimal { least, most } => format!(
                "a number from {} to {}, with at most three digits after the point",
                show_decimal(*least),
                show_decimal(*most)
            ),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Row(table) => of_table(table),
            Self::Text(form) => form.what.to_owned(),
            Self::List(of) => format!("a list, each item {}", of.describe()),
            Self::Section(Section { keys: [key], .. }) if key.name == ANY => {
                format!("a map from names to {}", key.kind.describe())
            }
            Self::Section(section) => {
                format!("a map with {}", section.names().collect::<Vec<_>>().join(", "))
            }
            Self::Named(section) => format!("a map from names to {}", section.name),
            Self::Map(of) => format!("a map from names to values, each {}", of.describe()),
            Self::Either(
                one,
                Self::List(Self::Either(_, Self::Either(Self::Section(section), Self::Row(table)))),
            ) => {
                let names: Vec<_> = section.names().collect();
                let rows = table.names().into_iter();
                let rows: Vec<_> = rows.map(|row| format!("{{ {row}: … }}")).collect();
                format!(
                    "{}, or a list of these, of maps with {}, and of {}",
                    one.describe(),
                    names.join(", "),
                    rows.join(", ")
                )
            }
            Self::Either(one, Self::List(_)) => format!("{}, or a list of these", one.describe()),
            Self::Either(one, other) => format!("{}, or {}", one.describe(), other.describe()),
        }
    }
}

/// The map form is mentioned only when a row has parameters.
fn of_table(table: &Table) -> String {
    let names = table.names().join(", ");
    let rows = (table.rows)();
    let with_keys = rows.iter().find(|row| !row.keys.is_empty());
    match (with_keys, table.form) {
        (Some(row), RowForm::Name) => format!(
            "one of {names}, or a map from one of these to its parameters, such as {{ {}: {{ … }} }}",
            row.name
        ),
        (Some(row), RowForm::Kind) => format!(
            "one of {names}, or a map with its name as `kind` and its parameters, such as {{ kind: {}, … }}",
            row.name
        ),
        (None, _) => format!("one of {names}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Row;

    const HOST: Kind = Kind::Text(Form::new("a host").checked(|text| !text.contains(' ')));
    const DOG: &[Key] = &[Key::new("name", HOST, "")];
    const COUNT: Kind = Kind::Count { least: 1, most: 9 };
    const PLAIN: Table = Table {
        what: "animal",
        form: RowForm::Name,
        rows: || {
            ["cat", "dog"]
                .map(|name| Row {
                    name,
                    summary: "",
                    keys: &[],
                })
                .to_vec()
        },
    };
    const WITH_KEYS: Table = Table {
        what: "animal",
        form: RowForm::Name,
        rows: || {
            let mut rows = (PLAIN.rows)();
            rows[1].keys = DOG;
            rows
        },
    };

    #[test]
    fn parses_texts_within_the_bounds() {
        let second = Duration::from_secs(1);
        let duration = Kind::Duration {
            least: second,
            most: second * 60,
        };
        assert_eq!(duration.parse("1s"), Some(Value::Duration(second)));
        assert_eq!(duration.parse("999ms"), None);
        assert_eq!(duration.parse("61s"), None);
        let size = Kind::Size { least: 2, most: 1024 };
        assert_eq!(size.parse("1KiB"), Some(Value::Size(1024)));
        assert_eq!(size.parse("1"), None);
        assert_eq!(COUNT.parse("9"), Some(Value::Count(9)));
        for wrong in ["0", "10", "+1", "1.0", ""] {
            assert_eq!(COUNT.parse(wrong), None, "{wrong}");
        }
        let decimal = Kind::Decimal {
            least: 1000,
            most: 2500,
        };
        assert_eq!(decimal.parse("1.25"), Some(Value::Decimal(1250)));
        assert_eq!(decimal.parse("2.501"), None);
        assert!(decimal.describe().starts_with("a number from 1 to 2.5,"));
        assert_eq!(Kind::Flag.parse("true"), Some(Value::Flag(true)));
        assert_eq!(Kind::Flag.parse("yes"), None);
        assert_eq!(Kind::Choice(&["a", "b"]).parse("b"), Some(Value::Word("b")));
        assert_eq!(Kind::Choice(&["a", "b"]).parse("c"), None);
        assert_eq!(HOST.parse("a"), Some(Value::Text("a".to_owned())));
        assert_eq!(HOST.parse("a b"), None);
        assert_eq!(
            Kind::Either(&Kind::Flag, &COUNT).parse("3"),
            Some(Value::Count(3))
        );
        assert_eq!(Kind::List(&HOST).parse("a"), None);
    }

    #[test]
    fn describes_a_section_of_any_keys_as_a_map() {
        const SECTION: Section = Section {
            name: "weights",
            about: "",
            keys: &[Key::any(COUNT, "")],
        };
        assert_eq!(
            Kind::Section(&SECTION).describe(),
            "a map from names to a whole number from 1 to 9"
        );
    }

    #[test]
    fn a_map_is_described_by_its_values_and_has_no_text_form() {
        let map = Kind::Map(&HOST);
        assert_eq!(map.describe(), "a map from names to values, each a host");
        assert_eq!(map.parse("a"), None);
    }

    #[test]
    fn describes_the_map_form_of_a_table_only_when_a_row_has_parameters() {
        assert_eq!(Kind::Row(&PLAIN).describe(), "one of cat, dog");
        let described = Kind::Row(&WITH_KEYS).describe();
        assert_eq!(
            described,
            "one of cat, dog, or a map from one of these to its parameters, such as { dog: { … } }"
        );
    }
}
