//! Seeded simulation: a client's and a server's engine are joined by two pipes that split bytes anywhere and deliver them at any
//! time. Many streams send, read, pause and abort, and settings change meanwhile. A task runs only when it was woken, so that a
//! missing wake-up leaves it asleep for ever. `EVENKEEL_SEED` runs one seed, or with `EVENKEEL_SEEDS` that many, counted from it.

mod exchange;
mod world;

use std::rc::Rc;

use super::*;
use world::{Side, World};

/// Seeds that every test run tries.
const SEEDS: u64 = 120;

#[test]
fn messages_arrive_whole_or_are_reset_and_no_state_is_left() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = match (number("EVENKEEL_SEED"), number("EVENKEEL_SEEDS")) {
        (Some(first), count) => (first, count.unwrap_or(1)),
        (None, _) => (0, SEEDS),
    };
    for seed in first..first + count {
        run(seed);
    }
}

fn run(seed: u64) {
    let world = World::new(seed);
    let requests = match world.any(4) {
        0 => 1 + world.any(4),
        1 if !seed.is_multiple_of(8) => 100 + world.any(60),
        _ => 1 + world.any(40),
    } as u64;
    for id in 0..requests {
        world.spawn(exchange::round_trip(Rc::clone(&world), id));
    }
    world.spawn(disturb(Rc::clone(&world)));
    world.run();
    for id in 0..requests {
        let is_known = [&world.done, &world.broken, &world.refused]
            .iter()
            .any(|set| set.borrow().contains(&id));
        assert!(
            is_known || world.is_cut.get(),
            "seed {seed}: request {id} has no outcome"
        );
    }
    for side in [Side::Client, Side::Server] {
        let engine = world.engine(side).borrow();
        assert!(engine.streams.is_empty(), "seed {seed}: {:?}", engine.streams);
        assert_eq!(
            (
                engine.open,
                engine.handles,
                engine.heads.granted + engine.payloads.granted
            ),
            (0, 0, 0),
            "seed {seed}: {side:?}"
        );
        assert!(
            engine.heads.waiting.is_empty() && engine.payloads.waiting.is_empty(),
            "seed {seed}: queues are not empty"
        );
        if world.is_cut.get() {
            continue;
        }
        assert!(engine.output().is_empty() && engine.block.is_none() && engine.data.is_none());
    }
    if !world.is_cut.get() {
        let (client, server) = (world.client.borrow(), world.server.borrow());
        assert_eq!(server.is_done(), world.has_goaway.get(), "seed {seed}: GOAWAY");
        check_windows(seed, &client, &server);
        check_windows(seed, &server, &client);
    }
}

/// Both sides agree on the connection window, and all credit was returned.
fn check_windows(seed: u64, from: &Engine, to: &Engine) {
    let all = if to.is_server() {
        ALL_OF_CLIENT
    } else {
        ALL_OF_BACKEND
    };
    assert_eq!(
        from.send_window.left(),
        to.receive_window.left(),
        "seed {seed}: connection credit differs"
    );
    let back = to.receive_window.left() + i64::from(to.to_release);
    assert_eq!(back, i64::from(all), "seed {seed}: credit is lost");
}

/// Invariants that hold at all times.
fn check_always(world: &World) {
    for side in [Side::Client, Side::Server] {
        let engine = world.engine(side).borrow();
        let count = |is: fn(&Entry) -> bool| engine.streams.values().filter(|entry| is(entry)).count();
        let seed = world.seed;
        let granted = engine.heads.granted + engine.payloads.granted;
        assert_eq!(
            granted,
            count(|entry| entry.granted.is_some()),
            "seed {seed}: {side:?}"
        );
        assert_eq!(engine.open, count(|entry| entry.is_open), "seed {seed}: {side:?}");
        assert!(granted <= ROOM.div_ceil(WHOLE), "seed {seed}: {side:?}");
        assert!(engine.output().len() <= 2 * OUTPUT_LIMIT, "seed {seed}: {side:?}");
        let credit = usize::try_from(engine.send_window.left()).unwrap_or(0);
        assert!(
            engine.payloads.granted <= credit.div_ceil(PIECE),
            "seed {seed}: {side:?} grants turns without credit"
        );
        let queued = engine.heads.waiting.len() + engine.payloads.waiting.len();
        assert!(
            queued <= engine.streams.len(),
            "seed {seed}: {side:?} queues {queued}"
        );
        if let Role::Client { waiting, .. } = &engine.role {
            assert!(
                waiting.len() <= engine.handles,
                "seed {seed}: {} wait",
                waiting.len()
            );
        }
    }
}

/// Sends settings and PING at random, and sometimes ends the connection.
async fn disturb(world: Rc<World>) {
    for _ in 0..world.any(12) {
        world.pause().await;
        let side = if world.one_in(2) {
            Side::Client
        } else {
            Side::Server
        };
        let put = |name, value| {
            let mut engine = world.engine(side).borrow_mut();
            frame::put_settings(&mut engine.out, &[(name, value)]);
            engine.wake();
        };
        let window = world.engine(side).borrow().window_of_streams();
        match world.any(6) {
            0 => {
                put(frame::INITIAL_WINDOW_SIZE, world.any(window as usize) as u32);
                world.pause().await;
                put(frame::INITIAL_WINDOW_SIZE, window);
            }
            1 => put(frame::HEADER_TABLE_SIZE, world.any(4097) as u32),
            2 if side == Side::Server => {
                put(frame::MAX_CONCURRENT_STREAMS, world.any(5) as u32);
                world.pause().await;
                put(frame::MAX_CONCURRENT_STREAMS, 128);
            }
            3 => {
                let mut engine = world.engine(side).borrow_mut();
                frame::put_head(&mut engine.out, (frame::PING, 0), 0, 8);
                engine.out.extend_from_slice(b"whatever");
                engine.wake();
            }
            4 if world.one_in(8) => {
                world.has_goaway.set(true);
                world.server.borrow_mut().send_goaway();
            }
            5 if world.one_in(8) => return world.cut(),
            _ => {}
        }
    }
}
