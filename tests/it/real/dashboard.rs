//! The dashboard in Chromium: it shows traffic, loads nothing from elsewhere, and text that looks like markup stays text.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::devtools::Browser;
use crate::support::{Backend, Client, Proxy, Response};

/// Text that does something where it is taken for markup.
const HOSTILE: &str = r"<img src=x onerror=window.hostile=1><script>window.hostile=1</script>";

/// Elements that only such text can have made, and whether it has run.
const HARM: &str = "[document.querySelectorAll('main img, main script').length, window.hostile ?? 0].join()";

/// What is wider than a narrow page allows: what scrolls and cannot be scrolled by the keyboard, or the page as a whole.
const UNREACHABLE: &str = "[...document.querySelectorAll('main *')]\
    .filter(element => element.scrollWidth > element.clientWidth && /auto|scroll/.test(getComputedStyle(element).overflowX))\
    .filter(element => element.tabIndex < 0 && element.querySelector('a[href], button, input, select, textarea') === null)\
    .map(element => element.className)\
    .concat(document.documentElement.scrollWidth > innerWidth ? ['page'] : []).join()";

/// A config with that text wherever it is allowed: as the reason of a failed check, in the config, and in the log.
fn config(good: &str, bad: &str) -> String {
    format!(
        "pools:\n  web: {{ backends: ['{good}'] }}\n  other: {{ backends: [{{ url: '{bad}', name: canary }}], \
         health_check: {{ interval: 2s, body: {{ contains: '{HOSTILE}' }} }} }}\n\
         routes:\n- {{ pool: web }}\n- {{ path_prefix: /other, pool: other }}\n\
         - {{ path: /hostile, respond: {{ status: 200, body: '{HOSTILE}' }} }}\n"
    )
}

#[test]
fn the_dashboard_shows_traffic_and_takes_no_text_for_markup() {
    let backends = [
        Backend::saying("one"),
        Backend::start(|_| Response::ok("unexpected")),
    ];
    let config = config(&backends[0].url(), &backends[1].url());
    let proxy = Proxy::before(&[]).config(&config).start();
    let Some(mut browser) = Browser::start() else {
        return;
    };
    // A reload that fails has the text of the config in its message.
    proxy.write_config(&format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n'{HOSTILE}': 1\n"
    ));
    let mark = proxy.mark();
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_line_from(mark, |line| line.to_string().contains("window.hostile"));
    let is_over = AtomicBool::new(false);
    let address = proxy.address();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(Client::connect(address).get("/").status(), 200);
            }
        });
        // The traffic ends also when a check below fails.
        let _end = OnDrop(&is_over);
        look_at(&mut browser, &format!("http://{}", proxy.admin()));
    });
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn look_at(browser: &mut Browser, origin: &str) {
    browser.set_width(390);
    browser.open(&format!("{origin}/"));
    // Figures arrive as the traffic flows, over the stream of events.
    browser.wait_until("/Requests per second[1-9]/.test(document.querySelector('.tile')?.textContent)");
    for (page, shown) in [
        ("", "Reload failed"),
        ("pools", "canary"),
        ("listeners", "127.0.0.1"),
        ("events", "window.hostile=1"),
        ("config", "window.hostile=1"),
        ("explain", ""),
    ] {
        browser.evaluate(&format!("location.hash = '#/{page}'"));
        browser.wait_until(&format!(
            "document.getElementById('main').children.length > 0 && document.body.textContent.includes({shown:?})"
        ));
        assert_eq!(browser.evaluate(HARM), "0,0", "on the page {page:?}");
        assert_eq!(browser.evaluate(UNREACHABLE), "", "on the page {page:?}");
    }
    browser.evaluate("document.getElementById('url').value = 'http://a.test/hostile'; document.querySelector('form button').click()");
    browser.wait_until(
        "document.querySelector('.answer:not([hidden])')?.textContent.includes('/hostile') ?? false",
    );
    assert_eq!(browser.evaluate(HARM), "0,0", "in an explanation");
    let requested: Vec<String> = browser
        .events("Network.requestWillBeSent")
        .iter()
        .filter_map(|event| event["request"]["url"].as_str().map(str::to_owned))
        .collect();
    assert!(requested.len() > 10, "{requested:?}");
    for url in &requested {
        assert!(url.starts_with(&format!("{origin}/")), "{url}");
    }
    let thrown = browser.events("Runtime.exceptionThrown");
    assert!(thrown.is_empty(), "{thrown:#?}");
    // Violations of the content security policy are among them. A 404 for the config before the first reload is not an error.
    let mut logged = browser.events("Log.entryAdded");
    logged.retain(|event| event["entry"]["level"] == "error" && event["entry"]["source"] != "network");
    assert!(logged.is_empty(), "{logged:#?}");
}
