//! HTTP/2 to backends over TLS: ALPN, and what must use HTTP/1.1 nevertheless.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::Response;
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::Proxy;
use crate::support::authority::{Authority, Folder};

/// A backend that offers both protocols, and its certificate. Over HTTP/2 it responds `h2`, in two parts around the
/// request body; over HTTP/1.1 it opens a WebSocket and echoes.
fn start() -> (SocketAddr, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.pem();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    connections.spawn(serve(stream));
                }
            }
        });
    });
    (address, certificate)
}

async fn serve(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut streams = JoinSet::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            sending.send_data(Bytes::from_static(b"h"), false).unwrap();
            streams.spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.data().await {}
                sending.send_data(Bytes::from_static(b"2"), true).unwrap();
            });
        }
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(switch).await.unwrap();
    let mut space = [0; 64];
    while let Ok(count @ 1..) = stream.read(&mut space).await {
        stream.write_all(&space[..count]).await.unwrap();
    }
}

#[test]
fn a_websocket_uses_http1_to_a_backend_that_prefers_http2() {
    let (address, _) = start();
    let pool = format!("{{ backends: [\"https://{address}\"], tls: {{ danger_skip_verify: true }} }}");
    let proxy = Proxy::before(&[])
        .config(&format!(
            "pools: {{ secured: {pool} }}\nroutes: [{{ pool: secured }}]"
        ))
        .config("health_check: { kind: none }\nworkers: 1")
        .start();
    let mut plain = proxy.client();
    assert_eq!(plain.get("/1").text(), "h2");
    let mut client = proxy.client();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.read_head().status(), 101);
    client.send("hello");
    assert_eq!(client.read_until(|bytes| bytes.len() >= 5), b"hello");
    // Other requests still use HTTP/2.
    assert_eq!(plain.get("/2").text(), "h2");
    drop(client);
}

#[test]
fn connections_verified_by_replaced_authorities_get_no_new_requests() {
    let (address, certificate) = start();
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &certificate);
    let tls = format!("{{ ca: \"{ca}\", server_name: localhost }}");
    let pool = format!("{{ backends: [\"https://{address}\"], tls: {tls} }}");
    let proxy = Proxy::before(&[])
        .config(&format!(
            "pools: {{ secured: {pool} }}\nroutes: [{{ pool: secured }}]"
        ))
        .config("health_check: { kind: none }\nworkers: 1")
        .start();
    let mut client = proxy.client();
    client.send("POST /1 HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n");
    client.read_until(|bytes| bytes.ends_with(b"\r\nh\r\n"));
    assert_eq!(proxy.get("/2").text(), "h2");
    for (certificate, status) in [(Authority::new().pem(), 503), (certificate, 200)] {
        folder.write("ca.pem", &certificate);
        let mark = proxy.mark();
        proxy.signal(Signal::HUP);
        proxy.wait_for_message(mark, "reloaded");
        assert_eq!(proxy.get("/3").status(), status);
    }
    client.send("hello");
    assert_eq!(client.read().text(), "h2", "what was under way goes on");
}
