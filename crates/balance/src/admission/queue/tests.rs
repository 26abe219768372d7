//! Tests of the wait queue, with a clock of their own.

use super::*;
use crate::clock;

const MS: Duration = Duration::from_millis(1);
const SETTINGS: QueueSettings = QueueSettings {
    size: 3,
    timeout: Duration::from_secs(5),
};

/// A queue of a pool with a backend that was up before; wakers are names.
fn queue() -> (WaitQueue<&'static str>, Instant) {
    let (mut queue, now) = (WaitQueue::default(), clock::now());
    queue.changed(true, true, now);
    (queue, now)
}

fn join(queue: &mut WaitQueue<&'static str>, name: &'static str, now: Instant) -> Place {
    queue.join(SETTINGS, None, name, now).unwrap()
}

fn heads(queue: &WaitQueue<&'static str>) -> Vec<&'static str> {
    queue.heads().copied().collect()
}

#[test]
fn those_who_wait_try_in_the_order_of_their_arrival_once_an_event() {
    let (mut queue, now) = queue();
    let [a, b] = ["a", "b"].map(|name| join(&mut queue, name, now));
    let later = Turn::Later(now + SETTINGS.timeout);
    assert_eq!(queue.turn(b, now), later);
    assert_eq!(queue.turn(a, now), Turn::Now);
    assert_eq!(queue.turn(a, now), later, "nothing has happened since");
    queue.freed();
    assert_eq!(heads(&queue), ["a"]);
    assert_eq!(queue.turn(b, now), later);
    assert_eq!(queue.turn(a, now), Turn::Now);
    queue.picked(a, now);
    assert_eq!(heads(&queue), ["b"]);
    assert_eq!(queue.turn(b, now), Turn::Now);
}

#[test]
fn an_event_while_the_first_picks_in_vain_is_not_missed() {
    let (mut queue, now) = queue();
    let a = join(&mut queue, "a", now);
    assert_eq!(queue.turn(a, now), Turn::Now);
    queue.freed();
    assert_eq!(queue.turn(a, now), Turn::Now);
}

#[test]
fn a_full_queue_refuses_and_who_leaves_makes_room() {
    let (mut queue, now) = queue();
    let [_, b, _] = ["a", "b", "c"].map(|name| join(&mut queue, name, now));
    assert_eq!(queue.join(SETTINGS, None, "d", now), Err(Refusal::Full));
    queue.leave(b);
    assert!(queue.join(SETTINGS, None, "d", now).is_ok());
}

#[test]
fn a_wait_ends_with_the_timeout() {
    let (mut queue, now) = queue();
    let [a, b] = ["a", "b"].map(|name| join(&mut queue, name, now));
    assert_eq!(queue.turn(a, now), Turn::Now);
    assert_eq!(queue.turn(a, now + SETTINGS.timeout), Turn::Expired);
    assert_eq!(heads(&queue), ["b"]);
    assert_eq!(queue.turn(b, now + SETTINGS.timeout - MS), Turn::Now);
}

#[test]
fn a_pool_that_never_had_a_backend_lets_nobody_wait() {
    let (mut queue, now) = (WaitQueue::default(), clock::now());
    queue.changed(false, false, now);
    assert_eq!(queue.join(SETTINGS, None, "a", now), Err(Refusal::Outage));
    let mut queue = WaitQueue::default();
    let a = join(&mut queue, "a", now);
    queue.refused(now);
    assert_eq!(heads(&queue), ["a"]);
    assert_eq!(queue.turn(a, now), Turn::Refused(Refusal::Outage));
}

#[test]
fn an_outage_longer_than_the_timeout_lets_nobody_wait() {
    let (mut queue, now) = queue();
    queue.changed(false, false, now);
    assert!(queue.join(SETTINGS, None, "a", now + SETTINGS.timeout).is_ok());
    let later = now + SETTINGS.timeout + MS;
    assert_eq!(queue.join(SETTINGS, None, "b", later), Err(Refusal::Outage));
    queue.changed(true, true, later);
    assert!(queue.join(SETTINGS, None, "b", later).is_ok());
}

#[test]
fn one_at_a_time_tries_a_backend_that_refuses() {
    let (mut queue, mut now) = queue();
    queue.refused(now);
    let [a, b] = ["a", "b"].map(|name| join(&mut queue, name, now));
    for pause in [5, 10, 20] {
        assert_eq!(queue.turn(a, now), Turn::Later(now + pause * MS));
        now += pause * MS;
        assert_eq!(queue.turn(a, now), Turn::Now);
        queue.picked(a, now);
        assert!(matches!(queue.turn(b, now), Turn::Later(_)));
        queue.refused(now);
        queue.put_back(a, "a");
    }
    assert_eq!(heads(&queue), ["a"], "it keeps its place");
}

#[test]
fn who_waits_follows_when_a_connection_is_established() {
    let (mut queue, now) = queue();
    queue.refused(now);
    let [a, b, c] = ["a", "b", "c"].map(|name| join(&mut queue, name, now));
    let now = now + 5 * MS;
    assert_eq!(queue.turn(a, now), Turn::Now);
    queue.picked(a, now);
    queue.connected(Some(a), SETTINGS.timeout, now);
    assert_eq!(heads(&queue), ["b", "c"]);
    for place in [b, c] {
        assert_eq!(queue.turn(place, now), Turn::Now);
        queue.picked(place, now);
        queue.connected(Some(place), SETTINGS.timeout, now);
    }
    assert!(queue.is_empty() && !queue.awaits_connection());
}

#[test]
fn who_leaves_while_it_tries_lets_the_next_one_try() {
    let (mut queue, now) = queue();
    queue.refused(now);
    let [a, b] = ["a", "b"].map(|name| join(&mut queue, name, now));
    let now = now + 5 * MS;
    assert_eq!(queue.turn(a, now), Turn::Now);
    queue.picked(a, now);
    assert!(heads(&queue).is_empty());
    queue.leave(a);
    assert_eq!(heads(&queue), ["b"]);
    assert_eq!(queue.turn(b, now), Turn::Now);
}

#[test]
fn who_tried_before_the_backend_came_back_makes_no_room_when_it_ends() {
    let (mut queue, now) = queue();
    queue.refused(now);
    let [a, b, _] = ["a", "b", "c"].map(|name| join(&mut queue, name, now));
    let now = now + 5 * MS;
    assert_eq!(queue.turn(a, now), Turn::Now);
    queue.picked(a, now);
    queue.changed(false, true, now);
    queue.changed(true, true, now);
    assert_eq!(
        heads(&queue),
        ["b"],
        "the backend that is back need not wait for it"
    );
    assert_eq!(queue.turn(b, now), Turn::Now);
    queue.picked(b, now);
    queue.leave(a);
    assert_eq!(heads(&queue), [""; 0], "one at a time");
    queue.leave(b);
    assert_eq!(heads(&queue), ["c"]);
}

#[test]
fn refusals_long_after_the_last_one_are_a_new_outage() {
    let (mut queue, now) = queue();
    queue.refused(now);
    let later = now + Duration::from_secs(3600);
    queue.refused(later);
    assert!(queue.join(SETTINGS, None, "a", later).is_ok());
}

#[test]
fn who_comes_while_the_pool_is_overloaded_waits_no_longer_than_it_allows() {
    let (mut queue, start) = queue();
    let latency = Latency {
        usual: 10 * MS,
        recent: 10 * MS,
    };
    let settings = QueueSettings { size: 99, ..SETTINGS };
    // One is served each 10 ms, after 50 ms.
    let mut waiting = VecDeque::new();
    for step in 0..30 {
        let now = start + step * 10 * MS;
        waiting.push_back(queue.join(settings, Some(latency), "", now).unwrap());
        if step >= 5 {
            let place = waiting.pop_front().unwrap();
            // Those who came in overload have left before.
            if queue.turn(place, now) == Turn::Now {
                queue.picked(place, now);
            }
        }
    }
    let now = start + 300 * MS;
    let last = queue.join(settings, Some(latency), "", now).unwrap();
    assert_eq!(last.deadline, now + 20 * MS);
    assert_eq!(queue.quantile(0.99, now), Some(50 * MS));
    assert_eq!(queue.quantile(0.99, now + 2 * WAITS_AGE), None);
}

#[test]
fn a_removed_pool_ends_all_waits() {
    let (mut queue, now) = queue();
    let [a, b] = ["a", "b"].map(|name| join(&mut queue, name, now));
    queue.close();
    assert_eq!(heads(&queue), ["a", "b"]);
    for place in [a, b] {
        assert_eq!(queue.turn(place, now), Turn::Refused(Refusal::Closed));
    }
    assert_eq!(queue.join(SETTINGS, None, "c", now), Err(Refusal::Closed));
}
