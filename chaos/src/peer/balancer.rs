//! A running balancer: it is started, reloaded, upgraded and stopped.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Config, ExtraListener, Extras, Notice, OUTPUT, PAUSE, Peer, Running, Setting, Setup, wait};
use crate::clock;
use crate::error::{Error, Explain, Result};
use crate::groups::Group;
use crate::helper::Helper;
use crate::process::{Process, children};

/// Longest wait until a balancer listens.
const START: Duration = Duration::from_secs(10);
/// Longest wait for its end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);
/// The same when nobody is interested any more.
const DROPPED: Duration = Duration::from_millis(500);

/// A running balancer. When dropped, it is killed.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for HTTP/2, if that is another address.
    pub http2: Option<SocketAddr>,
    /// Where its admin API listens, if its config says it.
    admin: Option<SocketAddr>,
    process: Process,
    /// All of its processes.
    group: Group,
    /// Files that are a part of its output.
    logs: &'static [&'static str],
    /// The process that serves, if it is no child of this one, as after an upgrade.
    successor: Option<Pid>,
    folder: PathBuf,
    extras: Extras,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory in KiB.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Balancer {
    /// Starts it and waits until it listens.
    pub fn start(peer: &dyn Peer, helper: &Helper, setup: &Setup<'_>) -> Result<Self> {
        setup.extras.require(peer)?;
        let config = peer.config(setup)?;
        write(setup.folder, peer.config_name(), &config)?;
        let output = setup.folder.join(OUTPUT);
        // Programs that open it a second time, as a log, do not overwrite it either.
        let file = File::options().create(true).append(true).open(output);
        let file = file.explain("cannot write the output")?;
        let config_path = setup.folder.join(peer.config_name());
        let command = peer.command(&config_path, setup.folder);
        let mut command = helper.bound(&setup.extras.wrap(peer, &command));
        command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .process_group(0);
        let process = Process::start(&mut command)?;
        let mut balancer = Self {
            address: config
                .address
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            http2: config.http2,
            admin: config.admin,
            group: Group::new(process.id()?),
            process,
            logs: peer.logs(),
            successor: None,
            folder: setup.folder.to_owned(),
            extras: setup.extras.clone(),
        };
        let deadline = clock::now() + clock::micros(START);
        while !balancer.serves(peer) {
            if balancer.process.ended().is_some() || clock::now() > deadline {
                return Err(Error::new(format!(
                    "the balancer does not start:\n{}",
                    balancer.output()
                )));
            }
            thread::sleep(PAUSE);
        }
        balancer.successor = peer.main_process(setup.folder);
        Ok(balancer)
    }

    /// All that it has written.
    pub fn output(&self) -> String {
        let names = std::iter::once(OUTPUT).chain(self.logs.iter().copied());
        let texts = names.map(|name| {
            fs::read(self.folder.join(name))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        });
        texts.collect()
    }

    /// How many bytes it has written to its output, without [`Peer::logs`].
    pub fn written(&self) -> u64 {
        fs::metadata(self.folder.join(OUTPUT)).map_or(0, |file| file.len())
    }

    /// Waits until it has said one of these, after the first `from` bytes of its output, at most `limit`. Returns whether it
    /// has. One that says no such things is not waited for.
    pub fn says(&self, peer: &dyn Peer, notices: &[Notice], mut from: u64, limit: Duration) -> bool {
        let path = self.folder.join(OUTPUT);
        wait(limit, || {
            let lines = lines_after(&path, &mut from);
            let mut counts = notices.iter().map(|notice| peer.notices(&lines, *notice));
            counts.any(|count| count != Some(0))
        })
    }

    /// Replaces its config and tells it to load it. Does not wait until it has.
    pub fn reload(&self, peer: &dyn Peer, backends: &[SocketAddr], settings: &[Setting]) -> Result<()> {
        self.write_config(peer, backends, settings)?;
        peer.reload(&self.running()?)
    }

    /// Replaces its config, these parts included, and tells it to load it. Does not wait until it has.
    pub fn reload_with(
        &mut self,
        peer: &dyn Peer,
        backends: &[SocketAddr],
        settings: &[Setting],
        listeners: Vec<ExtraListener>,
    ) -> Result<()> {
        self.extras.listeners = listeners;
        self.reload(peer, backends, settings)
    }

    /// Replaces its config, which it does not load yet, unless it watches its files.
    pub fn write_config(&self, peer: &dyn Peer, backends: &[SocketAddr], settings: &[Setting]) -> Result<()> {
        let setup = Setup {
            backends,
            settings,
            folder: &self.folder,
            address: Some(self.address),
            http2: self.http2,
            extras: &self.extras,
        };
        write(&self.folder, peer.config_name(), &peer.config(&setup)?)
    }

    /// Tells it to upgrade, and waits for the process that serves then, at most `limit`. Returns whether there is one.
    pub fn upgrade(&mut self, peer: &dyn Peer, limit: Duration) -> Result<bool> {
        let serving = peer.upgrade(&self.running()?, limit)?;
        if let Some(pid) = serving {
            self.successor = Some(pid).filter(|pid| self.process.id().ok() != Some(*pid));
        }
        Ok(serving.is_some())
    }

    /// What the process that serves uses now.
    pub fn usage(&self) -> Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.serving()?.as_raw_nonzero()));
        let status =
            fs::read_to_string(folder.join("status")).explain("cannot read what the balancer uses")?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or_default()
        };
        let descriptors = fs::read_dir(folder.join("fd")).map_or(0, Iterator::count);
        Ok(Usage {
            memory: number("VmRSS:"),
            descriptors: u64::try_from(descriptors).unwrap_or_default(),
            threads: number("Threads:"),
        })
    }

    /// Whether its output has the access log.
    pub fn logs_to_output(&self) -> bool {
        self.extras.access_log.is_none()
    }

    /// The address of its admin API, once it has said it.
    pub fn admin(&self, peer: &dyn Peer) -> Result<SocketAddr> {
        let mut address = self.admin;
        wait(START, || {
            if address.is_some() {
                return true;
            }
            address = peer.admin(&self.output());
            address.is_some()
        });
        address.ok_or_else(|| Error::new("the balancer does not say where its admin API is"))
    }

    /// Tells it to stop, and to let requests finish in at most `limit`.
    pub fn drain(&self, peer: &dyn Peer, limit: Duration) -> Result<()> {
        peer.drain(&self.running()?, limit)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.serving()?, signal).explain("cannot signal the balancer")
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for its end, at most `limit`; returns when it was seen, and the status.
    pub fn wait(&mut self, limit: Duration) -> Result<(u64, ExitStatus)> {
        let status = self.process.wait(limit)?;
        let seen = clock::now();
        self.group.kill();
        Ok((seen, status))
    }

    /// The time on a processor that its processes have used so far, in microseconds.
    pub fn processor_time(&self) -> Result<u64> {
        let mut ticks = 0;
        let mut processes = vec![self.serving()?];
        while let Some(process) = processes.pop() {
            processes.extend(children(process));
            let path = format!("/proc/{}/stat", process.as_raw_nonzero());
            let stat = fs::read_to_string(path).explain("cannot read what the balancer uses")?;
            // The name before the last bracket may contain anything. `utime` and `stime` are 12 and 13 words after it (proc(5)).
            let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let times = words.skip(11).take(2);
            ticks += times.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        }
        let each = 1_000_000_u64.checked_div(rustix::param::clock_ticks_per_second());
        Ok(ticks * each.unwrap_or_default())
    }

    fn running(&self) -> Result<Running<'_>> {
        Ok(Running {
            pid: self.serving()?,
            folder: &self.folder,
        })
    }

    fn serving(&self) -> Result<Pid> {
        match self.successor {
            Some(pid) => Ok(pid),
            None => self.process.id(),
        }
    }

    /// Stops it with SIGTERM; returns all that it has written.
    pub fn stop(&mut self) -> Result<String> {
        if let Some(successor) = self.successor {
            kill_process(successor, Signal::TERM).explain("the balancer has ended")?;
            if !wait(STOP, || !is_running(successor)) {
                return Err(Error::new("the balancer does not end"));
            }
            self.successor = None;
            // The first one has drained long since.
            self.process.wait(STOP)?;
            self.group.kill();
            return Ok(self.output());
        }
        if let Some(status) = self.process.ended() {
            return Err(Error::new(format!(
                "the balancer ended with {status}:\n{}",
                self.output()
            )));
        }
        self.process.signal(Signal::TERM)?;
        self.process.wait(STOP)?;
        self.group.kill();
        Ok(self.output())
    }

    fn serves(&mut self, peer: &dyn Peer) -> bool {
        if self.address.port() == 0 {
            let Some(address) = peer.address(&self.output()) else {
                return false;
            };
            self.address = address;
            return TcpStream::connect(self.address).is_ok();
        }
        // It does not say when it has loaded its config.
        responds(self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            // It may have ended.
            let _ = kill_process(successor, Signal::KILL);
        }
        // A balancer of several processes ends them all. Its end is forced right after.
        if self.process.ended().is_none() && self.process.signal(Signal::TERM).is_ok() {
            drop(self.process.wait(DROPPED));
        }
    }
}

/// Writes a config and the files that it names. Each is replaced at once: a balancer that watches it never sees a half.
fn write(folder: &Path, name: &str, config: &Config) -> Result<()> {
    let files = config.files.iter().map(|(name, text)| (*name, text));
    for (name, text) in files.chain([(name, &config.text)]) {
        let (next, path) = (folder.join("next-config"), folder.join(name));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).explain("cannot make a folder for the config")?;
        }
        fs::write(&next, text).explain("cannot write the config")?;
        fs::rename(next, path).explain("cannot replace the config")?;
    }
    Ok(())
}

/// The whole lines of a file after its first `from` bytes, which are those before the next lines then.
fn lines_after(path: &Path, from: &mut u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(*from))?;
        file.read_to_end(&mut bytes)
    });
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let (Ok(_), Some(end)) = (read, end) else {
        return String::new();
    };
    bytes.truncate(end + 1);
    *from += u64::try_from(bytes.len()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a balancer sends requests to its backends.
fn responds(address: SocketAddr) -> bool {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: chaos.test\r\nConnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    };
    exchange().is_ok_and(|response| response.starts_with("HTTP/1.1 200"))
}

/// Whether a process runs that is no child of this one. One that nobody waits for stays as a zombie.
fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The state follows the name, which may contain anything.
    let state = stat
        .as_ref()
        .map(|stat| stat.rsplit(')').next().unwrap_or_default());
    state.is_ok_and(|state| !state.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn lines_are_read_once_and_when_they_are_whole() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join(OUTPUT);
        let mut from = 2;
        assert_eq!(lines_after(&path, &mut from), "");
        for (written, lines) in [("a\nb\nc", "b\n"), ("a\nb\nc", ""), ("a\nb\ncd\ne\n", "cd\ne\n")] {
            fs::write(&path, written).unwrap();
            assert_eq!(lines_after(&path, &mut from), lines, "{written}");
        }
    }
}
