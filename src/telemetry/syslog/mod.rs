//! Syslog as a target of log lines: which server, and the header of a message (RFC 5424 §6.2). [`Sender`] sends the messages.

mod sender;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

pub(super) use sender::Sender;

/// What every server in the config begins with.
const SCHEME: &str = "syslog:";

/// The port of syslog over UDP (RFC 5426 §3.3).
const DEFAULT_PORT: u16 = 514;

/// The keywords of the facilities, in the order of their numbers (RFC 5424 §6.2.1).
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The keywords of the severities, in the order of their numbers (RFC 5424 §6.2.1).
pub const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// A syslog server and how messages to it are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// The server.
    pub server: SyslogServer,
    /// The facility, one of [`FACILITIES`].
    pub facility: &'static str,
    /// The severity, one of [`SEVERITIES`].
    pub severity: &'static str,
}

/// A syslog server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogServer {
    /// UDP (RFC 5426): a host name or an IP address without brackets, and a port.
    Udp(String, u16),
    /// A Unix datagram socket, such as `/dev/log`.
    Unix(PathBuf),
}

impl SyslogServer {
    /// Whether a text is meant as a syslog server.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Parses `syslog:udp://HOST[:PORT]` or `syslog:unix:PATH`. `None` when the text is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(SCHEME)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return (path.starts_with('/') && !path.contains('\0')).then(|| Self::Unix(path.into()));
        }
        let address = text.strip_prefix("udp://")?;
        if let Some(rest) = address.strip_prefix('[') {
            let (ip, port) = rest.split_once(']')?;
            let _: Ipv6Addr = ip.parse().ok()?;
            let port = match port {
                "" => DEFAULT_PORT,
                port => parse_port(port.strip_prefix(':')?)?,
            };
            return Some(Self::Udp(ip.to_owned(), port));
        }
        let (host, port) = match address.split_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (address, DEFAULT_PORT),
        };
        is_host(host).then(|| Self::Udp(host.to_owned(), port))
    }

    /// Whether it is named, so that its address can change.
    fn has_name(&self) -> bool {
        matches!(self, Self::Udp(host, _) if host.parse::<IpAddr>().is_err())
    }
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host, port) if host.contains(':') => write!(f, "{SCHEME}udp://[{host}]:{port}"),
            Self::Udp(host, port) => write!(f, "{SCHEME}udp://{host}:{port}"),
            Self::Unix(path) => write!(f, "{SCHEME}unix:{}", path.display()),
        }
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // `u16::from_str` alone would accept a sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

/// Whether a text can be a host name or an IPv4 address.
fn is_host(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_allowed) && !text.starts_with(['-', '.'])
}

/// The header of a message without its time, which stands between the two parts.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// `<134>1 `: the priority and the version.
    pub(super) before_time: Box<[u8]>,
    /// ` HOST evenkeel PID access - `: host, program, process, kind of message, and no structured data.
    pub(super) after_time: Box<[u8]>,
}

impl Header {
    /// The header of a process's messages.
    pub(super) fn new(syslog: &Syslog, hostname: &str, pid: u32) -> Self {
        let position = |names: &[&str], name| names.iter().position(|known| *known == name);
        let facility = position(&FACILITIES, syslog.facility).unwrap_or(0);
        let severity = position(&SEVERITIES, syslog.severity).unwrap_or(0);
        // RFC 5424 §6.2.4: printable ASCII, or `-` for an unknown name.
        let is_valid = !hostname.is_empty() && hostname.bytes().all(|byte| byte.is_ascii_graphic());
        let hostname = hostname.get(..255).unwrap_or(hostname);
        let hostname = if is_valid { hostname } else { "-" };
        Self {
            before_time: format!("<{}>1 ", facility * 8 + severity).into_bytes().into(),
            after_time: format!(" {hostname} evenkeel {pid} access - ")
                .into_bytes()
                .into(),
        }
    }

    /// The same for this process on this machine.
    pub(super) fn of_this_process(syslog: &Syslog) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::new(syslog, hostname.trim(), std::process::id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port_or_a_socket() {
        for (text, shown) in [
            ("syslog:udp://logs.example:5140", "syslog:udp://logs.example:5140"),
            ("syslog:udp://10.0.0.1", "syslog:udp://10.0.0.1:514"),
            ("syslog:udp://[::1]:514", "syslog:udp://[::1]:514"),
            ("syslog:udp://[2001:db8::1]", "syslog:udp://[2001:db8::1]:514"),
            ("syslog:unix:/dev/log", "syslog:unix:/dev/log"),
        ] {
            let server = SyslogServer::parse(text).unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(SyslogServer::parse(shown), Some(server));
        }
        for wrong in [
            "syslog:",
            "syslog:udp://",
            "syslog:udp://a:0",
            "syslog:udp://a:+1",
            "syslog:udp://a:b",
            "syslog:udp://a b",
            "syslog:udp://::1",
            "syslog:udp://[::1",
            "syslog:udp://[a]:1",
            "syslog:udp://a/b",
            "syslog:tcp://a:1",
            "syslog:unix:log",
            "syslog:unix:",
            "/dev/log",
        ] {
            assert_eq!(SyslogServer::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_header_has_priority_host_program_and_process() {
        let syslog = |facility, severity| Syslog {
            server: SyslogServer::Unix("/dev/log".into()),
            facility,
            severity,
        };
        let shown = |header: &Header| {
            let text = [&header.before_time[..], b"TIME", &header.after_time[..]].concat();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(
            shown(&Header::new(&syslog("local0", "info"), "web1", 7)),
            "<134>1 TIME web1 evenkeel 7 access - "
        );
        assert_eq!(
            shown(&Header::new(&syslog("daemon", "debug"), "a b", 7)),
            "<31>1 TIME - evenkeel 7 access - "
        );
        let local = Header::of_this_process(&syslog("local7", "emerg"));
        assert!(shown(&local).starts_with("<184>1 TIME "), "{}", shown(&local));
    }
}
