//! Checks the examples of the pages about routes and policies: every config is valid once it has what the pages leave out, and the
//! output of `evenkeel explain` is what it prints.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{blocks, read};

/// With the least number of their examples.
const PAGES: [(&str, usize); 4] = [
    ("docs/routes.md", 11),
    ("docs/policies.md", 11),
    ("docs/backends.md", 7),
    ("docs/tracing.md", 2),
];
/// The files that examples name.
const FILES: [(&str, &str); 5] = [
    (
        "staff.htpasswd",
        "alice:$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K\n",
    ),
    ("gone.html", "<h1>Gone</h1>"),
    ("pages/404.html", "<h1>Not found</h1>"),
    ("pages/sorry.html", "<h1>Sorry</h1>"),
    ("pages/maintenance.html", "<h1>Back soon</h1>"),
];

/// A folder with the files that examples name. It is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("pages")).expect("a temporary folder can be made");
        for (file, text) in FILES {
            fs::write(folder.join(file), text).expect("the file can be written");
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn the_examples_of_pages_are_valid() {
    let folder = Folder::new("examples");
    let mut problems = Vec::new();
    for (name, least) in PAGES {
        let page = read(name);
        let examples = blocks(&page, "yaml");
        assert!(
            examples.len() >= least,
            "only {} examples in {name}",
            examples.len()
        );
        for example in examples {
            let text = completed(example);
            match evenkeel::internals::config::from_text(&text, name, &folder.0, &|_| None) {
                Ok(loaded) if loaded.warnings.is_empty() => {}
                Ok(loaded) => problems.push(format!("{text}\n{:?}", loaded.warnings)),
                Err(report) => problems.push(format!("{text}\n{report}")),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn the_output_of_explain_is_real() {
    let page = read(PAGES[0].0);
    let (_, section) = page
        .split_once("## What would become of a request\n")
        .expect("the section is there");
    let folder = Folder::new("explain");
    let file = folder.0.join("evenkeel.yaml");
    fs::write(&file, blocks(section, "yaml")[0]).expect("the config can be written");
    let (_, rest) = section
        .split_once("`evenkeel explain GET ")
        .expect("the page names the command");
    let url = rest.split(' ').next().expect("a URL");
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["explain", "GET", url, "-c"])
        .arg(&file)
        .output()
        .expect("the program starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        blocks(section, "text")[0],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_policy_has_a_section_with_its_codes() {
    let page = read(PAGES[1].0);
    for policy in evenkeel_balance::policy::POLICIES {
        let heading = format!("### {}\n", policy.name);
        let (_, section) = page
            .split_once(&heading)
            .unwrap_or_else(|| panic!("no section for {}", policy.name));
        let section = section.split("\n## ").next().unwrap_or(section);
        let section = section.split("\n### ").next().unwrap_or(section);
        for (code, _) in policy.codes {
            let is_there = section.contains(&format!("`{code}`"));
            assert!(is_there, "{}: {code} is not in its section", policy.name);
        }
    }
}

/// An example with what the pages leave out: `listen`, the pool `app`, and a route that has its policies.
fn completed(example: &str) -> String {
    let has = |key: &str| example.lines().any(|line| line.starts_with(&format!("{key}:")));
    let mut text = example.to_owned();
    if !has("listen") {
        text.push_str("listen: :8080\n");
    }
    if !has("pools") && (example.contains("pool: app") || !has("routes") && !has("backends")) {
        text.push_str("pools: { app: { backends: [http://localhost:8001] } }\n");
    }
    // `backends` at top level get all requests.
    let is_whole = has("backends") && !has("policies");
    if !has("routes") && !is_whole {
        let policies = example.split("policies:\n").nth(1).unwrap_or_default().lines();
        let names: Vec<&str> = policies
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.trim().split(':').next())
            .collect();
        text += &format!("routes: [{{ pool: app, policies: [{}] }}]\n", names.join(", "));
    }
    text
}
