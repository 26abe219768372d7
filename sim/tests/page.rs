//! The page of strategies: its generated part has every strategy and every situation, and results are repeatable.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a crate of tests: a failure is a panic"
)]

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_balance::strategy::{STRATEGIES, by_name};
use evenkeel_sim::experiments::{self, BEGIN, END, IMAGES, PAGE, SEED, SITUATIONS};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines that the generated part must have, whatever was measured.
fn expected() -> Vec<String> {
    let folder = IMAGES.strip_prefix("docs/").expect("the images are in the docs");
    let mut lines = vec![
        "### Overview".to_owned(),
        format!("![p99 latency and errors of every strategy in every situation]({folder}/overview.svg)"),
    ];
    for situation in SITUATIONS {
        let (title, name) = (situation.title, situation.name);
        lines.push(format!("### {title}"));
        lines.push(format!(
            "![{title}: latency and errors of every strategy]({folder}/{name}.svg)"
        ));
        lines.extend(STRATEGIES.iter().map(|entry| format!("| `{}`", entry.name)));
    }
    lines
}

/// Results are not compared: they may change in small ways with every change of a strategy.
#[test]
fn the_reference_of_strategies_has_every_strategy_and_situation() {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        experiments::write(&root(), SEED, 2).expect("the results can be written");
    }
    let page = fs::read_to_string(root().join(PAGE)).expect("the page is there");
    let part = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let (part, _) = part.expect("the page has its markers");
    assert_eq!(
        experiments::structure(part),
        expected(),
        "run `UPDATE_DOCS=1 cargo test reference`"
    );
}

#[test]
fn there_is_a_plot_for_every_situation_and_no_other() {
    let files = fs::read_dir(root().join(IMAGES)).expect("the folder is there");
    let name = |file: std::io::Result<fs::DirEntry>| file.expect("the folder can be read").file_name();
    let mut found: Vec<_> = files
        .map(|file| name(file).into_string().expect("UTF-8"))
        .collect();
    found.sort();
    let mut wanted: Vec<_> = SITUATIONS
        .iter()
        .map(|situation| format!("{}.svg", situation.name))
        .collect();
    wanted.push("overview.svg".to_owned());
    wanted.sort();
    assert_eq!(found, wanted);
    for name in found {
        let svg = fs::read_to_string(root().join(IMAGES).join(&name)).expect("the plot can be read");
        for entry in STRATEGIES {
            assert!(svg.contains(entry.name), "{name} lacks {}", entry.name);
        }
    }
}

#[test]
fn the_page_describes_every_strategy_and_its_parameters() {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page is there");
    for entry in STRATEGIES {
        let heading = format!("\n### `{}`\n", entry.name);
        let (_, section) = page
            .split_once(&heading)
            .unwrap_or_else(|| panic!("no section: {heading}"));
        let section = section.split("\n### ").next().unwrap_or_default();
        for key in entry.keys {
            assert!(
                section.contains(&format!("`{}`", key.name)),
                "{}: {}",
                entry.name,
                key.name
            );
        }
    }
}

#[test]
fn results_follow_from_the_seed_alone() {
    let situation = &SITUATIONS[0];
    for name in ["random", "least_requests"] {
        let entry = by_name(name).expect("the strategy is there");
        let measured = experiments::measure(situation, entry, 3);
        assert_eq!(experiments::measure(situation, entry, 3), measured);
        assert_ne!(experiments::measure(situation, entry, 4), measured);
    }
    let requests = |name| experiments::measure(situation, by_name(name).expect("it is there"), 5).requests;
    assert_eq!(
        requests("random"),
        requests("least_requests"),
        "all get the same requests"
    );
}
