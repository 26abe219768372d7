//! History, events and the files of the dashboard.

use super::*;
use crate::admin::Feeds;
use crate::telemetry::Feed;

/// One event and one sample.
pub(super) fn known() -> Feeds {
    let (events, samples) = (Feed::new(4), Feed::new(4));
    events.push(|id| format!(r#"{{"id":{id},"msg":"Started"}}"#));
    samples.push(|_| r#"{"requests":3}"#.to_owned());
    Feeds::new(Arc::new(events), Arc::new(samples))
}

#[tokio::test]
async fn history_lists_samples_and_events() {
    let api = start(None, QUIET_LIMITS);
    let (status, body) = get(&api, "/api/v1/history").await;
    assert_eq!(status, 200);
    let history = json(&body);
    assert_eq!(history["interval_seconds"], 1);
    assert_eq!(history["samples"][0]["requests"], 3);
    assert_eq!(history["events"][0]["msg"], "Started");
    assert_eq!(get(&api, "/api/v1/config/previous").await.0, 404, "no reload yet");
}

#[tokio::test]
async fn events_begin_with_those_that_the_client_has_missed() {
    let api = start(None, QUIET_LIMITS);
    let mut connection = TcpStream::connect(api.address).await.expect("it listens");
    let head = "GET /api/v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.write_all(head.as_bytes()).await.expect("sent");
    let mut received = String::new();
    let expected = "event: event\nid: 1\ndata: {\"id\":1,\"msg\":\"Started\"}\n\n";
    let read = async {
        while !received.contains(expected) {
            let mut part = [0; 1024];
            let count = connection.read(&mut part).await.expect("readable");
            assert!(count > 0, "ended: {received}");
            received.push_str(&String::from_utf8_lossy(&part[..count]));
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("in time");
    assert!(
        received
            .to_lowercase()
            .contains("content-type: text/event-stream"),
        "{received}"
    );
}

#[tokio::test]
async fn an_invalid_number_of_an_event_is_refused() {
    let api = start(None, QUIET_LIMITS);
    for path in ["/api/v1/events?after=x", "/api/v1/events?after=-1"] {
        let (status, body) = get(&api, path).await;
        assert_eq!(
            (status, json(&body)["code"].as_str()),
            (400, Some("invalid_request"))
        );
    }
}

#[tokio::test]
async fn the_dashboard_needs_no_token_but_what_it_shows_does() {
    let api = start(Some("s3cret"), QUIET_LIMITS);
    let page = raw(api.address, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(
        page.starts_with("HTTP/1.0 200") || page.starts_with("HTTP/1.1 200"),
        "{page}"
    );
    assert!(
        page.to_lowercase()
            .contains("content-security-policy: default-src 'self';"),
        "{page}"
    );
    assert_eq!(get(&api, "/assets/app.js").await.0, 200);
    assert_eq!(get(&api, "/assets/none.js").await.0, 404);
    for path in ["/api/v1/history", "/api/v1/events", "/api/v1/config/previous"] {
        assert_eq!(get(&api, path).await.0, 401, "{path}");
    }
}
