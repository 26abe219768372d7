//! How commands find the admin API of the running process.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::Outcome;
use super::call::{Failure, Process};
use crate::net::{LONGEST_PATH, ListenAddress};

/// Its address by default.
const ADDRESS: ListenAddress = ListenAddress::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900));

/// The variable with the address for commands without `--admin`.
const ADDRESS_VARIABLE: &str = "EVENKEEL_ADMIN";
/// The variable with the token for commands without `--token`.
const TOKEN_VARIABLE: &str = "EVENKEEL_TOKEN";

/// The process with this address and this token. What was not given comes from the environment.
pub(super) fn process(address: Option<&ListenAddress>, token: Option<&String>) -> Result<Process, Failure> {
    let address = match address {
        Some(address) => address.clone(),
        None => of_variable(std::env::var_os(ADDRESS_VARIABLE).as_deref())?,
    };
    let token = token.cloned().or_else(|| std::env::var(TOKEN_VARIABLE).ok());
    Ok(Process { address, token })
}

/// The address in a variable with this value. A variable that is empty counts as not set.
fn of_variable(value: Option<&OsStr>) -> Result<ListenAddress, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(ADDRESS);
    };
    let value = value.to_string_lossy();
    parse(&value).map_err(|why| Failure {
        outcome: Outcome::Misused,
        why: format!("the variable {ADDRESS_VARIABLE} is `{value}`: {why}"),
        json: Vec::new(),
    })
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

    #[test]
    fn a_variable_names_the_address() {
        let named = |value: &str| of_variable(Some(value.as_ref())).map(|address| address.to_string());
        assert_eq!(named("unix:/run/a.sock"), Ok("unix:/run/a.sock".to_owned()));
        assert_eq!(named(""), Ok("127.0.0.1:9900".to_owned()));
        assert_eq!(of_variable(None), Ok(ADDRESS));
        let failure = named("localhost").expect_err("no IP address");
        assert_eq!(failure.outcome, Outcome::Misused);
        assert!(
            failure
                .why
                .starts_with("the variable EVENKEEL_ADMIN is `localhost`: neither"),
            "{}",
            failure.why
        );
    }
}
