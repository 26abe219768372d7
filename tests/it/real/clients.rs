//! Common client libraries, and a load generator.

use super::program::{file, find, find_python, run};
use super::{catalogue, traffic};
use crate::support::{Backend, Proxy};

/// A balancer in front of one backend with the catalogue.
fn before(backend: &Backend) -> Proxy {
    Proxy::before(&[backend]).start()
}

fn url(proxy: &Proxy) -> String {
    format!("http://{}", proxy.address())
}

#[test]
fn clients_of_pythons_standard_library_are_served() {
    let Some(python) = find_python("python") else {
        return;
    };
    let backend = catalogue::start();
    let proxy = before(&backend);
    run(&python, &[&file("programs/http_client.py"), &url(&proxy)]);
    traffic::expect_lines(&proxy, 33 + 2 + 4);
}

#[test]
fn a_hundred_simultaneous_aiohttp_requests_are_served() {
    let Some(python) = find_python("python") else {
        return;
    };
    let backend = catalogue::start();
    let proxy = before(&backend);
    run(&python, &[&file("programs/aiohttp_client.py"), &url(&proxy)]);
    traffic::expect_lines(&proxy, 300 + 3 + 3);
}

#[test]
fn node_keeps_connections_and_fetches_and_pipelines() {
    let Some(node) = find("node") else { return };
    let backend = catalogue::start();
    let proxy = before(&backend);
    run(&node, &[&file("programs/node_client.mjs"), &url(&proxy)]);
    traffic::expect_lines(&proxy, 30 + 4 + 100);
}

#[test]
fn load_causes_no_errors() {
    let Some(wrk) = find("wrk") else { return };
    let backend = Backend::saying("hello");
    // Its log lines are not needed here, and cost more CPU than the requests.
    let proxy = Proxy::before(&[&backend]).config("access_log: off").start();
    let told = run(&wrk, &["-t1", "-c20", "-d2s", &url(&proxy)]);
    let requests = told.lines().find_map(|line| line.split_once(" requests in "));
    let requests = requests.and_then(|(count, _)| count.trim().parse::<usize>().ok());
    assert!(requests.is_some_and(|count| count > 20), "{told}");
    // wrk prints these only if there were any.
    for error in ["Socket errors", "Non-2xx"] {
        assert!(!told.contains(error), "{told}");
    }
}
