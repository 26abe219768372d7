//! Chromium as the client: what only a browser does of itself, such as preflight requests, and what a person sees.

use super::program::{find, run};
use crate::support::authority::Folder;
use crate::support::{Backend, Proxy, Response, refusing_address};

/// Milliseconds of virtual time that a page has for its scripts. It stands still while a response is outstanding.
const BUDGET: &str = "--virtual-time-budget=20000";

/// What a page contains once its scripts are done; `None` without Chromium.
fn visit(url: &str) -> Option<String> {
    let chromium = find("chromium")?;
    let folder = Folder::new();
    let profile = format!("--user-data-dir={}", folder.file("profile"));
    let arguments = [
        "--headless",
        // It does not run as root otherwise.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        // Nothing but the pages of the test.
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        &profile,
        BUDGET,
        "--dump-dom",
        url,
    ];
    Some(run(&chromium, &arguments))
}

/// A page that runs a script, whose result it shows.
fn page(script: &str) -> Response {
    let page = format!(
        "<!doctype html><title>test</title><link rel=icon href=data:,><p id=result>nothing</p><script type=module>\n\
         const told = text => document.getElementById('result').textContent = text;\n\
         try {{ told(await (async () => {{ {script} }})()) }} catch (error) {{ told('failed: ' + error) }}\n</script>"
    );
    Response::raw(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    ))
}

#[test]
fn a_page_of_another_origin_may_do_what_cors_allows() {
    let app = Backend::start(|_| {
        Response::raw("HTTP/1.1 200 OK\r\nETag: \"7\"\r\nX-Other: 8\r\nContent-Length: 4\r\n\r\ndata")
    });
    let address = std::sync::Arc::new(std::sync::OnceLock::new());
    let its = std::sync::Arc::clone(&address);
    let pages = Backend::start(move |_| {
        let api = its.get().cloned().unwrap_or_default();
        page(&format!(
            "const ask = async (path, options) => {{\n\
             try {{ const got = await fetch('{api}' + path, {{ credentials: 'include', ...options }});\n\
             return [await got.text(), got.headers.get('etag'), got.headers.get('x-other')].join(' ') }}\n\
             catch (error) {{ return error.name }} }};\n\
             const put = {{ method: 'PUT', headers: {{ 'X-Custom': '1' }}, body: 'x' }};\n\
             return [await ask('/api/put', put), await ask('/api/delete', {{ method: 'DELETE' }}),\n\
             await ask('/closed/put', put), await ask('/closed/get', {{}})].join(', ')"
        ))
    });
    let (origin, url) = (pages.url(), app.url());
    let proxy = Proxy::before(&[])
        .config(&format!(
            "health_check: off\npools: {{ app: {{ backends: ['{url}'] }} }}\npolicies:\n\
             \x20 web: {{ cors: {{ origins: ['{origin}'], methods: [PUT], headers: [X-Custom], expose: [ETag], credentials: true, max_age: 10m }} }}\n\
             \x20 other: {{ cors: {{ origins: ['https://other.test'], methods: [PUT], headers: [X-Custom] }} }}\n\
             routes:\n- {{ path_prefix: /api, pool: app, policies: [web] }}\n\
             - {{ path_prefix: /closed, pool: app, policies: [other] }}\n"
        ))
        .start();
    address.set(format!("http://{}", proxy.address())).unwrap();
    let Some(shown) = visit(&pages.url()) else { return };
    // The backend's answer and the header that is exposed, and nothing of what is not allowed.
    let expected = "<p id=\"result\">data \"7\" , TypeError, TypeError, TypeError</p>";
    assert!(shown.contains(expected), "{shown}");
    let preflight = proxy.wait_for_line(|line| line["path"] == "/api/put" && line["method"] == "OPTIONS");
    assert_eq!(
        (&preflight["status"], &preflight["attempts"]),
        (&204.into(), &0.into()),
        "{preflight}"
    );
    // What is not allowed never left the browser, except for a request that needs no preflight.
    let starts: Vec<String> = app
        .requests(|_| true)
        .iter()
        .map(|request| request.start().to_owned())
        .collect();
    assert_eq!(starts, ["PUT /api/put", "GET /closed/get"]);
}

#[test]
fn an_error_page_is_shown_without_other_requests() {
    let (down, _held) = refusing_address();
    let pages = Backend::start(|_| {
        page(
            "const frame = document.createElement('iframe');\n\
             const loaded = new Promise(done => frame.onload = done);\n\
             frame.src = '/broken'; document.body.append(frame); await loaded;\n\
             const inner = frame.contentWindow;\n\
             const style = inner.getComputedStyle(inner.document.querySelector('h1'));\n\
             return [inner.document.title, inner.document.querySelector('h1').textContent, style.fontSize,\n\
             inner.document.querySelector('small').textContent,\n\
             inner.performance.getEntriesByType('resource').length].join('|')",
        )
    });
    let url = pages.url();
    let proxy = Proxy::before(&[])
        .config(&format!(
            "health_check: off\nqueue: off\npools: {{ pages: {{ backends: ['{url}'] }}, down: {{ backends: ['http://{down}'] }} }}\n\
             routes:\n- {{ path: /page, pool: pages }}\n- {{ pool: down }}\n"
        ))
        .start();
    let Some(shown) = visit(&format!("http://{}/page", proxy.address())) else {
        return;
    };
    let line = proxy.access_line("/broken");
    let id = line["request_id"].as_str().unwrap_or_default();
    // The style of the page applies: its heading is 1.5 times as large as its text.
    let expected = format!(
        "503 Service Unavailable|503 Service Unavailable|24px|connect_failed · request id {id}|0</p>"
    );
    assert!(shown.contains(&expected), "{expected}\n{shown}");
    let others = proxy.count_so_far(|line| {
        line["path"].is_string() && line["path"] != "/page" && line["path"] != "/broken"
    });
    assert_eq!(others, 0);
}

#[test]
fn a_browser_logs_in_with_a_password() {
    let app = Backend::start(|_| page("return await (await fetch(location.origin + '/staff/data')).status"));
    let url = app.url();
    let proxy = Proxy::before(&[])
        .config(&format!(
            "health_check: off\npools: {{ app: {{ backends: ['{url}'] }} }}\npolicies:\n\
             \x20 staff: {{ basic_auth: {{ users: {{ alice: '$2b$04$abcdefghijklmnopqrstuu2GbQLdjwBFdH8CcOE866nGziodmvO8K' }}, \
             realm: staff, forward_user: X-User }} }}\n\
             routes: [{{ path_prefix: /staff, pool: app, policies: [staff] }}]\n"
        ))
        .start();
    // The password has a colon.
    let Some(shown) = visit(&format!("http://alice:open%3Asesame@{}/staff/", proxy.address())) else {
        return;
    };
    assert!(shown.contains("<p id=\"result\">200</p>"), "{shown}");
    // It asks without a password first, and sends it to the rest of the realm without being asked again.
    let refused = proxy.count_so_far(|line| line["error"] == "unauthorized");
    assert_eq!(refused, 1);
    for path in ["/staff/", "/staff/data"] {
        let request = app.wait_for_request(|request| request.start().ends_with(path));
        assert_eq!(
            (request.field("x-user"), request.field("authorization")),
            (Some("alice"), None)
        );
    }
    let wrong = visit(&format!("http://alice:guess@{}/staff/", proxy.address())).unwrap_or_default();
    assert!(!wrong.contains("result"), "{wrong}");
}
