//! Tests the writing thread on files, pipes and devices that misbehave.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::telemetry::access_log::{Client, Entry, LogBuffer, OnFull, Options, Syslog, SyslogServer};

const DEADLINE: Duration = Duration::from_secs(20);

/// More lines than the queue, a pipe and the buffers hold together.
const FLOOD: u32 = 40_000;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evenkeel-writer-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn writer(path: &Path) -> Writer {
    Writer::start(&Target::File(path.to_owned()))
        .expect("it opens")
        .expect("it is not off")
}

fn buffer(writer: &Writer, on_full: OnFull) -> LogBuffer {
    LogBuffer::new(Some(writer.queue()), on_full, Options::default())
}

/// Adds the lines `from..to`; the number is in `bytes_sent`, and the path makes lines of different lengths.
fn push(buffer: &mut LogBuffer, from: u32, to: u32) {
    push_paths(buffer, from..to, |number| {
        let length = usize::try_from(number % 100).expect("small");
        "/path".repeat(30).into_bytes()[..length].to_vec()
    });
}

/// Adds lines with these paths.
fn push_paths(buffer: &mut LogBuffer, numbers: Range<u32>, path_of: impl Fn(u32) -> Vec<u8>) {
    for number in numbers {
        buffer.push(&Entry {
            method: Some(b"GET"),
            path: Some(&path_of(number)),
            attempts: 1,
            bytes_sent: u64::from(number),
            ..Entry::new(200, Client::Forwarded([127, 0, 0, 1].into()))
        });
    }
}

/// The numbers of the lines of `text`, each of which must be whole.
fn numbers(text: &str) -> Vec<u32> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(number).collect()
}

fn number(line: &str) -> u32 {
    let line: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    line["bytes_sent"]
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .expect("a number")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text file")
}

fn range(from: u32, to: u32) -> Vec<u32> {
    (from..to).collect()
}

#[test]
fn every_line_of_every_worker_arrives_whole_and_in_order() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(&path);
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let mut buffer = buffer(&writer, OnFull::Block);
            thread::spawn(move || push(&mut buffer, worker * 10_000, (worker + 1) * 10_000))
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic");
    }
    let queue = writer.queue();
    assert!(writer.close(DEADLINE));
    let numbers = numbers(&read(&path));
    for worker in 0..3 {
        let of_one: Vec<u32> = numbers
            .iter()
            .copied()
            .filter(|number| number / 10_000 == worker)
            .collect();
        assert_eq!(of_one, range(worker * 10_000, (worker + 1) * 10_000));
    }
    assert_eq!(queue.lines_dropped(), 0);
}

#[test]
fn a_flushed_line_is_written_without_waiting_for_more() {
    let folder = Folder::new();
    let path = folder.fifo("access.log");
    let writer = writer(&path);
    let mut buffer = buffer(&writer, OnFull::Drop);
    push(&mut buffer, 7, 8);
    buffer.flush();
    // Reading waits for the line; that it comes is the assertion.
    let mut line = String::new();
    BufReader::new(File::open(&path).expect("it opens"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(number(&line), 7);
    assert!(writer.close(DEADLINE));
}

#[test]
fn a_fifo_without_a_reader_drops_lines_and_blocks_no_worker() {
    let folder = Folder::new();
    let path = folder.fifo("access.log");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Drop);
    let begun = clock::now();
    push(&mut workers, 0, FLOOD);
    assert!(clock::now() - begun < DEADLINE, "nothing waited for the reader");
    let queue = writer.queue();
    let dropped = queue.lines_dropped();
    assert!(dropped > 0, "more was pushed than there is room for");

    // A reader comes: what was kept arrives, and so does what is logged from now on.
    let mut reader = BufReader::new(OpenOptions::new().read(true).open(&path).expect("it opens"));
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    });
    workers.flush();
    drop(workers);
    let mut resumed = buffer(&writer, OnFull::Block);
    push(&mut resumed, FLOOD, FLOOD + 10);
    drop(resumed);
    assert!(writer.close(DEADLINE), "the reader takes it all");
    let numbers = numbers(&reading.join().expect("no panic"));
    let lost = queue.lines_dropped();
    assert_eq!(
        u64::from(FLOOD) + 10,
        numbers.len() as u64 + lost,
        "every line arrived or was counted"
    );
    assert!(numbers.is_sorted(), "in order");
    assert_eq!(
        numbers.get(numbers.len() - 10..),
        Some(range(FLOOD, FLOOD + 10).as_slice())
    );
}

#[test]
fn a_worker_that_blocks_loses_no_line() {
    let folder = Folder::new();
    let path = folder.fifo("access.log");
    let writer = writer(&path);
    let mut blocked = buffer(&writer, OnFull::Block);
    let pushing = thread::spawn(move || push(&mut blocked, 0, FLOOD));
    let mut reader = File::open(&path).expect("it opens");
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    });
    pushing.join().expect("no panic");
    let queue = writer.queue();
    assert!(writer.close(DEADLINE));
    assert_eq!(numbers(&reading.join().expect("no panic")), range(0, FLOOD));
    assert_eq!(queue.lines_dropped(), 0);
}

#[test]
fn a_blocked_worker_is_released_at_a_stop() {
    let folder = Folder::new();
    let path = folder.fifo("access.log");
    let writer = writer(&path);
    let mut blocked = buffer(&writer, OnFull::Block);
    let (sender, released) = sync_channel(1);
    thread::spawn(move || {
        push(&mut blocked, 0, FLOOD);
        drop(blocked);
        sender.send(()).expect("the test waits");
    });
    writer.queue().stop_waiting();
    released.recv_timeout(DEADLINE).expect("it no longer waits");
    assert!(writer.queue().lines_dropped() > 0);
}

#[test]
fn a_full_disk_drops_lines_and_does_not_delay_closing() {
    let writer = writer(Path::new("/dev/full"));
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, FLOOD);
    drop(workers);
    let queue = writer.queue();
    let begun = clock::now();
    assert!(
        !writer.close(Duration::from_millis(50)),
        "nothing could be written"
    );
    assert!(clock::now() - begun < DEADLINE);
    assert!(queue.lines_dropped() > 0);
}

#[test]
fn writing_resumes_when_the_disk_has_room() {
    let folder = Folder::new();
    let (path, real) = (folder.path("access.log"), folder.path("real.log"));
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, 100);
    workers.flush();
    fs::remove_file(&path).expect("it is there");
    std::os::unix::fs::symlink(&real, &path).expect("a link");
    writer.queue().reopen();
    push(&mut workers, 100, 200);
    drop(workers);
    assert!(writer.close(DEADLINE));
    assert_eq!(
        numbers(&read(&real)),
        range(0, 200),
        "also what was refused at first"
    );
}

#[test]
fn no_line_is_lost_at_a_rotation() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Block);
    for round in 0..10 {
        push(&mut workers, round * 1000, (round + 1) * 1000);
        fs::rename(&path, folder.path(&format!("access.log.{round}"))).expect("rotated");
        writer.queue().reopen();
        // Until the new file is there, so that the next round has something to rotate.
        let begun = clock::now();
        while !path.exists() {
            assert!(clock::now() - begun < DEADLINE, "it is reopened");
            thread::yield_now();
        }
    }
    drop(workers);
    assert!(writer.close(DEADLINE));
    let mut all = Vec::new();
    for round in 0..10 {
        all.extend(numbers(&read(&folder.path(&format!("access.log.{round}")))));
    }
    all.extend(numbers(&read(&path)));
    assert_eq!(all, range(0, 10_000));
}

#[test]
fn a_line_half_written_to_the_old_sink_is_whole_in_the_new_one() {
    let folder = Folder::new();
    let path = folder.fifo("access.log");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Block);
    // Each byte of the paths is six bytes of the line, which the kernel writes in parts. The pipe takes 64 KiB, which end within a line; the rest waits.
    push_paths(&mut workers, 0..200, |_| vec![1; 2_000]);
    workers.flush();
    let full = OpenOptions::new().write(true).open(&path).expect("it opens");
    let begun = clock::now();
    while !is_full(&full) {
        assert!(clock::now() - begun < DEADLINE, "it fills");
        thread::yield_now();
    }
    drop(full);
    let mut reader = File::open(&path).expect("it opens");
    fs::rename(&path, folder.path("old")).expect("rotated");
    writer.queue().reopen();
    drop(workers);
    assert!(writer.close(DEADLINE), "the new file takes all");
    let mut before = String::new();
    reader.read_to_string(&mut before).expect("what the pipe holds");
    let end = before.rfind('\n').map_or(0, |end| end + 1);
    assert!(end < before.len(), "the old one ends within a line");
    before.truncate(end);
    let mut all = numbers(&before);
    all.extend(numbers(&read(&path)));
    assert_eq!(all, range(0, 200), "none is lost, none is twice");
}

/// Whether a pipe is full.
fn is_full(pipe: &File) -> bool {
    let mut fds = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::OUT)];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&now)).expect("a pipe can be polled") == 0
}

#[test]
fn a_half_line_left_by_a_killed_process_is_ended_first() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    fs::write(&path, "{\"time\":\"2026-").expect("written");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, 1);
    drop(workers);
    assert!(writer.close(DEADLINE));
    let text = read(&path);
    let (half, rest) = text.split_once('\n').expect("two lines");
    assert_eq!(half, "{\"time\":\"2026-");
    assert_eq!(numbers(rest), [0]);
}

#[test]
fn a_blocked_stream_does_not_delay_closing() {
    let (reader, stream) = io::pipe().expect("a pipe");
    let stream: std::os::fd::OwnedFd = stream.into();
    let writer = Writer::start_on(Sink::stream(stream.into(), "stream")).expect("a thread");
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, 2000);
    drop(workers);
    let begun = clock::now();
    assert!(!writer.close(Duration::from_millis(50)), "the pipe is full");
    assert!(clock::now() - begun < DEADLINE);
    drop(reader);
}

#[test]
fn a_stream_without_a_reader_drops_lines_only() {
    let (reader, stream) = io::pipe().expect("a pipe");
    drop(reader);
    let stream: std::os::fd::OwnedFd = stream.into();
    let writer = Writer::start_on(Sink::stream(stream.into(), "stream")).expect("a thread");
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, FLOOD);
    assert!(writer.queue().lines_dropped() > 0);
    drop(workers);
    assert!(!writer.close(Duration::from_millis(50)));
}

#[test]
fn a_syslog_server_that_is_away_drops_lines_and_blocks_no_worker() {
    let folder = Folder::new();
    let path = folder.path("log");
    let target = Target::Syslog(Syslog {
        server: SyslogServer::Unix(path.clone()),
        facility: "local0",
        severity: "info",
    });
    let writer = Writer::start(&target).expect("it starts").expect("it is not off");
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, FLOOD);
    let queue = writer.queue();
    assert!(
        queue.lines_dropped() > 0,
        "more was pushed than there is room for"
    );

    // The server comes: what was kept arrives, and so does what is logged from now on.
    let server = UnixDatagram::bind(&path).expect("a socket");
    server.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let reading = thread::spawn(move || {
        let (mut numbers, mut bytes) = (Vec::new(), [0; 4096]);
        while numbers.last() != Some(&FLOOD) {
            let length = server.recv(&mut bytes).expect("a message comes");
            numbers.push(number(&String::from_utf8_lossy(&bytes[..length])));
        }
        numbers
    });
    drop(workers);
    let mut resumed = buffer(&writer, OnFull::Block);
    push(&mut resumed, FLOOD, FLOOD + 1);
    drop(resumed);
    assert!(writer.close(DEADLINE), "the server takes it all");
    let numbers = reading.join().expect("no panic");
    assert!(numbers.is_sorted(), "in order");
    let lost = queue.lines_dropped();
    assert_eq!(
        u64::from(FLOOD) + 1,
        numbers.len() as u64 + lost,
        "every line arrived or was counted"
    );
}

#[test]
fn urgent_lines_are_written_before_queued_batches() {
    let folder = Folder::new();
    let path = folder.fifo("log");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Drop);
    push(&mut workers, 0, FLOOD);
    writer.queue().urgent(b"{\"bytes_sent\":4000000}\n".to_vec());
    let mut reader = File::open(&path).expect("it opens");
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    });
    drop(workers);
    assert!(writer.close(DEADLINE));
    let numbers = numbers(&reading.join().expect("no panic"));
    let place = numbers
        .iter()
        .position(|number| *number == 4_000_000)
        .expect("it arrived");
    assert!(
        place < numbers.len() / 2,
        "it was not at the end: {place} of {}",
        numbers.len()
    );
}

#[test]
fn buffers_are_recycled() {
    let folder = Folder::new();
    let writer = writer(&folder.path("access.log"));
    let (recycle, recycled) = sync_channel(1);
    let bytes = b"{}\n".to_vec();
    let place = bytes.as_ptr();
    writer
        .queue()
        .offer(Batch {
            bytes,
            lines: 1,
            recycle,
        })
        .expect("there is room");
    let back = recycled.recv_timeout(DEADLINE).expect("it comes back");
    assert!(back.is_empty());
    assert_eq!(back.as_ptr(), place);
}

#[test]
fn the_thread_ends_when_all_queues_are_dropped() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(&path);
    let mut workers = buffer(&writer, OnFull::Drop);
    let Writer { queue, ended } = writer;
    drop(queue);
    push(&mut workers, 0, 5);
    drop(workers);
    assert_eq!(ended.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
    assert_eq!(numbers(&read(&path)), range(0, 5));
}

#[test]
fn warnings_are_at_least_a_second_apart() {
    let shared = Shared::new("test");
    let start = shared.started;
    assert!(shared.is_warning_due(start));
    assert!(!shared.is_warning_due(start + Duration::from_millis(999)));
    assert!(shared.is_warning_due(start + Duration::from_millis(1000)));
    assert!(!shared.is_warning_due(start + Duration::from_millis(1001)));
    assert!(shared.is_warning_due(start + Duration::from_millis(2000)));
}
