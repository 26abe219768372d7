//! Reads the source tree as text and checks it against the structure that `ARCHITECTURE.md` describes. A change to a
//! table here needs the same change there, in the same commit.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a crate of tests: a failure is a panic"
)]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/layers.rs"]
mod layers;
#[path = "architecture/lexicon.rs"]
mod lexicon;

#[path = "architecture/parameters.rs"]
mod parameters;
#[path = "architecture/shape.rs"]
mod shape;
#[path = "architecture/tokens.rs"]
mod tokens;
#[path = "architecture/tree.rs"]
mod tree;
#[path = "architecture/words.rs"]
mod words;

use std::path::Path;

use tree::File;

/// Top to bottom. A module uses only rows below its own; modules of one row do not use each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli", "internals"],
    &["server"],
    &["explain"],
    &["config"],
    &["admin", "discovery", "listener"],
    &["proxy"],
    &["pool"],
    &["health"],
    &["message"],
    &["http2"],
    &["net"],
    &["tls"],
    &["telemetry"],
    &[
        "backend",
        "bounded_file",
        "clock",
        "file_version",
        "priority",
        "tasks",
    ],
    // Modules of the crates below, by the names under which `src/lib.rs` passes them on.
    &["admission", "strategy"],
    &["http1", "hpack", "router", "retry"],
    &["buffer", "coding", "head", "kept", "rng", "schema"],
];

/// The same of `crates/wire`. It knows nothing of `crates/balance`.
const WIRE: &[&[&str]] = &[
    &["http2"],
    &["hpack", "http1"],
    &["coding", "proxy_protocol"],
    &["buffer", "head", "instant", "clock", "rng"],
];

/// The same of `crates/balance`.
const BALANCE: &[&[&str]] = &[
    &["router"],
    &["action"],
    &["edits", "rewrite"],
    &["template"],
    &["policy"],
    &["admission", "strategy", "health", "local"],
    &["retry"],
    &["key"],
    &["notes", "request"],
    &["block", "query"],
    &["backend"],
    &["latency", "reload_guard"],
    &[
        "kept",
        "per_worker",
        "rng",
        "schema",
        "sticky",
        "suggest",
        "clock",
    ],
];

/// The crates, by the folder of their code.
const CRATES: &[(&str, &[&[&str]])] = &[
    ("src", LAYERS),
    ("crates/wire/src", WIRE),
    ("crates/balance/src", BALANCE),
];

/// Code without I/O: time and randomness are arguments.
const PURE: &[&str] = &["crates/wire/src", "crates/balance/src", "src/discovery/rules"];

/// What pure code must not name: runtimes, sockets, files, clocks, its own randomness.
const IMPURE: &[&str] = &[
    "tokio",
    "socket2",
    "rustix",
    "mio",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "crate::clock",
    "clock::now",
    "rand",
    "fastrand",
    "getrandom",
];

/// Words that only one place may use.
const OWNERS: &[(&str, &str)] = &[
    ("unsafe", "src/net"),
    ("serde_saphyr", "src/config"),
    ("axum", "src/admin"),
    ("schemars", "src/admin"),
    ("redis", "src/server"),
    ("clap", "src/cli"),
    ("clap_complete", "src/cli"),
    ("ratatui", "src/cli"),
    ("clap_mangen", "src/cli"),
];

/// Modules above `message` that do not know which protocol a connection speaks, and what they therefore do not name. Another
/// protocol is a variant in `message` and below.
const BLIND: &[(&str, &[&str])] = &[
    (
        "src/proxy",
        &["http1", "http2", "Http1", "Http11", "Http2", "H2c", "is_stream"],
    ),
    ("src/pool", &["http1", "http2", "Http11", "Http2", "is_stream"]),
];

/// Modules that run on workers, whose runtime has no timers: they wait with `clock`.
const ON_WORKERS: &[&str] = &[
    "src/listener",
    "src/proxy",
    "src/pool",
    "src/message",
    "src/http2",
    "src/net",
    "src/server/worker",
    "src/server/ticks",
];

/// What they therefore do not name.
const RUNTIME_TIMERS: &[&str] = &["tokio::time"];

/// Private names that the field's terms have replaced: `docs/lexicon.md`.
const OLD_NAMES: &[&str] = &[
    "Alarm",
    "Car",
    "Carrier",
    "Chair",
    "Chance",
    "Changing",
    "Crew",
    "Desk",
    "Desks",
    "Entrance",
    "Errand",
    "Expelled",
    "FAREWELL",
    "Finding",
    "Goodbye",
    "Guest",
    "Habit",
    "Hands",
    "Inbox",
    "Mate",
    "Membership",
    "Seat",
    "Shortcut",
    "Shown",
    "Successor",
    "Terms",
    "Trouble",
    "Underway",
    "Verdict",
    "WaitingList",
    "Waits",
    "Wish",
];

/// Phrases that the field does not use, in lower case.
const OLD_PHRASES: &[&str] = &[
    "came about",
    "come about",
    "doubtful place",
    "is well",
    "socket file",
    "stay in force",
    "stays in force",
    "takes a restart",
];

const FILE_LINES: usize = 600;
const FILE_LINES_90: usize = 400;
const FUNCTION_LINES: usize = 70;

/// Values that a function may take, the elements of tuples counted and the receiver not.
const PARAMETERS: usize = 5;

#[test]
fn modules_use_only_rows_below_their_own() {
    for (root, layers) in CRATES {
        none(&layers::unplaced(&sources_of(root), layers));
        none(&layers::breaks(&sources_of(root), layers));
    }
}

#[test]
fn files_of_a_module_use_each_other_one_way() {
    for (root, _) in CRATES {
        none(&circles::circles(&sources_of(root)));
    }
}

#[test]
fn the_architecture_page_shows_the_same_rows() {
    let page = std::fs::read_to_string(package().join("ARCHITECTURE.md")).expect("the page is there");
    let mut rest = page.as_str();
    for row in LAYERS {
        let row = format!("| {} |", row.join(" · "));
        let at = rest
            .find(&row)
            .unwrap_or_else(|| panic!("not there, or not in order: {row}"));
        rest = &rest[at..];
    }
}

#[test]
fn files_and_functions_are_short() {
    none(&shape::long_files(&sources(), FILE_LINES));
    let lines = shape::percentile_90(&sources());
    assert!(lines <= FILE_LINES_90, "90th percentile of lines a file: {lines}");
    none(&shape::long_functions(&sources(), FUNCTION_LINES));
    none(&shape::long_functions(&test_sources(), FUNCTION_LINES));
}

#[test]
fn functions_take_few_parameters() {
    none(&parameters::many(&sources(), PARAMETERS));
}

/// A module with files of its own is `x/mod.rs`, not `x.rs` beside `x/`.
#[test]
fn modules_have_one_shape() {
    none(&shape::beside_their_folder(&sources()));
}

#[test]
fn files_begin_with_a_doc_comment() {
    none(&shape::untitled(&sources()));
    none(&shape::untitled(&test_sources()));
}

#[test]
fn code_rarely_unwraps() {
    let (found, lines) = shape::unwraps(&sources());
    let allowed = lines.div_ceil(1000);
    assert!(
        found.len() <= allowed,
        "{} of {allowed}:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn pure_code_names_no_io_no_clock_and_no_randomness() {
    none(&words::missing(&sources(), PURE));
    none(&words::impure(&sources(), PURE, IMPURE));
}

#[test]
fn words_stay_with_their_owner() {
    none(&words::outside_owner(&sources(), OWNERS));
}

#[test]
fn only_message_and_what_is_below_it_know_the_protocol() {
    let places: Vec<&str> = BLIND.iter().map(|(place, _)| *place).collect();
    none(&words::missing(&sources(), &places));
    none(&words::in_blind_code(&sources(), BLIND));
}

#[test]
fn workers_do_without_the_timers_of_the_runtime() {
    none(&words::missing(&sources(), ON_WORKERS));
    let places: Vec<(&str, &[&str])> = ON_WORKERS.iter().map(|place| (*place, RUNTIME_TIMERS)).collect();
    none(&words::in_blind_code(&sources(), &places));
}

#[test]
fn code_and_pages_use_the_vocabulary() {
    none(&lexicon::names_in_code(&sources(), OLD_NAMES));
    let code = sources().into_iter().map(|file| (file.path, file.text));
    for (path, text) in code.chain(lexicon::pages(package())) {
        none(&lexicon::phrases_in_text(&path, &text, OLD_PHRASES));
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code of all crates.
fn sources() -> Vec<File> {
    CRATES.iter().flat_map(|(root, _)| sources_of(root)).collect()
}

fn sources_of(root: &str) -> Vec<File> {
    let files = tree::read(package(), root);
    assert!(files.len() > 10, "only {} files found in {root}", files.len());
    files
}

fn test_sources() -> Vec<File> {
    tree::read(package(), "tests")
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
