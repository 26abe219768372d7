//! Property of one engine: streams that always have payload get equal shares of a connection, whatever the socket takes and
//! whenever credit arrives.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake};

use proptest::prelude::*;

use super::*;
use crate::buffer::{Buffer, Buffers, PIECE};
use crate::head::Method;
use crate::http2::HeadFields;
use crate::http2::frame::PAYLOAD;

/// Credit of a connection: enough for a case.
const PLENTY: u32 = 1 << 30;

/// Tasks that were woken, in that order, as a runtime keeps them.
type Runnable = Arc<Mutex<VecDeque<u32>>>;

struct Task {
    stream: u32,
    runnable: Runnable,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut runnable = self.runnable.lock().unwrap();
        if !runnable.contains(&self.stream) {
            runnable.push_back(self.stream);
        }
    }
}

/// What happens to a connection.
#[derive(Debug, Clone)]
enum Event {
    /// The socket takes so many bytes.
    Sent(usize),
    /// The other side returns credit for the connection.
    Credit(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..3 * ROOM).prop_map(Event::Sent),
        2 => (1..5 * PAYLOAD as u32).prop_map(Event::Credit),
    ]
}

/// A connection to a backend whose streams always have payload.
struct Busy {
    engine: Engine,
    runnable: Runnable,
    streams: Vec<u32>,
    /// Bytes that each stream has at a time.
    payload: usize,
    /// Bytes of each stream.
    shares: Vec<usize>,
    /// By how much they may differ; everything until all of them have been polled.
    bound: usize,
}

impl Busy {
    /// Streams that were all polled once: some have sent, all wait.
    fn new(count: usize, credit: u32) -> Self {
        let mut engine = Engine::client(&Limits::default());
        let mut bytes = Vec::new();
        frame::put_settings(&mut bytes, &[(frame::INITIAL_WINDOW_SIZE, PLENTY)]);
        frame::put_numbers(&mut bytes, frame::WINDOW_UPDATE, 0, &[credit]);
        receive(&mut engine, bytes);
        let streams: Vec<u32> = (0..count).map(|_| open(&mut engine)).collect();
        let mut busy = Self {
            engine,
            runnable: Runnable::default(),
            shares: vec![0; count],
            streams,
            payload: 2 * PAYLOAD,
            bound: usize::MAX,
        };
        (0..count).for_each(|at| busy.poll(at));
        busy.shares.fill(0);
        busy.bound = PAYLOAD;
        busy
    }

    /// Lets the task of one stream send until it has to wait.
    fn poll(&mut self, at: usize) {
        let task = Task {
            stream: self.streams[at],
            runnable: Arc::clone(&self.runnable),
        };
        let waker = Arc::new(task).into();
        let context = Context::from_waker(&waker);
        let payload = vec![7; self.payload];
        let one = |engine: &mut Engine| {
            engine.poll_data(&context, self.streams[at], &[IoSlice::new(&payload)], false)
        };
        while let Poll::Ready(sent) = one(&mut self.engine) {
            let (count, _) = sent.unwrap();
            assert!(count > 0);
            self.shares[at] += count;
            self.check();
        }
    }

    /// Runs the tasks that were woken, in that order.
    fn run(&mut self) {
        loop {
            let Some(stream) = self.runnable.lock().unwrap().pop_front() else {
                return;
            };
            let at = self.streams.iter().position(|other| *other == stream);
            self.poll(at.unwrap());
        }
    }

    fn check(&self) {
        let (least, most) = (self.shares.iter().min(), self.shares.iter().max());
        assert!(most.unwrap() - least.unwrap() <= self.bound, "{:?}", self.shares);
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Sent(count) => self.engine.sent((*count).min(self.engine.output().len())),
            Event::Credit(count) => {
                let mut bytes = Vec::new();
                frame::put_numbers(&mut bytes, frame::WINDOW_UPDATE, 0, &[*count]);
                receive(&mut self.engine, bytes);
            }
        }
    }
}

fn receive(engine: &mut Engine, bytes: Vec<u8>) {
    let buffers = Buffers::default();
    let mut receiving = ReceiveContext {
        buffers: &buffers,
        head: None,
    };
    engine.receive(&mut Buffer::of(bytes), &mut receiving).unwrap();
}

fn open(engine: &mut Engine) -> u32 {
    engine.add_handle();
    let head = HeadFields::of_lines(":method: POST\r\n:scheme: http\r\n:authority: a\r\n:path: /\r\n");
    let context = Context::from_waker(Waker::noop());
    match engine.poll_open(&context, &head, Method::Post, false) {
        Poll::Ready(Ok(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn streams_that_always_have_payload_differ_by_at_most_one_frame(
        count in 1_usize..12,
        credit in prop_oneof![0..4 * ROOM as u32, Just(PLENTY)],
        // Groups of events that happen before the tasks run.
        events in prop::collection::vec(prop::collection::vec(event(), 1..4), 1..120),
    ) {
        let mut busy = Busy::new(count, credit.max(1));
        for together in &events {
            together.iter().for_each(|event| busy.happens(event));
            busy.run();
        }
    }
}

proptest! {
    /// Whole buffers are a little longer than what the others may count on.
    #[test]
    fn a_stream_whose_turn_it_is_sends_something(
        count in 2_usize..12,
        payload in prop_oneof![Just(PAYLOAD), PIECE..=PAYLOAD, 1..2 * PAYLOAD],
        credits in prop::collection::vec(
            prop_oneof![1_u32..4 * PAYLOAD as u32, (1_u32..4).prop_map(|pieces| pieces * PAYLOAD as u32)],
            1..40,
        ),
    ) {
        let mut busy = Busy::new(count, 1);
        (busy.payload, busy.bound) = (payload, usize::MAX);
        for credit in credits {
            busy.happens(&Event::Sent(usize::MAX));
            busy.happens(&Event::Credit(credit));
            // It asserts that something was sent.
            busy.run();
        }
    }
}

/// The other side returns credit for one frame at a time.
#[test]
fn scarce_credit_goes_to_all_streams_in_turn() {
    let mut busy = Busy::new(8, 1);
    while busy.engine.send_window.left() > 0 {
        busy.happens(&Event::Sent(usize::MAX));
        busy.run();
    }
    busy.shares.fill(0);
    for _ in 0..80 {
        busy.happens(&Event::Credit(PIECE as u32));
        busy.happens(&Event::Sent(usize::MAX));
        busy.run();
    }
    assert!(
        busy.shares.iter().all(|share| *share >= 9 * PIECE),
        "{:?}",
        busy.shares
    );
}
