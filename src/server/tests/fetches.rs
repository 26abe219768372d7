//! `forward_auth` between a client, a backend and a scripted server.

use super::*;

/// A backend and a process whose route asks `auth`, with these parameters beside the URL.
async fn before(auth: &Peer, values: &[(&'static str, Value)]) -> (Bench, Peer) {
    let backend = Peer::start(|_| ok("backend")).await;
    let url = format!("http://{}/check?x=1", auth.address);
    let bench = Bench::start(&[("api", &backend)], |config| {
        let mut all = vec![("url", text(&url))];
        all.extend(values.iter().cloned());
        add_policy(config, "sso", "forward_auth", &all);
    })
    .await;
    (bench, backend)
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn a_response_of_2xx_lets_the_request_pass_with_its_headers() {
    let accept = "HTTP/1.1 204 No Content\r\nX-User: alice\r\nKeep-Alive: timeout=9\r\n\r\n";
    let mut auth = Peer::start(move |_| Reply::Send(accept.to_owned())).await;
    let names = Value::List(vec![text("X-User")]);
    let (bench, mut backend) = before(&auth, &[("response_headers", names)]).await;
    let response = bench.get("/a?b", "Cookie: c=1\r\nX-User: mallory\r\n").await;
    assert!(response.ends_with("\r\n\r\nbackend"), "{response}");
    let asked = auth.request().await;
    assert!(
        asked.head.starts_with("GET /check?x=1 HTTP/1.1\r\n"),
        "{}",
        asked.head
    );
    assert_eq!(field(&asked.head, "host"), Some(&*auth.address.to_string()));
    assert_eq!(field(&asked.head, "cookie"), Some("c=1"));
    assert_eq!(field(&asked.head, "x-forwarded-uri"), Some("/a?b"));
    assert_eq!(field(&asked.head, "x-forwarded-host"), Some("a.test"));
    assert_eq!(field(&asked.head, "content-length"), None);
    let head = backend.request().await.head;
    assert_eq!(head.matches("X-User").count(), 1, "{head}");
    assert_eq!(field(&head, "x-user"), Some("alice"));
}

#[tokio::test]
async fn any_other_response_goes_to_the_client() {
    let login = "HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: s=1\r\nContent-Type: text/plain\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nlogin\r\n0\r\n\r\n";
    let auth = Peer::start(move |_| Reply::Send(login.to_owned())).await;
    let (bench, mut backend) = before(&auth, &[]).await;
    let response = bench.get("/", "").await;
    assert_eq!(status(&response), "302");
    assert_eq!(field(&response, "location"), Some("/login"));
    assert_eq!(field(&response, "set-cookie"), Some("s=1"));
    assert!(response.ends_with("\r\n\r\nlogin"), "{response}");
    assert!(backend.requests.try_recv().is_err(), "the backend got nothing");
}

#[tokio::test]
async fn connections_to_the_server_are_used_again() {
    let auth = Peer::start(|_| ok("")).await;
    let (bench, _backend) = before(&auth, &[]).await;
    for _ in 0..5 {
        assert_eq!(status(&bench.get("/", "").await), "200");
    }
    assert_eq!(auth.connections(), 1);
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once() {
    let script = |request: &Request| match request.turn {
        0 => ok(""),
        _ => Reply::Close,
    };
    let auth = Peer::start(script).await;
    let (bench, _backend) = before(&auth, &[]).await;
    for _ in 0..3 {
        assert_eq!(status(&bench.get("/", "").await), "200");
    }
    let auth = Peer::start(|_| Reply::Close).await;
    let (bench, _backend) = before(&auth, &[]).await;
    assert_eq!(status(&bench.get("/", "").await), "503");
    assert_eq!(
        auth.connections(),
        1,
        "a new connection that ends is not replaced"
    );
}

#[tokio::test]
async fn a_connection_with_a_user_of_its_own_is_not_used_again() {
    let auth = Peer::start(|_| ok("")).await;
    let (bench, _backend) = before(&auth, &[]).await;
    for _ in 0..2 {
        let response = bench.get("/", "Authorization: Negotiate abc\r\n").await;
        assert_eq!(status(&response), "200");
    }
    assert_eq!(auth.connections(), 2);
}

#[tokio::test]
async fn without_a_usable_response_the_request_is_refused() {
    let large = "x".repeat((64 << 10) + 1);
    for reply in [
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{large}",
            large.len()
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
    ] {
        let sent = reply.clone();
        let auth = Peer::start(move |_| Reply::Send(sent.clone())).await;
        let (bench, mut backend) = before(&auth, &[]).await;
        let response = bench.get("/", "").await;
        assert_eq!(status(&response), "503", "{}", reply.get(..60).unwrap_or(&reply));
        assert!(backend.requests.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_page_of_the_largest_size_arrives_whole() {
    let page = "x".repeat(64 << 10);
    let reply = format!("HTTP/1.1 403 no\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    let auth = Peer::start(move |_| Reply::Send(reply.clone())).await;
    let (bench, _backend) = before(&auth, &[]).await;
    let response = bench.get("/", "").await;
    assert_eq!(status(&response), "403");
    assert!(response.ends_with(&page));
}

#[tokio::test]
async fn a_server_that_does_not_respond_is_given_up_after_the_timeout() {
    let auth = Peer::start(|_| Reply::Hang).await;
    let limit = Value::Duration(Duration::from_millis(100));
    let (bench, _backend) = before(&auth, &[("timeout", limit)]).await;
    assert_eq!(status(&bench.get("/", "").await), "503");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_question() {
    let mut auth = Peer::start(|_| Reply::Hang).await;
    let limit = Value::Duration(DEADLINE * 2);
    let (bench, _backend) = before(&auth, &[("timeout", limit)]).await;
    let stream = bench.open("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    auth.request().await;
    bench
        .wait_for_count(|counters| counters.requests_in_flight.value(), 1)
        .await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    bench
        .wait_for_count(|counters| counters.requests_in_flight.value(), 0)
        .await;
}
