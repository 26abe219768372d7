//! Pools whose backends come from a file that changes while the balancer runs.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use evenkeel::internals::clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, DEADLINE, Gate, Proxy, Response};

const CHANGED: &str = "Backends of pool changed";

/// A file with a list of backends; removed when dropped.
struct ListFile(PathBuf);

impl ListFile {
    fn new(test: &str) -> Self {
        let name = format!("evenkeel-list-{test}-{}.yaml", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn with(test: &str, backends: &[&Backend]) -> Self {
        let file = Self::new(test);
        file.list(backends);
        file
    }

    /// Replaces the file as a whole, as a program does that cares for its readers.
    fn write(&self, text: &str) {
        let new = self.0.with_extension("new");
        fs::write(&new, text).expect("the file can be written");
        fs::rename(&new, &self.0).expect("the file can be replaced");
    }

    fn list(&self, backends: &[&Backend]) {
        let urls: Vec<String> = backends.iter().map(|backend| backend.url()).collect();
        self.write(&format!("[{}]", urls.join(", ")));
    }

    /// A config with a pool whose backends are listed here.
    fn config(&self) -> String {
        format!(
            "pools: {{ api: {{ backends: [{{ file: {} }}] }} }}\nroutes: [{{ pool: api }}]\nworkers: 2\n",
            self.0.display()
        )
    }

    fn start(&self) -> Proxy {
        Proxy::before(&[]).config(&self.config()).start()
    }
}

impl Drop for ListFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The status of the backends of the only pool.
fn backends(proxy: &Proxy) -> Vec<Value> {
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).expect("JSON");
    status["pools"][0]["backends"].as_array().expect("a list").clone()
}

#[test]
fn a_file_changes_the_backends_of_a_pool_without_a_reload() {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let file = ListFile::with("changes", &[&one]);
    let proxy = file.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "one");
    let mark = proxy.mark();
    file.list(&[&two]);
    let line = proxy.wait_for_message(mark, CHANGED);
    let told = ["pool", "added", "removed", "changed", "backends"].map(|key| line[key].clone());
    assert_eq!(Value::from(told.to_vec()), serde_json::json!(["api", 1, 1, 0, 1]));
    // The workers have been told before the line was written.
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "two");
        assert_eq!(proxy.get("/").text(), "two");
    }
    let is_up = |line: &Value| line["msg"] == "Backend is up" && line["backend"] == two.url();
    proxy.wait_for_line_from(mark, is_up);
}

#[test]
fn no_request_fails_while_the_backends_change() {
    let all = ["one", "two", "three"].map(Backend::saying);
    let [one, two, three] = &all;
    let file = ListFile::with("steady", &[one, two]);
    let proxy = file.start();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = proxy.client();
                let start = clock::now();
                // Ends too when the other thread has failed.
                while !is_over.load(Ordering::Relaxed) && start.elapsed() < 4 * DEADLINE {
                    assert_eq!(client.get("/").status(), 200);
                }
            });
        }
        for backends in [vec![two, three], vec![three], vec![one, two, three]] {
            let mark = proxy.mark();
            file.list(&backends);
            proxy.wait_for_message(mark, CHANGED);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(proxy.count_so_far(|line| !line["retries"].is_null()), 0);
}

#[test]
fn a_removed_backend_finishes_its_request_and_is_shown_until_then() {
    let gate = Gate::default();
    let script = gate.clone();
    let slow = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("slow").after(&script),
        _ => Response::ok("probe"),
    });
    let other = Backend::saying("other");
    let file = ListFile::with("drains", &[&slow]);
    let proxy = file.start();
    thread::scope(|scope| {
        let request = scope.spawn(|| proxy.get("/slow").text());
        slow.wait_for_request(|request| request.start() == "GET /slow");
        let mark = proxy.mark();
        file.list(&[&other]);
        proxy.wait_for_message(mark, CHANGED);
        assert_eq!(proxy.get("/").text(), "other");
        let shown = backends(&proxy);
        assert_eq!(shown.len(), 2, "{shown:?}");
        let removed = ["url", "state", "why", "in_flight", "eligible"].map(|key| shown[1][key].clone());
        let expected = serde_json::json!([slow.url(), "draining", "removed", 1, false]);
        assert_eq!(Value::from(removed.to_vec()), expected);
        gate.open();
        assert_eq!(request.join().expect("a response"), "slow");
    });
    let start = clock::now();
    while backends(&proxy).len() > 1 {
        assert!(start.elapsed() < DEADLINE, "it is shown no longer");
        thread::yield_now();
    }
}

#[test]
fn an_invalid_file_keeps_the_last_list() {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let file = ListFile::with("invalid", &[&one]);
    let proxy = file.start();
    let mark = proxy.mark();
    file.write("- nope\n");
    let line = proxy.wait_for_message(mark, "Source of backends failed; keeping its last good list");
    assert!(
        line["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("line 1: ")),
        "{line}"
    );
    assert_eq!(line["location"], file.0.display().to_string());
    assert_eq!(proxy.get("/").text(), "one");
    file.list(&[&two]);
    proxy.wait_for_message(mark, "Source of backends works again");
    proxy.wait_for_message(mark, CHANGED);
    assert_eq!(proxy.get("/").text(), "two");
}

#[test]
fn an_empty_list_takes_effect_when_it_is_read_again() {
    let one = Backend::saying("one");
    let file = ListFile::with("empty", &[&one]);
    let proxy = file.start();
    let mark = proxy.mark();
    file.write("[]");
    let line = proxy.wait_for_message(mark, CHANGED);
    assert_eq!(
        (&line["removed"], &line["backends"]),
        (&Value::from(1), &Value::from(0))
    );
    assert_eq!(proxy.get("/").status(), 503);
}

#[test]
fn a_missing_file_does_not_prevent_the_start() {
    let one = Backend::saying("one");
    let file = ListFile::new("missing");
    let proxy = file.start();
    assert_eq!(proxy.get("/").status(), 503);
    let mark = proxy.mark();
    file.list(&[&one]);
    proxy.wait_for_message(mark, CHANGED);
    assert_eq!(proxy.get("/").text(), "one");
}

#[test]
fn a_reload_keeps_the_backends_of_a_file_and_reads_one_that_is_new() {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let (file, other) = (ListFile::with("kept", &[&one]), ListFile::with("new", &[&two]));
    let proxy = file.start();
    assert_eq!(proxy.get("/").text(), "one");
    let mark = proxy.mark();
    let config = Proxy::before(&[]).config(
        &file
            .config()
            .replace("}] }", &format!("}}, {{ file: {} }}] }}", other.0.display())),
    );
    proxy.write_config(&config.text());
    proxy.signal(Signal::HUP);
    let line = proxy.wait_for_message(mark, "reloaded");
    assert_eq!(line["pools_changed"], "api", "{line}");
    let shown = backends(&proxy);
    let attempts: Vec<_> = shown.iter().map(|backend| backend["attempts"].clone()).collect();
    assert_eq!(attempts, [1, 0], "{shown:?}");
    let texts = [proxy.get("/").text(), proxy.get("/").text()];
    assert!(
        texts.contains(&"one".to_owned()) && texts.contains(&"two".to_owned()),
        "{texts:?}"
    );
}
