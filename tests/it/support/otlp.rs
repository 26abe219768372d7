//! A collector of traces: receives OTLP over HTTP or over gRPC, and reads the spans with a reader of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Response as Head};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::authority::Pair;
use super::backend::{Backend, Request, Response};
use super::background;
use super::event::Log;
use super::tls::server_config;

/// A collector.
pub(crate) enum Collector {
    /// Over HTTP: each request is an export.
    Http(Backend),
    /// Over gRPC, with its URL and the exports. It runs until the test process ends.
    Grpc(String, Log<Vec<u8>>),
}

/// A span as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    /// In hex, as are the other ids.
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    /// Empty without a parent.
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    /// 2 is a server's, 3 a client's.
    pub(crate) kind: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) is_error: bool,
}

impl Collector {
    /// One that is reached over HTTP.
    pub(crate) fn http() -> Self {
        Self::Http(Backend::start(|request| {
            let status = if is_export(request) { 200 } else { 404 };
            Response::status(status, "")
        }))
    }

    /// One that is reached over gRPC.
    pub(crate) fn grpc() -> Self {
        let (address, exports) = Self::serve_grpc(None);
        Self::Grpc(format!("grpc://{address}"), exports)
    }

    /// One that is reached over gRPC with TLS, as `localhost`, and presents this certificate.
    pub(crate) fn grpcs(pair: &Pair) -> Self {
        let acceptor = TlsAcceptor::from(server_config(pair, &[b"h2"]));
        let (address, exports) = Self::serve_grpc(Some(acceptor));
        Self::Grpc(format!("grpcs://localhost:{}", address.port()), exports)
    }

    fn serve_grpc(tls: Option<TlsAcceptor>) -> (SocketAddr, Log<Vec<u8>>) {
        let exports = Log::default();
        let its = exports.clone();
        let address = background::serve(move |stream| {
            let (tls, its) = (tls.clone(), its.clone());
            async move {
                match tls {
                    None => serve(stream, its).await,
                    Some(tls) => {
                        // A client that does not trust the certificate ends the connection.
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, its).await;
                        }
                    }
                }
            }
        });
        (address, exports)
    }

    /// Its URL for a config.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Http(backend) => backend.url(),
            Self::Grpc(url, _) => url.clone(),
        }
    }

    /// Waits for this number of spans of a trace; returns them, that of the request first.
    pub(crate) fn wait_for(&self, trace_id: &str, count: usize) -> Vec<Span> {
        let look = |all: Vec<Span>| {
            let of_trace = all.into_iter().filter(|span| span.trace_id == trace_id);
            let of_trace: Vec<Span> = of_trace.collect();
            (of_trace.len() >= count).then_some(of_trace)
        };
        let what = "the spans of a trace";
        let mut found = match self {
            Self::Http(backend) => backend.wait_for(what, |all| look(of_requests(all))),
            Self::Grpc(_, exports) => exports.wait_for(what, |all| look(of_exports(all))),
        };
        assert_eq!(found.len(), count, "{found:#?}");
        found.sort_by_key(|span| (span.kind, span.start));
        found
    }

    /// The spans so far.
    pub(crate) fn all(&self) -> Vec<Span> {
        match self {
            Self::Http(backend) => of_requests(&backend.requests(|_| true)),
            Self::Grpc(_, exports) => of_exports(&exports.all()),
        }
    }
}

fn is_export(request: &Request) -> bool {
    request.start() == "POST /v1/traces"
}

fn of_requests(requests: &[Request]) -> Vec<Span> {
    let exports = requests.iter().filter(|request| is_export(request));
    exports.flat_map(|request| read(&request.body)).collect()
}

fn of_exports(exports: &[Vec<u8>]) -> Vec<Span> {
    exports.iter().flat_map(|export| read(export)).collect()
}

/// Serves the connection of a gRPC client.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, exports: Log<Vec<u8>>) {
    const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let exports = exports.clone();
        calls.spawn(async move {
            let is_call = request.uri().path() == PATH
                && request.headers()["content-type"] == "application/grpc"
                && request.headers()["te"] == "trailers";
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                message.extend_from_slice(&data);
            }
            let head = Head::builder().header("content-type", "application/grpc");
            let mut sending = respond.send_response(head.body(()).unwrap(), false).unwrap();
            let length = message[1..5].try_into().map(u32::from_be_bytes).unwrap();
            assert_eq!((message[0], length as usize), (0, message.len() - 5));
            if is_call {
                exports.push(message.split_off(5));
            }
            sending.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
            let mut trailers = HeaderMap::new();
            let status = if is_call { "0" } else { "12" };
            trailers.insert("grpc-status", status.parse().unwrap());
            sending.send_trailers(trailers).unwrap();
        });
    }
    calls.join_all().await;
}

/// The spans of an `ExportTraceServiceRequest`.
fn read(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in every(request, 1) {
        let resource = only(&resource_spans, 1);
        let service = attributes(&resource, 1)["service.name"].clone();
        for scope_spans in every(&resource_spans, 2) {
            let found = every(&scope_spans, 2);
            spans.extend(found.iter().map(|span| read_span(span, &service)));
        }
    }
    spans
}

fn read_span(span: &[u8], service: &str) -> Span {
    let text = |field| String::from_utf8(first(span, field)).expect("text is UTF-8");
    let hex = |field| {
        first(span, field)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    Span {
        service: service.to_owned(),
        trace_id: hex(1),
        span_id: hex(2),
        state: text(3),
        parent: hex(4),
        name: text(5),
        kind: as_number(&first(span, 6)),
        start: as_number(&first(span, 7)),
        end: as_number(&first(span, 8)),
        attributes: attributes(span, 9),
        is_error: as_number(&first(&first(span, 15), 3)) == 2,
    }
}

fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let pairs = every(message, field).into_iter().map(|pair| {
        let value = only(&pair, 2);
        let number = every(&value, 3)
            .first()
            .map(|number| as_number(number).to_string());
        let text = || String::from_utf8(only(&value, 1)).expect("text is UTF-8");
        let name = String::from_utf8(only(&pair, 1)).expect("names are UTF-8");
        (name, number.unwrap_or_else(text))
    });
    pairs.collect()
}

/// The values of a field: bytes, or a number in eight bytes, little endian.
fn every(mut message: &[u8], field: u64) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = match tag & 7 {
            0 => varint(&mut message).to_le_bytes().to_vec(),
            1 => take(&mut message, 8),
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                take(&mut message, length)
            }
            5 => take(&mut message, 4),
            other => panic!("wire type {other}"),
        };
        if tag >> 3 == field {
            found.push(value);
        }
    }
    found
}

fn only(message: &[u8], field: u64) -> Vec<u8> {
    let mut all = every(message, field);
    assert_eq!(all.len(), 1, "field {field}");
    all.remove(0)
}

/// The value of a field; empty without one.
fn first(message: &[u8], field: u64) -> Vec<u8> {
    every(message, field).into_iter().next().unwrap_or_default()
}

fn as_number(value: &[u8]) -> u64 {
    value
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return number;
        }
    }
    panic!("a number is too long");
}

fn take(message: &mut &[u8], length: usize) -> Vec<u8> {
    let (taken, rest) = message.split_at(length);
    *message = rest;
    taken.to_vec()
}
