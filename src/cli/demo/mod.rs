//! `evenkeel demo`: runs three small backends in this process, and the load balancer in front of them.

mod backend;
mod backends;

use std::io;
use std::time::Duration;

use clap::Args;

use super::{Outcome, Streams};
use crate::config::{self, Config, Loaded, Report};
use crate::net::ListenAddress;
use crate::server::{self, Plan, Running, StartError};
use backends::Backends;

/// Health check interval. Shorter than the default, so that a restarted backend soon receives requests.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

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
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub backend_port: u16,
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
        }
        Ok(loaded)
    }

    /// Ports that the load balancer uses.
    fn reserved(&self) -> Vec<u16> {
        let ports = [&self.listen, &self.admin].into_iter();
        ports
            .filter_map(|address| address.rsplit(':').next()?.parse().ok())
            .collect()
    }
}

/// Runs the demo until a signal stops it. Writes only log lines to stdout.
pub(super) fn demo(arguments: &DemoArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
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
    };
    let mut printed = Ok(());
    let ended = server::run(plan, |running| {
        printed = write!(streams.err, "{}", welcome(running, &backends));
    });
    printed?;
    match ended {
        Ok(()) => Ok(Outcome::Fine),
        Err(error) => {
            writeln!(streams.err, "evenkeel: {error}{}", hint(&error, &config))?;
            Ok(Outcome::Failed)
        }
    }
}

/// The addresses, and commands to try, one per line.
fn welcome(running: &Running, backends: &Backends) -> String {
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
    text.push_str("\nTry, in another terminal:\n");
    for (url, what) in [
        (
            format!("{option}http://{open}/"),
            "repeat it: the backends respond in turn",
        ),
        (
            format!("{option}http://{open}/503"),
            "backend three responds with 503: the retry hides it, the log shows it",
        ),
        (
            format!("{option}http://{open}/slow"),
            "backend three takes 3 seconds to respond",
        ),
        (
            format!("http://{switch}/stop"),
            "stops backend three: the others take over",
        ),
        (
            format!("http://{switch}/start"),
            "starts it again: it is back within seconds",
        ),
    ] {
        text.push_str(&format!("  curl {url:<28}  {what}\n"));
    }
    text.push_str("\nEach request is logged below. Press Ctrl-C to stop.\n\n");
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
        assert_eq!(loaded.config.pools[0].backends.len(), 2);
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
        let text = welcome(&running, &backends);
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
