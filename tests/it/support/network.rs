//! A network namespace for a test: with few local ports, and without IPv6.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::SockRef;

use super::ability::skip;

/// The namespace's local ports.
const PORTS: usize = 100;

/// The namespace lives as long as the shell that reads. A port whose connection has ended must not be reused during the
/// test, or a port would be free now and then.
const SETUP: &str = "ip link set lo up \
    && echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range \
    && echo 0 >/proc/sys/net/ipv4/tcp_tw_reuse \
    && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 \
    && echo ready && read end";

/// Runs `test` on a thread whose sockets, threads and processes are in a namespace of their own. Where that is not
/// permitted, prints a message and does not run it.
pub(crate) fn with_few_ports(test: impl FnOnce() + Send) {
    let holder = Command::new("unshare")
        .args(["--net", "sh", "-c", SETUP])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut holder) = holder else {
        skip("`unshare` cannot be started");
        return;
    };
    let mut line = String::new();
    if let Some(told) = holder.stdout.take() {
        drop(BufReader::new(told).read_line(&mut line));
    }
    if line == "ready\n" {
        let network = File::open(format!("/proc/{}/ns/net", holder.id())).expect("it has a network");
        let result = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("whoever may make a network may move there");
                test();
            });
            thread.join()
        });
        drop(holder.stdin.take());
        drop(holder.wait());
        result.expect("the test passes");
    } else {
        drop(holder.wait());
        skip("a network of its own cannot be made, which takes root and `ip`");
    }
}

/// Takes every local port from which `address` can be reached. They are free again as soon as the returned sockets are
/// dropped.
pub(crate) fn take_ports(address: SocketAddr) -> Vec<TcpStream> {
    let mut taken = Vec::with_capacity(PORTS);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                // Closing then sends RST, after which the port is free.
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .expect("linger can be set");
                taken.push(stream);
            }
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return taken,
            Err(error) => panic!("{error}"),
        }
        assert!(taken.len() <= PORTS, "more ports than the network has");
    }
}
