//! The question that is asked, and what becomes of each response.

use super::*;
use crate::kept::Kept;
use crate::request::tests::{head, request};

fn texts(names: &[&str]) -> Value {
    Value::List(names.iter().map(|name| Value::Text((*name).to_owned())).collect())
}

fn built(values: &[(&'static str, Value)]) -> Result<Box<dyn Policy>, BuildError> {
    let mut params = Params::default();
    params.set("url", Value::Text("http://auth.test:9000/check?x=1".to_owned()));
    for (key, value) in values {
        params.set(key, value.clone());
    }
    build(Context {
        name: "sso",
        params: &params,
        kept: &mut Kept::default().next(),
    })
}

fn policy(values: &[(&'static str, Value)]) -> Box<dyn Policy> {
    built(values).unwrap()
}

fn question(policy: &dyn Policy, request: &Request<'_>) -> Box<Fetch> {
    match policy.check(request, &mut Notes::default()) {
        Decision::Wait(Job::Fetch(fetch)) => fetch,
        other => panic!("{other:?}"),
    }
}

fn shown<N: std::fmt::Display>(headers: &[(N, Box<[u8]>)]) -> Vec<String> {
    let line = |(name, value): &(N, Box<[u8]>)| format!("{name}: {}", String::from_utf8_lossy(value));
    headers.iter().map(line).collect()
}

fn fetched(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Fetched, String> {
    let owned = |(name, value): &(&str, &str)| (Box::from(*name), value.as_bytes().into());
    Ok(Fetched {
        status,
        headers: headers.iter().map(owned).collect(),
        body: body.as_bytes().into(),
    })
}

/// What becomes of a request with these headers after this response.
fn after(
    policy: &dyn Policy,
    headers: &str,
    response: Result<Fetched, String>,
) -> (Result<(), Box<Refusal>>, Notes) {
    let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let request = request(&head);
    let mut fetch = question(policy, &request);
    fetch.response = response;
    let mut notes = Notes::default();
    match policy.resume(&request, &mut notes, Job::Fetch(fetch)) {
        Decision::Continue => (Ok(()), notes),
        Decision::Refuse(refusal) => (Err(refusal), notes),
        Decision::Wait(job) => panic!("{job:?}"),
    }
}

#[test]
fn the_question_describes_the_request_and_has_its_end_to_end_headers() {
    let head = head(
        "POST /a/../b?c=d HTTP/1.1\r\nHost: a.test:81\r\nCookie: a=1\r\nX-A: 1\r\nX-A: 2\r\nX-Hop: 1\r\nContent-Length: 3\r\n\
         Connection: keep-alive, x-hop\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Method: GET\r\nX_Forwarded_Uri: /public\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nVia: 1.1 x\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-1\r\n\r\n",
    );
    let mut request = request(&head);
    request.is_secure = true;
    let fetch = question(&*policy(&[]), &request);
    assert_eq!(
        (&*fetch.url, fetch.method),
        ("http://auth.test:9000/check?x=1", "GET")
    );
    assert_eq!(fetch.timeout, Duration::from_secs(2));
    assert!(fetch.response.is_err());
    let expected = [
        "Cookie: a=1",
        "X-A: 1",
        "X-A: 2",
        "X-Forwarded-Method: POST",
        "X-Forwarded-Uri: /b?c=d",
        "X-Forwarded-Host: a.test:81",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 192.0.2.7",
    ];
    assert_eq!(shown(&fetch.headers), expected);
}

#[test]
fn only_listed_headers_are_sent_if_there_is_a_list() {
    let head = head("GET / HTTP/1.1\r\nHost: a\r\nCOOKIE: a=1\r\nX-A: 1\r\nAuthorization: x\r\n\r\n");
    let mut request = request(&head);
    request.client_ip = None;
    let fetch = question(&*policy(&[("request_headers", texts(&["Cookie"]))]), &request);
    assert_eq!(
        shown(&fetch.headers)[..2],
        ["COOKIE: a=1", "X-Forwarded-Method: GET"]
    );
    assert_eq!(fetch.headers.len(), 5, "a client of a Unix socket has no address");
    let none = question(&*policy(&[("request_headers", texts(&[]))]), &request);
    assert_eq!(none.headers.len(), 4);
}

#[test]
fn a_good_response_passes_with_its_headers() {
    let policy = policy(&[(
        "response_headers",
        texts(&["X-Groups", "Remote-User", "X-Auth-Request-User"]),
    )]);
    let headers = [
        ("x-groups", "a"),
        ("X-Groups", "b"),
        ("remote-user", "alice"),
        ("X-Other", "1"),
        ("X-User", "eve"),
    ];
    let client = "X-Groups: admin\r\nX_Groups: admin\r\nX-Auth-Request-User: root\r\n";
    for status in [200, 204, 299] {
        let (result, notes) = after(&*policy, client, fetched(status, &headers, "ok"));
        assert_eq!(result, Ok(()));
        assert_eq!(notes.user.as_deref(), Some("alice"));
        let remove = |name: &str| Edit::Remove(name.into());
        let add = |name: &str, value: &str| Edit::Add(name.into(), value.as_bytes().into());
        let expected = [
            remove("X_Groups"),
            remove("X-Groups"),
            add("X-Groups", "a"),
            add("X-Groups", "b"),
            remove("Remote-User"),
            add("Remote-User", "alice"),
            remove("X-Auth-Request-User"),
        ];
        assert_eq!(notes.request_headers, expected);
    }
}

#[test]
fn the_user_is_the_first_known_header_that_is_copied_and_not_empty() {
    let policy = policy(&[("response_headers", texts(&["Remote-User", "x-user"]))]);
    let user = |headers: &[(&str, &str)]| after(&*policy, "", fetched(200, headers, "")).1.user;
    assert_eq!(
        user(&[("Remote-User", "b"), ("X-User", "a")]).as_deref(),
        Some("a")
    );
    assert_eq!(
        user(&[("Remote-User", "b"), ("X-User", "")]).as_deref(),
        Some("b")
    );
    assert_eq!(user(&[("X-Auth-Request-User", "c")]), None);
}

#[test]
fn other_responses_go_to_the_client_as_they_are() {
    let policy = policy(&[("response_headers", texts(&["X-User"]))]);
    for (status, code) in [
        (401, "forward_auth_denied"),
        (403, "forward_auth_denied"),
        (404, "forward_auth_denied"),
        (302, "forward_auth_redirect"),
        (500, "forward_auth_error"),
    ] {
        let headers = [
            ("Location", "https://login.test/"),
            ("Date", "Tue, 24 Nov 2026 10:15:30 GMT"),
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("Content-Type", "text/html"),
            ("Content-Length", "99"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close, X-Hop"),
            ("Keep-Alive", "1"),
            ("x-hop", "1"),
            ("Trailer", "x"),
        ];
        let (result, notes) = after(&*policy, "X-User: root\r\n", fetched(status, &headers, "<p>"));
        let refusal = result.unwrap_err();
        assert_eq!((refusal.status, refusal.code), (status, code));
        assert_eq!(
            shown(&refusal.headers),
            [
                "Location: https://login.test/",
                "Set-Cookie: a=1",
                "set-cookie: b=2"
            ]
        );
        assert_eq!(refusal.body, Some(("text/html".into(), b"<p>"[..].into())));
        assert!(notes.user.is_none());
    }
}

#[test]
fn no_type_of_a_body_is_made_up() {
    let policy = policy(&[]);
    for headers in [&[][..], &[("Content-Type", "")]] {
        let refusal = after(&*policy, "", fetched(403, headers, "no")).0.unwrap_err();
        assert_eq!(refusal.body, Some(("".into(), b"no"[..].into())));
        assert!(refusal.headers.is_empty());
    }
}

#[test]
fn without_a_valid_response_the_request_is_refused() {
    let policy = policy(&[("response_headers", texts(&["X-User"]))]);
    for response in [
        Err("connection refused".to_owned()),
        fetched(0, &[], ""),
        fetched(101, &[], ""),
        fetched(199, &[], ""),
        fetched(600, &[], ""),
        fetched(200, &[("X-User", "a\r\nX-Admin: 1")], ""),
    ] {
        let refusal = after(&*policy, "", response.clone()).0.unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code),
            (503, "forward_auth_unavailable"),
            "{response:?}"
        );
        assert_eq!(shown(&refusal.headers), ["Retry-After: 1"]);
        assert!(refusal.detail.is_some());
    }
    let head = head("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let other = Job::Compute(crate::policy::Compute::new(|| true));
    let decision = policy.resume(&request(&head), &mut Notes::default(), other);
    assert!(matches!(decision, Decision::Refuse(refusal) if refusal.status == 503));
}

#[test]
fn config_errors_name_the_key() {
    let key = |name: &'static str, value: Value| built(&[(name, value)]).unwrap_err().key;
    for url in ["", "auth:9000", "ftp://a", "http://u:p@a"] {
        assert_eq!(key("url", Value::Text(url.to_owned())), Some("url"), "{url}");
    }
    for name in ["Host", "Content-Length", "X-Forwarded-For", "Connection"] {
        assert_eq!(
            key("response_headers", texts(&[name])),
            Some("response_headers"),
            "{name}"
        );
        assert_eq!(
            key("request_headers", texts(&[name])),
            Some("request_headers"),
            "{name}"
        );
    }
}
