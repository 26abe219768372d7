//! The command line, run as a process: standard input, the working directory, and the order of the output.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs the program in an empty folder with this text on standard input, until it exits.
fn run(words: &[&str], input: &str) -> Output {
    let folder = std::env::temp_dir().join(format!("evenkeel-command-line-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that does not read its input may have exited.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_dash_is_standard_input() {
    let good = "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1]\n";
    for words in [&["check", "-"][..], &["check", "-c", "-"]] {
        let output = run(words, good);
        assert_eq!(
            text(&output.stdout),
            "stdin is valid: 1 listener, 1 route, 1 pool, 1 backend\n"
        );
    }
    let printed = run(&["print-config", "-"], good);
    assert!(text(&printed.stdout).contains("http://127.0.0.1:1"));
    for words in [&["check", "-"][..], &["print-config", "-"], &["run", "-c", "-"]] {
        let output = run(words, "lisen: :1\n");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let shown = text(&output.stderr);
        assert!(shown.contains("stdin:1:1: error: unknown key `lisen`"), "{shown}");
    }
}

#[test]
fn run_says_once_why_a_log_file_cannot_be_opened() {
    let config =
        "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1]\naccess_log: { path: /dev/null/a.log }\n";
    let output = run(&["run", "-c", "-"], config);
    let shown = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert_eq!(shown.matches("Not a directory").count(), 1, "{shown}");
    assert!(
        shown.contains("stdin:3:21: warning: cannot open the log file /dev/null/a.log: "),
        "{shown}"
    );
    assert!(
        shown.ends_with("evenkeel: cannot start without the log file /dev/null/a.log\n"),
        "{shown}"
    );
}

#[test]
fn only_run_explains_how_to_run_without_a_file() {
    if std::path::Path::new("/etc/evenkeel/config.yaml").exists() {
        return;
    }
    for (command, is_told) in [
        ("check", false),
        ("print-config", false),
        ("healthcheck", false),
        ("run", true),
    ] {
        let output = run(&[command], "");
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains("no config file found"), "{shown}");
        assert_eq!(shown.contains("evenkeel run --listen"), is_told, "{shown}");
    }
}
