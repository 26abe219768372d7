//! Tells the service manager the state of this process: the protocol of sd_notify(3), one datagram per message. Nothing is sent
//! unless `NOTIFY_SOCKET` is set.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    address: Option<OsString>,
    watchdog: Option<Duration>,
    /// The id of the main process.
    main: u32,
}

impl ServiceManager {
    /// The one that has started this process, or the one that is upgraded to this. The main process of a container stays
    /// process 1.
    pub(super) fn of_this_process(is_upgrade: bool, is_supervised: bool) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let id = number("WATCHDOG_PID");
        let is_for_us = is_upgrade || id.is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&period| is_for_us && period > 0);
        Self {
            address: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: watchdog.map(Duration::from_micros),
            main: match is_supervised {
                true => 1,
                false => std::process::id(),
            },
        }
    }

    /// Whether there is one.
    pub(super) fn is_present(&self) -> bool {
        self.address.is_some()
    }

    /// The interval of `WATCHDOG=1`: half of the time after which the service manager takes the process for hung.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
            .map(|period| period / 2)
            .filter(|_| self.address.is_some())
    }

    /// It serves.
    pub(super) fn ready(&self) {
        self.send(&format!("READY=1\nMAINPID={}\nSTATUS=Serving", self.main));
    }

    /// It begins to reload. `now` is the monotonic clock in microseconds.
    pub(super) fn reloading(&self, now: u64) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// It stops.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Finishing running requests");
    }

    /// Another process serves from now on.
    pub(super) fn replaced_by(&self, process: u32) {
        self.send(&format!("MAINPID={process}"));
    }

    /// It makes progress.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        if let Some(address) = &self.address
            && let Err(error) = send(address, message)
        {
            tracing::warn!(%error, socket = %address.display(), "Could not notify the service manager");
        }
    }
}

/// An address that begins with `@` is in the abstract namespace (unix(7)).
fn send(address: &OsStr, message: &str) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_a_path_and_at_an_abstract_address() {
        let path = std::env::temp_dir().join(format!("evenkeel-notify-{}", std::process::id()));
        let name = format!("evenkeel-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let cases = [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_address).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        for (socket, address) in cases {
            let manager = ServiceManager {
                address: Some(address),
                watchdog: Some(Duration::from_secs(4)),
                main: 1,
            };
            assert_eq!(manager.watchdog(), Some(Duration::from_secs(2)));
            manager.stopping();
            let mut received = [0; 100];
            let count = socket.recv(&mut received).unwrap();
            assert!(received[..count].starts_with(b"STOPPING=1\n"));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn there_is_no_watchdog_without_a_service_manager() {
        let manager = ServiceManager {
            address: None,
            watchdog: Some(Duration::from_secs(4)),
            main: 1,
        };
        assert_eq!(manager.watchdog(), None);
        manager.ready();
    }
}
