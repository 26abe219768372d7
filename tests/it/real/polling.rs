//! Sessions that begin with long polling and go on over a WebSocket, as those of Socket.IO do, over several Node backends: they
//! work only if each request of a client reaches the backend that has its session.

use super::backend::{Backend, Kind};
use super::program::{file, find, run};
use crate::support::Proxy;

/// Clients at the same time, once by polling and once by WebSockets alone.
const CLIENTS: usize = 12;

#[test]
fn sessions_of_long_polling_and_websockets_stay_with_their_backend() {
    let (Some(node), Some(one), Some(two)) = (
        find("node"),
        Backend::start(Kind::Polling),
        Backend::start(Kind::Polling),
    ) else {
        return;
    };
    let proxy = sticky(&one, &two);
    let url = format!("http://{}", proxy.address());
    let said = run(
        &node,
        &[&file("programs/polling_client.mjs"), &url, &CLIENTS.to_string()],
    );
    let mut counts = std::collections::BTreeMap::new();
    for line in said.lines() {
        *counts.entry(line).or_insert(0) += 1;
    }
    // New clients go to the backends in turn, and all of a client's requests to one of them.
    assert_eq!(counts.len(), 4, "{said}");
    assert_eq!(counts.values().sum::<usize>(), 2 * CLIENTS, "{said}");
}

/// A balancer in front of two backends, whose clients stay at theirs by a cookie.
pub(super) fn sticky(one: &Backend, two: &Backend) -> Proxy {
    let pool = format!(
        "pools:\n  web:\n    sticky: {{ cookie: lb, secret: correct-horse-battery }}\n    backends: ['{}', '{}']\n\
         routes: [{{ pool: web }}]\nhealth_check: off",
        one.url(),
        two.url()
    );
    Proxy::before(&[]).config(&pool).start()
}
