//! How commands find the admin API of the running process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::net::{LONGEST_PATH, ListenAddress};

/// Its address by default.
pub(super) const ADDRESS: ListenAddress =
    ListenAddress::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900));

/// The token that was given, or that of the environment.
pub(super) fn token(given: Option<&String>) -> Option<String> {
    given.cloned().or_else(|| std::env::var("EVENKEEL_TOKEN").ok())
}

/// Parses the value of `--admin`.
pub(super) fn parse(text: &str) -> Result<ListenAddress, String> {
    let Some(path) = text.strip_prefix("unix:").map(PathBuf::from) else {
        return text.parse().map(ListenAddress::Ip).map_err(|_| {
            "neither an IP address and a port, such as 127.0.0.1:9900, nor a Unix socket, such as unix:/run/evenkeel-admin.sock"
                .to_owned()
        });
    };
    match path.as_os_str().as_bytes().len() {
        0 => Err("the path of the Unix socket is missing".to_owned()),
        1..=LONGEST_PATH => Ok(ListenAddress::Unix(path)),
        _ => Err(format!(
            "the path of the Unix socket is longer than {LONGEST_PATH} bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_address_or_a_unix_socket() {
        for text in ["127.0.0.1:9900", "[::1]:1", "unix:/run/a.sock", "unix:a"] {
            assert_eq!(
                parse(text).map(|address| address.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "nowhere", "9900", "unix:", "/run/a.sock"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }
}
