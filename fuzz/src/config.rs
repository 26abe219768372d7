//! Parses a config from any text: no panic, error positions that exist, no secret of the environment in a message. A
//! valid config is printed as a valid config that means the same.

use std::path::Path;

use evenkeel::internals::config::{Problem, from_text, print};

/// The value of each environment variable, by the first letter of its name, so that some of them fit where a number, a
/// duration, an address or a name is expected. None is part of a word that messages contain.
const VALUES: [(char, &str); 6] = [
    ('N', "90721"),
    ('D', "90721ms"),
    ('S', "90721KiB"),
    ('A', "127.90.7.21:90"),
    ('U', "http://q90721zj:81"),
    ('T', "Q90721zj-Q90721zj-Q90721zj"),
];
/// Marks contained in all values; an address has the one with dots.
const MARKS: [&str; 2] = ["90721", "90.7.21"];

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let problems = match read(text) {
        Ok((printed, warnings)) => {
            let again = read(&printed).unwrap_or_else(|problems| panic!("{printed}\n{problems:?}"));
            assert_eq!(again.0, printed);
            assert!(
                again.1.len() <= warnings.len(),
                "{:?}\nbut first {warnings:?}",
                again.1
            );
            warnings
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    for problem in &problems {
        is_in_the_text(problem, text);
        reveals_no_value(problem, text);
    }
}

/// The printed config and the warnings, or all errors.
fn read(text: &str) -> Result<(String, Vec<Problem>), Vec<Problem>> {
    let lookup = |name: &str| {
        let value = VALUES.iter().find(|(first, _)| name.starts_with(*first));
        value.map(|(_, value)| (*value).to_owned())
    };
    match from_text(text, "c.yaml", Path::new("/folder"), &lookup) {
        Ok(loaded) => Ok((print(&loaded.config), loaded.warnings)),
        Err(report) => {
            assert!(report.errors() > 0);
            assert!(!report.to_string().is_empty());
            Err(report.problems)
        }
    }
}

/// The end of a line, and of the text, is a valid position.
fn is_in_the_text(problem: &Problem, text: &str) {
    let Some((line, column)) = problem.position else {
        return;
    };
    let found = line.checked_sub(1).and_then(|index| text.split('\n').nth(index));
    let found = found.unwrap_or_else(|| panic!("no such line: {problem}"));
    assert!(
        (1..=found.chars().count() + 1).contains(&column),
        "no such column: {problem}"
    );
}

/// No message contains a value from the environment. A text that contains such a value itself proves nothing.
fn reveals_no_value(problem: &Problem, text: &str) {
    let shown = problem.to_string();
    for mark in MARKS {
        assert!(text.contains(mark) || !shown.contains(mark), "{shown}");
    }
}
