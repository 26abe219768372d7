//! Values of settings that are read and validated: what a row of a table is built from.

use std::time::Duration;

/// A validated value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A duration.
    Duration(Duration),
    /// A number of bytes.
    Size(u64),
    /// A whole number.
    Count(u64),
    /// A number in thousandths.
    Decimal(u32),
    /// One of the words of the key or of its type.
    Word(&'static str),
    /// Any other text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A map with the keys of a section.
    Section(Params),
    /// A map from names, in the order of the file.
    Named(Vec<(String, Self)>),
    /// A row of a table and its parameters.
    Row(&'static str, Params),
}

/// The values of a section by key. A key that was not written has its default, or is absent if it has none.
///
/// The getters return `None` for an absent key and for a value of another type: for a key that is a number or a word,
/// [`Self::count`] is `None` when it is the word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    /// In the order of the table of keys.
    values: Vec<(&'static str, Value)>,
}

impl Params {
    /// Sets the value of a key.
    pub fn set(&mut self, key: &'static str, value: Value) {
        match self.values.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.values.push((key, value)),
        }
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All keys with their values, in the order of the table of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(key, value)| (*key, value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(name, _)| *name == key)?;
        Some(&found.1)
    }

    /// A flag. A flag without a default is `false` if it was not written.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Value::Flag(true)))
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key)? {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// A number of bytes.
    pub fn size(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Size(size) => Some(*size),
            _ => None,
        }
    }

    /// A whole number.
    pub fn count(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Count(count) => Some(*count),
            _ => None,
        }
    }

    /// A number that need not be whole.
    pub fn decimal(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Decimal(thousandths) => Some(f64::from(*thousandths) / 1000.0),
            _ => None,
        }
    }

    /// One of the words of the key or of its type.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        match self.get(key)? {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    /// A text, or a word.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    /// The items of a list; empty if it was not written.
    pub fn list(&self, key: &str) -> &[Value] {
        match self.get(key) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// A map with the keys of a section.
    pub fn section(&self, key: &str) -> Option<&Self> {
        match self.get(key)? {
            Value::Section(params) => Some(params),
            _ => None,
        }
    }

    /// The items of a map from names; empty if it was not written.
    pub fn named(&self, key: &str) -> &[(String, Value)] {
        match self.get(key) {
            Some(Value::Named(items)) => items,
            _ => &[],
        }
    }

    /// The items of a map whose keys the section does not name, in the order of the file: see [`ANY`](super::ANY).
    pub fn any(&self) -> &[(String, Value)] {
        self.named(super::ANY)
    }

    /// The name and the parameters of a row of a table.
    pub fn row(&self, key: &str) -> Option<(&'static str, &Self)> {
        match self.get(key)? {
            Value::Row(name, params) => Some((name, params)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(values: Vec<(&'static str, Value)>) -> Params {
        let mut params = Params::default();
        for (key, value) in values {
            params.set(key, value);
        }
        params
    }

    #[test]
    fn returns_each_value_by_key_and_type() {
        let inner = params(vec![("a", Value::Flag(true))]);
        let params = params(vec![
            ("flag", Value::Flag(true)),
            ("duration", Value::Duration(Duration::from_secs(1))),
            ("size", Value::Size(2)),
            ("count", Value::Count(3)),
            ("decimal", Value::Decimal(1250)),
            ("word", Value::Word("none")),
            ("text", Value::Text("t".to_owned())),
            ("list", Value::List(vec![Value::Count(4)])),
            ("section", Value::Section(inner.clone())),
            ("named", Value::Named(vec![("n".to_owned(), Value::Count(5))])),
            ("row", Value::Row("r", inner.clone())),
        ]);
        assert!(params.flag("flag"));
        assert_eq!(params.duration("duration"), Some(Duration::from_secs(1)));
        assert_eq!((params.size("size"), params.count("count")), (Some(2), Some(3)));
        assert_eq!(
            (params.word("word"), params.text("word")),
            (Some("none"), Some("none"))
        );
        assert_eq!(params.decimal("decimal"), Some(1.25));
        assert_eq!(params.text("text"), Some("t"));
        assert_eq!(params.list("list"), [Value::Count(4)]);
        assert_eq!(params.section("section"), Some(&inner));
        assert_eq!(params.named("named")[0].0, "n");
        assert_eq!(params.row("row"), Some(("r", &inner)));
        let keys: Vec<_> = params.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 11);
        assert_eq!((keys[0], keys[10]), ("flag", "row"));
    }

    #[test]
    fn an_absent_key_or_another_type_is_none() {
        let params = params(vec![("limit", Value::Word("none"))]);
        assert_eq!(params.count("limit"), None);
        assert_eq!(params.word("limit"), Some("none"));
        assert_eq!(params.size("absent"), None);
        assert!(!params.flag("absent"));
        assert!(params.list("absent").is_empty() && params.named("absent").is_empty());
        assert!(!params.is_empty() && Params::default().is_empty());
    }

    #[test]
    fn the_last_value_of_a_key_is_kept() {
        let params = params(vec![("a", Value::Count(1)), ("a", Value::Count(2))]);
        assert_eq!(params.count("a"), Some(2));
        assert_eq!(params.iter().count(), 1);
    }
}
