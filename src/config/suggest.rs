//! Finds the known word nearest to an unknown one, for "did you mean" hints. Pure.

/// Longest word that is compared, in characters: a longer one is not a misspelt key.
const LONGEST: usize = 64;

/// The candidate with the fewest edits, if these are few for the length of the word; the first one on a tie. Differences
/// in case, and `-` for `_`, do not count.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = normal(word);
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let most = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &normal(candidate)), candidate))
        .filter(|(edits, _)| *edits <= most)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// [`nearest`] as a hint.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|found| format!("did you mean `{found}`?"))
}

fn normal(word: &str) -> Vec<char> {
    let lower = word.chars().flat_map(char::to_lowercase);
    lower.map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Number of edits (insert, delete, replace, swap two neighbours) from one word to the other: optimal string alignment,
/// keeping three rows of the table.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut last_from = None;
    for (row, from_char) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut last_to = None;
        for (column, to_char) in to.iter().enumerate() {
            let cell = |cells: &[usize], at: usize| cells.get(at).copied().unwrap_or(usize::MAX - 1);
            let replace = cell(&above, column) + usize::from(from_char != to_char);
            let mut edits = replace
                .min(cell(&above, column + 1) + 1)
                .min(cell(&current, column) + 1);
            let is_swap = last_from == Some(to_char) && last_to == Some(from_char);
            if let Some(earlier) = column.checked_sub(1).filter(|_| is_swap) {
                edits = edits.min(cell(&before, earlier) + 1);
            }
            current.push(edits);
            last_to = Some(to_char);
        }
        before = std::mem::replace(&mut above, current);
        last_from = Some(from_char);
    }
    above.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(from: &str, to: &str) -> usize {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        distance(&chars(from), &chars(to))
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edits("", ""), 0);
        assert_eq!(edits("abc", "abc"), 0);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("listne", "listen"), 1);
        assert_eq!(edits("ab", "ba"), 1);
    }

    #[test]
    fn suggests_the_nearest_word_only_when_it_is_near() {
        let keys = ["listen", "listeners", "backends", "routes"];
        assert_eq!(nearest("lisen", keys), Some("listen"));
        assert_eq!(nearest("Backends", keys), Some("backends"));
        assert_eq!(nearest("backend", keys), Some("backends"));
        assert_eq!(nearest("round-robin", ["round_robin"]), Some("round_robin"));
        assert_eq!(nearest("frobnicate", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }
}
