//! Finds the known word that is nearest to an unknown one, for messages about the config.

/// Longest word that is compared, in characters: a longer one is not misspelt.
const LONGEST: usize = 64;

/// The word with the fewest edits, if these are few for its length; the first one on a tie. Case does not count.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length == 0 || length > LONGEST {
        return None;
    }
    let most = (length / 3).clamp(1, 3);
    let near = known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(edits, _)| *edits <= most)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Most names that a message lists.
const MOST_LISTED: usize = 10;

/// The names that are known, for a message about one that is not: all of a few, else the first of them and how many more there are.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<&str> = names.by_ref().take(MOST_LISTED).collect();
    match names.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// ` (did you mean X?)`, or nothing.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |found| format!(" (did you mean `{found}`?)"))
}

/// Number of characters to insert, delete or replace between two words, one row of the table at a time.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, from) in from.to_lowercase().chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (above, to) in row.iter_mut().skip(1).zip(&to) {
            let edits = (diagonal + usize::from(from != *to))
                .min(*above + 1)
                .min(left + 1);
            diagonal = std::mem::replace(above, edits);
            left = edits;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (from, to, edits) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "ABC", 0),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(from, to), edits, "{from} {to}");
        }
    }

    #[test]
    fn suggests_a_word_only_when_it_is_near() {
        let known = ["client_ip", "client_port", "path"];
        assert_eq!(nearest("clientip", known), Some("client_ip"));
        assert_eq!(nearest("PATH", known), Some("path"));
        assert_eq!(nearest("remote_addr", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
        assert_eq!(hint("pat", known), " (did you mean `path`?)");
        assert_eq!(hint("frobnicate", known), "");
    }

    #[test]
    fn lists_few_of_many_names() {
        let names: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
        let of = |count: usize| listed(names[..count].iter().map(String::as_str));
        assert_eq!(of(0), "");
        assert_eq!(of(2), "n0, n1");
        assert!(of(10).ends_with(", n8, n9"));
        assert!(of(11).ends_with(", n8, n9 and 1 more"));
        assert!(of(12).ends_with(", n8, n9 and 2 more"));
    }
}
