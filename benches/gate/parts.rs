//! Measures the hot parts one by one, each repeated a fixed number of times on the same input.

use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use evenkeel::internals::backend::Address;
use evenkeel::internals::clock;
use evenkeel::internals::proxy::{Identity, Peer, TrustedProxies, write_request};
use evenkeel::internals::telemetry::access_log::{self, Client, Options, encode};
use evenkeel::internals::telemetry::{Label, Timestamp};
use evenkeel_balance::request::Request;
use evenkeel_balance::rng::Rng;
use evenkeel_balance::router::{Matcher, PathMatcher, Router};
use evenkeel_balance::schema::Params;
use evenkeel_balance::strategy::{Candidate, Entry, PickContext, STRATEGIES};
use evenkeel_wire::head::{Method, RequestHead, ResponseHead};
use evenkeel_wire::http1::chunked::{ChunkedDecoder, chunk_header};
use evenkeel_wire::http1::{HeadScan, Kind, Limits, Piece, parse_request, parse_response};

use crate::budgets::Count;
use crate::folder::Folder;
use crate::{PARTS, policies, tools};

/// How often a part is repeated: enough that the overhead of the loop is negligible.
const TIMES: u32 = 1_000;

const SMALL_REQUEST: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const BROWSER_REQUEST: &str = "GET /products/4711/reviews?page=2 HTTP/1.1\r\nHost: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 10:15:30 GMT\r\nServer: nginx\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 5120\r\nConnection: keep-alive\r\n\
    Cache-Control: max-age=60\r\nETag: \"5f2b-1400\"\r\nVary: Accept-Encoding\r\n\r\n";

/// Size of the chunks of a chunked body.
const CHUNK: usize = 1024;
const CHUNKED_BODY: usize = 64 * 1024;

/// A part that is ready to be repeated.
pub(crate) struct Part {
    name: String,
    work: Box<dyn FnMut(u32)>,
}

impl Part {
    /// A part that does this each time.
    pub(crate) fn new(name: impl Into<String>, mut work: impl FnMut() + 'static) -> Self {
        Self {
            name: name.into(),
            work: Box::new(move |times| (0..times).for_each(|_| work())),
        }
    }
}

/// Runs all parts. This is the program that callgrind counts.
pub(crate) fn run_all() {
    for mut part in all() {
        (part.work)(1);
        counted(&mut *part.work);
        taken();
    }
}

/// Callgrind counts only inside this function.
#[inline(never)]
fn counted(work: &mut dyn FnMut(u32)) {
    work(black_box(TIMES));
}

/// Callgrind dumps its counts and resets them before this function.
#[inline(never)]
fn taken() {
    black_box(());
}

/// Instructions of each part.
pub(crate) fn count(folder: &Folder) -> Result<Vec<Count>, Box<dyn Error>> {
    let out = folder.path().join("parts");
    // Callgrind mishandles two patterns with the same prefix, and the reverse order of the options.
    let options = ["--dump-before=*taken*", "--toggle-collect=*counted*"];
    let program = std::env::current_exe()?;
    let status = tools::callgrind(&out, &options, program)
        .arg(PARTS)
        .status()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !status.success() {
        return Err(format!("valgrind failed: {status}").into());
    }
    let mut counts = Vec::new();
    for (index, part) in all().into_iter().enumerate() {
        let dump = folder.path().join(format!("parts.{}", index + 1));
        let total = tools::instructions(&dump)?;
        counts.push((part.name, total as f64 / f64::from(TIMES)));
    }
    Ok(counts)
}

fn all() -> Vec<Part> {
    let mut parts = vec![
        parse("parse: request of 40 bytes", SMALL_REQUEST),
        parse("parse: request of a browser", BROWSER_REQUEST),
        parse_response_head(),
        route(10),
        route(1_000),
    ];
    for entry in STRATEGIES {
        parts.extend([3, 1_000].map(|backends| pick(entry, backends)));
    }
    parts.extend([encode_head(), encode_log_line(), decode_chunked()]);
    parts.extend(policies::all());
    parts
}

fn parse(name: &str, text: &'static str) -> Part {
    let (mut scan, mut head) = (HeadScan::default(), RequestHead::default());
    Part::new(name, move || read(text, &mut scan, &mut head))
}

/// Parses a head that arrived in one read, as a connection does.
pub(crate) fn read(text: &str, scan: &mut HeadScan, head: &mut RequestHead) {
    let bytes = black_box(text.as_bytes());
    scan.clear();
    head.clear();
    let end = scan.advance(bytes, Kind::Request, &Limits::default());
    let end = end.expect("it is well formed").expect("it is whole");
    head.bytes.extend_from_slice(bytes.get(..end).unwrap_or_default());
    parse_request(head, scan, end).expect("it is well formed");
    black_box(head);
}

fn parse_response_head() -> Part {
    let (mut scan, mut head) = (HeadScan::default(), ResponseHead::default());
    Part::new("parse: response", move || {
        let bytes = black_box(RESPONSE.as_bytes());
        scan.clear();
        head.clear();
        let end = scan.advance(bytes, Kind::Response, &Limits::default());
        let end = end.expect("it is well formed").expect("it is whole");
        parse_response(bytes, &scan, end, Method::Get, &mut head).expect("it is well formed");
        black_box(&head);
    })
}

fn route(count: usize) -> Part {
    let route = |index: usize| {
        let host = (!index.is_multiple_of(4)).then(|| format!("service-{index}.example.com"));
        Matcher {
            hosts: host.into_iter().collect(),
            path: PathMatcher::Prefix(format!("/api/v{index}")),
            ..Matcher::default()
        }
    };
    let routes: Vec<Matcher> = (0..count).map(route).collect();
    let router = Router::new(&routes).expect("the routes differ");
    let wanted = count / 2 + 1;
    let text =
        format!("GET /api/v{wanted}/users/4711 HTTP/1.1\r\nHost: Service-{wanted}.example.com:8080\r\n\r\n");
    let mut head = RequestHead::default();
    read(&text, &mut HeadScan::default(), &mut head);
    let now = clock::instant();
    Part::new(format!("route: {count} routes"), move || {
        let request = Request {
            head: black_box(&head),
            client_ip: None,
            is_secure: false,
            listener: 0,
            now,
            wall: UNIX_EPOCH,
            random: 0,
        };
        let found = black_box(&router).find(&request);
        assert_eq!(found, Some(wanted));
    })
}

fn pick(entry: &'static Entry, count: u32) -> Part {
    let candidate = |index: u32| Candidate {
        identity: u64::from(index),
        load: Arc::default(),
        weight: 1 + index % 3,
    };
    let candidates: Vec<Candidate> = (0..count).map(candidate).collect();
    let strategy = (entry.build)(&Params::default(), &candidates, &Arc::default());
    let mut rng = Rng::seeded(1);
    let now = clock::instant();
    Part::new(format!("pick: {}, {count} backends", entry.name), move || {
        let context = PickContext {
            tried: &[],
            in_flight_limit: None,
            key: None,
            random: rng.bits(),
            now,
        };
        black_box(strategy.pick(black_box(&candidates), black_box(&context)));
    })
}

fn encode_head() -> Part {
    let mut head = RequestHead::default();
    read(BROWSER_REQUEST, &mut HeadScan::default(), &mut head);
    let address = Address::parse("http://10.0.0.1:8001").expect("it is a URL");
    let mut out = Vec::new();
    let peer = Peer::new(SocketAddr::from(([192, 0, 2, 7], 40_123)));
    let trusted = TrustedProxies::default();
    Part::new("encode: head for a backend", move || {
        out.clear();
        let identity = Identity::new(&peer, &trusted, black_box(&head), black_box([1, 2]));
        write_request(&head, &identity, &peer, &address, &mut out);
        black_box(&out);
    })
}

fn encode_log_line() -> Part {
    // Leaked: they are few and the program is short-lived.
    let label = |text| &*Box::leak(Box::new(Label::new(text)));
    let entry = access_log::Entry {
        time: UNIX_EPOCH + Duration::from_millis(1_795_515_330_123),
        method: Some(b"GET"),
        path: Some(b"/products/4711/reviews"),
        query: Some(b"page=2"),
        backend: Some(label("http://10.0.0.1:8001")),
        latency: Duration::from_micros(1_234),
        host: Some(b"shop.example.com"),
        protocol: Some("HTTP/1.1"),
        route: Some(label("*/")),
        pool: Some(label("default")),
        request_id: Some(b"0123456789abcdef0123456789abcdef"),
        attempts: 1,
        bytes_received: 351,
        bytes_sent: 5_420,
        backend_time: Some(Duration::from_micros(1_111)),
        ..access_log::Entry::new(200, Client::Direct(label("192.0.2.7:40123")))
    };
    let (mut timestamp, mut out) = (Timestamp::default(), Vec::new());
    Part::new("encode: access log line", move || {
        out.clear();
        encode(black_box(&entry), &mut timestamp, Options::default(), &mut out);
        black_box(&out);
    })
}

fn decode_chunked() -> Part {
    let mut body = Vec::new();
    for _ in 0..CHUNKED_BODY / CHUNK {
        chunk_header(CHUNK as u64, &mut body);
        body.resize(body.len() + CHUNK, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    Part::new("chunked: 64 KiB in chunks of 1 KiB", move || {
        let mut decoder = ChunkedDecoder::new(Kind::Request, Limits::default());
        let mut rest = black_box(body.as_slice());
        let mut payload = 0;
        loop {
            match decoder.next(rest).expect("it is well formed") {
                Piece::Data { skip, len } => {
                    payload += len;
                    rest = rest.get(skip + len..).unwrap_or_default();
                }
                Piece::NeedMore { skip } => rest = rest.get(skip..).unwrap_or_default(),
                Piece::End { .. } => break,
            }
        }
        assert_eq!(payload, CHUNKED_BODY);
    })
}
