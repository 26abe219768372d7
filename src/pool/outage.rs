//! Says why no backend of a pool is eligible, for the access log. Nothing here runs while one is, and once for each set of eligible
//! backends when none is: every request of an outage has such a line.

use std::sync::Arc;

use super::condition::Condition;
use super::{EligibleSet, Member, Roster};
use crate::health::BackendState;

/// Maximum length of a backend's reason, in characters.
const MOST_OF_REASON: usize = 200;

/// A backend of the pool.
struct Seen<'m> {
    url: &'m str,
    condition: Condition,
}

impl EligibleSet {
    /// Why no backend is eligible: their state, and the reason of the one that changed it last. As the first request found it that
    /// has asked this set. The pool may have another set by now, and other backends after a reload.
    #[cold]
    pub fn explain_outage(&self) -> String {
        self.outage(explain_roster).to_owned()
    }
}

impl<'m> Seen<'m> {
    fn of(member: &'m Arc<Member>) -> Self {
        Self {
            url: &member.backend.address.url,
            condition: member.condition(),
        }
    }

    /// Its state where that keeps it from getting requests.
    fn state(&self) -> Option<&'static str> {
        match self.condition.state {
            BackendState::Down => Some("down"),
            BackendState::Ejected => Some("ejected"),
            BackendState::Draining => Some("drained"),
            BackendState::Up | BackendState::Unknown => self.condition.why.as_ref().map(|_| "at weight 0"),
        }
    }

    /// Why it is in that state, where the state does not say it.
    fn reason(&self) -> Option<String> {
        let says_more = matches!(self.condition.state, BackendState::Down | BackendState::Ejected);
        let why = self.condition.why.as_deref().filter(|_| says_more)?;
        let mut reason: String = why.chars().take(MOST_OF_REASON).collect();
        if reason.len() < why.len() {
            reason.push('…');
        }
        Some(reason)
    }
}

fn explain_roster(roster: &Roster) -> String {
    explain(&roster.members().iter().map(Seen::of).collect::<Vec<_>>())
}

/// The reason of a pool with these backends.
fn explain(seen: &[Seen<'_>]) -> String {
    let count = seen.len();
    let out = seen.iter().filter_map(|seen| Some((seen, seen.state()?)));
    let Some((last, state)) = out.clone().max_by_key(|(seen, _)| seen.condition.since) else {
        return match count {
            0 => "the pool has no backends".to_owned(),
            _ => "no backend was eligible when the request came".to_owned(),
        };
    };
    let url = last.url;
    let is_same = out.filter(|(_, other)| *other == state).count() == count;
    let mut text = match count {
        1 => format!("the only backend, {url}, is {state}"),
        _ if is_same => format!("all {count} backends are {state}, the last one {url}"),
        _ => format!("none of {count} backends is eligible; the last one, {url}, is {state}"),
    };
    if let Some(reason) = last.reason() {
        text.push_str(": ");
        text.push_str(&reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::pool::eligible::FailOpen;
    use crate::schema::Params;
    use crate::strategy::{STRATEGIES, Settings};

    fn seen<'a>(url: &'a str, (state, why): (BackendState, Option<&'a str>), since: u64) -> Seen<'a> {
        Seen {
            url,
            condition: Condition {
                state,
                why: why.map(Arc::from),
                since: SystemTime::UNIX_EPOCH + Duration::from_secs(since),
                ejected_until: None,
            },
        }
    }

    const REFUSED: (BackendState, Option<&str>) = (BackendState::Down, Some("connection refused"));

    #[test]
    fn names_the_reason_of_the_backend_that_went_last() {
        let timed_out = (BackendState::Down, Some("no response within 1s"));
        assert_eq!(
            explain(&[seen("http://a", timed_out, 2), seen("http://b", REFUSED, 1)]),
            "all 2 backends are down, the last one http://a: no response within 1s"
        );
        assert_eq!(
            explain(&[seen("http://a", REFUSED, 1)]),
            "the only backend, http://a, is down: connection refused"
        );
    }

    #[test]
    fn states_that_differ_are_not_taken_for_one() {
        let ejected = (BackendState::Ejected, Some("5 failures in a row"));
        let drained = (BackendState::Draining, Some("drained"));
        let unused = (BackendState::Up, Some("weight 0"));
        assert_eq!(
            explain(&[seen("http://a", REFUSED, 1), seen("http://b", ejected, 2)]),
            "none of 2 backends is eligible; the last one, http://b, is ejected: 5 failures in a row"
        );
        assert_eq!(
            explain(&[seen("http://a", REFUSED, 1), seen("http://b", drained, 2)]),
            "none of 2 backends is eligible; the last one, http://b, is drained"
        );
        assert_eq!(
            explain(&[seen("http://a", unused, 1)]),
            "the only backend, http://a, is at weight 0"
        );
    }

    #[test]
    fn a_pool_without_backends_and_one_that_has_recovered_say_so() {
        assert_eq!(explain(&[]), "the pool has no backends");
        let up = (BackendState::Up, None);
        assert_eq!(
            explain(&[seen("http://a", up, 1)]),
            "no backend was eligible when the request came"
        );
    }

    #[test]
    fn a_long_reason_is_cut() {
        let why = "é".repeat(1_000);
        let text = explain(&[seen("http://a", (BackendState::Down, Some(&why)), 1)]);
        assert!(
            text.ends_with("é…") && text.chars().count() < 300,
            "{}",
            text.len()
        );
    }

    /// Every request of an outage asks.
    #[test]
    fn the_text_is_made_once_for_each_set_of_eligible_backends() {
        let strategy = Settings {
            entry: &STRATEGIES[0],
            params: Params::default(),
        };
        let hold_off = Arc::default();
        let set = || {
            EligibleSet::new(
                &Arc::default(),
                &strategy,
                &Arc::default(),
                FailOpen::No,
                &hold_off,
            )
        };
        let made = Cell::new(0);
        let explain = |_: &Roster| {
            made.set(made.get() + 1);
            format!("text {}", made.get())
        };
        let first = set();
        assert_eq!([first.outage(explain), first.outage(explain)], ["text 1"; 2]);
        assert_eq!(set().outage(explain), "text 2");
    }
}
