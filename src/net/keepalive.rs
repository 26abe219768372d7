//! Sets TCP keepalive (RFC 9293 §3.8.4). On an idle connection only keepalive probes detect that the other side has vanished
//! without closing, for example because its machine or network failed. They also keep NAT and firewall entries alive.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Idle time before the first probe: shorter than the five minutes or so after which NATs and firewalls drop a connection, but
/// long enough not to wake phones needlessly.
const IDLE: Duration = Duration::from_secs(60);
/// Time between unacknowledged probes.
const INTERVAL: Duration = Duration::from_secs(15);
/// Unacknowledged probes after which the kernel fails the connection: after two minutes in all.
const PROBES: u32 = 4;

/// Enables keepalive on a TCP socket. Connections accepted from a listening socket inherit it.
///
/// # Errors
/// Errors of the system.
pub(super) fn enable_keepalive(socket: &impl AsFd) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL)
        .with_retries(PROBES);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

/// Whether a socket has the options of [`enable_keepalive`].
#[cfg(test)]
pub(super) fn has_keepalive(socket: &impl AsFd) -> bool {
    let socket = SockRef::from(socket);
    socket.keepalive().unwrap()
        && socket.tcp_keepalive_time().unwrap() == IDLE
        && socket.tcp_keepalive_interval().unwrap() == INTERVAL
        && socket.tcp_keepalive_retries().unwrap() == PROBES
}
