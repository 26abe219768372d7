//! Bodies through all combinations of protocols: complete, in both directions at once, with an early response, and
//! never more of them in memory than flow control allows.

use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use crate::support::http2::{Http2, read};
use crate::support::http2_backend::{Http2Backend, bytes};
use crate::support::{Backend, Gate, Proxy, Response};

const LARGE: usize = 20 << 20;
/// Most memory that the balancer may gain while it moves bodies: some windows and buffers, never a body.
const GROWTH: usize = 12 << 20;

fn before(url: &str) -> Proxy {
    let config = "workers: 1\nhealth_check: { kind: none }";
    Proxy::before(&[]).backend(url).config(config).start()
}

async fn send(sending: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        let ready = std::future::poll_fn(|context| sending.poll_capacity(context)).await;
        let count = ready.ok_or(h2::Reason::CANCEL)??.min(data.len());
        sending.send_data(data.split_to(count), false)?;
    }
    Ok(())
}

/// Sends and receives at the same time.
fn echo_by_http2(proxy: &Proxy, body: &Bytes) -> (Vec<u8>, HeaderMap) {
    let client = Http2::connect(proxy.address());
    let (response, mut sending) = client.send("POST", "/echo", false);
    let up = async {
        send(&mut sending, body.clone()).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        sending.send_trailers(trailers).unwrap();
    };
    let down = async { read(response.await.unwrap(), Vec::new()).await.unwrap() };
    let ((), got) = client.run(async { tokio::join!(up, down) });
    (got.body, got.trailers)
}

fn echo_by_http1(proxy: &Proxy, body: &[u8]) -> Vec<u8> {
    let mut client = proxy.client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut text = Vec::new();
    for piece in body.chunks(100_000) {
        text.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        text.extend_from_slice(piece);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\nX-Sum: 7\r\n\r\n");
    let sending = client.send_beside(text);
    let got = client.read();
    sending.join().unwrap();
    got.body
}

#[test]
fn large_bodies_pass_between_all_protocols() {
    let body = Bytes::from(bytes(LARGE));
    let (http1, http2) = (Backend::start(|_| Response::echo()), Http2Backend::start());
    for url in [http1.url(), http2.url()] {
        let proxy = before(&url);
        assert!(echo_by_http1(&proxy, &body) == body, "HTTP/1 to {url}");
        let before = proxy.resident();
        let (got, trailers) = echo_by_http2(&proxy, &body);
        assert!(got == body, "HTTP/2 to {url}");
        if url.starts_with("h2c") {
            assert_eq!(trailers["x-sum"], "7");
        }
        let growth = proxy.resident().saturating_sub(before);
        assert!(growth < GROWTH, "{growth} bytes");
    }
}

/// Data arrives before the request has ended.
#[test]
fn data_flows_in_both_directions_at_once() {
    let backend = Http2Backend::start();
    let client = Http2::connect(before(&backend.url()).address());
    let proxy = before(&backend.url());
    drop(client);
    let client = Http2::connect(proxy.address());
    let (response, mut sending) = client.send("POST", "/echo", false);
    sending.send_data(Bytes::from_static(b"one"), false).unwrap();
    let mut receiving = client.run(response).unwrap().into_body();
    for said in ["one", "two", "three"] {
        assert_eq!(client.run(receiving.data()).unwrap().unwrap(), said);
        let next = if said == "one" { "two" } else { "three" };
        if said != "three" {
            sending.send_data(Bytes::from(next), false).unwrap();
        }
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert!(
        client
            .run(receiving.data())
            .is_none_or(|data| data.unwrap().is_empty())
    );
}

/// RFC 9113 §8.1: a response before the end of the request is complete and valid.
#[test]
fn early_responses_arrive_although_their_stream_is_reset() {
    let response = "HTTP/1.1 413 S\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo much";
    let (http1, http2) = (
        // An immediate close would send a reset, because of unread bytes, and could destroy the response.
        Backend::start(move |_| Response::raw(response).early().finish_sending()),
        Http2Backend::start(),
    );
    for url in [http1.url(), http2.url()] {
        let proxy = before(&url);
        for _ in 0..20 {
            let client = Http2::connect(proxy.address());
            let (response, mut sending) = client.send("POST", "/early", false);
            let up = send(&mut sending, Bytes::from(vec![b'x'; 1 << 20]));
            let got = client.run(async {
                let (_, got) = tokio::join!(up, async { read(response.await?, Vec::new()).await });
                got
            });
            let got = got.unwrap();
            assert_eq!(
                (got.head.status().as_u16(), got.text()),
                (413, "too much"),
                "{url}"
            );
        }
        for _ in 0..20 {
            let mut client = proxy.client();
            let head = "POST /early HTTP/1.1\r\nHost: test\r\nContent-Length: 1048576\r\n\r\n";
            let sending = client.send(head).send_beside(vec![b'x'; 1 << 20]);
            let got = client.read();
            assert_eq!((got.status(), got.text().as_str()), (413, "too much"), "{url}");
            drop(client);
            drop(sending.join());
        }
        assert!(proxy.access_lines(40).iter().all(|line| line["error"].is_null()));
    }
}

/// If the client does not read, the balancer does not read from the backend.
#[test]
fn a_slow_reader_slows_its_backend_and_fills_no_memory() {
    let gate = Gate::default();
    let its = gate.clone();
    let http1 = Backend::start(move |_| {
        Response::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"))
            .send(bytes(LARGE))
            .wait(&its)
    });
    let http2 = Http2Backend::start();
    let path = format!("/bytes/{LARGE}");
    for url in [http1.url(), http2.url()] {
        let proxy = before(&url);
        proxy.client();
        let start = proxy.resident();
        // Many clients that send requests and do not read.
        let client = Http2::connect(proxy.address());
        let responses: Vec<_> = (0..16).map(|_| client.send("GET", &path, true).0).collect();
        let mut bodies: Vec<_> = responses
            .into_iter()
            .map(|response| client.run(response).unwrap().into_body())
            .collect();
        client.run(async { tokio::time::sleep(Duration::from_millis(100)).await });
        let growth = proxy.resident().saturating_sub(start);
        assert!(growth < GROWTH, "{url}: {growth} bytes");
        let mut got = Vec::new();
        // Their unread data holds the connection's window, which is released with them.
        drop(bodies.split_off(1));
        let body = &mut bodies[0];
        client.run(async {
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                got.extend_from_slice(&data);
            }
        });
        assert!(got == bytes(LARGE), "{url}");
    }
    gate.open();
}
