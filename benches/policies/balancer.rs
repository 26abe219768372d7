//! The balancer as a process, and the processor time of its worker.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;

use crate::folder::Folder;
use crate::process::{BALANCER, LISTENING, Process};

/// Longest wait until the worker sleeps.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running balancer.
pub(crate) struct Balancer {
    _process: Process,
    address: SocketAddr,
    /// What the kernel says of the worker thread: its state, and its processor time.
    state: File,
    time: File,
}

impl Balancer {
    /// Starts it with this config.
    pub(crate) fn start(folder: &Folder, config: &str) -> Self {
        let config = folder.write("evenkeel.yaml", config);
        let (process, [address]) = Process::start(Command::new(BALANCER), &config, [LISTENING]);
        let tasks = format!("/proc/{}/task", process.0.id());
        let worker = fs::read_dir(tasks).expect("it runs").flatten().find(|task| {
            let name = fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name.trim_end() == "worker-0")
        });
        let worker = worker.expect("it has a worker").path();
        let open = |path: &Path, name: &str| File::open(path.join(name)).expect("Linux has it");
        Self {
            address,
            state: open(&worker, "stat"),
            time: open(&worker, "schedstat"),
            _process: process,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processor time that its worker has used. Waits until it sleeps, because the kernel counts the time of a thread that
    /// runs only now and then.
    pub(crate) fn worker_time(&self) -> Duration {
        let began = clock::now();
        while !read(&self.state).contains(") S ") {
            assert!(began.elapsed() < PATIENCE, "the worker does not sleep");
            thread::yield_now();
        }
        let text = read(&self.time);
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.expect("it begins with a number"))
    }
}

fn read(file: &File) -> String {
    let mut bytes = [0; 1024];
    let length = file.read_at(&mut bytes, 0).expect("the worker runs");
    String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned()
}
