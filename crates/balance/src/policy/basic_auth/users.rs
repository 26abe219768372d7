//! The users of a policy with their hashes: from a file as `htpasswd` writes it, or from the config.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::hash::Hash;
use crate::policy::FeedError;
use crate::policy::identity::is_header_value;

/// Users by name.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_name: HashMap<Box<str>, Arc<Hash>>,
    /// The hashes again, for names that nobody has.
    hashes: Vec<Arc<Hash>>,
    unknown: RandomState,
}

impl Users {
    /// Reads lines of the form `name:hash`. Empty lines and lines that begin with `#` are skipped, and what stands after a second
    /// colon too.
    ///
    /// # Errors
    /// The first line that is not valid. The message has its number and the name, never the hash.
    pub(super) fn parse(file: &[u8]) -> Result<Self, FeedError> {
        let text = std::str::from_utf8(file).map_err(|error| {
            let before = file.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + memchr::memchr_iter(b'\n', before).count();
            FeedError(format!("line {line}: not UTF-8"))
        })?;
        let mut users = Self::default();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            // `lines` removes CRLF; a file may also have been indented, or have white space at the end of a line.
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, rest)) = line.split_once(':') else {
                return Err(FeedError(format!("line {number}: not of the form name:hash")));
            };
            let hash = rest.split(':').next().unwrap_or_default();
            users
                .add(name, hash)
                .map_err(|why| FeedError(format!("line {number}: {why}")))?;
        }
        Ok(users)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// Why it is not valid. The message has the name, never the hash.
    pub(super) fn add(&mut self, name: &str, hash: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("a user without a name".to_owned());
        }
        if name.contains(':') || !is_header_value(name.as_bytes()) {
            return Err(
                "a name cannot contain `:` or control characters, or begin or end with a space".to_owned(),
            );
        }
        let hash = Hash::parse(hash).map_err(|error| format!("user `{name}`: {error}"))?;
        let hash = Arc::new(hash);
        if self.by_name.insert(name.into(), Arc::clone(&hash)).is_some() {
            return Err(format!("user `{name}` is defined twice"));
        }
        self.hashes.push(hash);
        Ok(())
    }

    /// The hash of a user. For a name that nobody has, it is the hash of some user, always the same one for the same name, so that the
    /// time of a check does not tell whether there is such a user. `None` when there are no users at all.
    pub(super) fn find(&self, name: &str) -> Option<(&Arc<Hash>, Known)> {
        if let Some(hash) = self.by_name.get(name) {
            return Some((hash, Known::Yes));
        }
        let bits = self.unknown.hash_one(name);
        let index = crate::rng::below(bits, self.hashes.len() as u64);
        let hash = self.hashes.get(usize::try_from(index).ok()?)?;
        Some((hash, Known::No))
    }
}

/// Whether there is a user of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K";
    const OTHER: &str = "$5$saltstring$Z6HuDY3FPwX80D7BS3OhI1LJ6wz4HAjcfb0q1TOaNqD";

    fn error(file: &str) -> String {
        Users::parse(file.as_bytes()).unwrap_err().0
    }

    #[test]
    fn reads_comments_crlf_and_further_fields() {
        let file = format!(
            "\u{feff}# staff\r\n\r\nalice:{HASH}\r\n  \t\n  bob:{OTHER}:Bob B.:x\n#carol:{HASH}\njürgen:{HASH}"
        );
        let users = Users::parse(file.as_bytes()).unwrap();
        let hash = |name| {
            users
                .find(name)
                .map(|(hash, known)| (hash.text().to_owned(), known))
        };
        assert_eq!(hash("alice"), Some((HASH.to_owned(), Known::Yes)));
        assert_eq!(hash("bob"), Some((OTHER.to_owned(), Known::Yes)));
        assert_eq!(hash("jürgen"), Some((HASH.to_owned(), Known::Yes)));
        for unknown in ["carol", "#carol", "Alice", "", "alice ", "\u{feff}# staff"] {
            assert_eq!(hash(unknown).unwrap().1, Known::No, "{unknown}");
        }
    }

    #[test]
    fn errors_name_the_line_and_the_user_and_never_the_hash() {
        let message = error(&format!("alice:{HASH}\n\nbob:$apr1$secret$hash\n"));
        assert!(
            message.starts_with("line 3: user `bob`: unsupported hash"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
        let message = error(&format!("alice:{HASH}\nalice:{OTHER}\n"));
        assert_eq!(message, "line 2: user `alice` is defined twice");
        assert_eq!(error("# x\nsecret"), "line 2: not of the form name:hash");
        assert_eq!(error(&format!(":{HASH}")), "line 1: a user without a name");
        assert!(error(&format!("a\u{7}b:{HASH}")).starts_with("line 1: a name cannot contain"));
        let message = Users::parse(b"alice:x\n\xff:y").unwrap_err().0;
        assert_eq!(message, "line 2: not UTF-8");
        assert!(error("alice:").starts_with("line 1: user `alice`: unsupported hash"));
    }

    #[test]
    fn unknown_names_are_spread_over_the_kinds_of_hashes_and_stay_with_one() {
        let users = Users::parse(format!("alice:{HASH}\nbob:{OTHER}").as_bytes()).unwrap();
        let text = |name: &str| users.find(name).unwrap().0.text();
        let mut found = [0_u32; 2];
        for index in 0..200 {
            let name = format!("user{index}");
            assert_eq!(text(&name), text(&name));
            found[usize::from(text(&name) == HASH)] += 1;
        }
        assert!(found[0] > 50 && found[1] > 50, "{found:?}");
    }

    #[test]
    fn a_file_may_have_no_users() {
        assert!(Users::parse(b"# nobody\n").unwrap().find("alice").is_none());
    }
}
