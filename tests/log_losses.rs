//! Tests what the operations log reports when the access log cannot keep up. A separate test binary, because a process has one
//! operations log.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::internals::telemetry::access_log::{Client, Entry, LogBuffer, OnFull, Options, Target};
use evenkeel::internals::telemetry::log::OperationsLog;
use evenkeel::internals::telemetry::{Feed, Writer};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use tracing::Level;

const DEADLINE: Duration = Duration::from_secs(20);

fn entry() -> Entry<'static> {
    Entry {
        method: Some(b"GET"),
        path: Some(b"/"),
        ..Entry::new(200, Client::Forwarded([127, 0, 0, 1].into()))
    }
}

#[test]
fn dropped_lines_are_logged_while_they_are_dropped_and_counted_afterwards() {
    let folder = std::env::temp_dir().join(format!("evenkeel-losses-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let fifo = |name: &str| {
        let path = folder.join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO");
        path
    };
    let (access_path, operations_path) = (fifo("access.log"), fifo("operations.log"));
    let start = |path: &std::path::Path| {
        Writer::start(&Target::File(path.to_owned()))
            .expect("it opens")
            .expect("it is not off")
    };
    let (access, operations) = (start(&access_path), start(&operations_path));
    OperationsLog::new(operations.queue(), Level::INFO, Arc::new(Feed::new(8)))
        .install()
        .expect("the first of this process");

    let mut buffer = LogBuffer::new(Some(access.queue()), OnFull::Drop, Options::default());
    while access.queue().lines_dropped() < 1000 {
        buffer.push(&entry());
    }
    let mut told = BufReader::new(File::open(&operations_path).expect("it opens"));
    let mut next = || -> Value {
        let mut line = String::new();
        told.read_line(&mut line).expect("a line comes");
        serde_json::from_str(&line).expect("JSON")
    };
    let warning = next();
    assert_eq!(warning["level"], "WARN");
    assert_eq!(warning["msg"], "Access log sink is too slow; dropping lines");
    assert!(
        warning["lines_dropped_total"]
            .as_u64()
            .is_some_and(|lines| lines > 0),
        "{warning}"
    );

    let mut reader = File::open(&access_path).expect("it opens");
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let resumed = loop {
        let line = next();
        if line["msg"] != warning["msg"] {
            break line;
        }
    };
    assert_eq!(resumed["msg"], "Log sink keeps up again; lines were dropped");
    assert_eq!(resumed["lines_dropped"], access.queue().lines_dropped());

    drop(buffer);
    assert!(access.close(DEADLINE));
    reading.join().expect("no panic").expect("read to the end");
    fs::remove_dir_all(&folder).expect("it is there");
    drop(operations);
}
