//! Parses the URL of a backend.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The protocol of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 over TCP or a Unix socket.
    Http,
    /// TLS over TCP, and in it HTTP/2 or HTTP/1.1 as negotiated by ALPN.
    Https,
    /// HTTP/2 over TCP, with prior knowledge (RFC 9113 §3.3).
    H2c,
}

impl Scheme {
    /// All schemes with their names in URLs.
    pub const ALL: [(&'static str, Self); 3] =
        [("http", Self::Http), ("https", Self::Https), ("h2c", Self::H2c)];

    /// Whether a connection may carry many requests at a time: what is spoken allows that, or is negotiated.
    pub fn may_multiplex(self) -> bool {
        self != Self::Http
    }

    /// Whether the protocol is negotiated when a connection is established.
    pub fn negotiates(self) -> bool {
        self == Self::Https
    }

    /// The port of a URL without one.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// The address of a backend: scheme, host and port, or a Unix socket. Two addresses are equal when they lead to the same place,
/// however their URLs are written.
#[derive(Debug, Clone)]
pub struct Address {
    /// The protocol.
    pub scheme: Scheme,
    /// Name or IP literal, lower case, IPv6 without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Path of the Unix socket. Host and port are then used in `Host` headers only.
    pub file: Option<PathBuf>,
    /// The URL as configured, for logs and the API.
    pub url: String,
}

/// Scheme, host, port and path of the Unix socket.
pub type AddressKey<'a> = (Scheme, &'a str, u16, Option<&'a Path>);

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Address {}

/// Why a text is not a valid backend URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has no scheme.
    #[error("missing scheme: a backend is a URL such as http://10.0.0.1:8001, or unix:/path")]
    NoScheme,
    /// Its scheme is not supported.
    #[error("unsupported scheme {0:?}; use http, https or h2c")]
    Unsupported(String),
    /// It has a path, query, fragment or user info.
    #[error("a backend URL has only a scheme, host and port; remove {0:?}")]
    Extra(String),
    /// It has no host, or one with invalid characters.
    #[error("{0:?} is not a valid host name or IP address")]
    Host(String),
    /// Its port is not a number from 1 to 65535.
    #[error("port {0:?} is not a number from 1 to 65535")]
    Port(String),
}

impl Address {
    /// Parses a URL of scheme, host and optional port (default 80, with TLS 443). One trailing `/` is allowed and dropped.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::NoScheme)?;
        let known = Scheme::ALL.iter().find(|(word, _)| *word == scheme);
        let Some((_, scheme)) = known.copied() else {
            return Err(AddressError::Unsupported(scheme.to_owned()));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(at) = authority.find(['/', '?', '#']) {
            return Err(AddressError::Extra(
                authority.get(at..).unwrap_or_default().to_owned(),
            ));
        }
        if let Some((user, _)) = authority.split_once('@') {
            return Err(AddressError::Extra(format!("{user}@")));
        }
        let (host, port) = split_port(authority, scheme.default_port())?;
        Ok(Self {
            scheme,
            host: check_host(host, authority)?,
            port,
            file: None,
            url: text.to_owned(),
        })
    }

    /// The Unix socket at `path`, which is configured as `text`. Requests without a host are sent with `Host: localhost`.
    pub fn of_file(text: &str, path: PathBuf) -> Self {
        Self {
            scheme: Scheme::Http,
            host: "localhost".to_owned(),
            port: Scheme::Http.default_port(),
            file: Some(path),
            url: text.to_owned(),
        }
    }

    /// The parts that two equal addresses have in common.
    pub fn identity(&self) -> AddressKey<'_> {
        (self.scheme, &self.host, self.port, self.file.as_deref())
    }

    /// The same as a text, which all processes have in common.
    pub fn canonical(&self) -> String {
        match &self.file {
            Some(file) => format!("unix:{}", file.display()),
            None => {
                let scheme = Scheme::ALL.iter().find(|(_, scheme)| *scheme == self.scheme);
                let scheme = scheme.map_or("", |(word, _)| word);
                format!("{scheme}://{}:{}", self.host, self.port)
            }
        }
    }

    /// Whether its host is a name that DNS resolves.
    pub fn has_name(&self) -> bool {
        self.file.is_none() && self.socket().is_none()
    }

    /// The socket address if the host is an IP literal; `None` for a name.
    pub fn socket(&self) -> Option<SocketAddr> {
        let literal = self.host.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(literal, self.port))
    }

    /// Host and port as in a `Host` header: IPv6 in brackets, without the default port of the scheme.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.default_port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), AddressError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest
                .split_once(']')
                .ok_or_else(|| AddressError::Host(authority.to_owned()))?;
            match tail.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if tail.is_empty() => (host, None),
                None => return Err(AddressError::Host(authority.to_owned())),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let Some(port) = port else {
        return Ok((host, default));
    };
    let is_digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if is_digits && number > 0 => Ok((host, number)),
        _ => Err(AddressError::Port(port.to_owned())),
    }
}

fn check_host(host: &str, authority: &str) -> Result<String, AddressError> {
    let bad = || AddressError::Host(host.to_owned());
    if authority.starts_with('[') {
        let address: std::net::Ipv6Addr = host.parse().map_err(|_| bad())?;
        return Ok(address.to_string());
    }
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if is_name {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_host_and_port() {
        let address = Address::parse("http://LocalHost:8001").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("localhost", 8001));
        assert_eq!(address.authority(), "localhost:8001");
        let address = Address::parse("http://[::1]:81/").unwrap();
        assert_eq!(
            (address.host.as_str(), address.authority().as_str()),
            ("::1", "[::1]:81")
        );
        assert_eq!(Address::parse("http://a").unwrap().port, 80);
    }

    #[test]
    fn unix_sockets_differ_by_path() {
        let socket = |path: &str| Address::of_file(&format!("unix:{path}"), path.into());
        assert_eq!(socket("/a").authority(), "localhost");
        assert_eq!(socket("/a"), Address::of_file("unix:a", "/a".into()));
        assert_ne!(socket("/a"), socket("/b"));
        assert_ne!(socket("/a"), Address::parse("http://localhost").unwrap());
        assert!(!socket("/a").has_name() && Address::parse("http://localhost").unwrap().has_name());
    }

    #[test]
    fn reports_what_is_invalid_in_a_url() {
        assert_eq!(Address::parse("localhost:8001"), Err(AddressError::NoScheme));
        assert_eq!(
            Address::parse("ftp://a"),
            Err(AddressError::Unsupported("ftp".into()))
        );
        assert_eq!(
            Address::parse("http://a/b"),
            Err(AddressError::Extra("/b".into()))
        );
        assert_eq!(
            Address::parse("http://u@a"),
            Err(AddressError::Extra("u@".into()))
        );
        for port in ["0", "65536", "+80", "", "8o"] {
            assert_eq!(
                Address::parse(&format!("http://a:{port}")),
                Err(AddressError::Port(port.into()))
            );
        }
        for host in ["", "a b", "a,b", "[::1"] {
            assert!(
                matches!(
                    Address::parse(&format!("http://{host}")),
                    Err(AddressError::Host(_))
                ),
                "{host}"
            );
        }
    }
}
