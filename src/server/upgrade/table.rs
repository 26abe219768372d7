//! What a process tells its successor about the sockets that it passes, in their order.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::net::{FileIdentity, ListenAddress};

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The address as in the config; port 0 is not the actual port.
    pub(super) address: String,
    /// Whether the process removes the file of a Unix socket at its end.
    pub(super) is_owned: bool,
    /// Whether the service manager keeps the socket open. Older versions do not say it.
    #[serde(default = "unknown")]
    pub(super) is_kept_open: bool,
    /// Device and inode number of the file of a Unix socket. Older versions do not say them.
    #[serde(default)]
    pub(super) file: Option<FileIdentity>,
}

/// To be on the safe side: a socket that is kept open must not be made useless.
fn unknown() -> bool {
    true
}

impl Entry {
    /// The address; `None` if it is none.
    pub(super) fn parsed(&self) -> Option<ListenAddress> {
        match self.address.strip_prefix("unix:") {
            Some(path) => Some(ListenAddress::Unix(PathBuf::from(path))),
            None => self.address.parse().ok().map(ListenAddress::Ip),
        }
    }
}

/// The listening sockets. The standard error of the old process comes after them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) sockets: Vec<Entry>,
    /// Whether the pipe to process 1 of the container comes after them. Older versions have none.
    #[serde(default)]
    pub(super) has_pipe: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_after_it_was_passed() {
        for address in [
            ListenAddress::Ip("127.0.0.1:0".parse().unwrap()),
            ListenAddress::Ip("[::1]:80".parse().unwrap()),
            ListenAddress::Unix("/run/e.sock".into()),
        ] {
            let entry = Entry {
                address: address.to_string(),
                is_owned: false,
                is_kept_open: false,
                file: None,
            };
            assert_eq!(entry.parsed(), Some(address));
        }
    }
}
