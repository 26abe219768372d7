//! Why the process could not start: what could not be had, what the system says, and what to do.

use std::io::{self, ErrorKind};

use crate::net::ListenAddress;
use crate::telemetry::LogError;

/// Ports below this need a right of their own, unless `net.ipv4.ip_unprivileged_port_start` says otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be taken.
    #[error("cannot listen on {address}: {source}{hint}")]
    Bind {
        /// Which one.
        address: ListenAddress,
        /// What to do about it.
        hint: String,
        /// What the system says.
        source: io::Error,
    },
    /// A log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A thread, a runtime or the like could not be had.
    #[error("cannot {what}: {source}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Routes and pools do not fit; a config that was checked does not do this.
    #[error(transparent)]
    Routes(#[from] crate::router::UnknownPool),
}

impl StartError {
    /// The error of an address that cannot be had.
    pub(super) fn bind(address: &ListenAddress, source: io::Error) -> Self {
        Self::Bind {
            address: address.clone(),
            hint: hint(address, source.kind()),
            source,
        }
    }

    /// Makes an error of what the system says about something that was to be done.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// What to do about an address that cannot be had.
fn hint(address: &ListenAddress, kind: ErrorKind) -> String {
    match (address, kind) {
        (ListenAddress::Ip(address), ErrorKind::AddrInUse) => format!(
            " (another process uses it: `ss -ltnp 'sport = :{}'` as root shows which; stop that one, or choose another address)",
            address.port()
        ),
        (ListenAddress::Unix(path), ErrorKind::AddrInUse) => format!(
            " (another process uses it: `fuser -v {}` as root shows which; stop that one, or choose another path)",
            path.display()
        ),
        (ListenAddress::Ip(address), ErrorKind::PermissionDenied) if address.port() < FIRST_FREE_PORT => {
            format!(
                " (port {} needs root or the capability CAP_NET_BIND_SERVICE, as all below {FIRST_FREE_PORT}: \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd unit, or `setcap cap_net_bind_service=+ep` for the binary)",
                address.port()
            )
        }
        (ListenAddress::Ip(_), ErrorKind::PermissionDenied) => {
            " (a security policy of this machine forbids it)".to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::PermissionDenied) => {
            " (this user may not make files in its folder, or not look at the one that is there)".to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::AlreadyExists) => {
            " (what is there is no socket: remove it, or choose another path)".to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::NotFound) => " (its folder does not exist: make it)".to_owned(),
        (_, ErrorKind::AddrNotAvailable) => " (no interface of this machine has this address)".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_address_the_reason_and_what_to_do() {
        let ip = |text: &str| ListenAddress::Ip(text.parse().unwrap());
        let unix = || ListenAddress::Unix("/run/e.sock".into());
        for (address, kind, words) in [
            (
                ip("0.0.0.0:80"),
                ErrorKind::AddrInUse,
                "cannot listen on 0.0.0.0:80: ",
            ),
            (ip("0.0.0.0:80"), ErrorKind::AddrInUse, "`ss -ltnp 'sport = :80'`"),
            (unix(), ErrorKind::AddrInUse, "`fuser -v /run/e.sock`"),
            (
                ip("0.0.0.0:443"),
                ErrorKind::PermissionDenied,
                "port 443 needs root or the capability CAP_NET_BIND_SERVICE",
            ),
            (
                ip("0.0.0.0:8080"),
                ErrorKind::PermissionDenied,
                "a security policy",
            ),
            (unix(), ErrorKind::NotFound, "cannot listen on unix:/run/e.sock: "),
        ] {
            let shown = StartError::bind(&address, kind.into()).to_string();
            assert!(shown.contains(words), "{shown}");
        }
        let shown = StartError::system("start a worker thread")(ErrorKind::OutOfMemory.into()).to_string();
        assert_eq!(shown, "cannot start a worker thread: out of memory");
    }
}
