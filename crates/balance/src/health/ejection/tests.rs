//! The ejection of backends of a simulated pool.

use evenkeel_wire::instant::Instant;

use super::*;
use crate::backend::BackendId;
use crate::clock;
use crate::retry::ConnectionEvent;
use crate::rng::{self, Rng};

/// A pool whose requests the test makes.
struct Pool {
    settings: Settings,
    arbiter: Arbiter,
    backends: Vec<Backend>,
    now: Instant,
    next: Option<Instant>,
    /// Every change, with the number of its backend.
    changes: Vec<(usize, ChangeKind)>,
}

struct Backend {
    id: BackendId,
    signal: Signal,
    is_down: bool,
    is_excluded: bool,
    last_good_check: Option<Instant>,
    ended: u64,
    failed: u64,
    is_ejected: bool,
    is_on_trial: bool,
}

impl Pool {
    fn new(count: usize) -> Self {
        Self::with(count, Settings::default())
    }

    fn with(count: usize, settings: Settings) -> Self {
        let now = clock::now();
        let backend = |_| Backend {
            id: BackendId::next(),
            signal: Signal::new(now),
            is_down: false,
            is_excluded: false,
            last_good_check: None,
            ended: 0,
            failed: 0,
            is_ejected: false,
            is_on_trial: false,
        };
        let mut pool = Self {
            settings,
            arbiter: Arbiter::default(),
            backends: (0..count).map(backend).collect(),
            now,
            next: None,
            changes: Vec::new(),
        };
        pool.judge();
        pool
    }

    fn judge(&mut self) {
        self.judge_with(Some(self.settings));
    }

    fn judge_with(&mut self, settings: Option<Settings>) {
        let observed: Vec<_> = self
            .backends
            .iter()
            .map(|backend| Observed {
                backend: backend.id,
                signal: &backend.signal,
                is_down: backend.is_down,
                is_excluded: backend.is_excluded,
                last_good_check: backend.last_good_check,
                ended: backend.ended,
                failed: backend.failed,
            })
            .collect();
        let judgement = self.arbiter.judge(self.now, settings.as_ref(), &observed);
        self.next = judgement.next;
        for Change { backend, kind } in judgement.changes {
            let index = self.backends.iter().position(|one| one.id == backend).unwrap();
            let backend = &mut self.backends[index];
            match &kind {
                ChangeKind::Ejected { .. } => (backend.is_ejected, backend.is_on_trial) = (true, false),
                ChangeKind::OnTrial => backend.is_on_trial = true,
                ChangeKind::Back(_) => (backend.is_ejected, backend.is_on_trial) = (false, false),
                ChangeKind::Spared(_) => {}
            }
            self.changes.push((index, kind));
        }
    }

    /// A request at a backend, which the arbiter hears of if it has to.
    fn request(&mut self, index: usize, evidence: Evidence) {
        let now = self.now;
        let backend = &mut self.backends[index];
        backend.ended += 1;
        let effect = match evidence {
            Evidence::Success if backend.signal.is_quiet() => Effect::Ignored,
            Evidence::Success => backend.signal.succeed(now),
            Evidence::Failure(failure) => backend.signal.fail(failure, now),
            Evidence::None => Effect::Ignored,
        };
        let is_failure = matches!(evidence, Evidence::Failure(_)) && effect != Effect::Ignored;
        backend.failed += u64::from(is_failure);
        if effect == Effect::Decide || is_failure && self.next.is_none() {
            self.judge();
        }
    }

    fn fail(&mut self, index: usize, failure: Failure, times: usize) {
        for _ in 0..times {
            self.request(index, Evidence::Failure(failure));
        }
    }

    /// Lets time pass, and the arbiter judge when it is due.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next.filter(|next| *next <= end) {
            assert!(next > self.now, "the arbiter never asks for the present");
            self.now = next;
            self.judge();
        }
        self.now = end;
    }

    fn is_ejected(&self, index: usize) -> bool {
        self.backends[index].is_ejected
    }

    fn last(&self) -> &ChangeKind {
        &self.changes.last().expect("a change").1
    }

    /// How long the last ejection lasts.
    fn length(&self) -> Duration {
        match self.last() {
            ChangeKind::Ejected { length, .. } => *length,
            other => panic!("{other:?}"),
        }
    }

    /// Ends an ejection by trial requests.
    fn pass_trial(&mut self, index: usize) {
        while self.backends[index].signal.take_trial(true) {
            self.request(index, Evidence::Success);
        }
        assert!(!self.is_ejected(index));
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_backend_is_ejected_after_failures_in_a_row_and_comes_back_by_trial_requests() {
    let mut pool = Pool::new(3);
    pool.fail(1, Failure::Status(500), 4);
    assert!(!pool.is_ejected(1));
    pool.fail(1, Failure::Status(502), 1);
    assert!(pool.is_ejected(1));
    assert_eq!(pool.length(), pool.settings.base);
    pool.wait(pool.settings.base - Duration::from_millis(1));
    assert!(!pool.backends[1].signal.take_trial(true));
    pool.wait(Duration::from_millis(1));
    assert_eq!(*pool.last(), ChangeKind::OnTrial);
    assert!(pool.is_ejected(1));
    let signal = &pool.backends[1].signal;
    assert_eq!(
        [(); 4].map(|()| signal.take_trial(true)),
        [true, true, true, false]
    );
    pool.request(1, Evidence::Success);
    pool.request(1, Evidence::Success);
    assert!(pool.is_ejected(1));
    pool.request(1, Evidence::Success);
    assert_eq!(*pool.last(), ChangeKind::Back(Returned::Passed));
}

#[test]
fn a_hung_backend_is_ejected_after_three_timeouts() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    assert!(pool.is_ejected(0));
    assert_eq!(pool.changes.len(), 1);
    let text = match pool.last() {
        ChangeKind::Ejected { reason, .. } => reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text, "requests failed in a row: no response in time");
}

#[test]
fn a_failed_trial_ejects_for_longer_each_time_up_to_the_maximum() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    for times in 1..=40 {
        let length = pool.length();
        assert_eq!(length, (pool.settings.base * times).min(pool.settings.max));
        pool.wait(length);
        assert!(pool.backends[0].signal.take_trial(true));
        pool.request(0, Evidence::Failure(Failure::Timeout));
        assert!(matches!(pool.last(), ChangeKind::Ejected { is_again: true, .. }));
    }
    assert_eq!(pool.length(), pool.settings.max);
}

#[test]
fn ejections_in_a_row_are_forgotten_while_the_backend_is_well() {
    let mut pool = Pool::new(3);
    let base = pool.settings.base;
    for times in 1..=3 {
        pool.fail(0, Failure::Timeout, 3);
        assert_eq!(pool.length(), base * times);
        pool.wait(base * times);
        pool.pass_trial(0);
    }
    // As long as the last one, and not as long as the one before.
    pool.wait(base * 3 + SECOND);
    pool.fail(0, Failure::Timeout, 3);
    assert_eq!(pool.length(), base * 3);
    pool.wait(base * 3);
    pool.pass_trial(0);
    pool.wait(base * 6);
    pool.fail(0, Failure::Timeout, 3);
    assert_eq!(pool.length(), base);
}

#[test]
fn failures_that_are_mixed_with_successes_eject_by_their_ratio() {
    for (period, is_ejected) in [(2, true), (3, false)] {
        let mut pool = Pool::new(3);
        for number in 0..600_u32 {
            let evidence = match number % period {
                0 => Evidence::Failure(Failure::Status(503)),
                _ => Evidence::Success,
            };
            pool.request(0, evidence);
            pool.wait(Duration::from_millis(20));
        }
        assert_eq!(pool.is_ejected(0), is_ejected, "one of {period} fails");
    }
}

#[test]
fn a_ratio_of_few_requests_says_nothing() {
    let mut pool = Pool::new(3);
    for number in 0..200 {
        pool.request(
            0,
            if number % 4 == 0 {
                Evidence::Success
            } else {
                Evidence::Failure(Failure::Reset)
            },
        );
        pool.wait(SECOND);
    }
    assert!(pool.changes.is_empty(), "{:?}", pool.changes);
}

#[test]
fn no_more_of_a_pool_is_ejected_than_may_be_and_never_the_last_one() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
        let mut pool = Pool::new(count);
        for _ in 0..3 {
            for index in 0..count {
                pool.fail(index, Failure::Timeout, 9);
            }
            pool.wait(SECOND);
        }
        let ejected = (0..count).filter(|index| pool.is_ejected(*index)).count();
        assert_eq!(ejected, most, "of {count}");
        let spared = pool
            .changes
            .iter()
            .filter(|(_, kind)| matches!(kind, ChangeKind::Spared(_)));
        assert_eq!(spared.count(), count - most, "reported once each");
    }
}

#[test]
fn a_spared_backend_is_ejected_once_there_is_room() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    pool.fail(1, Failure::Timeout, 3);
    assert!(pool.is_ejected(0) && !pool.is_ejected(1));
    pool.wait(pool.settings.base);
    while pool.backends[0].signal.take_trial(true) {
        pool.request(0, Evidence::Success);
    }
    pool.wait(SECOND);
    assert!(!pool.is_ejected(0) && pool.is_ejected(1));
}

#[test]
fn a_backend_that_is_spared_now_and_then_is_reported_once_in_a_while() {
    let mut pool = Pool::new(1);
    for _ in 0..20 {
        pool.fail(0, Failure::Timeout, 3);
        pool.request(0, Evidence::Success);
        pool.wait(SECOND);
    }
    assert_eq!(pool.changes.len(), 1, "{:?}", pool.changes);
    pool.wait(pool.settings.window * 3);
    pool.judge();
    pool.fail(0, Failure::Timeout, 3);
    assert_eq!(pool.changes.len(), 2, "{:?}", pool.changes);
}

#[test]
fn backends_that_are_down_or_excluded_are_no_alternative() {
    let mut pool = Pool::new(3);
    pool.backends[0].is_down = true;
    pool.backends[1].is_excluded = true;
    pool.fail(2, Failure::Timeout, 9);
    assert!(!pool.is_ejected(2));
}

#[test]
fn an_ejected_backend_is_back_when_the_others_go_down() {
    let mut pool = Pool::new(2);
    pool.fail(0, Failure::Timeout, 3);
    assert!(pool.is_ejected(0));
    pool.backends[1].is_down = true;
    pool.judge();
    assert_eq!(*pool.last(), ChangeKind::Back(Returned::LastOne));
}

#[test]
fn a_pool_that_shrinks_brings_back_the_longest_ejected() {
    let mut pool = Pool::new(6);
    for index in 0..3 {
        pool.fail(index, Failure::Timeout, 3);
        pool.wait(SECOND);
    }
    pool.backends.truncate(4);
    pool.judge();
    assert_eq!(
        pool.changes.last(),
        Some(&(0, ChangeKind::Back(Returned::TooMany)))
    );
    assert!(!pool.is_ejected(0) && pool.is_ejected(1) && pool.is_ejected(2));
}

#[test]
fn good_checks_alone_bring_no_backend_back() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Status(500), 5);
    for _ in 0..100 {
        pool.wait(SECOND);
        pool.judge();
    }
    assert!(pool.is_ejected(0));
    let changes: Vec<_> = pool.changes.iter().map(|(_, kind)| kind).collect();
    assert!(
        changes[1..].iter().all(|kind| **kind == ChangeKind::OnTrial),
        "{changes:?}"
    );
}

#[test]
fn checks_that_noticed_an_unreachable_backend_bring_it_back_and_others_begin_its_trial() {
    for (failure, wanted) in [
        (Failure::Connect, ChangeKind::Back(Returned::Checks)),
        (Failure::Status(500), ChangeKind::OnTrial),
    ] {
        let mut pool = Pool::new(3);
        pool.fail(0, failure, 5);
        assert!(pool.is_ejected(0));
        pool.backends[0].is_down = true;
        pool.judge();
        pool.wait(pool.settings.base * 3);
        assert!(
            matches!(pool.last(), ChangeKind::Ejected { .. }),
            "no trial while it is down"
        );
        pool.backends[0].is_down = false;
        pool.judge();
        assert_eq!(*pool.last(), wanted, "{failure}");
    }
}

#[test]
fn the_trial_of_a_backend_that_could_not_be_reached_begins_early_once_a_check_reaches_it() {
    for (failure, is_early) in [(Failure::Connect, true), (Failure::Timeout, false)] {
        let mut pool = Pool::new(3);
        pool.backends[0].last_good_check = Some(pool.now);
        pool.fail(0, failure, 3);
        pool.wait(3 * SECOND);
        assert!(
            matches!(pool.last(), ChangeKind::Ejected { .. }),
            "the check was before"
        );
        pool.backends[0].last_good_check = Some(pool.now);
        pool.wait(SECOND);
        assert_eq!(*pool.last() == ChangeKind::OnTrial, is_early, "{failure}");
        assert!(pool.is_ejected(0));
    }
}

#[test]
fn a_backend_that_left_and_came_back_begins_anew() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    let gone = pool.backends.remove(0);
    pool.judge();
    assert!(!pool.arbiter.knows(gone.id));
    pool.backends.insert(0, gone);
    pool.judge();
    assert!(pool.arbiter.knows(pool.backends[0].id) && pool.backends[0].signal.is_quiet());
    pool.fail(0, Failure::Timeout, 3);
    assert_eq!(pool.length(), pool.settings.base);
}

#[test]
fn failures_of_the_time_before_an_ejection_do_not_count_after_it() {
    let mut pool = Pool::new(3);
    let began = pool.now;
    pool.fail(0, Failure::Timeout, 3);
    pool.wait(pool.settings.base);
    // Requests of before that only now time out.
    for _ in 0..9 {
        assert_eq!(
            pool.backends[0].signal.fail(Failure::Timeout, began),
            Effect::Ignored
        );
    }
    pool.pass_trial(0);
    for _ in 0..9 {
        assert_eq!(
            pool.backends[0].signal.fail(Failure::Timeout, began),
            Effect::Ignored
        );
    }
    pool.judge();
    assert!(!pool.is_ejected(0));
}

#[test]
fn a_trial_whose_requests_get_lost_lets_a_bounded_number_of_others_through() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    pool.wait(pool.settings.base);
    let mut sent = 0;
    for _ in 0..50 {
        while pool.backends[0].signal.take_trial(true) {
            sent += 1;
        }
        pool.wait(SECOND);
    }
    assert_eq!(sent, 10);
    pool.wait(20 * SECOND);
    assert!(pool.backends[0].signal.take_trial(true), "another trial");
}

#[test]
fn a_pool_without_repeatable_requests_tries_backends_out_with_others() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    pool.wait(pool.settings.base);
    assert!(!pool.backends[0].signal.take_trial(false));
    pool.wait(SECOND);
    assert!(pool.backends[0].signal.take_trial(false));
}

#[test]
fn switching_ejection_off_brings_all_backends_back() {
    let mut pool = Pool::new(3);
    pool.fail(0, Failure::Timeout, 3);
    pool.judge_with(None);
    assert_eq!(*pool.last(), ChangeKind::Back(Returned::Off));
    assert_eq!(pool.next, None);
    assert_eq!(
        pool.backends[0].signal.fail(Failure::Timeout, pool.now),
        Effect::Ignored
    );
}

#[test]
fn the_arbiter_sleeps_while_all_is_well() {
    let mut pool = Pool::new(3);
    assert_eq!(pool.next, None);
    pool.fail(0, Failure::Reset, 1);
    assert!(pool.next.is_some());
    pool.request(0, Evidence::Success);
    pool.wait(pool.settings.window * 2);
    assert_eq!(pool.next, None);
}

#[test]
fn only_what_speaks_of_the_backend_is_evidence() {
    let outcome = |end, event| Outcome {
        end,
        event,
        ..Outcome::of(BackendId::next())
    };
    let response = |status| Evidence::of(&outcome(AttemptEnd::Response(status), None));
    for status in [101, 200, 404, 499, 501, 505] {
        assert_eq!(response(status), Evidence::Success, "{status}");
    }
    for status in [500, 502, 503, 504, 599] {
        assert_eq!(response(status), Evidence::Failure(Failure::Status(status)));
    }
    let failure = |cause, event| Evidence::of(&outcome(AttemptEnd::Failure(cause), event));
    assert_eq!(failure(None, None), Evidence::None);
    assert_eq!(
        failure(Some(Cause::Reset), None),
        Evidence::Failure(Failure::Reset)
    );
    assert_eq!(
        failure(Some(Cause::Timeout), None),
        Evidence::Failure(Failure::Timeout)
    );
    assert_eq!(
        failure(Some(Cause::ConnectFailure), None),
        Evidence::Failure(Failure::Connect)
    );
    use ConnectionEvent::{Closing, Stale, Unconnectable, Unprocessed};
    for event in [Stale, Closing, Unprocessed, Unconnectable] {
        assert_eq!(
            failure(Some(Cause::Reset), Some(event)),
            Evidence::None,
            "{event:?}"
        );
    }
}

/// Backends that fail, go down and come back at random.
#[test]
fn simulation_never_ejects_too_many_and_always_leaves_one() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let count = 1 + rng::below(rng.bits(), 8) as usize;
        let mut pool = Pool::new(count);
        let mut failing = vec![false; count];
        for step in 0..400 {
            let index = rng::below(rng.bits(), count as u64) as usize;
            match rng::below(rng.bits(), 40) {
                0 => failing[index] = !failing[index],
                1 => pool.backends[index].is_down = !pool.backends[index].is_down,
                _ => {}
            }
            let backend = &pool.backends[index];
            let gets_requests = !backend.is_down && (!backend.is_ejected || backend.signal.take_trial(true));
            if gets_requests {
                let evidence = match failing[index] {
                    true => Evidence::Failure(Failure::Timeout),
                    false => Evidence::Success,
                };
                pool.request(index, evidence);
            }
            pool.judge();
            pool.wait(Duration::from_millis(rng::below(rng.bits(), 700)));
            let ejected = pool.backends.iter().filter(|backend| backend.is_ejected).count();
            assert!(
                ejected <= pool.settings.most_ejected(count),
                "seed {seed}, step {step}"
            );
            let is_up = |backend: &&Backend| !backend.is_down;
            let is_eligible = |backend: &&Backend| !backend.is_down && !backend.is_ejected;
            assert!(
                pool.backends.iter().any(|one| is_eligible(&one))
                    || !pool.backends.iter().any(|one| is_up(&one)),
                "seed {seed}, step {step}"
            );
        }
    }
}
