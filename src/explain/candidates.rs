//! The backends of a pool as candidates for a request: what the strategy would compare of each, or why it is none. And which backend
//! the client stays with.

use evenkeel_balance::request::Request;

use crate::admin::{Candidate, ExplainedRetry, ExplainedSticky};
use crate::clock;
use crate::pool::{Affinity, EligibleSet, Member, Pool, Settings, Sticky};
use crate::retry::is_repeatable;
use crate::strategy::PickContext;

impl Candidate {
    /// All backends of the pool.
    pub(super) fn of_pool(pool: &Pool, request: &Request<'_>) -> Vec<Self> {
        let eligible = pool.eligible();
        let scores = eligible.scores(&context(pool, request));
        let limit = pool.in_flight_limit;
        let may_get = |member: &Member| member.is_below(limit);
        let is_main = |(member, _): &(&Member, Option<f64>)| !member.is_backup() && may_get(member);
        let needs_backup = !scores.iter().any(is_main);
        let roster = pool.roster();
        let shown = roster.members().iter().map(|member| {
            let mut all = scores.iter();
            let scored = all.find(|(scored, _)| scored.backend.id == member.backend.id);
            let why = match scored {
                None => Some(excluded(member)),
                Some(_) if !may_get(member) => Some(format!(
                    "at its limit: {}",
                    limit.unwrap_or_default().min(member.backend.load.limit())
                )),
                Some(_) if member.is_backup() && !needs_backup => Some("backup not needed".to_owned()),
                Some(_) => None,
            };
            Self {
                url: member.backend.address.url.clone(),
                name: member.name().map(|name| name.to_string()),
                weight: member.backend.weight.load(std::sync::atomic::Ordering::Relaxed),
                backup: member.is_backup(),
                candidate: why.is_none(),
                score: scored.and_then(|(_, score)| *score).filter(|_| why.is_none()),
                why,
                in_flight: member.backend.load.total_in_flight(),
            }
        });
        shown.collect()
    }
}

/// Why a member is not eligible.
fn excluded(member: &Member) -> String {
    let condition = member.condition();
    let state = condition.state.as_str().to_owned();
    match (condition.why, condition.ejected_until) {
        (Some(why), _) if *why == *"drained" || *why == *"weight 0" => why.to_string(),
        (Some(why), Some(until)) => {
            let until = crate::telemetry::Timestamp::text(until);
            format!("{state} until {until}: {why}")
        }
        (Some(why), None) => format!("{state}: {why}"),
        (None, _) => state,
    }
}

impl ExplainedSticky {
    /// That of the pool; `None` when its clients do not stay.
    pub(super) fn of_pool(pool: &Pool, request: &Request<'_>) -> Option<Self> {
        let eligible = pool.eligible();
        Some(match pool.sticky.as_deref()? {
            Sticky::Cookie(cookie) => {
                let mut values = request.cookie(cookie.name().as_bytes()).peekable();
                let has_cookie = values.peek().is_some();
                let member = values.find_map(|value| eligible.named(value));
                Self::by_cookie(cookie.name(), has_cookie, member, (pool, &eligible))
            }
            Sticky::Header(affinity) => Self::by_header(affinity, (pool, &eligible), request),
        })
    }

    fn by_cookie(
        name: &str,
        has_cookie: bool,
        member: Option<&Member>,
        (pool, eligible): (&Pool, &EligibleSet),
    ) -> Self {
        let url = |member: &Member| member.backend.address.url.clone();
        let (backend, why) = match member {
            None if !has_cookie => (None, "the request has no such cookie".to_owned()),
            None => (None, "the cookie names no backend of this pool".to_owned()),
            Some(member) if !eligible.may_keep_clients(member) => (
                None,
                format!("the cookie names {}, which is {}", url(member), excluded(member)),
            ),
            Some(member) if !member.is_below(pool.in_flight_limit) => (
                None,
                format!("the cookie names {}, which is at its limit", url(member)),
            ),
            Some(member) => (Some(url(member)), "the cookie names it".to_owned()),
        };
        Self {
            by: format!("cookie {name}"),
            backend,
            why,
        }
    }

    fn by_header(
        affinity: &Affinity,
        (pool, eligible): (&Pool, &EligibleSet),
        request: &Request<'_>,
    ) -> Self {
        let key = affinity.hash(request, None);
        let context = PickContext {
            key,
            ..context(pool, request)
        };
        let member = key.and_then(|_| eligible.pick_sticky(&context));
        Self {
            by: affinity.key().to_string(),
            backend: member.map(|member| member.backend.address.url.clone()),
            why: match (key, member) {
                (None, _) => "the request has no such header",
                (_, None) => "no backend may get the request",
                (_, Some(_)) => "the hash of the header chooses it",
            }
            .to_owned(),
        }
    }
}

impl ExplainedRetry {
    /// What becomes of a request with a body that is still kept, for every cause.
    pub(super) fn of_pool(pool: &Settings, backends: usize, request: &Request<'_>) -> Vec<Self> {
        let policy = &pool.retry;
        let backends = u32::try_from(backends).unwrap_or(u32::MAX);
        let verdict = policy.verdict(is_repeatable(request.head), backends);
        let if_idempotent = policy.verdict(true, backends);
        let shown = verdict
            .zip(if_idempotent)
            .map(|((cause, retried), (_, would_be))| Self {
                cause: cause.name(),
                retried,
                why: match () {
                    () if retried => None,
                    () if !policy.causes.contains(cause) => Some("not in retry.causes"),
                    () if would_be => Some("the request is not idempotent"),
                    () => Some("no attempts are left"),
                },
            });
        shown.collect()
    }
}

/// The context of a pick for the request.
fn context(pool: &Pool, request: &Request<'_>) -> PickContext<'static> {
    PickContext {
        tried: &[],
        in_flight_limit: pool.in_flight_limit,
        key: pool
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.hash(request, None)),
        random: 0,
        now: clock::now(),
    }
}
