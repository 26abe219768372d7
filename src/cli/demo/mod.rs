//! `evenkeel demo`: runs three small backends in this process, the load balancer in front of them, and traffic with now and then an outage of a
//! backend.

mod backend;
mod backends;
mod outages;
mod thread;
mod traffic;

use std::io;
use std::time::Duration;

use clap::Args;

use super::number::whole;
use super::{Outcome, Streams};
use crate::config::{self, Config, Loaded, Report};
use crate::net::ListenAddress;
use crate::server::{self, Launch, Plan, Running, StartError};
use crate::telemetry::access_log::{SinkSettings, Target};
use backends::Backends;
use traffic::{Load, Traffic};

/// Health check interval. Shorter than the default, so that a restarted backend soon receives requests.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Most requests per second of its own traffic. It is there to be looked at, and is no benchmark.
const MOST_TRAFFIC: u32 = 1000;
/// Longest cycle of outages, in seconds.
const LONGEST_CYCLE: u32 = 3600;

/// Arguments of `evenkeel demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Address of the load balancer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Address of the admin API, or `off`
    #[arg(long, value_name = "ADDRESS|off", default_value = "127.0.0.1:9900")]
    pub admin: String,
    /// First of four ports for the backends and their switch; a busy port is replaced by a free one, 0 uses free ports
    #[arg(long, value_name = "PORT", default_value_t = 8001, value_parser = port)]
    pub backend_port: u16,
    /// Requests per second that the demo itself sends, up to 1000; 0 for none, and no outages
    #[arg(long, value_name = "N/s", default_value = "50/s", value_parser = rate)]
    pub traffic: u32,
    /// Seconds after which the two outages of backend three begin anew, up to 3600; 0 for no outages
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = whole::<LONGEST_CYCLE>)]
    pub outages: u32,
}

impl DemoArguments {
    /// The config of a load balancer in front of these backends.
    ///
    /// # Errors
    /// All errors of the arguments.
    pub fn config(&self, backends: Vec<String>) -> Result<Loaded, Report> {
        let mut loaded = config::from_arguments(&config::Arguments {
            listen: vec![self.listen.clone()],
            admin: Some(self.admin.clone()),
            backends,
            ..config::Arguments::default()
        })?;
        for pool in &mut loaded.config.pools {
            pool.health_check.interval = CHECK_INTERVAL;
            for (backend, name) in pool.backends.iter_mut().zip(backends::NAMES) {
                backend.name = Some(name.into());
            }
        }
        if self.traffic > 0 {
            // The lines of its own requests would hide everything else.
            loaded.config.access_log.sinks = vec![SinkSettings::new(Target::Off)];
        }
        Ok(loaded)
    }

    /// The traffic; `None` without any.
    fn load(&self) -> Option<Load> {
        (self.traffic > 0).then(|| Load {
            per_second: self.traffic,
            cycle: Duration::from_secs(self.outages.into()),
        })
    }

    /// Ports that the load balancer uses.
    fn reserved(&self) -> Vec<u16> {
        let ports = [&self.listen, &self.admin].into_iter();
        ports
            .filter_map(|address| address.rsplit(':').next()?.parse().ok())
            .collect()
    }
}

/// Reads a port.
fn port(text: &str) -> Result<u16, String> {
    let number = text.parse();
    number.map_err(|_| format!("expected a whole number from 0 to {}", u16::MAX))
}

/// Reads requests per second: `50/s` or `50`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate = number.parse().ok().filter(|rate| *rate <= MOST_TRAFFIC);
    rate.ok_or_else(|| format!("not a number of requests per second from 0 to {MOST_TRAFFIC}, such as 50/s"))
}

/// Runs the demo until a signal stops it. Writes only log lines to stdout.
pub(super) fn demo(arguments: &DemoArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let launch = Launch::take();
    let backends = match Backends::start(arguments.backend_port, &arguments.reserved()) {
        Ok(backends) => backends,
        Err(error) => {
            writeln!(
                streams.err,
                "evenkeel: cannot start the backends of the demo: {error}"
            )?;
            return Ok(Outcome::Failed);
        }
    };
    let urls = backends
        .addresses
        .iter()
        .map(|address| format!("http://{address}"));
    let loaded = match arguments.config(urls.collect()) {
        Ok(loaded) => loaded,
        Err(report) => {
            streams.fail(&report)?;
            return Ok(Outcome::Misused);
        }
    };
    streams.warn(&loaded)?;
    let config = loaded.config;
    let plan = Plan {
        config: config.clone(),
        source: None,
        source_name: "demo".to_owned(),
        pid_file: None,
        launch,
        no_upgrade: Some(
            "a demo cannot be upgraded, because its backends end with its process; start it again",
        ),
    };
    let load = arguments.load();
    let mut printed = Ok(());
    let mut traffic = None;
    let ended = server::run(plan, |running| {
        printed = write!(streams.err, "{}", welcome(running, &backends, load));
        let listener = running.addresses.first();
        traffic = listener
            .zip(load)
            .map(|(listener, load)| Traffic::start(load, listener, backends.commands.clone()));
    });
    printed?;
    if let Some(Err(error)) = &traffic {
        writeln!(streams.err, "evenkeel: the demo sent no traffic: {error}")?;
    }
    drop(traffic);
    match ended {
        Ok(0) => Ok(Outcome::Fine),
        Ok(code) => Ok(Outcome::Replaced(code)),
        Err(error) => {
            writeln!(streams.err, "evenkeel: {error}{}", hint(&error, &config))?;
            Ok(Outcome::Failed)
        }
    }
}

/// The addresses, and commands to try, one per line.
fn welcome(running: &Running, backends: &Backends, load: Option<Load>) -> String {
    let open = running.addresses.first();
    // curl takes the path of a Unix socket in an option.
    let (open, option) = match open {
        Some(ListenAddress::Ip(address)) => (address.to_string(), String::new()),
        Some(ListenAddress::Unix(path)) => (
            "localhost".to_owned(),
            format!("--unix-socket {} ", path.display()),
        ),
        None => Default::default(),
    };
    let switch = backends.switch;
    let mut text = match running.addresses.first() {
        Some(address @ ListenAddress::Unix(_)) => format!("\nThe load balancer is at  {address}\n"),
        _ => format!("\nThe load balancer is at  http://{open}/\n"),
    };
    for (name, address) in backends::NAMES.iter().zip(&backends.addresses) {
        text.push_str(&format!("  backend {name:<14} http://{address}/\n"));
    }
    match &running.admin {
        Some(admin @ ListenAddress::Ip(_)) => {
            text.push_str(&format!("  dashboard              http://{admin}/\n"));
        }
        Some(admin) => text.push_str(&format!("  admin API              {admin}\n")),
        None => {}
    }
    if let Some(load) = load {
        text.push_str(&of_load(load));
    }
    text.push_str("\nTry, in another terminal:\n");
    let top = running.admin.as_ref().map(|admin| {
        let command = format!("evenkeel top --admin {admin}");
        (command, "shows the dashboard in this terminal")
    });
    let curl = |url: String, what| (format!("curl {url}"), what);
    let commands: Vec<(String, &str)> = top
        .into_iter()
        .chain([
            curl(
                format!("{option}http://{open}/"),
                "repeat it: the backends respond in turn",
            ),
            curl(
                format!("{option}http://{open}/503"),
                "backend three responds with 503: the retry hides it",
            ),
            curl(
                format!("{option}http://{open}/slow"),
                "backend three takes 3 seconds to respond",
            ),
            curl(
                format!("http://{switch}/stop"),
                "stops backend three: the others take over",
            ),
            curl(
                format!("http://{switch}/start"),
                "starts it again: it is back within seconds",
            ),
        ])
        .collect();
    let width = commands.iter().map(|(command, _)| command.len()).max();
    let width = width.unwrap_or_default();
    for (command, what) in &commands {
        text.push_str(&format!("  {command:width$}  {what}\n"));
    }
    text.push_str(match load {
        None => "\nEach request is logged below. Press Ctrl-C to stop.\n\n",
        Some(_) => "\nThe log below has no requests: `--traffic 0` logs yours. Press Ctrl-C to stop.\n\n",
    });
    text
}

/// What the demo does by itself, one thing per line.
fn of_load(Load { per_second, cycle }: Load) -> String {
    let mut text = format!("\nThe demo sends {per_second} requests per second, over HTTP/1 and HTTP/2.\n");
    if !cycle.is_zero() {
        let length = |sixtieths| (cycle * sixtieths / 60).as_secs_f32();
        text.push_str(&format!(
            "Every {} s, backend three refuses connections for {:.0} s, and later responds with 503 for {:.0} s.\n\
             Retries hide both from the clients.\n",
            cycle.as_secs(),
            length(outages::REFUSES),
            length(outages::FAILS),
        ));
    }
    text
}

/// A hint for an address that cannot be bound.
fn hint(error: &StartError, config: &Config) -> String {
    let StartError::Bind { address, .. } = error else {
        return String::new();
    };
    let is_listener = config
        .listeners
        .iter()
        .any(|listener| listener.address == *address);
    let options = if is_listener {
        "`evenkeel demo --listen 127.0.0.1:0` uses a free port"
    } else {
        "`evenkeel demo --admin 127.0.0.1:0` uses a free port, `--admin off` disables the admin API"
    };
    format!("\n  = hint: {options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> DemoArguments {
        DemoArguments {
            listen: "127.0.0.1:0".to_owned(),
            admin: "off".to_owned(),
            backend_port: 0,
            traffic: 0,
            outages: 0,
        }
    }

    fn run(arguments: &DemoArguments) -> (Outcome, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            out: &mut out,
            err: &mut err,
        };
        let outcome = demo(arguments, &mut streams).unwrap();
        assert!(out.is_empty());
        (outcome, String::from_utf8(err).unwrap())
    }

    #[test]
    fn puts_the_load_balancer_in_front_of_the_backends() {
        let backends = vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        let loaded = arguments()
            .config(backends)
            .unwrap_or_else(|report| panic!("{report}"));
        let names = loaded.config.pools[0].backends.iter();
        let names: Vec<_> = names.map(|backend| backend.name.as_deref()).collect();
        assert_eq!(names, [Some("one"), Some("two")]);
        assert!(
            loaded.config.listeners[0]
                .address
                .ip()
                .unwrap()
                .ip()
                .is_loopback()
        );
    }

    #[test]
    fn shows_how_to_use_a_unix_socket() {
        let backends = Backends::start(0, &[]).unwrap();
        let running = Running {
            addresses: vec![ListenAddress::Unix("/run/e.sock".into())],
            admin: Some(ListenAddress::Unix("/run/a.sock".into())),
        };
        let text = welcome(&running, &backends, None);
        assert!(text.contains("Each request is logged below."), "{text}");
        assert!(text.contains("is at  unix:/run/e.sock\n"), "{text}");
        assert!(
            text.contains("  admin API              unix:/run/a.sock\n"),
            "{text}"
        );
        assert!(
            text.contains("curl --unix-socket /run/e.sock http://localhost/503 "),
            "{text}"
        );
    }

    #[test]
    fn says_what_it_does_by_itself() {
        let load = Load {
            per_second: 7,
            cycle: Duration::from_secs(60),
        };
        let text = of_load(load);
        assert!(text.contains("sends 7 requests per second"), "{text}");
        assert!(
            text.contains(
                "Every 60 s, backend three refuses connections for 10 s, and later responds with 503 for 8 s."
            ),
            "{text}"
        );
        let text = of_load(Load {
            cycle: Duration::ZERO,
            ..load
        });
        assert!(!text.contains("backend three"), "{text}");
    }

    #[test]
    fn traffic_is_a_number_of_requests_per_second() {
        for (text, expected) in [
            ("50/s", Some(50)),
            ("0", Some(0)),
            ("1000/s", Some(1000)),
            ("1001/s", None),
            ("-1", None),
            ("50/m", None),
            ("", None),
        ] {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn requests_are_logged_only_without_traffic() {
        let backends = || vec!["http://127.0.0.1:1".to_owned()];
        let target = |traffic| {
            let arguments = DemoArguments {
                traffic,
                ..arguments()
            };
            let loaded = arguments
                .config(backends())
                .unwrap_or_else(|report| panic!("{report}"));
            loaded.config.access_log.sinks[0].target.clone()
        };
        assert_eq!((target(0), target(1)), (Target::Stdout, Target::Off));
    }

    #[test]
    fn names_the_option_to_use_when_a_port_is_busy() {
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = busy.local_addr().unwrap().to_string();
        for option in ["--listen", "--admin"] {
            let mut arguments = arguments();
            match option {
                "--listen" => arguments.listen.clone_from(&address),
                _ => arguments.admin.clone_from(&address),
            }
            let (outcome, err) = run(&arguments);
            assert_eq!(outcome, Outcome::Failed);
            assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
            assert!(
                err.contains(&format!("`evenkeel demo {option} 127.0.0.1:0`")),
                "{err}"
            );
        }
    }

    #[test]
    fn invalid_address_is_misuse() {
        let mut arguments = arguments();
        arguments.listen = "nowhere".to_owned();
        assert_eq!(run(&arguments).0, Outcome::Misused);
    }

    #[test]
    fn backends_avoid_busy_and_reserved_ports() {
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let first = busy.local_addr().unwrap().port();
        let reserved = first.saturating_add(1);
        let backends = Backends::start(first, &[reserved]).unwrap();
        assert_eq!(backends.addresses.len(), 3);
        for address in &backends.addresses[..2] {
            assert!(![first, reserved].contains(&address.port()), "{address}");
        }
    }
}
