//! Says why no backend of a pool is eligible, for the access log. Nothing here runs while one is.

use std::sync::Arc;

use super::condition::Condition;
use super::{Member, Pool};
use crate::health::BackendState;

/// Maximum number of backends that are looked at: every request of an outage has such a line.
const MOST_LOOKED_AT: usize = 16;
/// Maximum length of a backend's reason, in characters.
const MOST_OF_REASON: usize = 200;

/// A backend that was looked at.
struct Seen<'m> {
    url: &'m str,
    condition: Condition,
}

impl Pool {
    /// Why none of its backends is eligible: their state, and the reason of the one that changed it last.
    #[cold]
    pub fn explain_outage(&self) -> String {
        let roster = self.roster();
        let members = roster.members();
        let seen = members.iter().take(MOST_LOOKED_AT).map(Seen::of);
        explain(members.len(), &seen.collect::<Vec<_>>())
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

/// The reason of a pool with `count` backends, of which these were `seen`.
fn explain(count: usize, seen: &[Seen<'_>]) -> String {
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
    use std::time::{Duration, SystemTime};

    use super::*;

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
            explain(2, &[seen("http://a", timed_out, 2), seen("http://b", REFUSED, 1)]),
            "all 2 backends are down, the last one http://a: no response within 1s"
        );
        assert_eq!(
            explain(1, &[seen("http://a", REFUSED, 1)]),
            "the only backend, http://a, is down: connection refused"
        );
    }

    #[test]
    fn states_that_differ_are_not_taken_for_one() {
        let ejected = (BackendState::Ejected, Some("5 failures in a row"));
        let drained = (BackendState::Draining, Some("drained"));
        let unused = (BackendState::Up, Some("weight 0"));
        assert_eq!(
            explain(2, &[seen("http://a", REFUSED, 1), seen("http://b", ejected, 2)]),
            "none of 2 backends is eligible; the last one, http://b, is ejected: 5 failures in a row"
        );
        assert_eq!(
            explain(2, &[seen("http://a", REFUSED, 1), seen("http://b", drained, 2)]),
            "none of 2 backends is eligible; the last one, http://b, is drained"
        );
        assert_eq!(
            explain(1, &[seen("http://a", unused, 1)]),
            "the only backend, http://a, is at weight 0"
        );
        // Of those beyond the bound nothing is claimed.
        assert!(explain(40, &[seen("http://a", REFUSED, 1)]).starts_with("none of 40 backends is eligible;"));
    }

    #[test]
    fn a_pool_without_backends_and_one_that_has_recovered_say_so() {
        assert_eq!(explain(0, &[]), "the pool has no backends");
        let up = (BackendState::Up, None);
        assert_eq!(
            explain(1, &[seen("http://a", up, 1)]),
            "no backend was eligible when the request came"
        );
    }

    #[test]
    fn a_long_reason_is_cut() {
        let why = "é".repeat(1_000);
        let text = explain(1, &[seen("http://a", (BackendState::Down, Some(&why)), 1)]);
        assert!(
            text.ends_with("é…") && text.chars().count() < 300,
            "{}",
            text.len()
        );
    }
}
