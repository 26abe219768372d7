//! What single frames and calls do to one side.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};

use super::*;
use crate::buffer::{Buffer, Buffers};
use crate::clock;
use crate::head::{Method, RequestHead};
use crate::http2::frame::{Head, PAYLOAD};

const GET: &[u8] = b":method: GET\r\n:scheme: http\r\n:authority: a\r\n:path: /\r\n";
const POST: &[u8] = b":method: POST\r\n:scheme: http\r\n:authority: a\r\n:path: /\r\n";
const OK: &[u8] = b":status: 200\r\n";

/// Counts how often somebody is woken.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Calls {
    fn new() -> (Arc<Self>, Waker) {
        let calls = Arc::new(Self::default());
        (Arc::clone(&calls), Waker::from(calls))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn quiet() -> Context<'static> {
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

/// Takes frames; gives the streams that they begin.
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

/// A head as a frame, from lines, by a table that is not used for anything else.
fn head(stream: u32, lines: &[u8], flags: u8) -> Vec<u8> {
    let mut block = Vec::new();
    crate::http2::head::encode(lines, &mut Encoder::default(), &mut block);
    frame(frame::HEADERS, frame::END_HEADERS | flags, stream, &block)
}

fn open(engine: &mut Engine, is_end: bool) -> u32 {
    engine.add_handle();
    match engine.poll_open(&quiet(), GET, Method::Get, is_end) {
        Poll::Ready(Ok(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

/// All that it has to send, as kinds, flags, streams and payloads.
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

/// Sends DATA on a stream until it has to wait.
fn fill(engine: &mut Engine, stream: u32, context: &Context<'_>) {
    let payload = vec![0; PAYLOAD];
    let one = |engine: &mut Engine| engine.poll_data(context, stream, &[IoSlice::new(&payload)], false);
    while let Poll::Ready(result) = one(engine) {
        result.unwrap();
    }
}

/// A stream whose request is under way keeps the socket busy; another has to wait, and nothing but the socket will tell it.
#[test]
fn a_request_that_waits_for_room_is_woken_when_there_is_some() {
    let mut engine = client();
    let window = (frame::INITIAL_WINDOW_SIZE, 1 << 20);
    receive(&mut engine, &settings(&[window])).unwrap();
    receive(&mut engine, &frame(frame::WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0])).unwrap();
    let first = open(&mut engine, false);
    fill(&mut engine, first, &quiet());
    engine.add_handle();
    let (calls, waker) = Calls::new();
    let context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(engine.poll_open(&context, GET, Method::Get, true).is_pending());
    }
    let count = engine.output().len();
    engine.sent(count);
    assert_eq!(calls.count(), 1, "once, however often it was asked");
    assert!(engine.poll_open(&context, GET, Method::Get, true).is_ready());
}

/// RFC 9113 §8.1: an answer begins with its head.
#[test]
fn payload_before_the_head_of_an_answer_ends_the_stream() {
    for flags in [0, frame::END_STREAM] {
        let mut engine = client();
        let stream = open(&mut engine, true);
        sent(&mut engine);
        receive(&mut engine, &head(stream, b":status: 103\r\n", 0)).unwrap();
        receive(&mut engine, &frame(frame::DATA, flags, stream, b"early")).unwrap();
        let reset = (frame::RST_STREAM, 0, stream, vec![0, 0, 0, 1]);
        assert_eq!(sent(&mut engine), [reset]);
        assert!(matches!(
            engine.poll_response(&quiet(), stream),
            Poll::Ready(Ok(_))
        ));
        assert!(matches!(
            engine.poll_response(&quiet(), stream),
            Poll::Ready(Err(ResetReason::Reset))
        ));
    }
}

/// Fills the room of a client's engine with one stream, and has `count` others wait for it.
fn waiting(engine: &mut Engine, count: usize, context: &Context<'_>) -> Vec<u32> {
    let window = (frame::INITIAL_WINDOW_SIZE, 1 << 20);
    receive(engine, &settings(&[window])).unwrap();
    receive(engine, &frame(frame::WINDOW_UPDATE, 0, 0, &[1, 0, 0, 0])).unwrap();
    let streams: Vec<u32> = (0..=count).map(|_| open(engine, false)).collect();
    for stream in &streams {
        fill(engine, *stream, context);
    }
    assert_eq!(engine.for_room.len(), count + 1);
    streams
}

/// Places are few, and who was given one and then reset may be dropped much later.
#[test]
fn a_stream_that_is_reset_gives_its_place_to_others() {
    let mut engine = client();
    let (calls, waker) = Calls::new();
    let streams = waiting(&mut engine, 5, &Context::from_waker(&waker));
    let count = engine.output().len();
    engine.sent(count);
    let places = calls.count();
    assert_eq!((engine.granted, engine.for_room.len()), (places, 6 - places));
    for stream in streams.iter().take(places) {
        receive(&mut engine, &frame(frame::RST_STREAM, 0, *stream, &[0, 0, 0, 8])).unwrap();
    }
    assert_eq!(calls.count(), 6, "all others are let in");
}

/// A stream in a queue that moves only with the window of the connection.
#[test]
fn a_stream_that_is_reset_leaves_the_queue() {
    let mut engine = client();
    let streams = waiting(&mut engine, 5, &quiet());
    for stream in &streams {
        engine.reset(*stream, Reason::CANCEL);
    }
    assert_eq!(engine.for_room.len() + engine.for_credit.len(), 0);
}

/// The answer is looked at, and the rest of the request may never be sent: others of the same backend need the place.
#[test]
fn a_stream_that_stands_back_takes_no_place() {
    let mut engine = client();
    let (calls, waker) = Calls::new();
    let streams = waiting(&mut engine, 4, &Context::from_waker(&waker));
    let count = engine.output().len();
    engine.sent(count);
    assert_eq!(calls.count(), 4);
    // One of those that were let in, and the one that waits still.
    engine.stand_back(streams[0]);
    assert_eq!((calls.count(), engine.granted), (5, 4));
    engine.stand_back(streams[4]);
    assert_eq!((engine.for_room.len(), engine.granted), (0, 3));
}

/// A window that is given while nobody moves bytes is of no use before somebody does.
#[test]
fn credit_that_is_given_back_leaves_at_once() {
    let mut engine = server();
    let streams: Vec<u32> = (0..4).map(|at| 2 * at + 1).collect();
    for stream in &streams {
        receive(&mut engine, &head(*stream, POST, 0)).unwrap();
        for at in 0..14 {
            let flags = if at == 13 { frame::END_STREAM } else { 0 };
            receive(&mut engine, &frame(frame::DATA, flags, *stream, &[0; PAYLOAD])).unwrap();
        }
        assert!(matches!(
            engine.poll_head(&quiet(), *stream, OK, true),
            Poll::Ready(Ok(()))
        ));
    }
    // One more keeps the connection busy.
    receive(&mut engine, &head(9, GET, frame::END_STREAM)).unwrap();
    sent(&mut engine);
    let (calls, waker) = Calls::new();
    for stream in streams {
        engine.watch(&Context::from_waker(&waker));
        engine.drop_handle(stream);
    }
    let given = sent(&mut engine);
    assert_eq!((given.len(), given[0].0), (1, frame::WINDOW_UPDATE));
    assert_eq!(calls.count(), 1);
}

/// RFC 9113 §6.9: the window of the connection is for all streams, also for those that it has ended.
#[test]
fn goodbye_gives_back_the_credit_of_streams_that_it_ends() {
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

/// RFC 9113 §6.8: the last stream that is named is never a later one.
#[test]
fn goodbyes_do_not_go_back_on_their_word() {
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
    let goodbyes = sent(&mut engine)
        .into_iter()
        .filter(|frame| frame.0 == frame::GOAWAY);
    let last: Vec<u32> = goodbyes.map(|frame| frame::number(&frame.3)).collect();
    assert_eq!(last, [LAST, 1, 1]);
}

/// RFC 9113 §6.1: padding uses up windows too, and nobody takes it.
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

/// One frame can say some 2,700 times how large windows are.
#[test]
fn of_windows_in_one_frame_the_last_counts() {
    let mut engine = server();
    receive(&mut engine, &head(1, GET, frame::END_STREAM)).unwrap();
    let many = [
        (frame::INITIAL_WINDOW_SIZE, 100_000),
        (frame::INITIAL_WINDOW_SIZE, 1),
    ];
    let (calls, waker) = Calls::new();
    engine.watch_stream(1, &Context::from_waker(&waker));
    receive(&mut engine, &settings(&many)).unwrap();
    assert_eq!((engine.streams[&1].send_window.left(), calls.count()), (1, 0));
    let wrong = [
        (frame::INITIAL_WINDOW_SIZE, LAST + 1),
        (frame::INITIAL_WINDOW_SIZE, 1),
    ];
    assert_eq!(
        receive(&mut engine, &settings(&wrong)).unwrap_err(),
        Reason::FLOW_CONTROL_ERROR
    );
}
