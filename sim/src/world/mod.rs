//! One run: takes the next event, lets the decisions react to it, and adds the events that follow. The order of decisions in a
//! request is the one of the request path.

mod attempts;
mod ejection;
mod health;
mod hedge;
mod queue;
mod silence;

use evenkeel_balance::backend::BackendId;
use evenkeel_balance::rng::{Rng, below, mix};
use evenkeel_balance::strategy::PickContext;

use crate::backend::{Backend, Due};
use crate::clock::Time;
use crate::defect::Defect;
use crate::events::Events;
use crate::invariant::{Checker, Pick, Violation};
use crate::pool::Pool;
use crate::request::{Attempt, Request, Requests};
use crate::sample::{exponential, happens};
use crate::scenario::Scenario;
use crate::stats::Stats;
use crate::trace::Trace;

/// A run.
#[derive(Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    now: Time,
    events: Events<Event>,
    pool: Pool,
    backends: Vec<Backend>,
    requests: Requests,
    /// Decides when requests arrive and from whom. Every strategy gets the same requests for the same seed.
    arrivals_rng: Rng,
    /// What decisions get as chance.
    rng: Rng,
    checker: Option<Checker>,
    stats: Stats,
    /// Counts the steps of slow starts that were scheduled: only the last one counts.
    refreshes: u64,
    /// Whether something has happened that those who wait may act on.
    is_queue_awake: bool,
    /// Whether backends are going to be looked at.
    is_looking: bool,
    trace: Trace,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A request arrives.
    Arrival,
    /// A backend answers.
    Answer(usize, Due),
    /// An attempt has had no response for too long.
    Timeout(Attempt),
    /// An attempt has had no response for so long that another one is to run beside it.
    Hedge(Attempt),
    /// A backend changes its mode.
    Change(usize, usize),
    /// A probe of a member begins.
    Probe(usize, u32),
    /// A probe of a member ends.
    ProbeEnd(usize, bool),
    /// The arbiter of ejections judges.
    Judge,
    /// The eligible set is rebuilt for a slow start.
    Refresh(u64),
    /// A request has waited long enough in the queue.
    Wake(Attempt),
    /// Backends are looked at, whether they respond.
    Look,
}

/// Whether a run checks its invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// At every step.
    Yes,
    /// Experiments do not.
    No,
}

impl<'a> World<'a> {
    /// The world at the start of a run.
    pub fn new(scenario: &'a Scenario, seed: u64, checked: Checked) -> Self {
        let backends = scenario.backends.iter().zip(1..);
        let backends = backends.map(|(spec, number)| Backend::new(spec, mix(seed ^ mix(number))));
        let mut world = Self {
            scenario,
            now: Time::ZERO,
            events: Events::default(),
            pool: Pool::new(scenario),
            backends: backends.collect(),
            requests: Requests::default(),
            arrivals_rng: Rng::seeded(mix(seed)),
            rng: Rng::seeded(mix(!seed)),
            checker: (checked == Checked::Yes).then(|| Checker::new(scenario)),
            stats: Stats::new(scenario.backends.len()),
            refreshes: 0,
            is_queue_awake: false,
            is_looking: false,
            trace: Trace::default(),
        };
        world.events.add(Time::ZERO, Event::Arrival);
        for (index, spec) in scenario.backends.iter().enumerate() {
            for (number, (at, _)) in spec.changes.iter().enumerate() {
                world.events.add(*at, Event::Change(index, number));
            }
            world.schedule_probe(index);
        }
        world.judge();
        world.eligible_changed();
        world
    }

    /// Writes down what happens.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.trace = Trace::on();
        self
    }

    /// Runs until no request is left, or for this number of steps.
    ///
    /// # Errors
    /// The first invariant that did not hold.
    pub fn run(&mut self, steps: u64) -> Result<(), Violation> {
        for _ in 0..steps {
            if self.now > self.scenario.ends && self.requests.is_empty() {
                return Ok(());
            }
            let Some((at, event)) = self.events.next() else {
                return Ok(());
            };
            self.now = at;
            if let Some(checker) = &mut self.checker {
                checker.step(at);
            }
            self.handle(event);
            if let Some(checker) = &mut self.checker {
                checker.after_step(&self.pool, &self.requests);
                if let Some(violation) = checker.violation() {
                    return Err(violation.clone());
                }
            }
        }
        Ok(())
    }

    /// What was measured.
    pub fn into_stats(self) -> Stats {
        self.stats
    }

    /// What was written down.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Answer(backend, due) => self.answer(backend, &due),
            Event::Timeout(attempt) => self.time_out(attempt),
            Event::Hedge(attempt) => self.hedge(attempt),
            Event::Change(backend, number) => self.change(backend, number),
            Event::Probe(member, serial) => self.begin_probe(member, serial),
            Event::ProbeEnd(member, is_healthy) => self.end_probe(member, is_healthy),
            Event::Judge => self.judge_if_due(),
            Event::Refresh(number) => self.refresh_if_due(number),
            Event::Wake(attempt) => self.wake(attempt),
            Event::Look => self.look_at_backends(),
        }
        self.wake_heads();
    }

    fn arrive(&mut self) {
        let rate = self.scenario.arrivals.rate_at(self.now);
        let gap = exponential(&mut self.arrivals_rng, Time::nanos(1e9 / rate));
        let next = self.now.plus(gap);
        if next <= self.scenario.ends {
            self.events.add(next, Event::Arrival);
        }
        let client = below(self.arrivals_rng.bits(), self.scenario.clients);
        let slot = self.requests.add(Request {
            key: mix(client + 1),
            worker: below(self.arrivals_rng.bits(), self.scenario.workers as u64) as usize,
            arrived: self.now,
            is_idempotent: !happens(&mut self.arrivals_rng, self.scenario.non_idempotent),
            ..Request::default()
        });
        self.pool.budget.earn();
        if let Some(checker) = &mut self.checker {
            checker.arrived();
        }
        let picked = self.take_trial(slot).or_else(|| self.pick_first(slot));
        match picked {
            Some(member) => self.begin_attempt(slot, member),
            None => self.wait_or_fail(slot),
        }
    }

    fn pick_first(&mut self, slot: u32) -> Option<usize> {
        let picked = self.may_pass().then(|| self.pick(slot)).flatten();
        if let Some(checker) = &mut self.checker
            && picked.is_some()
        {
            checker.passed_queue();
        }
        picked
    }

    /// Picks a member for the next attempt of a request.
    fn pick(&mut self, slot: u32) -> Option<usize> {
        let request = self.requests.get(slot);
        let first = request
            .running
            .as_ref()
            .map(|running| self.pool.members[running.member].load.id);
        let mut tried: Vec<BackendId> = request.tried.iter().copied().chain(first).collect();
        tried.sort_unstable();
        let context = PickContext {
            tried: &tried,
            in_flight_limit: self.scenario.pool.limit(),
            key: Some(request.key),
            random: self.rng.bits(),
            now: self.now.instant(),
        };
        let avoided = self.pool.avoided(self.now);
        let picked = match self.scenario.defect {
            Some(Defect::PicksSilent) => self.pool.pick(&context, &[]),
            _ => self.pool.pick(&context, &avoided),
        };
        if let Some(checker) = &mut self.checker {
            let pick = Pick {
                avoided: &avoided,
                tried: context.tried,
                limit: context.in_flight_limit,
                picked,
            };
            checker.picked(&self.pool, &pick);
        }
        picked
    }

    fn change(&mut self, backend: usize, number: usize) {
        let Some((_, mode)) = self.scenario.backends[backend].changes.get(number) else {
            return;
        };
        self.trace.say(self.now, || format!("b{backend} is now {mode:?}"));
        for due in self.backends[backend].change(*mode, self.now) {
            self.events.add(due.at, Event::Answer(backend, due));
        }
    }

    /// The client gets a response with this status.
    fn finish(&mut self, slot: u32, status: u16) {
        self.leave_queue(slot);
        let request = self.requests.get(slot);
        self.trace.say(self.now, || format!("r{slot} ends: {status}"));
        if request.arrived >= self.scenario.measure_from {
            self.stats.record(request, self.now, status);
        }
        if let Some(checker) = &mut self.checker {
            checker.finished(request);
        }
        self.requests.remove(slot);
    }
}
