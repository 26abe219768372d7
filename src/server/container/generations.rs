//! The processes that have replaced process 1 of a container by upgrades, one after the other: which of them get a signal, and
//! when the container ends with which exit code.

use rustix::process::Pid;

use super::super::signals::Event;

/// Added to the number of the signal that has killed a process, as shells do.
const KILLED: i32 = 128;

/// These processes. Each says when it begins to serve.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// Those that run, in the order in which they began to serve: the last one serves, the others drain. Process 1 has waited
    /// for none of them, so the kernel gives their ids to no other process.
    running: Vec<Pid>,
    /// The last one that began to serve, and its exit code once it has ended.
    latest: Option<(Pid, Option<u8>)>,
    /// Stop signals so far: none, the first, or the second too, which aborts requests.
    stops: Stops,
    /// Whether none is left that could say that another one serves.
    is_closed: bool,
}

/// The stop signals that process 1 has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stops {
    #[default]
    None,
    First,
    Second,
}

impl Generations {
    /// A process serves; it may be said more than once. Returns the stops that were requested before and that it does not know of.
    pub(super) fn serves(&mut self, process: Pid) -> Stops {
        if self.running.contains(&process) {
            return Stops::None;
        }
        self.running.push(process);
        self.latest = Some((process, None));
        self.stops
    }

    /// The processes that a signal to process 1 is meant for. All of them get a stop signal: one that drains already goes on at
    /// the first one, and aborts at the second.
    pub(super) fn receivers(&mut self, event: Event) -> &[Pid] {
        match event {
            Event::Stop => {
                self.stops = match self.stops {
                    Stops::None => Stops::First,
                    _ => Stops::Second,
                };
                &self.running
            }
            Event::ReopenLogs => &self.running,
            Event::Reload | Event::Upgrade => self.serving(),
        }
    }

    /// The stops that were requested so far.
    pub(super) fn stops(&self) -> Stops {
        self.stops
    }

    /// The process that serves, unless it has ended: those before it drain, and none of them takes its place.
    fn serving(&self) -> &[Pid] {
        let latest = self.latest.map(|(process, _)| process);
        match self.running.split_last() {
            Some((last, _)) if Some(*last) == latest => std::slice::from_ref(last),
            _ => &[],
        }
    }

    /// The processes that still drain although nobody serves or will, because the one that served has failed.
    pub(super) fn abandoned(&self) -> &[Pid] {
        match self.latest {
            Some((_, Some(code))) if code != 0 && self.is_closed => &self.running,
            _ => &[],
        }
    }

    /// A child of process 1 has ended; it may be any.
    pub(super) fn ended(&mut self, process: Pid, code: u8) {
        self.running.retain(|&running| running != process);
        if let Some((latest, ended)) = &mut self.latest
            && *latest == process
        {
            *ended = Some(code);
        }
    }

    /// No process is left that could say that another one serves.
    pub(super) fn closed(&mut self) {
        self.is_closed = true;
    }

    /// Whether an upgrade has succeeded.
    pub(super) fn have_begun(&self) -> bool {
        self.latest.is_some()
    }

    /// The last process that began to serve, and its exit code, once none is left.
    pub(super) fn outcome(&self) -> Option<(Pid, u8)> {
        let (process, code) = self.latest?;
        code.filter(|_| self.is_closed && self.running.is_empty())
            .map(|code| (process, code))
    }
}

/// The exit code of a shell for a process that has ended with this status, or by this signal.
pub(super) fn exit_code(status: Option<i32>, signal: Option<i32>) -> u8 {
    let code = status.or(signal.map(|signal| KILLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    /// Process 7 has replaced process 1, and process 9 has replaced process 7.
    fn two() -> Generations {
        let mut generations = Generations::default();
        assert_eq!(generations.serves(pid(7)), Stops::None);
        assert_eq!(generations.serves(pid(9)), Stops::None);
        generations
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(Some(0), None), 0);
        assert_eq!(exit_code(Some(3), None), 3);
        assert_eq!(exit_code(None, Some(9)), 137);
    }

    #[test]
    fn all_are_stopped_and_reopen_their_logs_and_only_the_serving_one_reloads_and_upgrades() {
        let mut generations = two();
        assert_eq!(generations.receivers(Event::Reload), [pid(9)]);
        assert_eq!(generations.receivers(Event::Upgrade), [pid(9)]);
        assert_eq!(generations.receivers(Event::ReopenLogs), [pid(7), pid(9)]);
        assert_eq!(generations.receivers(Event::Stop), [pid(7), pid(9)]);
        assert!(Generations::default().receivers(Event::Reload).is_empty());
    }

    #[test]
    fn a_process_that_serves_only_after_a_stop_gets_as_many_as_there_were() {
        let mut generations = two();
        generations.receivers(Event::Stop);
        assert_eq!(generations.serves(pid(9)), Stops::None, "it has got the signal");
        assert_eq!(generations.serves(pid(11)), Stops::First);
        assert_eq!(generations.serves(pid(11)), Stops::None);
        generations.receivers(Event::Stop);
        assert_eq!(generations.serves(pid(13)), Stops::Second);
    }

    #[test]
    fn one_that_drains_is_not_taken_for_the_one_that_serves() {
        let mut generations = two();
        generations.ended(pid(7), 137);
        assert_eq!(generations.receivers(Event::Reload), [pid(9)]);
        let mut generations = two();
        generations.ended(pid(9), 137);
        assert!(generations.receivers(Event::Upgrade).is_empty());
        assert!(generations.abandoned().is_empty(), "another may begin to serve");
        generations.closed();
        assert_eq!(generations.abandoned(), [pid(7)]);
        let mut generations = two();
        generations.ended(pid(9), 0);
        generations.closed();
        assert!(generations.abandoned().is_empty(), "it was stopped");
    }

    #[test]
    fn the_container_ends_with_the_code_of_the_last_that_served_once_none_is_left() {
        let mut generations = two();
        assert!(generations.have_begun());
        generations.closed();
        generations.ended(pid(9), 3);
        assert_eq!(generations.outcome(), None, "one still drains");
        generations.ended(pid(100), 5);
        generations.ended(pid(7), 0);
        assert_eq!(generations.outcome(), Some((pid(9), 3)));
    }

    #[test]
    fn a_process_that_was_killed_during_its_upgrade_is_followed_by_the_one_that_it_had_started() {
        let mut generations = Generations::default();
        assert_eq!(generations.outcome(), None);
        generations.serves(pid(7));
        generations.ended(pid(7), 137);
        assert_eq!(
            generations.outcome(),
            None,
            "the next one may still say that it serves"
        );
        generations.serves(pid(9));
        generations.ended(pid(9), 0);
        generations.closed();
        assert_eq!(generations.outcome(), Some((pid(9), 0)));
    }

    #[test]
    fn no_process_follows_one_that_was_killed_while_its_successor_could_not_start() {
        let mut generations = Generations::default();
        generations.serves(pid(7));
        generations.ended(pid(7), 137);
        generations.closed();
        assert_eq!(generations.outcome(), Some((pid(7), 137)));
    }
}
