//! The balancer of a run as a process. A balancer is a row of [`PEERS`] and a file here that writes its config for the
//! backends of the run. Evenkeel gets its defaults, and only what a scenario is about is set. The others get besides what
//! an attentive operator sets: checks every second, retries where they are safe, kept connections to backends.

mod caddy;
mod envoy;
mod evenkeel;
mod haproxy;
mod nginx;
mod traefik;

mod balancer;
mod extras;
mod output;
mod ports;
mod source;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::error::{Error, Explain, Result};
use crate::folder::Folder;

use ports::free_address;
use source::Source;

pub use balancer::{Balancer, Usage};
pub use extras::{ExtraListener, Extras, PemFiles};
pub use ports::free_addresses;
pub use source::Place;

/// Its files in the folder of the run.
const CONFIG: &str = "config";
const OUTPUT: &str = "output";
const PID: &str = "pid";
/// Time between two looks at whether it listens.
const PAUSE: Duration = Duration::from_millis(5);

/// Something that a scenario sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Longest wait for the first byte of one attempt.
    FirstByte(Duration),
    /// Active checks by HTTP.
    HttpCheck,
    /// Active checks that only connect.
    TcpCheck,
    /// No queue: what no backend can take is refused at once.
    NoQueue,
    /// A limit of requests in flight that follows latency.
    AdaptiveLimit,
    /// A strategy that prefers fast backends.
    FastestFirst,
    /// Sessions that stay with their backend, by a cookie.
    StickyCookie,
    /// Routes and weights that no other number has.
    Variant(u64),
    /// Backends that speak HTTP/2 without TLS, and nothing else.
    Http2Backends,
    /// A mistake: the config must be refused.
    Invalid,
    /// Longest time that a new program may take to get ready.
    UpgradeLimit(Duration),
    /// An admin API, which also has metrics.
    Admin,
    /// How long requests may take to finish at a stop.
    Drain(Duration),
    /// How many threads or processes serve.
    Workers(usize),
    /// A process has so many descriptors: the limit of clients' connections leaves some for all else, if another setting does not
    /// say how many they may have.
    Descriptors(u64),
    /// The most connections of clients.
    Connections(u64),
    /// Time between two health checks.
    CheckInterval(Duration),
    /// Requests have one attempt, and failures eject no backend.
    OneAttempt,
}

/// The program that an upgrade finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The balancer.
    Whole,
    /// It ends with an error.
    Exits,
    /// It aborts, as after a panic.
    Aborts,
    /// It does nothing, forever.
    Hangs,
}

/// Something that a balancer says in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A config was loaded.
    Reloaded,
    /// A config was refused.
    ReloadFailed,
    /// Another process serves.
    Upgraded,
    /// An upgrade failed.
    UpgradeFailed,
    /// There is no room for new connections.
    NoRoom,
}

/// What a balancer is started for.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The backends, all HTTP/1.1.
    pub backends: &'a [SocketAddr],
    /// What differs from the defaults.
    pub settings: &'a [Setting],
    /// Where its files go.
    pub folder: &'a Path,
    /// Where it listens already.
    pub address: Option<SocketAddr>,
    /// Where it listens for HTTP/2 already, if that is another address.
    pub http2: Option<SocketAddr>,
    /// What only some scenarios set.
    pub extras: &'a Extras,
}

/// A running balancer, as [`Peer`] tells it what to do.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The process that serves.
    pub pid: Pid,
    /// Where its files are.
    pub folder: &'a Path,
}

/// A config, and the addresses in it that are known before the balancer says them.
#[derive(Debug, Default)]
pub struct Config {
    /// Its text.
    pub text: String,
    /// Files that it names: their paths in the folder of the run, and their texts.
    pub files: Vec<(&'static str, String)>,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Where it listens for HTTP/2, if that is another address.
    pub http2: Option<SocketAddr>,
    /// Where its admin API listens, if it is to have one.
    pub admin: Option<SocketAddr>,
}

/// A kind of balancer.
pub trait Peer: std::fmt::Debug {
    /// The name and version of the program.
    fn version(&self) -> String;

    /// The root file system in which it runs, if that is not the one of this machine.
    fn root(&self) -> Option<&Path> {
        None
    }

    /// The name of the file with its config.
    fn config_name(&self) -> &'static str {
        CONFIG
    }

    /// The config. An error if it has no such setting.
    fn config(&self, setup: &Setup<'_>) -> Result<Config>;

    /// Puts a program where [`Peer::command`] finds it, which an upgrade executes. An error if it has no such thing.
    fn install(&self, folder: &Path, program: Program) -> Result<()>;

    /// The command that runs with the config in this file.
    fn command(&self, config: &Path, folder: &Path) -> Command;

    /// The process that serves, if it is not the one that was started.
    fn main_process(&self, _folder: &Path) -> Option<Pid> {
        None
    }

    /// Finds the address that it listens on in its output so far, if the config does not say it.
    fn address(&self, _output: &str) -> Option<SocketAddr> {
        None
    }

    /// Files in the folder of the run that are a part of its output.
    fn logs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it writes its access log only to the standard output.
    fn logs_to_stdout(&self) -> bool {
        false
    }

    /// Why a library that fakes the clock cannot be loaded before its program, if it cannot.
    fn real_clock(&self) -> Option<&'static str> {
        None
    }

    /// Whether it has checks that it makes by itself.
    fn has_checks(&self) -> bool {
        true
    }

    /// Tells it to stop, and to let requests finish in at most `limit`. Does not wait until it has ended.
    fn drain(&self, running: &Running<'_>, _limit: Duration) -> Result<()> {
        kill_process(running.pid, Signal::TERM).explain("cannot signal the balancer")
    }

    /// Tells it to load the config that was written. Does not wait until it has.
    fn reload(&self, running: &Running<'_>) -> Result<()> {
        kill_process(running.pid, Signal::HUP).explain("cannot signal the balancer")
    }

    /// Tells it to upgrade, and waits for the process that serves then, at most `limit`. `None` if it is still the one before.
    fn upgrade(&self, running: &Running<'_>, limit: Duration) -> Result<Option<Pid>> {
        kill_process(running.pid, Signal::USR2).explain("cannot signal the balancer")?;
        let is_new = || named(running.folder).is_some_and(|pid| pid != running.pid);
        Ok(if wait(limit, is_new) {
            named(running.folder)
        } else {
            None
        })
    }

    /// How often a backend went down or up by its checks, where the output says so.
    fn state_changes(&self, _output: &str, _backend: SocketAddr) -> Option<usize> {
        None
    }

    /// Nonce and status of each request in its access log, where the output says so.
    fn logged(&self, _output: &str) -> Option<Vec<(u64, u16)>> {
        None
    }

    /// How often it has said this, where it says such things.
    fn notices(&self, _output: &str, _notice: Notice) -> Option<usize> {
        None
    }

    /// The attempts of all requests that failed, where the output says so.
    fn failed_attempts(&self, _output: &str) -> Option<u64> {
        None
    }

    /// Whether it has listeners that come and go with a config, as they are set here.
    fn has_listeners(&self) -> bool {
        false
    }

    /// Finds the address of its admin API in its output so far.
    fn admin(&self, _output: &str) -> Option<SocketAddr> {
        None
    }

    /// What to ask its admin API for, to see that it responds.
    fn admin_paths(&self) -> &'static [&'static str] {
        &["/"]
    }

    /// The metric at `/metrics` of its admin API that counts dropped lines of this access log, if there is one.
    fn drop_metric(&self, _log: &Path) -> Option<String> {
        None
    }

    /// Lines of a log that cannot be read, where all of them can be.
    fn unreadable_lines(&self, _log: &str) -> Option<usize> {
        None
    }

    /// How many days the lines of an access log are from.
    fn days(&self, _log: &str) -> Option<usize> {
        None
    }

    /// Lines of an access log with a negative duration.
    fn negative_durations(&self, _log: &str) -> Option<usize> {
        None
    }
}

/// A balancer that can be run.
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// Takes where its program is.
    pub make: fn(Place) -> Box<dyn Peer>,
}

/// All balancers.
pub const PEERS: &[Row] = &[
    Row {
        name: "evenkeel",
        make: |place| evenkeel::make(place.program),
    },
    Row {
        name: "nginx",
        make: nginx::make,
    },
    Row {
        name: "haproxy",
        make: haproxy::make,
    },
    Row {
        name: "envoy",
        make: envoy::make,
    },
    Row {
        name: "traefik",
        make: traefik::make,
    },
    Row {
        name: "caddy",
        make: caddy::make,
    },
];

impl Setup<'_> {
    /// The weight of a backend, from 1, which the variant of the config decides.
    fn weight(&self, backend: usize) -> u64 {
        let variant = self.settings.iter().find_map(|setting| match setting {
            Setting::Variant(number) => Some(*number),
            _ => None,
        });
        let backend = u64::try_from(backend).unwrap_or_default();
        variant.map_or(1, |number| (number + backend) % 3 + 1)
    }

    /// How many workers serve, if it is set.
    fn workers(&self) -> Option<usize> {
        self.settings.iter().find_map(|setting| match setting {
            Setting::Workers(count) => Some(*count),
            _ => None,
        })
    }

    /// The descriptors that a process has, if it is set.
    fn descriptors(&self) -> Option<u64> {
        self.settings.iter().find_map(|setting| match setting {
            Setting::Descriptors(count) => Some(*count),
            _ => None,
        })
    }

    /// The most connections of clients, if it is set.
    fn connections(&self) -> Option<u64> {
        self.settings.iter().find_map(|setting| match setting {
            Setting::Connections(most) => Some(*most),
            _ => None,
        })
    }

    /// The time that a stop may take, if it is set.
    fn drain(&self) -> Option<Duration> {
        self.settings.iter().find_map(|setting| match setting {
            Setting::Drain(limit) => Some(*limit),
            _ => None,
        })
    }

    /// The time between two checks in milliseconds: a second, unless another is set.
    fn check_interval(&self) -> u128 {
        let set = self.settings.iter().find_map(|setting| match setting {
            Setting::CheckInterval(interval) => Some(interval.as_millis()),
            _ => None,
        });
        set.unwrap_or(1_000)
    }

    /// The address of an admin API, if it is to have one.
    fn admin(&self) -> Result<Option<SocketAddr>> {
        let is_set = self.settings.contains(&Setting::Admin);
        is_set.then(free_address).transpose()
    }

    /// Where the access log goes, if not to the output.
    fn access_log(&self) -> Option<&Path> {
        self.extras.access_log.as_deref()
    }

    /// The longest wait for the first byte of an attempt, if it is set.
    fn first_byte(&self) -> Option<Duration> {
        self.settings.iter().find_map(|setting| match setting {
            Setting::FirstByte(limit) => Some(*limit),
            _ => None,
        })
    }
}

impl Setting {
    /// An error: this balancer has no such thing, or is not configured for it here.
    fn not_offered_by(self, balancer: &str) -> Error {
        let what = match self {
            Self::TcpCheck => "checks that only connect".to_owned(),
            Self::AdaptiveLimit => "a limit of requests in flight that follows latency".to_owned(),
            Self::FastestFirst => "a strategy that measures latency".to_owned(),
            Self::StickyCookie => "sticky sessions by a cookie".to_owned(),
            Self::Descriptors(_) | Self::Connections(_) => "a limit of the connections of clients".to_owned(),
            other => format!("the setting {other:?}"),
        };
        Error::not_offered(format!(
            "{what}: {balancer} has no such thing, or it is not configured here"
        ))
    }
}

/// The balancer with this name, whose program is at this path.
pub fn peer(name: &str, program: Option<PathBuf>) -> Result<Box<dyn Peer>> {
    let place = Place { program, root: None };
    row(name).map(|row| (row.make)(place))
}

/// The row of the balancer with this name.
pub fn row(name: &str) -> Result<&'static Row> {
    let names: Vec<&str> = PEERS.iter().map(|row| row.name).collect();
    let row = PEERS.iter().find(|row| row.name == name);
    row.ok_or_else(|| {
        Error::new(format!(
            "there is no balancer `{name}`, only: {}",
            names.join(", ")
        ))
    })
}

/// The process that the file with the process id names.
fn named(folder: &Path) -> Option<Pid> {
    let text = fs::read_to_string(folder.join(PID)).unwrap_or_default();
    text.trim().parse().ok().and_then(Pid::from_raw)
}

/// Waits until something holds, at most this long. Returns whether it does.
fn wait(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = clock::now() + clock::micros(limit);
    while clock::now() < deadline {
        if holds() {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

/// A program beside this one, as `cargo` builds both.
pub(crate) fn beside(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.with_file_name(name)
}

/// What a program says about its version: the first line of its output.
fn version_of(command: &mut Command) -> String {
    let output = command.output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown version").to_owned()
}

/// A folder for the files of a run, which a balancer in this root can see.
pub(crate) fn folder(root: Option<&Path>, is_kept: bool) -> Result<Folder> {
    let mut folder = match root {
        Some(root) => Folder::within(&root.join("tmp"))?,
        None => Folder::new()?,
    };
    if is_kept {
        folder.keep();
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::LazyLock;

    use super::*;

    const BACKENDS: &[SocketAddr] = &[
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7002),
    ];

    static NO_EXTRAS: LazyLock<Extras> = LazyLock::new(Extras::default);

    /// A run with two backends, in a folder that does not exist.
    pub(super) fn setup(settings: &[Setting]) -> Setup<'_> {
        Setup {
            backends: BACKENDS,
            settings,
            folder: Path::new("/run-of-a-test"),
            address: None,
            http2: None,
            extras: &NO_EXTRAS,
        }
    }

    /// The config of a balancer with these settings.
    pub(super) fn config(peer: &dyn Peer, settings: &[Setting]) -> Config {
        peer.config(&setup(settings)).unwrap()
    }

    /// The words of a command line.
    pub(super) fn words(command: &Command) -> Vec<String> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn every_balancer_has_a_name_of_its_own() {
        for row in PEERS {
            let named = PEERS.iter().filter(|other| other.name == row.name);
            assert_eq!(named.count(), 1, "{}", row.name);
        }
        let error = row("no-such-balancer").map(|row| row.name).unwrap_err();
        assert!(error.to_string().contains("haproxy"), "{error}");
    }

    #[test]
    fn listeners_that_come_and_go_are_not_offered_by_others() {
        let extras = Extras {
            listeners: vec![ExtraListener {
                address: SocketAddr::from(([127, 0, 0, 1], 7_003)),
                tls: None,
            }],
            ..Extras::default()
        };
        for row in PEERS {
            let peer = (row.make)(Place::default());
            assert!(NO_EXTRAS.require(peer.as_ref()).is_ok(), "{}", row.name);
            let error = extras.require(peer.as_ref()).err();
            let is_not_offered = error.is_some_and(|error| error.is_not_offered());
            assert_eq!(is_not_offered, row.name != "evenkeel", "{}", row.name);
        }
    }

    #[test]
    fn weights_differ_between_variants() {
        let weights = |settings: &[Setting]| [0, 1].map(|backend| setup(settings).weight(backend));
        assert_eq!(weights(&[Setting::Variant(4)]), [2, 3]);
        assert_eq!(weights(&[]), [1, 1]);
    }
}
