//! `evenkeel plan` against a running process: its words, its exit codes, and that it changes nothing.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Backend, Builder, Proxy, refusing_address};

/// A file that is removed at the end.
struct NewFile(PathBuf);

impl NewFile {
    fn new(text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-plan-{}-{number}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(words: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("plan")
        .args(words)
        .env_remove("EVENKEEL_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it may have ended.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit code, stdout and stderr of a command for this process.
fn plan(proxy: &Proxy, words: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    let address = proxy.admin().to_string();
    let output = run(&[&["--admin", &address], words].concat(), stdin);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const BEFORE: &str = "workers: 1
policies: { calls: { rate_limit: { rate: 10/s } } }
pools:
  a: { backends: [http://127.0.0.1:1, http://127.0.0.1:2] }
  b: { backends: [http://127.0.0.1:3] }
routes:
  - { path_prefix: /b, pool: b }
  - { pool: a, policies: [calls] }
";

const AFTER: &str = "workers: 2
policies: { calls: { rate_limit: { rate: 10/s, key: header.X-User } } }
retry: { attempts: 1 }
pools:
  a: { backends: [{ url: http://127.0.0.1:1, weight: 2 }, http://127.0.0.1:4] }
routes:
  - { path_prefix: /b, pool: a }
  - { path_prefix: /c, pool: a }
  - { pool: a, policies: [calls] }
";

fn config(text: &str) -> Builder {
    Proxy::before(&[]).config(text)
}

#[test]
fn says_what_a_reload_would_change_and_changes_nothing() {
    let proxy = config(BEFORE).start();
    let active = proxy.get_admin("/api/v1/config").text();
    let new = NewFile::new(&config(AFTER).text());
    let (code, out, err) = plan(&proxy, &["-c", new.path()], "");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let expected = "a reload would make 11 changes:
  - pool b (running requests finish; its state is dropped)
  ~ pool a: retry (health, latency and connections of its backends are kept)
  + backend a http://127.0.0.1:4 (checked at once)
  - backend a http://127.0.0.1:2 (running requests finish; it gets no new ones)
  - backend b http://127.0.0.1:3 (running requests finish; it gets no new ones)
  ~ backend a http://127.0.0.1:1: weight 1 → 2 (connections, health and counts are kept)
  ~ policy calls: rate_limit (its counts and what it has stored begin anew)
  + route */c
  ~ route */b: pool b → a
  ~ route */: policies
  ~ setting workers: 1 → 2 (open connections stay; those of workers that end drain)
what does not change is not touched; running requests finish with the config that they began with
";
    assert_eq!(out, expected);
    assert_eq!(
        plan(&proxy, &["-c", "-"], &config(AFTER).text()).1,
        out,
        "from standard input"
    );
    assert_eq!(proxy.get_admin("/api/v1/config").text(), active);
    let (code, out, _) = plan(&proxy, &["--json", "-c", new.path()], "");
    let planned: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &planned["count"]), (Some(0), &json!(11)));
    let first = json!({
        "change": "removed", "kind": "pool", "name": "b", "differs": null,
        "effect": "running requests finish; its state is dropped",
    });
    assert_eq!(planned["changes"][0], first);
}

#[test]
fn without_a_config_the_file_of_the_process_is_looked_at() {
    let proxy = config(BEFORE).start();
    assert_eq!(
        plan(&proxy, &[], ""),
        (
            Some(0),
            "a reload would change nothing\n".to_owned(),
            String::new()
        )
    );
    proxy.write_config(&config(&format!("{BEFORE}timeouts: {{ drain: 7s }}")).text());
    let (code, out, _) = plan(&proxy, &[], "");
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with("a reload would make 1 change:\n  ~ setting timeouts\n"),
        "{out}"
    );
    proxy.write_config("listen: nowhere\n");
    let (code, _, err) = plan(&proxy, &[], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("/evenkeel.yaml:1:9: error: "), "{err}");
}

#[test]
fn an_invalid_config_fails_with_all_of_its_errors() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let new = NewFile::new("lisen: :8080\nbackends: [a:1]\n");
    let (code, out, err) = plan(&proxy, &["-c", new.path()], "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for message in [
        "error: a reload of this config would fail\n".to_owned(),
        format!("\n{}:1:1: error: unknown key `lisen`", new.path()),
        format!("\n{}:2:12: error: ", new.path()),
    ] {
        assert!(err.contains(&message), "{message}\n{err}");
    }
    // What only building shows.
    let missing = "route_defaults: { policies: [{ basic_auth: { users_file: none.users } }] }";
    let new = NewFile::new(&Proxy::before(&[&backend]).config(missing).text());
    let (code, _, err) = plan(&proxy, &["-c", new.path()], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("none.users cannot be used"), "{err}");
    for empty in [&["-c", "/nonexistent/c.yaml"][..], &["-c", "-"]] {
        let (code, _, err) = plan(&proxy, empty, "");
        assert_eq!(code, Some(1), "{err}");
    }
}

#[test]
fn wrong_usage_and_a_process_that_is_not_there_have_their_codes() {
    let (nowhere, _reserved) = refusing_address();
    let output = run(&["--admin", &nowhere.to_string()], "");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    for wrong in [&["--admin", "nowhere"][..], &["--colour"], &["-c"]] {
        assert_eq!(run(wrong, "").status.code(), Some(2), "{wrong:?}");
    }
}
