//! `watch_config`: which changes of the config file lead to a reload.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{Backend, Builder, Proxy};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-it-watch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(backend: &Backend, keys: &str) -> Builder {
    Proxy::before(&[backend]).config(&format!("watch_config: true\n{keys}"))
}

/// Starts a balancer with a config file at a path of the test's choice.
fn start(builder: Builder, file: &Path) -> Proxy {
    let file = file.to_str().unwrap();
    builder
        .program(&[env!("CARGO_BIN_EXE_evenkeel"), "run", "-c", file])
        .start()
}

fn shows(proxy: &Proxy, line: &str) {
    let config = proxy.get_admin("/api/v1/config").text();
    assert!(config.contains(line), "{line}\n{config}");
}

#[test]
fn a_file_that_is_written_or_replaced_is_reloaded() {
    let (backend, folder) = (Backend::saying(""), Folder::new("rename"));
    let file = folder.0.join("c.yaml");
    fs::write(&file, config(&backend, "").text()).unwrap();
    let proxy = start(config(&backend, ""), &file);
    let mark = proxy.mark();
    fs::write(&file, config(&backend, "timeouts: { drain: 6s }").text()).unwrap();
    proxy.wait_for_message(mark, "Config file has changed");
    proxy.wait_for_message(mark, "Reloaded");
    shows(&proxy, "  drain: 6s\n");
    let mark = proxy.mark();
    let other = folder.0.join(".c.yaml.new");
    fs::write(&other, config(&backend, "timeouts: { drain: 7s }").text()).unwrap();
    fs::rename(&other, &file).unwrap();
    proxy.wait_for_message(mark, "Reloaded");
    shows(&proxy, "  drain: 7s\n");
}

#[test]
fn a_symbolic_link_on_the_way_to_the_file_may_be_swapped() {
    let (backend, folder) = (Backend::saying(""), Folder::new("link"));
    let path = |name: &str| folder.0.join(name);
    for (version, keys) in [("..1", ""), ("..2", "timeouts: { drain: 7s }")] {
        fs::create_dir_all(path(version)).unwrap();
        fs::write(path(version).join("c.yaml"), config(&backend, keys).text()).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/c.yaml", path("c.yaml")).unwrap();
    let proxy = start(config(&backend, ""), &path("c.yaml"));
    let mark = proxy.mark();
    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    proxy.wait_for_message(mark, "Reloaded");
    shows(&proxy, "  drain: 7s\n");
}

#[test]
fn an_invalid_file_changes_nothing_and_is_reported_once() {
    let backend = Backend::saying("");
    let proxy = config(&backend, "").start();
    let mark = proxy.mark();
    proxy.write_config(&config(&backend, "wrong: 1").text());
    let line = proxy.wait_for_message(mark, "Reload failed; the previous configuration stays active");
    assert!(
        line["error"].as_str().unwrap().contains("unknown key `wrong`"),
        "{line}"
    );
    // The file is looked at again and again before this is seen.
    let mark = proxy.mark();
    proxy.write_config(&config(&backend, "timeouts: { drain: 7s }").text());
    proxy.wait_for_message(mark, "Reloaded");
    let is_failure = |line: &serde_json::Value| {
        let message = line["msg"].as_str().unwrap_or_default();
        message.starts_with("Reload failed")
    };
    assert_eq!(proxy.count_so_far(is_failure), 1);
}

#[test]
fn a_file_is_watched_as_the_active_config_says() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let reload = |text: String| {
        let mark = proxy.mark();
        proxy.write_config(&text);
        proxy.signal(rustix::process::Signal::HUP);
        proxy.wait_for_message(mark, "Reloaded")
    };
    let line = reload(config(&backend, "").text());
    assert_eq!(line["settings_changed"], "watch_config");
    let mark = proxy.mark();
    proxy.write_config(&config(&backend, "timeouts: { drain: 7s }").text());
    proxy.wait_for_message(mark, "Config file has changed");
    proxy.wait_for_message(mark, "Reloaded");
}
