//! A config from any text: no panic, places that exist, no secret of the environment in a message; and what is accepted is
//! printed as a config that is accepted and means the same.

use std::path::Path;

use evenkeel::config::{Problem, from_text, print};

/// What every variable is worth, by the first letter of its name, so that one stands where a number, a duration, an
/// address or a name is expected. None of it is part of a word that messages have.
const VALUES: [(char, &str); 6] = [
    ('N', "90721"),
    ('D', "90721ms"),
    ('S', "90721KiB"),
    ('A', "127.90.7.21:90"),
    ('U', "http://q90721zj:81"),
    ('T', "Q90721zj-Q90721zj-Q90721zj"),
];
/// What all of them have in them; an address has it with dots.
const MARKS: [&str; 2] = ["90721", "90.7.21"];

/// Panics when something does not hold.
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
        is_discreet(problem, text);
    }
}

/// The printed config and the warnings, or everything that is wrong.
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

/// The end of a line, and of the text, counts as a place.
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

/// No message has a value that came from the environment. A text that has it itself proves nothing.
fn is_discreet(problem: &Problem, text: &str) {
    let shown = problem.to_string();
    for mark in MARKS {
        assert!(text.contains(mark) || !shown.contains(mark), "{shown}");
    }
}
