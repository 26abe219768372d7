//! Tests from the text to the config.

mod errors;
mod generated;
mod health;
mod meaning;
mod messages;
mod params;
mod routes;
mod sections;
mod sources;
mod sticky;
mod tls;

use std::path::Path;

use super::{Config, Loaded, Report, from_text};

/// Reads a text in the folder `/etc/evenkeel`, with the variables of the tests.
fn read(text: &str) -> Result<Loaded, Report> {
    let lookup = |name: &str| match name {
        "PORT" => Some("48123".to_owned()),
        "WRONG" => Some("hush".to_owned()),
        "TOKEN" => Some("correct-horse-battery".to_owned()),
        _ => None,
    };
    from_text(text, "c.yaml", Path::new("/etc/evenkeel"), &lookup)
}

/// The config of a text, which must be valid and without warnings.
fn good(text: &str) -> Config {
    let loaded = read(text).unwrap_or_else(|report| panic!("{text}\n{report}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.is_empty(), "{text}\n{warnings:?}");
    loaded.config
}

/// The report on a text, which must be invalid.
fn bad(text: &str) -> Report {
    match read(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(report) => report,
    }
}

/// A valid config with these lines added.
fn with(lines: &str) -> String {
    format!("listen: :8080\nbackends: [http://a:1]\n{lines}")
}
