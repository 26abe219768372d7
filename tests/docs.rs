//! Checks the documentation: every link between Markdown files, or to another file or a heading, resolves, and every
//! config shown is valid.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a crate of tests: a failure is a panic"
)]

#[path = "docs/examples.rs"]
mod examples;
#[path = "docs/grafana.rs"]
mod grafana;
#[path = "docs/packaging.rs"]
mod packaging;
#[path = "it/support/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel::internals::proxy::Failure;
use evenkeel::internals::telemetry::metrics::METRICS;
use evenkeel_balance::policy::POLICIES;
use evenkeel_wire::http1::Malformed;
use skip::skip;

/// Folders that hold no documentation of this project.
const SKIPPED: [&str; 4] = [".git", "target", "node_modules", "vendor"];

#[test]
fn links_between_documents_resolve() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages(root);
    assert!(pages.len() > 3, "only {} pages found", pages.len());
    let broken: Vec<String> = pages.iter().flat_map(|page| broken_links(page)).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn finds_links_to_missing_files_and_headings() {
    let folder = std::env::temp_dir().join(format!("evenkeel-docs-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the pages");
    let page = folder.join("page.md");
    let text = "# The `one` Heading, twice\n[a](other.md) [b](#the-one-heading-twice) [c](#nothing) `[d](e.md)`\n\
                [f](https://example.com/g.md) ![h](page.md#the-one-heading-twice)\n```\n[i](j.md)\n# No heading\n```\n\
                [k](#no-heading)\n[l]: m.md\n";
    fs::write(&page, text).expect("the page can be written");
    let broken = broken_links(&page);
    fs::remove_dir_all(&folder).expect("the folder can be removed");
    let targets: Vec<&str> = broken.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(
        targets,
        ["other.md", "#nothing", "#no-heading", "m.md"],
        "{broken:?}"
    );
}

#[test]
fn the_configs_of_the_repository_are_valid() {
    for path in [
        "config/config.yaml",
        "config/docker.yaml",
        "packaging/deb/config.yaml",
    ] {
        assert_is_valid(path, &read(path));
    }
}

#[test]
fn commented_out_config_lines_are_valid() {
    let with_comments_enabled = with_comments_enabled(&read("config/config.yaml"));
    assert!(
        with_comments_enabled.contains("\n  - { url: http://localhost:8004, weight: 3 }\n"),
        "{with_comments_enabled}"
    );
    assert!(
        with_comments_enabled.contains("\npools:\n  api:\n"),
        "{with_comments_enabled}"
    );
    assert_is_valid("the comments of config/config.yaml", &with_comments_enabled);
}

#[test]
fn the_config_in_the_readme_matches_the_file() {
    let page = read("README.md");
    let shown = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let file = read("config/config.yaml");
    let is_said = |line: &&str| !line.is_empty() && !line.trim_start().starts_with('#');
    let said: Vec<&str> = file.lines().filter(is_said).collect();
    assert_eq!(
        shown
            .expect("the page shows a config")
            .lines()
            .collect::<Vec<_>>(),
        said
    );
}

/// The code blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let blocks = page.split(begin.as_str()).skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_readme_counts_the_lines_of_its_config() {
    const NUMBERS: [&str; 8] = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven"];
    let page = read("README.md");
    let (before, _) = page
        .split_once(" lines are a complete config")
        .expect("the page says how many");
    let said = before.rsplit('\n').next();
    let lines = blocks(&page, "yaml")[0].lines().count();
    assert_eq!(said, NUMBERS.get(lines).copied());
}

#[test]
fn the_commands_of_the_readme_start_the_backends_of_its_config() {
    let page = read("README.md");
    let commands = blocks(&page, "sh")
        .into_iter()
        .find(|block| block.contains("http.server"))
        .expect("the page starts backends");
    let servers: Vec<Vec<&str>> = commands
        .lines()
        .filter_map(|line| Some(line.strip_prefix("python3 -m http.server ")?.split(' ').collect()))
        .collect();
    let ports: Vec<&str> = servers.iter().map(|words| words[0]).collect();
    let backends: Vec<&str> = blocks(&page, "yaml")[0]
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- http://localhost:"))
        .collect();
    assert_eq!(ports, backends);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for words in &servers {
        let ["--directory", folder, "&"] = words[1..] else {
            panic!("{words:?}")
        };
        assert!(root.join(folder).join("name.txt").exists(), "{folder}");
    }
    let run = commands.lines().last().expect("a command");
    let config = run.strip_prefix("target/release/evenkeel run -c ");
    assert!(root.join(config.expect("the path of what was built")).exists());
    assert!(commands.starts_with("cargo build --release\n"));
}

#[test]
fn the_config_for_a_container_is_valid() {
    let page = read("docs/operations.md");
    let (_, section) = page
        .split_once("### In a container")
        .expect("the section is there");
    let text = blocks(section, "yaml")[0];
    let token = |name: &str| (name == "EVENKEEL_TOKEN").then(|| "correct-horse-battery".to_owned());
    let loaded = evenkeel::internals::config::from_text(text, "operations.md", Path::new("/"), &token);
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.is_empty());
    assert!(loaded.config.admin.is_some_and(|admin| admin.token.is_some()));
}

#[test]
fn the_reference_of_errors_is_generated_from_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, errors()).expect("docs/ can be written");
    }
    assert_eq!(
        read("docs/errors.md"),
        errors(),
        "run `UPDATE_DOCS=1 cargo test reference`"
    );
}

#[test]
fn every_error_code_of_a_policy_is_in_its_row() {
    let mut found = 0;
    for policy in POLICIES {
        let text = source_of(policy.name);
        let (production, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        let table = production
            .split_once("const CODES: ")
            .map_or("", |(_, rest)| rest);
        let table = table.split_once("];").map_or("", |(table, _)| table);
        let code = production.replace(table, "").replace("\\\"", "'");
        let used: Vec<&str> = error_codes(&code);
        for word in &used {
            let is_in_row = policy.codes.iter().any(|(code, _)| code == word);
            assert!(is_in_row, "{}: {word} is not in its row", policy.name);
        }
        for (word, _) in policy.codes {
            assert!(used.contains(word), "{}: {word} is not used", policy.name);
        }
        found += used.len();
    }
    assert!(found > 10, "only {found} codes found");
}

/// The words that a policy refuses requests with: what follows a status, and what an arm of a `match` on one leads to.
fn error_codes(code: &str) -> Vec<&str> {
    let pieces: Vec<&str> = code.split('"').collect();
    let quoted = pieces.chunks(2).filter_map(|pair| Some((pair[0], *pair.get(1)?)));
    let is_code = |before: &str| {
        let after_status = before.trim_end().strip_suffix(',').is_some_and(|rest| {
            rest.ends_with("status") || rest.ends_with(|last: char| last.is_ascii_digit())
        });
        let arm = before
            .strip_suffix(" => ")
            .map(|rest| rest.rsplit('\n').next().unwrap_or(rest).trim());
        after_status || arm.is_some_and(|arm| arm == "_" || arm.starts_with(|c: char| c.is_ascii_digit()))
    };
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    quoted
        .filter(|(before, word)| is_code(before) && is_word(word) && !word.is_empty())
        .map(|(_, word)| word)
        .collect()
}

/// The source of a policy.
fn source_of(policy: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/balance/src/policy");
    let file = fs::read_to_string(folder.join(format!("{policy}.rs")));
    let file = file.or_else(|_| fs::read_to_string(folder.join(policy).join("mod.rs")));
    file.expect("the policy has a file of its name")
}

#[test]
fn the_metrics_that_pages_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    // The changelog names metrics of earlier versions.
    for page in pages(root).iter().filter(|page| !page.ends_with("CHANGELOG.md")) {
        let text = fs::read_to_string(page).expect("the page can be read");
        for (at, _) in text.match_indices("`evenkeel_") {
            let rest = &text[at + 1..];
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
            let is_known = METRICS.iter().any(|metric| metric.name == name);
            assert!(is_known, "{}: {name} is not a metric", page.display());
            named += 1;
        }
    }
    assert!(named > METRICS.len(), "only {named} names found");
}

#[test]
fn the_metrics_in_queries_and_alert_rules_exist() {
    for path in [
        "docs/monitoring.md",
        "packaging/prometheus/alerts.yml",
        "packaging/prometheus/alerts_test.yml",
    ] {
        let text = read(path);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<&str> = words
            .filter(|word| word.starts_with("evenkeel_") || word.starts_with("process_"))
            .collect();
        assert!(names.len() > 5, "{path}: only {names:?}");
        for name in names {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let is_known = METRICS.iter().any(|metric| metric.name == name);
            assert!(is_known, "{path}: {name} is not a metric");
        }
    }
}

/// `promtool` is part of Debian's package `prometheus`.
#[test]
fn alert_rules_pass_their_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let mut promtool = std::process::Command::new("promtool");
        let Ok(output) = promtool.args(arguments).current_dir(&folder).output() else {
            return skip("promtool is not installed");
        };
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
}

/// Every code of the access log's `error`, as Markdown.
fn errors() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         The codes that `error` in the access log can have. They do not change between versions. `detail` in the same line contains the\n\
         rule, limit or timeout, and the place.\n\
         This page is generated from the code: `UPDATE_DOCS=1 cargo test reference`.\n\n\
         | code | meaning |\n| --- | --- |\n",
    );
    for failure in Failure::ALL {
        if let Some(meaning) = failure.help() {
            page += &format!("| `{}` | {meaning} |\n", failure.code());
        }
    }
    page += "\nThe codes of policies, which `policy` in the same line names:\n\n| code | policy | meaning |\n| --- | --- | --- |\n";
    for policy in POLICIES {
        for (code, meaning) in policy.codes {
            page += &format!("| `{code}` | `{}` | {meaning} |\n", policy.name);
        }
    }
    page += "\nTwo responses have a code in their body although nothing failed, so that the log has no `error`: `https_redirect`, when\n\
             `redirect_to_https` applies (status 308), and `max_forwards`, when a TRACE request with `Max-Forwards: 0`\n\
             arrives (status 405).\n";
    page += "\nA request that is malformed or exceeds a limit of its headers or framing is rejected and never sent to a backend. The connection\n\
             is closed, because the start of its next request is unknown.\n\n\
             | code | status | meaning |\n| --- | --- | --- |\n";
    for reason in Malformed::ALL {
        page += &format!("| `{}` | {} | {reason} |\n", reason.code(), reason.status());
    }
    page += "\n## Rules\n\n\
             The rules for messages, by code. `detail` begins with the rule that was violated; with the errors `malformed_response` and\n\
             `response_truncated`, the rule's code precedes it. The sentences do not change between versions.\n\n\
             | code | rule |\n| --- | --- |\n";
    for reason in Malformed::ALL {
        for rule in reason.rules() {
            page += &format!("| `{}` | {} |\n", reason.code(), rule.replace('|', "\\|"));
        }
    }
    page
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is there")
}

#[track_caller]
fn assert_is_valid(name: &str, text: &str) {
    match evenkeel::internals::config::from_text(text, name, Path::new("/"), &|_| None) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings),
        Err(report) => panic!("{report}"),
    }
}

/// A config with its commented-out lines enabled: those that begin with a key or an item after `# `.
fn with_comments_enabled(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let comment = line
            .split_once("# ")
            .filter(|(indent, _)| indent.trim().is_empty());
        let (indent, comment) = comment.unwrap_or_default();
        let first = comment.split_whitespace().next().unwrap_or_default();
        let is_key = first.ends_with(':') && first == first.to_lowercase();
        if is_key || first == "-" {
            lines += &format!("{indent}{comment}\n");
        } else if !line.trim_start().starts_with('#') {
            lines += &format!("{line}\n");
        }
    }
    lines
}

fn pages(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !SKIPPED.contains(&&*name) {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn broken_links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("pages are UTF-8");
    let prose = prose(&text);
    let mut broken = Vec::new();
    for (number, line) in prose.iter().enumerate() {
        for target in targets(line) {
            if !resolves(page, &target) {
                broken.push(format!(
                    "{}:{}: no such place: {target}",
                    page.display(),
                    number + 1
                ));
            }
        }
    }
    broken
}

/// The lines without code.
fn prose(text: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        if is_fenced || is_fence {
            lines.push(String::new());
        } else {
            lines.push(line.split('`').step_by(2).collect());
        }
    }
    lines
}

fn targets(line: &str) -> Vec<String> {
    let mut found: Vec<String> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .map(str::to_owned)
        .collect();
    let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    found.extend(definition.map(|(_, target)| target.trim().to_owned()));
    found
}

fn resolves(page: &Path, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = page.parent().unwrap_or(page);
    let place = if path.is_empty() {
        page.to_owned()
    } else {
        folder.join(path)
    };
    if heading.is_empty() || place.extension().is_none_or(|kind| kind != "md") {
        return place.exists();
    }
    fs::read_to_string(&place).is_ok_and(|text| headings(&text).iter().any(|one| one == heading))
}

/// The anchors of a page's headings, as code hosts generate them.
fn headings(text: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        is_fenced ^= line.starts_with("```");
        if line.starts_with('#') && !is_fenced {
            found.push(anchor(line.trim_start_matches('#').trim()));
        }
    }
    found
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
