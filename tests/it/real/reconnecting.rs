//! The dashboard in Chromium when its process hangs, is replaced by another one, or has another clock or another token.

use std::net::SocketAddr;

use super::devtools::Browser;
use crate::support::{Backend, Client, Proxy};
use rustix::process::Signal;

/// Makes every process look like the first one of a container.
const ONE_PID: &str = "globalThis.fetch = (fetch => async (path, init) => {
    const response = await fetch(path, init);
    if (!path.endsWith('/status')) return response;
    const status = await response.json();
    status.process.pid = 1;
    return new Response(JSON.stringify(status), response);
})(fetch); globalThis.changed = performance.now(); true";

/// Whether the page has asked for the status twice since `changed`, so that it has taken the first one.
const ASKED_SINCE: &str = "performance.getEntriesByType('resource')\
    .filter(entry => entry.name.endsWith('/status') && entry.startTime > changed).length > 1";

/// Whether the page says this of its connection.
fn live(word: &str) -> String {
    includes("live", word)
}

/// Whether the page shows this text.
fn shows(text: &str) -> String {
    includes("main", text)
}

/// `false` also while the page is being loaded.
fn includes(element: &str, text: &str) -> String {
    format!("(document.getElementById('{element}')?.textContent.includes({text:?}) ?? false)")
}

/// A process with this backend whose admin API has this address.
fn process(backend: &Backend, admin: &str) -> Proxy {
    let url = backend.url();
    let config = format!("listen: 127.0.0.1:0\nadmin: {admin}\nbackends: ['{url}']\n");
    Proxy::before(&[]).start_with(&config)
}

/// The dashboard of a process with this backend, at this page. `None` without a browser.
fn dashboard(backend: &Backend, page: &str) -> Option<(Proxy, Browser)> {
    let proxy = process(backend, "127.0.0.1:0");
    let mut browser = Browser::start()?;
    browser.open(&format!("http://{}/{page}", proxy.admin()));
    Some((proxy, browser))
}

fn drain(admin: SocketAddr, backend: &Backend) {
    let url = backend.url().replace(':', "%3A").replace('/', "%2F");
    let path = format!("/api/v1/pools/default/backends/{url}/drain");
    let request = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    assert_eq!(Client::connect(admin).send(&request).read().status(), 200);
}

#[test]
fn the_dashboard_says_that_a_process_hangs_and_when_it_is_back() {
    let backend = Backend::saying("one");
    let Some((proxy, mut browser)) = dashboard(&backend, "") else {
        return;
    };
    browser.wait_until(&live("Ready"));
    proxy.signal(Signal::STOP);
    browser.wait_until(&live("Not connected"));
    proxy.signal(Signal::CONT);
    browser.wait_until(&live("Ready"));
}

#[test]
fn the_dashboard_forgets_a_process_that_another_one_with_the_same_id_has_replaced() {
    let backend = Backend::saying("one");
    let Some((first, mut browser)) = dashboard(&backend, "#/events") else {
        return;
    };
    let admin = first.admin();
    browser.wait_until(&live("Ready"));
    drain(admin, &backend);
    browser.wait_until(&shows("Backend drained by an operator"));
    browser.evaluate(ONE_PID);
    browser.wait_until(ASKED_SINCE);
    first.stop();
    browser.wait_until(&live("Not connected"));
    let _second = process(&backend, &admin.to_string());
    browser.wait_until(&live("Ready"));
    browser.wait_until(&format!("!{}", shows("Backend drained by an operator")));
    drain(admin, &backend);
    browser.wait_until(&shows("Backend drained by an operator"));
}

#[test]
fn the_dashboard_measures_time_by_the_clock_of_the_process() {
    let backend = Backend::saying("one");
    let Some((_proxy, mut browser)) = dashboard(&backend, "#/pools") else {
        return;
    };
    browser.wait_until(&shows(&backend.url()));
    browser.evaluate(
        "Date.now = (now => () => now() + 3600e3)(Date.now); globalThis.changed = performance.now(); true",
    );
    browser.wait_until(ASKED_SINCE);
    // Whatever is drawn from now on knows the clock of the process.
    browser.evaluate("globalThis.before = document.getElementById('main').textContent");
    browser.wait_until("document.getElementById('main').textContent !== before");
    assert_eq!(browser.evaluate(&shows("for 1h")), false);
}

#[test]
fn a_token_that_no_header_can_hold_can_be_corrected() {
    let proxy = Proxy::before(&[]).admin_token("s3cret-and-long-enough");
    let proxy = proxy.config("routes: [{ respond: { status: 200 } }]").start();
    let Some(mut browser) = Browser::start() else {
        return;
    };
    browser.open(&format!("http://{}/", proxy.admin()));
    for (token, then) in [
        ("s3cret…", shows("visible ASCII")),
        ("another-token", shows("does not accept this token")),
        (" s3cret-and-long-enough ", live("Ready")),
    ] {
        browser.wait_until("document.getElementById('token') !== null");
        browser.evaluate(&format!(
            "document.getElementById('token').value = {token:?}; document.querySelector('.login button').click()"
        ));
        browser.wait_until(&then);
    }
}
