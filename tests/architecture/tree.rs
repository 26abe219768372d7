//! The source files that the rules check.

use std::fs;
use std::path::Path;

use crate::tokens::{self, Token};

/// One Rust file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Path from the package root, with `/`: `src/http1/parse.rs`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
    /// Whether only tests compile it.
    pub(crate) is_test: bool,
}

impl File {
    /// All tokens, including those of tests.
    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        tokens::tokens(&self.text)
    }

    /// The tokens compiled outside tests, and the number of their lines, including blank lines and comments.
    pub(crate) fn production(&self) -> (Vec<Token<'_>>, usize) {
        if self.is_test {
            return (Vec::new(), 0);
        }
        let (kept, test_lines) = tokens::without_tests(&self.tokens());
        (kept, self.lines() - test_lines)
    }

    /// Number of lines in the file.
    pub(crate) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// The module path of this file: `["http1", "parse"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.split_once("src/").map_or(&*self.path, |(_, path)| path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').collect()
    }

    /// Whether it is the root of its crate.
    pub(crate) fn is_root(&self) -> bool {
        self.path.ends_with("src/lib.rs")
    }

    /// Whether the file is `place.rs` or in the folder `place`.
    pub(crate) fn is_under(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

/// Reads the Rust files in the folder `root`, named relative to `package`, sorted by path.
pub(crate) fn read(package: &Path, root: &str) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(package.join(&folder)).expect("the folder is there") {
            let entry = entry.expect("the folder can be read");
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).expect("sources are UTF-8");
                files.push((path, text));
            }
        }
    }
    files.sort();
    tree(files)
}

/// Builds files from paths and texts, and marks those that only tests compile.
pub(crate) fn tree(sources: Vec<(String, String)>) -> Vec<File> {
    let mut files: Vec<File> = sources
        .into_iter()
        .map(|(path, text)| File {
            path,
            text,
            is_test: false,
        })
        .collect();
    let test_places: Vec<String> = files.iter().flat_map(test_places).collect();
    for file in &mut files {
        file.is_test = test_places.iter().any(|place| file.is_under(place));
    }
    files
}

fn test_places(file: &File) -> Vec<String> {
    let folder = match file.path.strip_suffix("/mod.rs") {
        Some(folder) => folder.to_owned(),
        None if file.is_root() => file.path.trim_end_matches("/lib.rs").to_owned(),
        None if file.path == "src/main.rs" => "src".to_owned(),
        None => file.path.trim_end_matches(".rs").to_owned(),
    };
    let all = file.tokens();
    let names = tokens::test_modules(&all);
    names.iter().map(|name| format!("{folder}/{name}")).collect()
}

/// Files for the tests of the rules.
#[cfg(test)]
pub(crate) fn made_up(sources: &[(&str, &str)]) -> Vec<File> {
    let owned = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
    tree(sources.iter().map(owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_files_that_only_tests_compile() {
        let files = made_up(&[
            ("src/a/mod.rs", "mod b;\n#[cfg(test)]\nmod tests;"),
            ("src/a/b.rs", "#[cfg(test)] mod cases;"),
            ("src/a/b/cases.rs", ""),
            ("src/a/tests.rs", ""),
            ("src/a/tests/more.rs", ""),
        ]);
        let tests: Vec<bool> = files.iter().map(|file| file.is_test).collect();
        assert_eq!(tests, [false, false, true, true, true]);
    }

    #[test]
    fn names_the_module_of_a_file() {
        let files = made_up(&[("src/a.rs", ""), ("src/b/mod.rs", ""), ("src/b/c/d.rs", "")]);
        let modules: Vec<Vec<&str>> = files.iter().map(File::module).collect();
        assert_eq!(modules, [vec!["a"], vec!["b"], vec!["b", "c", "d"]]);
    }

    #[test]
    fn does_not_take_a_sibling_for_a_file_in_the_folder() {
        let files = made_up(&[("src/net.rs", ""), ("src/net/dial.rs", ""), ("src/nettle.rs", "")]);
        let under: Vec<bool> = files.iter().map(|file| file.is_under("src/net")).collect();
        assert_eq!(under, [true, true, false]);
    }
}
