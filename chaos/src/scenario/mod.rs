//! The scenarios: each is a file here and a row of [`SCENARIOS`]. It starts backends and a balancer, sends load while it
//! does damage, and then judges the outcome by its goals.

mod all_down;
mod calm;
mod clock_jumps;
mod cut;
mod descriptors;
mod drain;
mod flapping;
mod hang;
mod keepalive_race;
mod kill;
mod log_full;
mod lone_restart;
mod overload;
mod reload;
mod slow_backend;
mod sticky;
mod upgrade;

mod exchanged;
mod goals;
mod log_obstacle;

use std::path::Path;
use std::time::Duration;

use crate::client::{LongLived, LongLivedCounts, Plan, Record};
use crate::clock;
use crate::error::{Error, Result};
use crate::executions::Executions;
use crate::fleet::Fleet;
use crate::folder::Folder;
use crate::helper::Helper;
use crate::peer::{self, Balancer, Extras, Peer, Program, Setting, Setup};
use crate::report::Report;
use crate::rng::Rng;

/// A scenario.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// The time that it takes unless another is asked for.
    pub seconds: u64,
    /// Requests a second, unless another rate is asked for.
    pub rate: u64,
    run: fn(&Context, &mut Report) -> Result<()>,
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "calm",
        about: "nothing happens: what latencies of the other scenarios are compared with",
        seconds: 30,
        rate: 400,
        run: calm::run,
    },
    Scenario {
        name: "kill",
        about: "every 2 s one of three backends is killed, and restarted after 1 s",
        seconds: 30,
        rate: 400,
        run: kill::run,
    },
    Scenario {
        name: "hang",
        about: "one of three backends hangs: it accepts connections and never responds, under checks by HTTP",
        seconds: 30,
        rate: 300,
        run: hang::run_with_http_check,
    },
    Scenario {
        name: "hang-tcp",
        about: "the same under checks that only connect, which a hanging backend passes",
        seconds: 30,
        rate: 300,
        run: hang::run_with_tcp_check,
    },
    Scenario {
        name: "lone-restart",
        about: "the only backend restarts and is down for 0.3 s, 1 s and 3 s",
        seconds: 15,
        rate: 200,
        run: lone_restart::run,
    },
    Scenario {
        name: "keepalive-race",
        about: "backends close idle connections after a random time of up to 5 ms",
        seconds: 30,
        rate: 400,
        run: keepalive_race::run,
    },
    Scenario {
        name: "cut",
        about: "half of the responses are cut at a random place",
        seconds: 30,
        rate: 400,
        run: cut::run,
    },
    Scenario {
        name: "cut-http2",
        about: "backends over HTTP/2 cut 4% of the responses: they reset the stream, send GOAWAY, or end the connection inside a frame",
        seconds: 30,
        rate: 400,
        run: cut::run_over_http2,
    },
    Scenario {
        name: "all-down",
        about: "all backends respond 503, then are down, then recover; requests are not queued",
        seconds: 30,
        rate: 200,
        run: all_down::run,
    },
    Scenario {
        name: "overload",
        about: "twice the capacity of the backends, with adaptive limits",
        seconds: 30,
        rate: 240,
        run: overload::run,
    },
    Scenario {
        name: "flapping",
        about: "one of three backends responds 503 every other 300 ms",
        seconds: 30,
        rate: 300,
        run: flapping::run,
    },
    Scenario {
        name: "slow-backend",
        about: "one of three backends is 20 times slower, with a strategy that measures latency",
        seconds: 20,
        rate: 300,
        run: slow_backend::run,
    },
    Scenario {
        name: "sticky",
        about: "1,000 clients with sticky sessions, while the backend of some is killed and comes back",
        seconds: 20,
        rate: 500,
        run: sticky::run,
    },
    Scenario {
        name: "reload",
        about: "another config up to five times a second, every tenth of them invalid, with WebSockets, downloads and HTTP/2 streams alongside",
        seconds: 30,
        rate: 400,
        run: reload::run,
    },
    Scenario {
        name: "upgrade",
        about: "the program is replaced every 2.5 s, every fifth time by one that fails, with downloads alongside",
        seconds: 30,
        rate: 400,
        run: upgrade::run,
    },
    Scenario {
        name: "drain",
        about: "the balancer is told to stop with 500 slow requests, WebSockets, HTTP/2 streams and downloads under way; \
                the rate is that of new clients",
        seconds: 10,
        rate: 50,
        run: drain::run,
    },
    Scenario {
        name: "descriptors",
        about: "2,000 clients connect and stay, and the balancer may have 512 descriptors; the rate is that of 20 earlier clients",
        seconds: 30,
        rate: 40,
        run: descriptors::run,
    },
    Scenario {
        name: "log-full",
        about: "the file system of the access log is full for most of the time",
        seconds: 30,
        rate: 400,
        run: log_full::run_full,
    },
    Scenario {
        name: "log-blocked",
        about: "the access log is a pipe whose reader is stopped for most of the time",
        seconds: 30,
        rate: 400,
        run: log_full::run_blocked,
    },
    Scenario {
        name: "clock",
        about: "the wall clock jumps by an hour, by a day, and by 30 s every second",
        seconds: 30,
        rate: 300,
        run: clock_jumps::run,
    },
];

/// How a scenario is run.
#[derive(Debug)]
pub struct Context {
    /// The balancer.
    pub peer: Box<dyn Peer>,
    /// How backends are started.
    pub helper: Helper,
    /// Seed of everything random.
    pub seed: u64,
    /// The time that the scenario takes.
    pub duration: Duration,
    /// Requests a second.
    pub rate: u64,
    /// What limits that depend on timing are multiplied with: 1 on a machine that does nothing else.
    pub slack: u64,
    /// Whether the files of the run stay on the disk.
    pub is_kept: bool,
}

/// A balancer in front of backends.
#[derive(Debug)]
struct Rig {
    balancer: Balancer,
    fleet: Fleet,
    /// Removed after both have ended.
    folder: Folder,
}

/// What was sent in a run.
#[derive(Clone, Copy)]
struct Sent<'a> {
    /// Requests, and what became of them.
    records: &'a [Record],
    /// The nonces of others.
    beside: &'a [u64],
}

/// What is left when the balancer has stopped.
struct Outcome {
    /// What it has written.
    output: String,
    /// What the backends have executed.
    log: Executions,
}

/// Flags of three backends that respond after 3 ms, so that requests are under way when something happens.
const THREE: [&[&str]; 3] = [&["--delay-ms", "3"]; 3];

impl Scenario {
    /// The scenario with this name.
    pub fn find(name: &str) -> Result<&'static Self> {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| {
            Error::new(format!(
                "there is no scenario `{name}`, only: {}",
                names.join(", ")
            ))
        })
    }

    /// Runs it. An error means that it could not be carried out; missed goals are in the report.
    pub fn run(&self, context: &Context) -> Result<Report> {
        let mut report = Report::default();
        report.fact("scenario", format!("{}: {}", self.name, self.about));
        report.fact("balancer", context.peer.version());
        report.fact("machine", machine());
        report.fact("seed", context.seed);
        report.fact("rate", format!("{}/s", context.rate));
        report.fact("duration", format!("{} s", context.duration.as_secs()));
        report.fact("slack", context.slack);
        (self.run)(context, &mut report)?;
        Ok(report)
    }
}

impl Context {
    /// Starts backends with these flags, and the balancer in front of them.
    fn rig(&self, settings: &[Setting], flags: &[&[&str]]) -> Result<Rig> {
        self.rig_with(settings, flags, |_| Ok(Extras::default()))
    }

    /// The same with what `extras` makes, which gets the folder of the run.
    fn rig_with(
        &self,
        settings: &[Setting],
        flags: &[&[&str]],
        extras: impl FnOnce(&Path) -> Result<Extras>,
    ) -> Result<Rig> {
        let folder = peer::folder(self.peer.root(), self.is_kept)?;
        let flags: Vec<Vec<String>> = flags
            .iter()
            .map(|flags| flags.iter().map(|&flag| flag.to_owned()).collect())
            .collect();
        let fleet = Fleet::start(&self.helper, folder.path(), self.seed, &flags)?;
        let addresses = fleet.addresses();
        let extras = extras(folder.path())?;
        let setup = Setup {
            backends: &addresses,
            settings,
            folder: folder.path(),
            address: None,
            http2: None,
            extras: &extras,
        };
        if settings
            .iter()
            .any(|setting| matches!(setting, Setting::UpgradeLimit(_)))
        {
            self.peer.install(folder.path(), Program::Whole)?;
        }
        let balancer = Balancer::start(self.peer.as_ref(), &self.helper, &setup)?;
        Ok(Rig {
            balancer,
            fleet,
            folder,
        })
    }

    fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }

    /// A share of the duration, in percent.
    fn part(&self, percent: u32) -> Duration {
        self.duration * percent / 100
    }

    /// Load at the rate of the run.
    fn load(&self, rig: &Rig, duration: Duration) -> Plan {
        let mut plan = Plan::new(rig.balancer.address, self.rate, duration, self.seed);
        plan.http2 = rig.balancer.http2.unwrap_or(plan.http2);
        plan
    }

    /// A limit that depends on timing.
    fn slackened(&self, limit: Duration) -> Duration {
        limit * u32::try_from(self.slack).unwrap_or(1)
    }

    /// The longest latency that counts as `percent` of `base`. A difference of 2 ms is noise of the scheduler.
    fn limit(&self, base: u64, percent: u64) -> u64 {
        (base * percent / 100).max(base + 2_000) * self.slack
    }
}

impl Rig {
    /// Starts what lives longer than a reload or an upgrade.
    fn long_lived(&self, counts: LongLivedCounts) -> Result<LongLived> {
        let address = self.balancer.address;
        LongLived::start(address, self.balancer.http2.unwrap_or(address), counts)
    }

    /// Stops the balancer, and judges what holds in every scenario.
    fn finish(&mut self, context: &Context, report: &mut Report, records: &[Record]) -> Result<Outcome> {
        let beside = &[];
        self.finish_beside(context, report, Sent { records, beside })
    }

    /// The same where more than these requests was sent.
    fn finish_beside(&mut self, context: &Context, report: &mut Report, sent: Sent<'_>) -> Result<Outcome> {
        let output = self.balancer.stop()?;
        Ok(self.judge(context, report, sent, output))
    }

    /// Judges what holds in every scenario when the balancer has ended.
    fn judge(&mut self, context: &Context, report: &mut Report, sent: Sent<'_>, output: String) -> Outcome {
        let log = self.fleet.executions();
        report.seen.add(sent.records, &log);
        goals::executed_once(report, sent.records, &log);
        // A scenario with an access log elsewhere judges it.
        if self.balancer.logs_to_output()
            && let Some(logged) = context.peer.logged(&output)
        {
            goals::log_is_true(report, sent, &logged);
        }
        if let Some(unreadable) = context.peer.unreadable_lines(&output) {
            report.at_most("lines of the logs that are no JSON", goals::number(unreadable), 0);
        }
        Outcome { output, log }
    }
}

/// The kernel, the cores, and how this program was built, which the balancer beside it shares.
fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    format!("Linux {}, {cores} cores, {build} build", kernel.trim())
}

/// Sleeps until `time`, in microseconds of the machine's clock.
fn sleep_until(time: u64) {
    clock::sleep_until(time);
}

/// The requests that were due between two times.
fn due_between(records: &[Record], from: u64, to: u64) -> Vec<Record> {
    let due = records.iter().filter(|record| (from..to).contains(&record.due));
    due.cloned().collect()
}
