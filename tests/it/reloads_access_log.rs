//! Reloads that change the access log: no line is lost.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::internals::clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, DEADLINE, Proxy};

/// A folder for log files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evenkeel-logs-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// The paths of the requests in a file, once there are as many.
    fn wait_for_requests(&self, name: &str, count: usize) -> Vec<String> {
        let start = clock::now();
        loop {
            let text = fs::read_to_string(self.file(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() >= count {
                let path = |line: &&str| {
                    let line: Value = serde_json::from_str(line).unwrap();
                    line["path"].as_str().unwrap().to_owned()
                };
                return lines.iter().map(path).collect();
            }
            assert!(start.elapsed() < DEADLINE, "{name}: {text}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn reload(proxy: &Proxy, config: &str) -> Value {
    let mark = proxy.mark();
    proxy.write_config(config);
    proxy.signal(Signal::HUP);
    proxy.wait_for_line_from(mark, |line| {
        let message = line["msg"].as_str().unwrap_or_default();
        message.starts_with("Reload failed") || message == "Reloaded"
    })
}

#[test]
fn every_request_is_in_one_of_the_files_when_the_path_changes_under_load() {
    let folder = Folder::new();
    let backend = Backend::saying("");
    let config = |log: &str| {
        let log = format!("access_log: {log}\nworkers: 2\nhealth_check: {{ kind: none }}");
        Proxy::before(&[&backend]).config(&log)
    };
    let to_file = |name: &str| config(&format!("{{ path: '{}' }}", folder.file(name)));
    let proxy = to_file("0").start();
    let mut client = proxy.client();
    let mut number = 0;
    let mut ask = |count: usize| {
        for _ in 0..count {
            assert_eq!(client.get(&format!("/{number}")).status(), 200);
            number += 1;
        }
    };
    for round in 1..=5 {
        ask(20);
        let line = reload(&proxy, &to_file(&round.to_string()).text());
        assert_eq!(line["settings_changed"], "access_log", "{line}");
    }
    ask(20);
    drop(proxy);
    let files = (0..=5).map(|round| folder.wait_for_requests(&round.to_string(), 0));
    let found: Vec<String> = files.flatten().collect();
    let wanted: Vec<String> = (0..120).map(|number| format!("/{number}")).collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_access_log_is_turned_off_and_on_and_moved_between_a_file_and_stdout() {
    let folder = Folder::new();
    let backend = Backend::saying("");
    let config = |log: &str| Proxy::before(&[&backend]).config(&format!("access_log: {log}"));
    let to_file = format!("{{ path: '{}', query: true }}", folder.file("log"));
    let proxy = config("stdout").start();
    assert_eq!(proxy.get("/stdout").status(), 200);
    proxy.access_line("/stdout");
    reload(&proxy, &config(&to_file).text());
    let mut client = proxy.client();
    // A worker begins to write to the new log shortly after the reload.
    let start = clock::now();
    while fs::metadata(folder.file("log")).map_or(0, |file| file.len()) == 0 {
        assert_eq!(client.get("/file?x=1").status(), 200);
        assert!(start.elapsed() < DEADLINE, "nothing is in the file");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(folder.wait_for_requests("log", 1)[0], "/file?x=1");
    reload(&proxy, &config("stdout").text());
    let start = clock::now();
    while proxy.count_so_far(|line| line["path"] == "/again") == 0 {
        assert_eq!(client.get("/again").status(), 200);
        assert!(start.elapsed() < DEADLINE, "nothing is on stdout");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    reload(&proxy, &config("off").text());
    assert_eq!(client.get("/off").status(), 200);
}

#[test]
fn a_log_file_that_cannot_be_opened_fails_the_reload() {
    let folder = Folder::new();
    let backend = Backend::saying("");
    let config = |path: &str| {
        Proxy::before(&[&backend]).config(&format!("access_log: {{ path: '{}' }}", folder.file(path)))
    };
    let proxy = config("log").start();
    let line = reload(&proxy, &config("no/folder/log").text());
    assert!(
        line["msg"].as_str().unwrap().starts_with("Reload failed"),
        "{line}"
    );
    assert!(
        line["error"].as_str().unwrap().contains("no/folder/log"),
        "{line}"
    );
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(folder.wait_for_requests("log", 1), ["/"]);
}
