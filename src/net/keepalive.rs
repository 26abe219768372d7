//! Probes of TCP on connections over which nothing moves (RFC 9293 §3.8.4). A peer that is gone without a word, with its machine or
//! its network, is noticed by them alone where nothing is sent; and they keep the entries of NATs and firewalls on the way.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Silence after which the first probe is sent: below the five minutes or so after which boxes on the way forget a
/// connection, and so much that phones are not woken without need.
const IDLE: Duration = Duration::from_secs(60);
/// Time between probes that nobody answers.
const INTERVAL: Duration = Duration::from_secs(15);
/// Probes without an answer after which the connection is broken: two minutes of silence in all.
const PROBES: u32 = 4;

/// Lets the kernel send probes on a socket of TCP. Connections that a listening socket accepts inherit them.
///
/// # Errors
/// Those of the system.
pub(super) fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL)
        .with_retries(PROBES);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

/// Whether a socket is set as [`keep_alive`] does it.
#[cfg(test)]
pub(super) fn is_kept_alive(socket: &impl AsFd) -> bool {
    let socket = SockRef::from(socket);
    socket.keepalive().unwrap()
        && socket.tcp_keepalive_time().unwrap() == IDLE
        && socket.tcp_keepalive_interval().unwrap() == INTERVAL
        && socket.tcp_keepalive_retries().unwrap() == PROBES
}
