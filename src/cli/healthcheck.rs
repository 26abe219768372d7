//! `evenkeel healthcheck`: asks the running process whether it is ready.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::Args;

use super::{ConfigFile, Outcome, Streams, admin_api, call};
use crate::admin;
use crate::config::{Config, Report};
use crate::net::ListenAddress;

/// Timeout for the response of the process.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Arguments of `evenkeel healthcheck`.
#[derive(Debug, Clone, Args)]
pub struct HealthcheckArguments {
    /// The config of the running process.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Address of the admin API, or unix:PATH, to use no config file
    #[arg(long, value_name = "ADDRESS", value_parser = admin_api::parse, conflicts_with = "config")]
    pub admin: Option<ListenAddress>,
}

/// The address that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// `GET /readyz` of the admin API.
    Admin(ListenAddress),
    /// Only a connection to the first listener, because the admin API is off.
    Listener(ListenAddress),
}

impl HealthcheckArguments {
    /// The address to check; `None` if the config has neither an admin API nor a listener.
    ///
    /// # Errors
    /// The config file is needed and invalid.
    pub fn target(&self) -> Result<Option<ProbeTarget>, Report> {
        if let Some(address) = &self.admin {
            return Ok(Some(ProbeTarget::Admin(reachable(address))));
        }
        let (_, loaded) = self
            .file
            .load("name one with `-c FILE`, or the admin API with `--admin ADDRESS`")?;
        Ok(target(&loaded.config))
    }
}

/// Checks whether the running process is ready.
pub(super) fn healthcheck(
    arguments: &HealthcheckArguments,
    streams: &mut Streams<'_>,
) -> io::Result<Outcome> {
    let target = match arguments.target() {
        Ok(target) => target,
        Err(report) => return streams.fail(&report),
    };
    let why = match target {
        None => "the config has neither an admin API nor a listener".to_owned(),
        Some(ProbeTarget::Listener(address)) => match connect(&address) {
            Ok(()) => return Ok(Outcome::Fine),
            Err(error) => failed(&address, &error),
        },
        Some(ProbeTarget::Admin(address)) => {
            match admin::client::get_blocking(&address, "/readyz", None, TIMEOUT) {
                Ok((200, _)) => return Ok(Outcome::Fine),
                Ok((status, body)) => {
                    format!("{address}: {}", call::refused(status, body).why)
                }
                Err(error) => failed(&address, &error),
            }
        }
    };
    writeln!(streams.err, "evenkeel: not ready: {why}")?;
    Ok(Outcome::Failed)
}

fn failed(address: &ListenAddress, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
            " (nothing listens there; check that the process is running with this config)"
        }
        _ => "",
    };
    format!("{address}: {error}{hint}")
}

fn target(config: &Config) -> Option<ProbeTarget> {
    let admin = config.admin.as_ref();
    let admin = admin.map(|admin| ProbeTarget::Admin(reachable(&admin.address)));
    let listener = || {
        Some(ProbeTarget::Listener(reachable(
            &config.listeners.first()?.address,
        )))
    };
    admin.or_else(listener)
}

/// Connects and closes the connection.
fn connect(address: &ListenAddress) -> io::Result<()> {
    match address {
        ListenAddress::Ip(address) => TcpStream::connect_timeout(address, TIMEOUT).map(drop),
        // Has no timeout: on a Unix socket, `connect` waits only for room in the accept queue.
        ListenAddress::Unix(path) => UnixStream::connect(path).map(drop),
    }
}

/// The address to connect to for an address that is listened on. The unspecified address is replaced by loopback.
fn reachable(address: &ListenAddress) -> ListenAddress {
    let mut address = address.clone();
    if let ListenAddress::Ip(address) = &mut address {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::from_text;

    fn target_of(lines: &str) -> ProbeTarget {
        target_with(":8080", lines)
    }

    fn target_with(listen: &str, lines: &str) -> ProbeTarget {
        let text = format!("listen: {listen}\nbackends: [http://a:1]\n{lines}\n");
        let loaded = from_text(&text, "c.yaml", Path::new("/"), &|_| None);
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
        target(&loaded.config).unwrap()
    }

    #[test]
    fn checks_the_admin_api_or_else_the_first_listener() {
        let address = |text: &str| ListenAddress::Ip(text.parse().unwrap());
        assert_eq!(target_of(""), ProbeTarget::Admin(address("127.0.0.1:9900")));
        let socket = ListenAddress::Unix("/run/a.sock".into());
        assert_eq!(target_of("admin: unix:/run/a.sock"), ProbeTarget::Admin(socket));
        let open = "admin: { address: '[::]:9901', token: correct-horse-battery }";
        assert_eq!(target_of(open), ProbeTarget::Admin(address("[::1]:9901")));
        assert_eq!(
            target_of("admin: off"),
            ProbeTarget::Listener(address("127.0.0.1:8080"))
        );
        assert_eq!(
            target_with("unix:/run/e.sock", "admin: off"),
            ProbeTarget::Listener(ListenAddress::Unix("/run/e.sock".into()))
        );
    }
}
