//! The environment of the two engines: pipes that deliver at any time, tasks that run only when they were woken, and a seeded
//! random number generator.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::super::{Engine, ReceiveContext};
use super::exchange::{self, Text};
use crate::buffer::{Buffer, Buffers, LARGE, SMALL};
use crate::clock;
use crate::head::RequestHead;
use crate::http1::Limits;
use crate::rng::{Rng, below};

/// Steps after which a run counts as endless.
const STEPS: usize = 2_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// The state of one run.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) client: Rc<RefCell<Engine>>,
    pub(super) server: Rc<RefCell<Engine>>,
    buffers: Buffers,
    pub(super) text: Text,
    rng: RefCell<Rng>,
    up: RefCell<Pipe>,
    down: RefCell<Pipe>,
    sleepers: RefCell<Vec<Waker>>,
    /// Tasks that pause until nothing else can happen, and the number of unfinished requests without such a pause.
    stubborn: RefCell<Vec<Waker>>,
    pub(super) lively: Cell<usize>,
    is_last: Cell<bool>,
    spawned: RefCell<Vec<Task>>,
    /// Requests that one of the sides has aborted.
    pub(super) broken: RefCell<HashSet<u64>>,
    /// Requests whose response was received whole, or that were refused.
    pub(super) done: RefCell<HashSet<u64>>,
    pub(super) refused: RefCell<HashSet<u64>>,
    /// Whether the server has sent GOAWAY, and whether the connection was cut.
    pub(super) has_goaway: Cell<bool>,
    pub(super) is_cut: Cell<bool>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Bytes in transit.
struct Pipe {
    bytes: VecDeque<u8>,
    /// How many of them were delivered.
    delivered: usize,
    capacity: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            delivered: 0,
            capacity,
            reader: None,
            writer: None,
        }
    }

    fn room(&self) -> usize {
        self.capacity - self.bytes.len()
    }

    fn undelivered(&self) -> usize {
        self.bytes.len() - self.delivered
    }
}

/// The waker of a task: adds it to the tasks that are ready.
struct TaskWaker {
    task: usize,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut woken = self.woken.lock().unwrap();
        if !woken.contains(&self.task) {
            woken.push(self.task);
        }
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Rc<Self> {
        let limits = Limits::default();
        let mut rng = Rng::seeded(seed);
        let mut capacity = || match below(rng.bits(), 3) {
            0 => 200 + below(rng.bits(), 3_000) as usize,
            1 => 1_000 + below(rng.bits(), 50_000) as usize,
            _ => 300_000,
        };
        let (up, down) = (Pipe::new(capacity()), Pipe::new(capacity()));
        Rc::new(Self {
            seed,
            client: Rc::new(RefCell::new(Engine::client(&limits))),
            server: Rc::new(RefCell::new(Engine::server(&limits, clock::now()))),
            buffers: Buffers::default(),
            text: Text::default(),
            rng: RefCell::new(rng),
            up: RefCell::new(up),
            down: RefCell::new(down),
            sleepers: RefCell::default(),
            stubborn: RefCell::default(),
            lively: Cell::new(0),
            is_last: Cell::new(false),
            spawned: RefCell::default(),
            broken: RefCell::default(),
            done: RefCell::default(),
            refused: RefCell::default(),
            has_goaway: Cell::new(false),
            is_cut: Cell::new(false),
        })
    }

    /// A random number below `bound`.
    pub(super) fn any(&self, bound: usize) -> usize {
        below(self.rng.borrow_mut().bits(), bound as u64) as usize
    }

    pub(super) fn one_in(&self, count: usize) -> bool {
        self.any(count) == 0
    }

    pub(super) fn engine(&self, side: Side) -> &Rc<RefCell<Engine>> {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push(Box::pin(task));
    }

    /// Has `context` woken at a random later time.
    pub(super) fn wake_later(&self, context: &Context<'_>) {
        self.sleepers.borrow_mut().push(context.waker().clone());
    }

    /// Whether nothing else can happen any more; if not, has `context` woken then.
    pub(super) fn may_go(&self, context: &Context<'_>) -> bool {
        if !self.is_last.get() {
            self.stubborn.borrow_mut().push(context.waker().clone());
        }
        self.is_last.get()
    }

    pub(super) async fn pause(&self) {
        let mut has_slept = false;
        poll_fn(|context| {
            if std::mem::replace(&mut has_slept, true) {
                return Poll::Ready(());
            }
            self.wake_later(context);
            Poll::Pending
        })
        .await;
    }

    /// Whether a request may fail.
    pub(super) fn is_excused(&self, id: u64) -> bool {
        self.is_cut.get() || self.broken.borrow().contains(&id)
    }

    /// Ends the connection as if its socket was closed.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        self.client.borrow_mut().lose();
        self.server.borrow_mut().lose();
    }

    /// Runs until nothing more can happen.
    pub(super) fn run(self: &Rc<Self>) {
        self.spawn(drive(Rc::clone(self), Side::Client));
        self.spawn(drive(Rc::clone(self), Side::Server));
        let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
        let mut tasks: Vec<Option<(Task, Waker)>> = Vec::new();
        for step in 0.. {
            assert!(step < STEPS, "seed {}: endless run", self.seed);
            for task in self.spawned.borrow_mut().drain(..) {
                let flag = Arc::new(TaskWaker {
                    task: tasks.len(),
                    woken: Arc::clone(&woken),
                });
                flag.clone().wake();
                tasks.push(Some((task, Waker::from(flag))));
            }
            let ready = woken.lock().unwrap().len();
            let can_deliver = self.up.borrow().undelivered() + self.down.borrow().undelivered() > 0;
            let sleeping = self.sleepers.borrow().len();
            match self.any(8) {
                0..=3 if ready > 0 => {
                    let at = self.any(ready);
                    let next = woken.lock().unwrap().swap_remove(at);
                    if let Some((task, waker)) = &mut tasks[next]
                        && task.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
                    {
                        tasks[next] = None;
                    }
                }
                4..=6 if can_deliver => self.deliver(),
                7 if sleeping > 0 => {
                    let at = self.any(sleeping);
                    let sleeper = self.sleepers.borrow_mut().swap_remove(at);
                    sleeper.wake();
                }
                _ if ready == 0 && !can_deliver && sleeping == 0 => {
                    let stubborn = self.stubborn.take();
                    if stubborn.is_empty() {
                        break;
                    }
                    assert_eq!(
                        self.lively.get(),
                        0,
                        "seed {}: paused streams block others\n{}",
                        self.seed,
                        self.state()
                    );
                    self.is_last.set(true);
                    stubborn.into_iter().for_each(Waker::wake);
                }
                _ => {}
            }
            if step % 64 == 0 {
                super::check_always(self);
            }
        }
        let left = tasks.iter().flatten().count();
        let drivers = if self.is_cut.get() { 0 } else { 2 };
        assert_eq!(
            left,
            drivers,
            "seed {}: tasks were not woken\n{}",
            self.seed,
            self.state()
        );
    }

    fn state(&self) -> String {
        format!(
            "{}\n{}",
            state(&self.client.borrow()),
            state(&self.server.borrow())
        )
    }

    fn deliver(&self) {
        let pipe = if self.one_in(2) { &self.up } else { &self.down };
        let pipe = &mut *pipe.borrow_mut();
        let most = if self.one_in(2) { 40 } else { 40_000 };
        let count = (1 + self.any(most)).min(pipe.undelivered());
        pipe.delivered += count;
        if count > 0
            && let Some(reader) = pipe.reader.take()
        {
            reader.wake();
        }
    }

    fn pipes(&self, side: Side) -> (&RefCell<Pipe>, &RefCell<Pipe>) {
        match side {
            Side::Client => (&self.down, &self.up),
            Side::Server => (&self.up, &self.down),
        }
    }

    /// Appends delivered bytes to `input`; returns whether there were any.
    fn read(&self, context: &Context<'_>, side: Side, input: &mut Buffer) -> bool {
        let pipe = &mut *self.pipes(side).0.borrow_mut();
        if input.capacity() == 0 {
            *input = self.buffers.lend(SMALL);
        } else if input.is_full() {
            self.buffers.grow(input, LARGE);
        }
        let most = input.space().len().min(pipe.delivered);
        if most == 0 {
            pipe.reader = Some(context.waker().clone());
            return false;
        }
        let count = pipe.bytes.read(&mut input.space()[..most]).unwrap();
        pipe.delivered -= count;
        input.filled(count);
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        true
    }

    fn write(&self, context: &Context<'_>, side: Side, engine: &mut Engine) {
        let pipe = &mut *self.pipes(side).1.borrow_mut();
        while !engine.output().is_empty() {
            let count = engine.output().len().min(pipe.room());
            if count == 0 {
                pipe.writer = Some(context.waker().clone());
                return;
            }
            let count = if self.one_in(4) {
                1 + self.any(count)
            } else {
                count
            };
            pipe.bytes.extend(&engine.output()[..count]);
            engine.sent(count);
        }
    }
}

/// Moves the bytes of one side, as a connection task does.
async fn drive(world: Rc<World>, side: Side) {
    let mut input = Buffer::default();
    let mut head = RequestHead::default();
    poll_fn(|context| {
        if world.is_cut.get() {
            return Poll::Ready(());
        }
        let shared = world.engine(side);
        let engine = &mut *shared.borrow_mut();
        loop {
            let mut receiving = ReceiveContext {
                buffers: &world.buffers,
                head: (side == Side::Server).then_some(&mut head),
            };
            match engine.receive(&mut input, &mut receiving) {
                Ok(Some(begun)) => {
                    begun.result.unwrap();
                    let id = std::str::from_utf8(&head.text(head.path)[1..]).unwrap().parse();
                    let stream = crate::http2::Stream::of_server(Rc::clone(shared), begun.stream);
                    world.spawn(exchange::response(Rc::clone(&world), stream, id.unwrap()));
                    continue;
                }
                Ok(None) => {}
                Err(reason) => panic!("seed {}: connection error at {side:?}: {reason}", world.seed),
            }
            if engine.is_choked() || !world.read(context, side, &mut input) {
                break;
            }
        }
        engine.watch(context);
        world.write(context, side, engine);
        Poll::Pending
    })
    .await;
}

/// A dump of an engine, for failure messages.
fn state(engine: &Engine) -> String {
    let streams: Vec<String> = engine
        .streams
        .iter()
        .map(|(number, entry)| {
            format!(
                "{number}: credit {:?}/{:?} unread {} responses {} closed {}/{} reset {:?} queued {:?} granted {:?}",
                entry.send_window,
                entry.receive_window,
                entry.unread,
                entry.responses.len(),
                entry.is_remote_closed,
                entry.is_local_closed,
                entry.reset_reason,
                entry.queued,
                entry.granted
            )
        })
        .collect();
    format!(
        "out {} credit {:?}/{:?} to release {} heads {:?} payloads {:?} open {} {:?} {:?}\n  {}",
        engine.output().len(),
        engine.send_window,
        engine.receive_window,
        engine.to_release,
        engine.heads,
        engine.payloads,
        engine.open,
        engine.goaway,
        engine.data,
        streams.join("\n  ")
    )
}
