//! Errors at the start of the process: what failed, the system's error, and what to do.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_balance::policy::{FeedError, Source};

use super::stores::StoreError;
use crate::net::ListenAddress;
use crate::router::RouteErrors;
use crate::telemetry::LogError;

/// Ports below this need a privilege, unless `net.ipv4.ip_unprivileged_port_start` says otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// The routes of a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// They do not go together.
    #[error(transparent)]
    Router(#[from] RouteErrors),
    /// A route refers to a pool that does not exist.
    #[error("route `{route}` refers to pool {pool:?}, which does not exist")]
    UnknownPool {
        /// The name of the route.
        route: String,
        /// The unknown name.
        pool: Arc<str>,
    },
    /// A file of a policy cannot be used.
    #[error("policy `{policy}`: {} cannot be used: {error}", path(.data))]
    PolicyFile {
        /// The name of the policy.
        policy: String,
        /// The file.
        data: Source,
        /// What is wrong.
        error: FeedError,
    },
    /// The URL of a store cannot be used.
    #[error("store `{store}`: {error}")]
    Store {
        /// The name of the store.
        store: Arc<str>,
        /// What is wrong.
        error: StoreError,
    },
    /// A section of a route is invalid.
    #[error("route `{route}` is invalid: {errors}")]
    Invalid {
        /// The name of the route.
        route: String,
        /// What is wrong.
        errors: String,
    },
}

/// An error at the start of the process.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}{hint}")]
    Bind {
        /// The address.
        address: ListenAddress,
        /// What to do about it.
        hint: String,
        /// The system's error.
        source: io::Error,
    },
    /// A log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file of the process id could not be written.
    #[error("cannot write the file of `--pid-file`, {}: {source} (its folder must exist, and the user of this process must be allowed to write there)", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A thread, a runtime or another resource of the system could not be created.
    #[error("cannot {what}: {source}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The routes cannot be used; does not happen with a checked config.
    #[error(transparent)]
    Routes(#[from] RoutesError),
}

impl StartError {
    /// The error of an address that cannot be bound.
    pub(super) fn bind(address: &ListenAddress, source: io::Error) -> Self {
        Self::Bind {
            address: address.clone(),
            hint: hint(address, source.kind()),
            source,
        }
    }

    /// The same error about the address of the admin API, which a config need not name.
    pub(super) fn of_admin(mut self) -> Self {
        if let Self::Bind { hint, .. } = &mut self {
            hint.push_str("; the admin API uses this address: `admin` sets another one, or `off`");
        }
        self
    }

    /// Makes a `System` error of the operation `what`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Where the data of a policy comes from.
fn path(source: &Source) -> &str {
    match source {
        Source::File(path) => path,
        Source::Url { url, .. } => url,
    }
}

/// What to do about an address that cannot be bound.
fn hint(address: &ListenAddress, kind: ErrorKind) -> String {
    match (address, kind) {
        (ListenAddress::Ip(address), ErrorKind::AddrInUse) => format!(
            " (another process uses it: run `ss -ltnp 'sport = :{}'` as root to find it; stop it, or choose another address)",
            address.port()
        ),
        (ListenAddress::Unix(path), ErrorKind::AddrInUse) => format!(
            " (another process uses it: run `fuser -v {}` as root to find it; stop it, or choose another path)",
            path.display()
        ),
        (ListenAddress::Ip(address), ErrorKind::PermissionDenied) if address.port() < FIRST_FREE_PORT => {
            format!(
                " (port {} needs root or the capability CAP_NET_BIND_SERVICE, like all ports below {FIRST_FREE_PORT}: \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd unit, or `setcap cap_net_bind_service=+ep` for the binary)",
                address.port()
            )
        }
        (ListenAddress::Ip(_), ErrorKind::PermissionDenied) => {
            " (a security policy of this machine, such as SELinux, forbids it)".to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::PermissionDenied) => {
            " (the user of this process may not create files in its directory, or may not access the existing file)".to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::AlreadyExists) => {
            " (a file that is not a socket exists at this path: remove it, or choose another path)".to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::NotFound) => " (the directory does not exist: create it)".to_owned(),
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
        let shown = StartError::bind(&ip("127.0.0.1:9900"), ErrorKind::AddrInUse.into()).of_admin();
        assert!(
            shown.to_string().ends_with("`admin` sets another one, or `off`"),
            "{shown}"
        );
        let shown = StartError::system("start a worker thread")(ErrorKind::OutOfMemory.into()).to_string();
        assert_eq!(shown, "cannot start a worker thread: out of memory");
    }
}
