//! Replays the seeds of every target without libFuzzer.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Panics of all threads and tasks: a runtime catches those of its tasks.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn every_seed_of_every_target_holds() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    replay("chunked", crate::chunked::check);
    replay("config", crate::config::check);
    replay("connection", crate::connection::check);
    replay("differential", crate::differential::check);
    replay("hpack", crate::hpack::check);
    replay("http2", crate::http2::check);
    replay("proxy_header", crate::proxy_header::check);
    replay("request_head", crate::request_head::check);
    replay("response_head", crate::response_head::check);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("seeds of the target") {
        let path = entry.expect("a seed").path();
        check(&fs::read(&path).expect("a seed can be read"));
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{}", path.display());
        count += 1;
    }
    assert!(count > 5, "only {count} seeds of {target}");
}
