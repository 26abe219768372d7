//! The rule of the vocabulary: private names and phrases that `docs/lexicon.md` replaced do not come back.

use std::path::Path;

use crate::tree::File;

/// Every place in code outside tests where one of the `names` stands as a whole token.
pub(crate) fn names_in_code(files: &[File], names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for token in file.production().0 {
            if names.contains(&token.text) {
                found.push(format!("{}:{}: {}", file.path, token.line, token.text));
            }
        }
    }
    found
}

/// Every line of `text` that has one of the `phrases`, whatever its case.
pub(crate) fn phrases_in_text(path: &str, text: &str, phrases: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for phrase in phrases.iter().filter(|phrase| lower.contains(**phrase)) {
            found.push(format!("{path}:{}: {phrase}", index + 1));
        }
    }
    found
}

/// The pages for users and contributors, with their texts: `README.md` and its siblings, and `docs/`.
pub(crate) fn pages(package: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        for entry in std::fs::read_dir(package.join(folder)).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            let is_page = path.extension().is_some_and(|extension| extension == "md");
            // The changelog tells what the old words were, the vocabulary which not to use.
            let is_excepted = ["CHANGELOG.md", "lexicon.md"]
                .iter()
                .any(|name| path.ends_with(name));
            if is_page && !is_excepted {
                let name = path.strip_prefix(package).unwrap_or(&path).display().to_string();
                found.push((name, std::fs::read_to_string(&path).expect("pages are UTF-8")));
            }
        }
    }
    assert!(found.len() > 10, "only {} pages found", found.len());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn finds_whole_names_only() {
        let files = made_up(&[(
            "src/a.rs",
            "struct Desk;\nstruct Desktop;\n// Desk\nconst A: &str = \"Desk\";",
        )]);
        assert_eq!(names_in_code(&files, &["Desk"]), ["src/a.rs:1: Desk"]);
    }

    #[test]
    fn finds_phrases_whatever_their_case() {
        let found = phrases_in_text("a.md", "Fine.\nA Socket File is made.", &["socket file"]);
        assert_eq!(found, ["a.md:2: socket file"]);
    }
}
