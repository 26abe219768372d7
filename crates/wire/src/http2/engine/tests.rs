//! Tests of one engine with single frames and calls.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};

use super::*;
use crate::buffer::{Buffer, Buffers};
use crate::clock;
use crate::head::{Method, RequestHead};
use crate::http2::HeadFields;
use crate::http2::frame::{Head, PAYLOAD};

const GET: &str = ":method: GET\r\n:scheme: http\r\n:authority: a\r\n:path: /\r\n";
const POST: &str = ":method: POST\r\n:scheme: http\r\n:authority: a\r\n:path: /\r\n";
const OK: &str = ":status: 200\r\n";

/// Counts wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn no_waker() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn client() -> Engine {
    let mut engine = Engine::client(&Limits::default());
    receive(&mut engine, &settings(&[])).unwrap();
    engine
}

fn server() -> Engine {
    let mut engine = Engine::server(&Limits::default(), clock::now());
    receive(&mut engine, &[frame::PREFACE, &settings(&[])].concat()).unwrap();
    engine
}

/// Receives frames; returns the streams of the requests in them.
fn receive(engine: &mut Engine, bytes: &[u8]) -> Result<Vec<u32>, Reason> {
    let (buffers, mut head) = (Buffers::default(), RequestHead::default());
    let mut input = Buffer::of(bytes.to_vec());
    let mut begun = Vec::new();
    loop {
        let head = engine.is_server().then_some(&mut head);
        let mut receiving = ReceiveContext {
            buffers: &buffers,
            head,
        };
        match engine.receive(&mut input, &mut receiving)? {
            Some(one) => begun.push(one.stream),
            None => return Ok(begun),
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_head(&mut out, (kind, flags), stream, payload.len());
    out.extend_from_slice(payload);
    out
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_settings(&mut out, settings);
    out
}

/// A HEADERS frame from lines, encoded with a fresh HPACK table.
fn head(stream: u32, lines: &str, flags: u8) -> Vec<u8> {
    let mut block = Vec::new();
    crate::http2::head::encode(&HeadFields::of_lines(lines), &mut Encoder::default(), &mut block);
    frame(frame::HEADERS, frame::END_HEADERS | flags, stream, &block)
}

fn open(engine: &mut Engine, is_end: bool) -> u32 {
    engine.add_handle();
    match engine.poll_open(&no_waker(), &HeadFields::of_lines(GET), Method::Get, is_end) {
        Poll::Ready(Ok(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

/// All frames that the engine has to send, as kind, flags, stream and payload.
fn sent(engine: &mut Engine) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut out = engine.output().to_vec();
    engine.sent(out.len());
    if out.starts_with(frame::PREFACE) {
        out.drain(..frame::PREFACE.len());
    }
    let (mut rest, mut frames) = (out.as_slice(), Vec::new());
    while let Some(head) = Head::parse(rest) {
        let (one, more) = rest.split_at(frame::HEAD + head.length);
        frames.push((head.kind, head.flags, head.stream, one[frame::HEAD..].to_vec()));
        rest = more;
    }
    assert!(rest.is_empty(), "frames are whole");
    frames
}

/// Sends DATA on a stream until the stream has to wait.
fn fill(engine: &mut Engine, stream: u32, context: &Context<'_>) {
    let payload = vec![0; PAYLOAD];
    let one = |engine: &mut Engine| engine.poll_data(context, stream, &[IoSlice::new(&payload)], false);
    while let Poll::Ready(result) = one(engine) {
        result.unwrap();
    }
}

/// One stream has filled the output; a second request waits, and only progress of the socket can wake it.
#[test]
fn a_request_that_waits_for_room_is_woken_when_there_is_room() {
    let mut engine = client();
    let window = (frame::INITIAL_WINDOW_SIZE, 1 << 20);
    receive(&mut engine, &settings(&[window])).unwrap();
    receive(&mut engine, &frame(frame::WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0])).unwrap();
    let first = open(&mut engine, false);
    fill(&mut engine, first, &no_waker());
    engine.add_handle();
    let (wakes, waker) = Wakes::new();
    let context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(
            engine
                .poll_open(&context, &HeadFields::of_lines(GET), Method::Get, true)
                .is_pending()
        );
    }
    let count = engine.output().len();
    engine.sent(count);
    assert_eq!(wakes.count(), 1, "woken once, however often it was polled");
    assert!(
        engine
            .poll_open(&context, &HeadFields::of_lines(GET), Method::Get, true)
            .is_ready()
    );
}

/// RFC 9113 §8.1: a response begins with its head.
#[test]
fn payload_before_the_response_head_resets_the_stream() {
    for flags in [0, frame::END_STREAM] {
        let mut engine = client();
        let stream = open(&mut engine, true);
        sent(&mut engine);
        receive(&mut engine, &head(stream, ":status: 103\r\n", 0)).unwrap();
        receive(&mut engine, &frame(frame::DATA, flags, stream, b"early")).unwrap();
        let reset = (frame::RST_STREAM, 0, stream, vec![0, 0, 0, 1]);
        assert_eq!(sent(&mut engine), [reset]);
        assert!(matches!(
            engine.poll_response(&no_waker(), stream),
            Poll::Ready(Ok(_))
        ));
        assert!(matches!(
            engine.poll_response(&no_waker(), stream),
            Poll::Ready(Err(ResetReason::Reset))
        ));
    }
}

/// Fills the output of a client's engine with one stream, and has `count` others wait for room.
fn waiting(engine: &mut Engine, count: usize, context: &Context<'_>) -> Vec<u32> {
    let window = (frame::INITIAL_WINDOW_SIZE, 1 << 20);
    receive(engine, &settings(&[window])).unwrap();
    receive(engine, &frame(frame::WINDOW_UPDATE, 0, 0, &[1, 0, 0, 0])).unwrap();
    let streams: Vec<u32> = (0..=count).map(|_| open(engine, false)).collect();
    for stream in &streams {
        fill(engine, *stream, context);
    }
    assert_eq!(engine.payloads.waiting.len(), count + 1);
    streams
}

/// Room is scarce, and the handle of a stream that was granted room and then reset may be dropped much later.
#[test]
fn a_reset_stream_passes_its_granted_room_to_others() {
    let mut engine = client();
    let (wakes, waker) = Wakes::new();
    let streams = waiting(&mut engine, 5, &Context::from_waker(&waker));
    let count = engine.output().len();
    engine.sent(count);
    let granted = wakes.count();
    assert_eq!(
        (engine.payloads.granted, engine.payloads.waiting.len()),
        (granted, 6 - granted)
    );
    for stream in streams.iter().take(granted) {
        receive(&mut engine, &frame(frame::RST_STREAM, 0, *stream, &[0, 0, 0, 8])).unwrap();
    }
    assert_eq!(wakes.count(), 6, "all others are granted room");
}

/// The queue may move only when the connection window opens.
#[test]
fn a_reset_stream_leaves_the_queue() {
    let mut engine = client();
    let streams = waiting(&mut engine, 5, &no_waker());
    for stream in &streams {
        engine.reset(*stream, Reason::CANCEL);
    }
    assert_eq!(engine.payloads.waiting.len(), 0);
}

/// The response has arrived, and the rest of the request may never be sent: other streams need the room.
#[test]
fn a_stream_that_stands_back_holds_no_room() {
    let mut engine = client();
    let (wakes, waker) = Wakes::new();
    let streams = waiting(&mut engine, 4, &Context::from_waker(&waker));
    let count = engine.output().len();
    engine.sent(count);
    assert_eq!(wakes.count(), 4);
    // A stream that was granted room, and the stream that still waits.
    engine.stand_back(streams[0]);
    assert_eq!((wakes.count(), engine.payloads.granted), (5, 4));
    engine.stand_back(streams[4]);
    assert_eq!((engine.payloads.waiting.len(), engine.payloads.granted), (0, 3));
}

/// A WINDOW_UPDATE is of no use before the task that moves bytes sends it.
#[test]
fn returning_credit_wakes_the_task_that_sends() {
    let mut engine = server();
    let streams: Vec<u32> = (0..4).map(|at| 2 * at + 1).collect();
    for stream in &streams {
        receive(&mut engine, &head(*stream, POST, 0)).unwrap();
        for at in 0..14 {
            let flags = if at == 13 { frame::END_STREAM } else { 0 };
            receive(&mut engine, &frame(frame::DATA, flags, *stream, &[0; PAYLOAD])).unwrap();
        }
        assert!(matches!(
            engine.poll_head(&no_waker(), *stream, &HeadFields::of_lines(OK), true),
            Poll::Ready(Ok(()))
        ));
    }
    // One more stream, so that the connection is not idle.
    receive(&mut engine, &head(9, GET, frame::END_STREAM)).unwrap();
    sent(&mut engine);
    let (wakes, waker) = Wakes::new();
    for stream in streams {
        engine.watch(&Context::from_waker(&waker));
        engine.drop_handle(stream);
    }
    let returned = sent(&mut engine);
    assert_eq!((returned.len(), returned[0].0), (1, frame::WINDOW_UPDATE));
    assert_eq!(wakes.count(), 1);
}

/// RFC 9113 §6.9: the connection window is shared by all streams, including those that GOAWAY has ended.
#[test]
fn goaway_returns_the_credit_of_streams_that_it_ends() {
    let mut engine = client();
    let stream = open(&mut engine, true);
    receive(&mut engine, &head(stream, OK, 0)).unwrap();
    receive(&mut engine, &frame(frame::DATA, 0, stream, &[0; 1000])).unwrap();
    receive(&mut engine, &frame(frame::GOAWAY, 0, 0, &[0; 8])).unwrap();
    engine.drop_handle(stream);
    assert_eq!(
        engine.receive_window.left() + i64::from(engine.to_release),
        i64::from(ALL_OF_BACKEND)
    );
}

/// RFC 9113 §6.8: the last stream id must not increase from one GOAWAY to the next.
#[test]
fn later_goaways_never_name_a_higher_stream() {
    let mut engine = server();
    receive(&mut engine, &head(1, GET, frame::END_STREAM)).unwrap();
    engine.send_goaway();
    receive(&mut engine, &frame(frame::PING, frame::ACK, 0, &GOAWAY_PING)).unwrap();
    assert!(
        receive(&mut engine, &head(3, GET, frame::END_STREAM))
            .unwrap()
            .is_empty()
    );
    engine.fail(Reason::PROTOCOL_ERROR);
    let goaways = sent(&mut engine)
        .into_iter()
        .filter(|frame| frame.0 == frame::GOAWAY);
    let last: Vec<u32> = goaways.map(|frame| frame::number(&frame.3)).collect();
    assert_eq!(last, [LAST, 1, 1]);
}

/// RFC 9113 §6.1: padding counts against windows, and no handle ever takes it.
#[test]
fn padding_alone_does_not_use_up_a_window() {
    let mut engine = server();
    receive(&mut engine, &head(1, POST, 0)).unwrap();
    let padding = [&[255][..], &[0; 255]].concat();
    for _ in 0..3 * WINDOW_OF_CLIENT as usize / padding.len() / 2 {
        receive(&mut engine, &frame(frame::DATA, frame::PADDED, 1, &padding)).unwrap();
    }
    assert!(!sent(&mut engine).iter().any(|frame| frame.0 == frame::RST_STREAM));
}

/// One SETTINGS frame can hold some 2,700 window sizes.
#[test]
fn only_the_last_window_size_in_a_settings_frame_counts() {
    let mut engine = server();
    receive(&mut engine, &head(1, GET, frame::END_STREAM)).unwrap();
    let many = [
        (frame::INITIAL_WINDOW_SIZE, 100_000),
        (frame::INITIAL_WINDOW_SIZE, 1),
    ];
    let (wakes, waker) = Wakes::new();
    engine.watch_stream(1, &Context::from_waker(&waker));
    receive(&mut engine, &settings(&many)).unwrap();
    assert_eq!((engine.streams[&1].send_window.left(), wakes.count()), (1, 0));
    let wrong = [
        (frame::INITIAL_WINDOW_SIZE, LAST + 1),
        (frame::INITIAL_WINDOW_SIZE, 1),
    ];
    assert_eq!(
        receive(&mut engine, &settings(&wrong)).unwrap_err(),
        Reason::FLOW_CONTROL_ERROR
    );
}

/// A socket that takes less than the streams have at once is never done with the output.
#[test]
fn what_a_slow_socket_has_taken_uses_no_memory() {
    let mut engine = client();
    let window = (frame::INITIAL_WINDOW_SIZE, 1 << 30);
    receive(&mut engine, &settings(&[window])).unwrap();
    receive(&mut engine, &frame(frame::WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0])).unwrap();
    let stream = open(&mut engine, false);
    let (mut taken, mut expected) = (engine.output().len(), 0_usize);
    engine.sent(taken);
    taken = 0;
    let payload: Vec<u8> = (0..251).cycle().take(PAYLOAD).collect();
    let mut got = Vec::new();
    while taken < 4 << 20 {
        let one =
            |engine: &mut Engine| engine.poll_data(&no_waker(), stream, &[IoSlice::new(&payload)], false);
        while let Poll::Ready(sent) = one(&mut engine) {
            expected += sent.unwrap().0;
        }
        let count = engine.output().len() / 3;
        got.extend_from_slice(&engine.output()[..count]);
        engine.sent(count);
        taken += count;
        let most = 2 * ROOM + 2 * WHOLE;
        assert!(
            engine.out.len() <= most,
            "{} bytes after {taken}",
            engine.out.len()
        );
    }
    got.extend_from_slice(engine.output());
    let (mut rest, mut payload_sent) = (got.as_slice(), 0);
    while let Some(head) = Head::parse(rest) {
        let (one, more) = rest.split_at(frame::HEAD + head.length);
        assert_eq!(one[frame::HEAD..], payload[..head.length], "after {payload_sent}");
        payload_sent += head.length;
        rest = more;
    }
    assert_eq!((payload_sent, rest.len()), (expected, 0));
}

/// The backend reads nothing, and requests are given up one after the other.
#[test]
fn requests_that_were_given_up_before_they_were_sent_use_no_memory() {
    let mut engine = client();
    waiting(&mut engine, 0, &no_waker());
    let open_with = |engine: &mut Engine, waker: &Waker| {
        let context = Context::from_waker(waker);
        engine.poll_open(&context, &HeadFields::of_lines(GET), Method::Get, true)
    };
    let (patient, its_waker) = Wakes::new();
    engine.add_handle();
    assert!(open_with(&mut engine, &its_waker).is_pending());
    for _ in 0..10 * OPENERS {
        engine.add_handle();
        assert!(open_with(&mut engine, &Wakes::new().1).is_pending());
        engine.drop_handle(0);
    }
    let Role::Client { waiting, .. } = &engine.role else {
        panic!("a client");
    };
    assert!(waiting.len() <= OPENERS, "{} wakers", waiting.len());
    // The one that still waits is known or was woken to ask again.
    let before = patient.count();
    let is_known = waiting.iter().any(|waker| waker.will_wake(&its_waker));
    assert!(is_known || before > 0);
    assert!(open_with(&mut engine, &its_waker).is_pending());
    let count = engine.output().len();
    engine.sent(count);
    assert_eq!(patient.count(), before + 1);
}
