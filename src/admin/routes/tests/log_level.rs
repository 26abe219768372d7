//! The level of the operations log.

use super::*;

/// The response to a request with this body.
async fn put(api: &Api, body: &str) -> String {
    let length = body.len();
    let head = "PUT /api/v1/log-level HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
    raw(
        api.address,
        &format!("{head}Content-Length: {length}\r\n\r\n{body}"),
    )
    .await
}

#[tokio::test]
async fn the_level_of_the_log_is_shown_and_set() {
    let api = start(None, QUIET_LIMITS);
    let shown = async || get(&api, "/api/v1/log-level").await;
    assert_eq!(shown().await, (200, r#"{"level":"info"}"#.to_owned()));
    for level in ["debug", "trace", "error", "warn", "info", "debug"] {
        let body = format!("{{\"level\":\"{level}\"}}");
        let response = put(&api, &body).await;
        assert!(
            response.starts_with("HTTP/1.1 200 ") && response.ends_with(&body),
            "{response}"
        );
        assert_eq!(shown().await, (200, body));
    }
    for body in [
        "",
        "{}",
        "debug",
        r#"{"level":"loud"}"#,
        r#"{"level":"info","x":1}"#,
    ] {
        let response = put(&api, body).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{body}: {response}");
        assert!(
            response.contains("one of error, warn, info, debug and trace"),
            "{response}"
        );
    }
    assert_eq!(shown().await.1, r#"{"level":"debug"}"#, "nothing has changed");
}
