//! Access logs that take nothing for a while: on a file system that is full, on a device that is always full, in a pipe whose
//! reader is stopped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, Explain, Result};
use crate::helper::Helper;
use crate::peer::Balancer;
use crate::process::Process;

/// Makes a file system in a mount namespace of its own, and keeps both until its input ends.
const HOLD: &str = "mount -t tmpfs -o size=1g,mode=0755 tmpfs \"$0\" && echo mounted && exec cat";
/// Runs a command in the folder where it would have run.
const ENTER: &str = "cd \"$0\" && exec \"$@\"";
/// Writes from a pipe to a file.
const READ: &str = "exec cat < \"$0\" > \"$1\"";
/// Bytes that still fit after the file system has become small.
const ROOM: u64 = 16 << 10;
/// Longest wait until the reader of a pipe has read all.
const READER: Duration = Duration::from_secs(10);
/// The device that is always full.
const FULL: &str = "/dev/full";

/// The place of a log.
#[derive(Debug)]
pub(super) struct Obstacle {
    /// The log as the balancer opens it.
    pub(super) log: PathBuf,
    /// Where its lines end up, in order.
    parts: Vec<PathBuf>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A file system, which this process holds.
    FileSystem { folder: PathBuf, holder: Process },
    /// A link to a file or to [`FULL`].
    Device,
    /// A pipe and its reader.
    Pipe { reader: Process },
}

impl Obstacle {
    /// A file system of its own; [`FULL`] where none can be mounted.
    pub(super) fn full(folder: &Path) -> Result<Self> {
        let mounted = folder.join("mounted");
        fs::create_dir_all(&mounted)?;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", HOLD]).arg(&mounted);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Ok(mut holder) = Process::start(&mut command)
            && is_mounted(&mut holder)
        {
            let log = mounted.join("access.log");
            let outside = format!("/proc/{}/root", holder.id()?.as_raw_nonzero());
            let outside = PathBuf::from(format!("{outside}{}", log.display()));
            return Ok(Self {
                log,
                parts: vec![outside],
                kind: Kind::FileSystem {
                    folder: mounted,
                    holder,
                },
            });
        }
        let parts = ["before.log", "after.log"].map(|name| folder.join(name)).to_vec();
        let log = folder.join("access.log");
        link(&parts, &log)?;
        Ok(Self {
            log,
            parts,
            kind: Kind::Device,
        })
    }

    /// A pipe whose reader writes to a file.
    pub(super) fn pipe(helper: &Helper, folder: &Path) -> Result<Self> {
        let (log, part) = (folder.join("access.pipe"), folder.join("access.log"));
        let made = Command::new("mkfifo").arg(&log).status();
        if !made.explain("cannot run mkfifo")?.success() {
            return Err(Error::new("cannot make a pipe"));
        }
        let mut command = Command::new("sh");
        command.args(["-c", READ]).arg(&log).arg(&part);
        let mut command = helper.bound(&command);
        let reader = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        Ok(Self {
            log,
            parts: vec![part],
            kind: Kind::Pipe { reader },
        })
    }

    /// What it is, for the report.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::FileSystem { .. } => "a tmpfs in a mount namespace of its own",
            Kind::Device => "/dev/full, since no file system can be mounted here",
            Kind::Pipe { .. } => "a pipe",
        }
    }

    /// What has to run the balancer, so that it sees the log.
    pub(super) fn wrapper(&self) -> Result<Vec<String>> {
        let Kind::FileSystem { holder, .. } = &self.kind else {
            return Ok(Vec::new());
        };
        let folder = std::env::current_dir()?.display().to_string();
        let mut words = enter(holder)?;
        words.extend(["sh", "-c", ENTER].map(str::to_owned));
        words.push(folder);
        Ok(words)
    }

    /// From now on the log takes nothing, or soon.
    pub(super) fn close(&self, balancer: &Balancer) -> Result<()> {
        match &self.kind {
            Kind::FileSystem { folder, holder } => resize(holder, folder, self.length() + ROOM),
            Kind::Device => {
                link(&[PathBuf::from(FULL)], &self.log)?;
                balancer.signal(Signal::USR1)
            }
            Kind::Pipe { reader } => reader.signal(Signal::STOP),
        }
    }

    /// There is room again.
    pub(super) fn open(&self, balancer: &Balancer) -> Result<()> {
        match &self.kind {
            Kind::FileSystem { folder, holder } => resize(holder, folder, 1 << 30),
            Kind::Device => {
                link(self.parts.get(1..).unwrap_or_default(), &self.log)?;
                balancer.signal(Signal::USR1)
            }
            Kind::Pipe { reader } => reader.signal(Signal::CONT),
        }
    }

    /// Bytes that have arrived.
    pub(super) fn length(&self) -> u64 {
        let lengths = self.parts.iter().map(fs::metadata);
        lengths.flatten().map(|metadata| metadata.len()).sum()
    }

    /// All that has arrived when the balancer has ended.
    pub(super) fn text(&mut self) -> Result<String> {
        if let Kind::Pipe { reader } = &mut self.kind {
            reader.wait(READER)?;
        }
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(&String::from_utf8_lossy(&fs::read(part).unwrap_or_default()));
        }
        Ok(text)
    }
}

fn is_mounted(holder: &mut Process) -> bool {
    let stdout = holder.child().stdout.take();
    let line = stdout.and_then(|stdout| BufReader::new(stdout).lines().next());
    line.is_some_and(|line| line.is_ok_and(|line| line == "mounted"))
}

/// The beginning of a command in the namespace of this process.
fn enter(holder: &Process) -> Result<Vec<String>> {
    let namespace = format!("--mount=/proc/{}/ns/mnt", holder.id()?.as_raw_nonzero());
    Ok(vec!["nsenter".to_owned(), namespace, "--".to_owned()])
}

fn resize(holder: &Process, folder: &Path, size: u64) -> Result<()> {
    let words = enter(holder)?;
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1)).arg("mount");
    command.arg("-o").arg(format!("remount,size={size}")).arg(folder);
    if command.status().explain("cannot run nsenter")?.success() {
        return Ok(());
    }
    Err(Error::new("cannot change the size of the file system"))
}

/// Makes `path` a link to the first of these, in place of what it was.
fn link(targets: &[PathBuf], path: &Path) -> Result<()> {
    let target = targets.first().map_or(Path::new(FULL), PathBuf::as_path);
    let next = path.with_extension("next");
    symlink(target, &next).explain("cannot make a link")?;
    fs::rename(next, path).explain("cannot replace a link")
}
