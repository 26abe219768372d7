//! `GET /api/v1/rejected`.

use serde_json::Value;

use super::{before, refused};
use crate::support::{Backend, Proxy, Response};

const SECRET: &str = "c2VjcmV0LXZhbHVl==";

fn rejected(proxy: &Proxy) -> Vec<Value> {
    let response = proxy.get_admin("/api/v1/rejected");
    assert_eq!(response.status(), 200);
    let list: Value = serde_json::from_slice(&response.body).expect("JSON");
    list["rejected"].as_array().expect("a list").clone()
}

#[test]
fn refused_heads_and_malformed_responses_are_listed_with_an_excerpt() {
    let backend =
        Backend::start(|_| Response::raw("HTTP/1.1 200 OK\r\nSet-Cookie: s=secret\r\nA : b\r\n\r\n").close());
    let proxy = before(&[&backend], "").start();
    assert!(rejected(&proxy).is_empty());
    let line = refused(
        &proxy,
        "GET /a?t=secret HTTP/1.1\r\nHost: a\r\nCookie: s=secret\r\nX: \x01\r\n\r\n",
    );
    assert_eq!(proxy.get("/b").status(), 502);
    proxy.access_line("/b");
    let all = rejected(&proxy);
    assert_eq!(all.len(), 2, "{all:#?}");
    // The newest entry is first.
    let (response, request) = (&all[0], &all[1]);
    assert_eq!(request["from"], "client");
    assert_eq!(request["peer"], line["client_ip"]);
    assert_eq!(request["error"], "control_byte");
    assert_eq!(
        request["rule"],
        "the start line and headers must not contain control characters; a tab is allowed in header values only"
    );
    assert_eq!(request["line"], 4);
    assert_eq!(request["header"], "X");
    assert_eq!(request["offset"], 56);
    assert_eq!(request["detail"], line["detail"]);
    assert_eq!(
        request["excerpt"],
        r"GET /a[9 bytes] HTTP/1.1\r\nHost: a\r\nCookie: [8 bytes]\r\nX: \x01\r\n\r\n"
    );
    assert!(
        request["time"].as_str().is_some_and(|time| time.ends_with('Z')),
        "{request}"
    );
    assert_eq!(response["from"], "backend");
    assert_eq!(response["peer"], backend.url());
    assert_eq!(response["error"], "malformed_response");
    assert_eq!(response["code"], "bad_field_name");
    assert_eq!(
        response["excerpt"],
        r"HTTP/1.1 200 [2 bytes]\r\nSet-Cookie: [8 bytes]\r\nA : [1 bytes]\r\n\r\n"
    );
}

#[test]
fn the_last_hundred_of_all_workers_are_kept() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("workers: 3\nhealth_check: { kind: none }")
        .start();
    for number in 0..130 {
        let mut client = proxy.client();
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"));
        client.read();
    }
    proxy.access_lines(130);
    let all = rejected(&proxy);
    let first = |entry: &Value| entry["excerpt"].as_str().unwrap_or_default().to_owned();
    assert_eq!(all.len(), 100);
    assert!(first(&all[0]).starts_with("GET /129 "), "{}", all[0]);
    assert!(first(&all[99]).starts_with("GET /30 "), "{}", all[99]);
}

#[test]
fn a_body_that_breaks_its_framing_is_listed_without_its_bytes() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "").start();
    refused(
        &proxy,
        "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\npassword=secret\r\n",
    );
    let all = rejected(&proxy);
    assert_eq!(all[0]["error"], "bad_chunk_size");
    assert_eq!(all[0]["excerpt"], r"p[14 bytes]\r\n");
}

/// Heads that contain credentials, each broken at another place in another way.
fn broken() -> Vec<Vec<u8>> {
    let head = format!(
        "GET /a?token={SECRET} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic {SECRET}\r\nUser-Agent: curl/8.5\r\n\
         Cookie: a=1; s={SECRET}\r\nProxy-Authorization: Bearer {SECRET}\r\nAccept: */*\r\nX-Api-Key: {SECRET}\r\n\r\n"
    );
    let breaking: [&[u8]; 8] = [
        b"\0",
        b"\n",
        b"\r",
        b"\r\n ",
        b" ",
        b"\x7f",
        b"\"}\n{\"",
        "\u{202e}".as_bytes(),
    ];
    let places = ("GET /a?".len()..head.len() - 4).step_by(3);
    places
        .zip(breaking.iter().cycle())
        .map(|(place, breaking)| {
            let mut bytes = head.clone().into_bytes();
            bytes.splice(place..=place, breaking.iter().copied());
            bytes
        })
        .collect()
}

#[test]
fn neither_the_log_nor_the_list_shows_a_credential_or_stops_being_json() {
    let backend = Backend::start(|_| {
        Response::raw(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: s={SECRET}\r\nA : b\r\n\r\n"
        ))
        .close()
    });
    let proxy = before(&[&backend], "access_log: { query: false }").start();
    let all = broken();
    for chunk in all.chunks(50) {
        for bytes in chunk {
            let mut client = proxy.client();
            client.send(bytes).finish_sending();
            client.read_to_end();
        }
        let text = String::from_utf8(proxy.get_admin("/api/v1/rejected").body).expect("UTF-8");
        let list: Value = serde_json::from_str(&text).expect("JSON");
        assert!(list["rejected"].as_array().is_some_and(|list| !list.is_empty()));
        assert!(!text.contains("c2Vj") && !text.contains("bHVl"), "{text}");
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }
    for line in proxy.access_lines(all.len()) {
        let text = line.to_string();
        assert!(!text.contains("c2Vj") && !text.contains("bHVl"), "{text}");
    }
}
