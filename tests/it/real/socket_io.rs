//! Socket.IO itself, clients and servers of its npm packages, over two Node backends.

use std::collections::BTreeMap;

use super::backend::{Backend, Kind};
use super::polling::sticky;
use super::program::{file, find, find_node_packages, run_with};

/// Clients by each of the transports, all at the same time.
const CLIENTS: usize = 10;

#[test]
fn socket_io_works_over_two_backends() {
    let (Some(node), Some(packages), Some(one), Some(two)) = (
        find("node"),
        find_node_packages(),
        Backend::start(Kind::SocketIo),
        Backend::start(Kind::SocketIo),
    ) else {
        return;
    };
    let proxy = sticky(&one, &two);
    let url = format!("http://{}", proxy.address());
    let client = file("programs/socket_io_client.cjs");
    let said = run_with(
        &[("NODE_PATH", &packages)],
        &node,
        &[&client, &url, &CLIENTS.to_string()],
    );
    let mut counts = BTreeMap::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let transports = format!("{} {}", words[0], words[1]);
        *counts.entry(transports).or_insert(0) += 1;
    }
    let by_each = [
        "polling polling",
        "polling+websocket websocket",
        "websocket websocket",
    ];
    let expected: BTreeMap<String, usize> = by_each.map(|name| (name.to_owned(), CLIENTS)).into();
    assert_eq!(counts, expected, "{said}");
    let backends: std::collections::BTreeSet<&str> =
        said.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(backends.len(), 2, "both backends have clients: {said}");
}
