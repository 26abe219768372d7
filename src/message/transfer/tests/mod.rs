//! Bodies that are compressed on their way, over sockets, and decoded at their end.

use std::future::poll_fn;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::coding::Level;
use crate::net::Stream;

mod http2;

const BOUND: Duration = Duration::from_secs(20);

/// A body on its way between two sockets, compressed.
struct Exchange {
    transfer: Transfer,
    source: Connection,
    sink: Connection,
    buffers: Buffers,
}

/// The other ends of the sockets.
struct Peers {
    backend: UnixStream,
    client: UnixStream,
}

impl Exchange {
    fn new(body: BodyLength, framing: Encoder, coding: ContentCoding) -> (Self, Peers) {
        let (source, backend) = connection();
        let (sink, client) = connection();
        let exchange = Self {
            transfer: filtered(body, framing, coding),
            source,
            sink,
            buffers: Buffers::default(),
        };
        (exchange, Peers { backend, client })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransferError>> {
        let Self {
            transfer,
            source,
            sink,
            buffers,
        } = self;
        transfer.poll(context, source, sink, buffers, None)
    }

    /// Runs to the end, then closes both connections.
    async fn run(mut self) -> (Result<(), TransferError>, Transfer) {
        let result = timeout(BOUND, poll_fn(|context| self.poll(context))).await;
        (result.expect("in time"), self.transfer)
    }
}

fn filtered(body: BodyLength, framing: Encoder, coding: ContentCoding) -> Transfer {
    let source = (Version::Http11, body);
    let mut transfer = Transfer::new(source, Kind::Response, framing, &Limits::default());
    transfer.set_limit(Some(1 << 30));
    transfer.filter(ContentEncoder::new(coding, Level::Default, None).unwrap());
    transfer
}

fn connection() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = Stream::from(OwnedFd::from(ours.into_std().unwrap()));
    (Connection::new(stream), theirs)
}

/// Reads what the other side sends until its end.
async fn everything(socket: &mut UnixStream) -> Vec<u8> {
    let mut out = Vec::new();
    timeout(BOUND, socket.read_to_end(&mut out))
        .await
        .expect("in time")
        .unwrap();
    out
}

/// Separates the payload of a chunked body from its framing, as far as whole chunks go; the second value has what follows the last
/// chunk, if that is there.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut payload = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            return (payload, Some(bytes));
        }
        let Some((chunk, rest)) = bytes.split_at_checked(size + 2) else {
            break;
        };
        payload.extend_from_slice(chunk.strip_suffix(b"\r\n").unwrap());
        bytes = rest;
    }
    (payload, None)
}

/// Decodes as far as it goes; the second value says whether the end was there.
fn decoded(coding: ContentCoding, encoded: &[u8]) -> (Vec<u8>, bool) {
    let mut reader: Box<dyn Read + '_> = match coding {
        ContentCoding::Gzip => Box::new(flate2::read::GzDecoder::new(encoded)),
        ContentCoding::Br => Box::new(brotli::Decompressor::new(encoded, 4096)),
        ContentCoding::Zstd => Box::new(zstd::stream::read::Decoder::new(encoded).unwrap().single_frame()),
    };
    let (mut out, mut space) = (Vec::new(), [0; 4096]);
    loop {
        match reader.read(&mut space) {
            Ok(0) => return (out, true),
            Ok(count) => out.extend_from_slice(&space[..count]),
            Err(_) => return (out, false),
        }
    }
}

fn text(length: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|number: u32| format!("line {}, {number}\n", number % 97).into_bytes());
    lines.take(length).collect()
}

/// Bytes that no coding makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(byte).take(length).collect()
}

#[tokio::test]
async fn a_body_of_known_length_arrives_compressed_and_chunked() {
    for coding in ContentCoding::ALL {
        for length in [1, 5000, 1_000_000] {
            let body = text(length);
            let (exchange, mut peers) =
                Exchange::new(BodyLength::Exact(length as u64), Encoder::Chunked, coding);
            let send = async {
                peers.backend.write_all(&body).await.unwrap();
            };
            let ((), (result, transfer), received) =
                tokio::join!(send, exchange.run(), everything(&mut peers.client));
            result.unwrap();
            let (payload, rest) = unchunked(&received);
            assert_eq!(rest, Some(&b"\r\n"[..]));
            assert!(decoded(coding, &payload) == (body, true), "{coding:?} {length}");
            assert_eq!(transfer.moved, length as u64);
            assert_eq!(transfer.compressed(), Some((coding, payload.len() as u64)));
            assert!(length < 5000 || payload.len() < length / 3);
        }
    }
}

#[tokio::test]
async fn an_empty_chunked_body_is_a_whole_compressed_one() {
    for coding in ContentCoding::ALL {
        let (exchange, mut peers) = Exchange::new(BodyLength::Chunked, Encoder::Chunked, coding);
        peers.backend.write_all(b"0\r\n\r\n").await.unwrap();
        let ((result, _), received) = tokio::join!(exchange.run(), everything(&mut peers.client));
        result.unwrap();
        let (payload, rest) = unchunked(&received);
        assert_eq!(
            (decoded(coding, &payload), rest),
            ((Vec::new(), true), Some(&b"\r\n"[..]))
        );
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_compressed_body_until_close() {
    for coding in ContentCoding::ALL {
        let (exchange, mut peers) = Exchange::new(BodyLength::UntilClose, Encoder::Plain, coding);
        let body = text(300_000);
        let send = async {
            peers.backend.write_all(&body).await.unwrap();
            peers.backend.shutdown().await.unwrap();
        };
        let ((), (result, _), received) = tokio::join!(send, exchange.run(), everything(&mut peers.client));
        result.unwrap();
        assert!(decoded(coding, &received) == (body.clone(), true), "{coding:?}");
    }
}

#[tokio::test]
async fn trailers_are_kept_unless_compression_makes_them_wrong() {
    let (exchange, mut peers) = Exchange::new(BodyLength::Chunked, Encoder::Chunked, ContentCoding::Gzip);
    let sent = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Digest: sha-256=:YQ==:\r\nETag: \"a\"\r\n\
                 Repr-Digest: sha-256=:YQ==:\r\nX-Last: 2\r\n\r\n";
    peers.backend.write_all(sent).await.unwrap();
    let ((result, transfer), received) = tokio::join!(exchange.run(), everything(&mut peers.client));
    result.unwrap();
    let (payload, rest) = unchunked(&received);
    assert_eq!(decoded(ContentCoding::Gzip, &payload), (b"abc".to_vec(), true));
    assert_eq!(rest, Some(&b"X-Sum: 1\r\nX-Last: 2\r\n\r\n"[..]));
    assert_eq!(transfer.trailers, b"X-Sum: 1\r\nX-Last: 2\r\n");
}

#[tokio::test]
async fn what_a_pausing_source_has_sent_can_be_decoded_at_once() {
    for coding in ContentCoding::ALL {
        let (exchange, mut peers) = Exchange::new(BodyLength::Chunked, Encoder::Chunked, coding);
        let script = async {
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for number in 0..5 {
                let event = format!("data: {number}\n\n");
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                peers.backend.write_all(chunk.as_bytes()).await.unwrap();
                sent.extend_from_slice(event.as_bytes());
                // The event before the next one: the source sends nothing until then.
                while decoded(coding, &unchunked(&received).0).0 != sent {
                    let read = peers.client.read_buf(&mut received);
                    let count = timeout(BOUND, read).await.expect("in time").unwrap();
                    assert_ne!(count, 0, "ended after {number}");
                }
            }
            peers.backend.write_all(b"0\r\n\r\n").await.unwrap();
            received.extend(everything(&mut peers.client).await);
            let (payload, rest) = unchunked(&received);
            assert_eq!(decoded(coding, &payload), (sent, true));
            assert_eq!(rest, Some(&b"\r\n"[..]));
        };
        let ((result, _), ()) = tokio::join!(exchange.run(), script);
        result.unwrap();
    }
}

#[tokio::test]
async fn a_source_whose_next_bytes_have_come_is_no_pausing_one() {
    let (mut exchange, mut peers) =
        Exchange::new(BodyLength::Exact(6), Encoder::Chunked, ContentCoding::Gzip);
    // The runtime watches the socket, and knows of nothing to read.
    assert!(
        poll_fn(|context| Poll::Ready(exchange.poll(context)))
            .await
            .is_pending()
    );
    peers.backend.try_write(b"456").unwrap();
    exchange.source.input = Buffer::of(b"123".to_vec());
    let polled = poll_fn(|context| Poll::Ready(exchange.poll(context))).await;
    assert!(polled.is_pending());
    assert_eq!(exchange.transfer.moved, 3);
    assert_eq!(exchange.sink.bytes_out, 0, "flushed");
    let ((result, _), received) = tokio::join!(exchange.run(), everything(&mut peers.client));
    result.unwrap();
    let (payload, _) = unchunked(&received);
    assert_eq!(decoded(ContentCoding::Gzip, &payload), (b"123456".to_vec(), true));
}

#[tokio::test]
async fn a_truncated_source_never_looks_like_a_complete_body() {
    for coding in ContentCoding::ALL {
        for (body, sent) in [
            (BodyLength::Exact(100_000), text(99_999)),
            (BodyLength::Chunked, [&b"186a0\r\n"[..], &text(99_999)].concat()),
            (
                BodyLength::Chunked,
                [&b"1869f\r\n"[..], &text(99_999), b"\r\n0\r\n"].concat(),
            ),
        ] {
            let (exchange, mut peers) = Exchange::new(body, Encoder::Chunked, coding);
            let send = async {
                peers.backend.write_all(&sent).await.unwrap();
                peers.backend.shutdown().await.unwrap();
            };
            let ((), (result, _), received) =
                tokio::join!(send, exchange.run(), everything(&mut peers.client));
            assert!(
                matches!(result, Err(TransferError::Body(BodyError::Cut))),
                "{result:?}"
            );
            let (payload, rest) = unchunked(&received);
            assert_eq!(rest, None, "{coding:?} {body:?}");
            assert!(!decoded(coding, &payload).1, "{coding:?} {body:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_read_while_the_client_takes_nothing() {
    for coding in ContentCoding::ALL {
        let body = noise(4 << 20);
        let (mut exchange, mut peers) =
            Exchange::new(BodyLength::Exact(body.len() as u64), Encoder::Chunked, coding);
        // As much as goes, until neither side moves any more: both sockets and what lies between are full.
        let (mut written, mut idle) = (0, 0);
        while idle < 500 {
            let polled = poll_fn(|context| Poll::Ready(exchange.poll(context))).await;
            assert!(polled.is_pending(), "{polled:?}");
            match peers.backend.try_write(&body[written..]) {
                Ok(count) => (written, idle) = (written + count, 0),
                Err(_) => idle += 1,
            }
            tokio::task::yield_now().await;
        }
        assert!(written < 2 << 20, "{coding:?}: {written}");
        assert_eq!(exchange.transfer.waiting, Waiting::ForSink);
        let send = async {
            peers.backend.write_all(&body[written..]).await.unwrap();
        };
        let ((), (result, _), received) = tokio::join!(send, exchange.run(), everything(&mut peers.client));
        result.unwrap();
        assert!(
            decoded(coding, &unchunked(&received).0) == (body.clone(), true),
            "{coding:?}"
        );
    }
}

#[tokio::test]
async fn a_long_body_that_is_there_gives_others_their_turn() {
    let (mut exchange, _peers) =
        Exchange::new(BodyLength::Exact(1 << 20), Encoder::Chunked, ContentCoding::Gzip);
    exchange.source.input = Buffer::of(text(1 << 20));
    let polled = poll_fn(|context| Poll::Ready(exchange.poll(context))).await;
    assert!(polled.is_pending());
    assert_eq!(exchange.transfer.moved, FILTER_TURN as u64);
}

#[tokio::test]
async fn a_body_above_the_limit_is_not_ended() {
    let (mut exchange, mut peers) = Exchange::new(BodyLength::Chunked, Encoder::Chunked, ContentCoding::Gzip);
    exchange.transfer.limit = 5;
    peers
        .backend
        .write_all(b"5\r\n12345\r\n1\r\n6\r\n0\r\n\r\n")
        .await
        .unwrap();
    let ((result, _), received) = tokio::join!(exchange.run(), everything(&mut peers.client));
    assert!(matches!(result, Err(TransferError::TooLarge)), "{result:?}");
    assert_eq!(unchunked(&received).1, None);
}

#[tokio::test]
async fn a_pausing_source_holds_no_buffers() {
    let (mut exchange, mut peers) = Exchange::new(BodyLength::Chunked, Encoder::Chunked, ContentCoding::Zstd);
    peers.backend.write_all(b"5\r\n12345\r\n").await.unwrap();
    let mut received = Vec::new();
    while decoded(ContentCoding::Zstd, &unchunked(&received).0).0 != b"12345" {
        let polled = poll_fn(|context| Poll::Ready(exchange.poll(context))).await;
        assert!(polled.is_pending());
        // Fails only while there is nothing yet.
        let _ = peers.client.try_read_buf(&mut received);
        tokio::task::yield_now().await;
    }
    assert_eq!(exchange.transfer.waiting, Waiting::ForSource);
    assert_eq!(exchange.source.input.capacity(), 0);
    let Splice::Filtered(filter) = &exchange.transfer.splice else {
        panic!("no filter");
    };
    assert_eq!(filter.held(), 0);
}
