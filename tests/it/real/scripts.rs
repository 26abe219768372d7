//! Runs the varnishtest scripts in `vtc/`, which check the exact bytes and their timing: varnishtest's client and
//! server, with the balancer between them. Varnish itself does not run.

use std::fs;
use std::path::{Path, PathBuf};

use super::backend::Port;
use super::program::{file, find, run};
use crate::support::Proxy;

/// Fewest scripts; fewer mean that the folder was not found.
const FEWEST: usize = 10;

#[test]
fn scripts_see_the_bytes_that_they_expect() {
    let Some(varnishtest) = find("varnishtest") else {
        return;
    };
    let scripts = scripts();
    assert!(scripts.len() >= FEWEST, "{scripts:?}");
    for script in scripts {
        play(&varnishtest, &script);
    }
}

fn scripts() -> Vec<PathBuf> {
    let entries = fs::read_dir(file("vtc")).expect("the folder is there");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "vtc"))
        .collect();
    found.sort();
    found
}

/// Runs one script against a balancer of its own, whose only backend is the script's server, without other connections.
fn play(varnishtest: &Path, script: &Path) {
    let port = Port::reserve();
    let proxy = Proxy::before(&[])
        .backend(&format!("http://127.0.0.1:{}", port.number))
        .config("workers: 1\nhealth_check: off")
        .start();
    let backend = format!("backend={}", port.number);
    let balancer = format!("balancer=127.0.0.1:{}", proxy.address().port());
    let script = script.to_string_lossy();
    run(
        varnishtest,
        &["-t", "20", "-D", &backend, "-D", &balancer, &script],
    );
}
