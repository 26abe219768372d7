//! Limits the rate of requests by key, over all workers: at most `burst + rate × time` requests of a key are admitted.
//!
//! Exact for a key that keeps its slot in the table of keys. A key loses it when it has been idle, which changes nothing, or when
//! all slots of its set belong to keys that are not idle and a new one comes: then the one that is closest to idle loses its slot
//! and starts with its whole burst again. With as many active keys as `keys`, about one set in fifty is that full. The clocks of
//! workers may differ by a few milliseconds, and a key that loses an idle slot gains as much at most.

use std::sync::Arc;

use super::gcra::{Gcra, Rate};
use super::limit_memory::{Counted, LimitMemory, Outcome, Reach};
use super::shared_limit::{OnFailure, SharedLimit, SharedMemory, Unavailable};
use super::{BuildError, Context, Decision, Edit, Notes, Order, Policy, Refusal};
use crate::key::{self, IPV6_PREFIX, Key as RequestKey};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params};

/// The hash of requests without the key: they are limited together.
pub(super) const WITHOUT_KEY: u64 = 0x5EED_0F00_0000_0001;

/// Statuses that a refusal may have.
pub(super) const STATUS: Kind = Kind::Count {
    least: 400,
    most: 599,
};

/// The key by which requests are counted.
pub(super) const KEY: Key = Key::new(
    "key",
    Kind::Text(Form::new(key::FORM).checked(|text| text.parse::<RequestKey>().is_ok())),
    "What requests are counted by. `client_ip` is the client's address as the access log names it; `user` and `jwt.NAME` are known \
     after `basic_auth`, `jwt` or `forward_auth`. All requests without the key, or with several different values for it, count as one.",
)
.default("client_ip");

/// Bits of IPv6 addresses.
pub(super) const IPV6: Key = Key::new(
    "ipv6_prefix",
    Kind::Count { least: 1, most: 128 },
    "How many bits of an IPv6 address are the key `client_ip`: most clients have a whole /64 network.",
)
.default("64");

/// The size of the table of keys.
pub(super) const TABLE_SIZE: Key = Key::new(
    "keys",
    Kind::Count {
        least: 1,
        most: 1_000_000,
    },
    "How many keys are remembered, at 32 to 64 bytes each. When more are in use, the ones that have been idle the longest are forgotten first.",
)
.default("100000");

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[
    (
        "rate_limited",
        "the limit of requests in a time was reached (`status` of the policy, 429 by default)",
    ),
    (
        "limit_store_unavailable",
        "the store of a shared limit could not be reached, and the policy has `on_failure: deny` (status 503)",
    ),
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "rate",
        Kind::Text(
            Form::new("a rate such as 100/s, 1000/m or 5/h, of at most 1000000")
                .matching(r"^[0-9]+/[smh]$")
                .checked(|text| Rate::parse(text).is_some()),
        ),
        "How many requests of a key are admitted per second (`/s`), minute (`/m`) or hour (`/h`), evenly: `60/m` admits one each second.",
    )
    .required(),
    Key::new(
        "burst",
        Kind::Count {
            least: 1,
            most: 1_000_000,
        },
        "How many requests of a key are admitted at once before the rate applies.",
    )
    .otherwise("the requests of one second, at least 1"),
    KEY,
    IPV6,
    Key::new("status", STATUS, "The status of refused requests.").default("429"),
    Key::new(
        "headers",
        Kind::Flag,
        "Whether responses to admitted requests have the headers `RateLimit` and `RateLimit-Policy` too. Refusals always have them.",
    )
    .default("false"),
    TABLE_SIZE,
    Key::new(
        "shared",
        Kind::Text(Form::new("the name of a store")),
        "The store through which all instances share the limit. Requests never wait for it, so that the instances together can exceed the \
         limit for a moment: by half the burst, and for each instance by one request and by what the rate admits between two reports \
         (100 ms). Later requests wait for that excess, so the rate holds on average.",
    )
    .otherwise("each instance has a limit of its own"),
    Key::new(
        "on_failure",
        Kind::Choice(&["allow", "deny"]),
        "What happens while the store is away: `allow` applies the limit divided by the last known number of instances, `deny` \
         refuses every request with 503. Only with `shared`.",
    )
    .otherwise("allow"),
];

#[derive(Debug)]
struct RateLimit {
    key: RequestKey,
    limit: Gcra,
    counts: Counts,
    status: u16,
    /// Whether admitted requests get headers.
    has_headers: bool,
    texts: Texts,
}

/// What its headers and its lines in the log always say.
#[derive(Debug)]
struct Texts {
    /// The name of the policy as a string of structured fields (RFC 9651 §3.3.3).
    name: Box<str>,
    /// The value of `RateLimit-Policy`.
    policy: Box<str>,
    /// Why a request is refused.
    refused: Box<str>,
}

/// Where requests are counted.
#[derive(Debug)]
enum Counts {
    Here {
        memory: Arc<LimitMemory>,
        has_shrunk: bool,
    },
    Shared(Arc<SharedLimit>),
}

pub(super) fn order(params: &Params) -> Order {
    match request_key(params).is_identity() {
        true => Order::LimitOfIdentity,
        false => Order::Limit,
    }
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let Context { name, params, kept } = context;
    let rate = params.text("rate").and_then(Rate::parse);
    let rate = rate.ok_or_else(|| BuildError::of("rate", "`rate_limit` requires a rate such as 100/s"))?;
    let burst = params.count("burst").unwrap_or_else(|| rate.of_second());
    let limit = Gcra::new(rate, burst).ok_or_else(|| {
        let message = "the rate takes more than 100 years to admit this burst: use a smaller one";
        BuildError::of("burst", message)
    })?;
    let key = request_key(params);
    let keys = params.count("keys").unwrap_or(100_000) as usize;
    // Another definition of the key, or another size, is another memory.
    let bits = params.count("ipv6_prefix").unwrap_or_default();
    let identity = format!("policy/{name}/rate_limit/{key}/{bits}/{keys}");
    let counts = match params.text("shared") {
        None if params.get("on_failure").is_some() => {
            let message = "`on_failure` requires `shared`: without a store there is nothing to fail";
            return Err(BuildError::of("on_failure", message));
        }
        None => {
            let memory = kept.get_or_insert(&identity, || LimitMemory::new(keys));
            let has_shrunk = Reach::extend(kept, &identity, limit);
            Counts::Here { memory, has_shrunk }
        }
        Some(store) => {
            let on_failure = match params.text("on_failure") {
                Some("deny") => OnFailure::Deny,
                _ => OnFailure::Allow,
            };
            let identity = format!("{identity}/{store}");
            let memory = kept.get_or_insert(&identity, || SharedMemory::new(keys));
            let has_shrunk = Reach::extend(kept, &identity, limit);
            let id = format!("{name}:{key}:{bits}");
            let shared = SharedLimit::new([store, &id], limit, on_failure, memory);
            Counts::Shared(Arc::new(shared.after_larger(has_shrunk)))
        }
    };
    Ok(Box::new(RateLimit {
        texts: Texts::new(name, &key, limit),
        key,
        limit,
        counts,
        status: params.count("status").unwrap_or(429) as u16,
        has_headers: params.flag("headers"),
    }))
}

/// The key of the parameters, which are validated.
pub(super) fn request_key(params: &Params) -> RequestKey {
    let key: RequestKey = params
        .text("key")
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let bits = params
        .count("ipv6_prefix")
        .and_then(|bits| u8::try_from(bits).ok());
    key.with_ipv6_prefix(bits.unwrap_or(IPV6_PREFIX))
}

/// A name in quotation marks. Structured fields have no letters outside ASCII (RFC 9651 §3.3.3).
fn structured_string(name: &str) -> Box<str> {
    let mut text = String::from("\"");
    for letter in name.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text.into()
}

impl Policy for RateLimit {
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision {
        let outcome = match &self.counts {
            Counts::Here { memory, has_shrunk } => {
                let hash = self.key.hash(&memory.hasher, request, notes);
                let counted = Counted {
                    hash: hash.unwrap_or(WITHOUT_KEY),
                    random: request.random,
                    now: memory.nanos(request.now),
                    counts: false,
                    has_shrunk: *has_shrunk,
                };
                memory.admit(self.limit, counted).0
            }
            Counts::Shared(shared) => {
                let hash = self.key.hash(shared.hasher(), request, notes);
                match shared.admit(hash.unwrap_or(WITHOUT_KEY), request.random, request.now) {
                    Ok(outcome) => outcome,
                    Err(Unavailable) => {
                        let refusal = Refusal::new(503, "limit_store_unavailable");
                        return Decision::Refuse(refusal.with("Retry-After", "1"));
                    }
                }
            }
        };
        match outcome {
            Outcome::Admitted(_) if !self.has_headers => Decision::Continue,
            Outcome::Admitted(admitted) => {
                let reset = seconds(admitted.full_after());
                let headers = self.texts.headers(admitted.remaining(), reset);
                let edits = headers.map(|(name, value)| Edit::Add(name.into(), value));
                notes.response_headers.extend(edits);
                Decision::Continue
            }
            Outcome::Refused { wait } => Decision::Refuse(self.refusal(wait)),
        }
    }

    fn shared_limit(&self) -> Option<Arc<SharedLimit>> {
        match &self.counts {
            Counts::Here { .. } => None,
            Counts::Shared(shared) => Some(Arc::clone(shared)),
        }
    }
}

impl RateLimit {
    #[cold]
    fn refusal(&self, wait: u64) -> Box<Refusal> {
        let wait = seconds(wait).max(1);
        let mut refusal = Refusal::new(self.status, "rate_limited");
        refusal.headers.reserve_exact(3);
        let mut refusal = refusal.with("Retry-After", itoa::Buffer::new().format(wait));
        let headers = self.texts.headers(0, wait);
        let headers = headers.map(|(name, value)| (name.into(), value));
        refusal.headers.extend(headers);
        refusal.because(&*self.texts.refused)
    }
}

impl Texts {
    fn new(name: &str, key: &RequestKey, limit: Gcra) -> Self {
        let quoted = structured_string(name);
        // The window is the time in which the rate admits the burst again.
        let (quota, window) = (limit.burst(), seconds(limit.reach()).max(1));
        Self {
            policy: format!("{quoted};q={quota};w={window}").into(),
            refused: format!("limit of {name} by {key}").into(),
            name: quoted,
        }
    }

    /// The headers of draft-ietf-httpapi-ratelimit-headers-10: what remains and until when, and the quota with its window. Under
    /// attack they are made for every request, so without the machinery of formats.
    fn headers(&self, remaining: u64, reset: u64) -> [(&'static str, Box<[u8]>); 2] {
        let (mut left, mut until) = (itoa::Buffer::new(), itoa::Buffer::new());
        let parts = [
            &*self.name,
            ";r=",
            left.format(remaining),
            ";t=",
            until.format(reset),
        ];
        [
            ("RateLimit", parts.concat().into_bytes().into()),
            ("RateLimit-Policy", self.policy.as_bytes().into()),
        ]
    }
}

/// Whole seconds, rounded up.
fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kept::Kept;
    use crate::request::tests::{head, request};
    use crate::schema::Value;

    const TEXTS: [&str; 5] = ["rate", "key", "shared", "on_failure", "name"];

    fn params(values: &[(&'static str, &str)]) -> Params {
        let mut params = Params::default();
        for (key, text) in values {
            let value = match TEXTS.contains(key) {
                true => Value::Text((*text).to_owned()),
                false if *key == "headers" => Value::Flag(*text == "true"),
                false => Value::Count(text.parse().unwrap()),
            };
            params.set(key, value);
        }
        params
    }

    fn built(values: &[(&'static str, &str)], kept: &mut Kept) -> Box<dyn Policy> {
        let mut next = kept.next();
        let policy = build(Context {
            name: "per_client",
            params: &params(values),
            kept: &mut next,
        });
        *kept = next.finish();
        policy.unwrap()
    }

    fn policy(values: &[(&'static str, &str)]) -> Box<dyn Policy> {
        built(values, &mut Kept::default())
    }

    /// Checks a request with these header lines after this time; the refusal, if there is one.
    fn check(
        policy: &dyn Policy,
        lines: &str,
        notes: &mut Notes,
        [start, after]: [Duration; 2],
    ) -> Option<Refusal> {
        let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        let request = Request {
            now: *NOW.get_or_init(crate::clock::now) + start + after,
            ..request(&head)
        };
        match policy.check(&request, notes) {
            Decision::Continue => None,
            Decision::Refuse(refusal) => Some(*refusal),
            Decision::Wait(job) => panic!("{job:?}"),
        }
    }

    static NOW: std::sync::OnceLock<evenkeel_wire::instant::Instant> = std::sync::OnceLock::new();

    fn is_admitted(policy: &dyn Policy, lines: &str, millis: u64) -> bool {
        let times = [Duration::ZERO, Duration::from_millis(millis)];
        check(policy, lines, &mut Notes::default(), times).is_none()
    }

    #[test]
    fn refuses_what_exceeds_burst_and_rate() {
        let policy = policy(&[("rate", "1/s"), ("burst", "2")]);
        let admitted: Vec<bool> = [0, 0, 0, 999, 1000, 1001]
            .map(|at| is_admitted(&*policy, "", at))
            .into();
        assert_eq!(admitted, [true, true, false, false, true, false]);
    }

    #[test]
    fn the_burst_is_one_second_by_default() {
        for (rate, burst) in [("3/s", 3), ("30/m", 1), ("100/m", 2), ("1/h", 1)] {
            let policy = policy(&[("rate", rate)]);
            let admitted = (0..10).filter(|_| is_admitted(&*policy, "", 0)).count();
            assert_eq!(admitted, burst, "{rate}");
        }
    }

    #[test]
    fn a_refusal_tells_when_to_come_back() {
        let policy = policy(&[("rate", "2/m"), ("burst", "1"), ("status", "503")]);
        let at = |millis| {
            let times = [Duration::ZERO, Duration::from_millis(millis)];
            check(&*policy, "", &mut Notes::default(), times)
        };
        assert!(at(0).is_none());
        let refusal = at(10_001).unwrap();
        assert_eq!((refusal.status, refusal.code), (503, "rate_limited"));
        let headers: Vec<_> = refusal
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            headers,
            [
                ("Retry-After", &b"20"[..]),
                ("RateLimit", b"\"per_client\";r=0;t=20"),
                ("RateLimit-Policy", b"\"per_client\";q=1;w=30"),
            ]
        );
        assert!(refusal.detail.unwrap().contains("by client_ip"));
        assert_eq!(&*at(29_999).unwrap().headers[0].1, b"1");
    }

    #[test]
    fn admitted_requests_have_headers_only_if_asked_for() {
        let mut notes = Notes::default();
        check(&*policy(&[("rate", "2/s")]), "", &mut notes, [Duration::ZERO; 2]);
        assert!(notes.response_headers.is_empty());
        let policy = policy(&[("rate", "2/s"), ("burst", "4"), ("headers", "true")]);
        check(&*policy, "", &mut notes, [Duration::ZERO; 2]);
        let values: Vec<_> = notes.response_headers.iter().filter_map(Edit::value).collect();
        assert_eq!(
            values,
            [&b"\"per_client\";r=3;t=1"[..], b"\"per_client\";q=4;w=2"]
        );
    }

    #[test]
    fn each_value_of_the_key_has_a_limit_and_requests_without_it_share_one() {
        let policy = policy(&[("rate", "1/s"), ("key", "header.x-key")]);
        for (lines, expected) in [
            ("X-Key: a\r\n", true),
            ("X-Key: a\r\n", false),
            ("X-Key: b\r\n", true),
            ("", true),
            ("", false),
            ("X-Key: a\r\nX-Key: c\r\n", false),
        ] {
            assert_eq!(is_admitted(&*policy, lines, 0), expected, "{lines}");
        }
    }

    #[test]
    fn limits_by_identity_come_after_what_identifies() {
        assert_eq!(order(&params(&[("key", "client_ip")])), Order::Limit);
        assert_eq!(order(&params(&[])), Order::Limit);
        for key in ["user", "jwt.sub"] {
            assert_eq!(order(&params(&[("key", key)])), Order::LimitOfIdentity, "{key}");
        }
        let policy = policy(&[("rate", "1/h"), ("key", "user")]);
        let mut alice = Notes {
            user: Some("alice".into()),
            ..Notes::default()
        };
        assert!(check(&*policy, "", &mut alice, [Duration::ZERO; 2]).is_none());
        assert!(check(&*policy, "", &mut alice, [Duration::ZERO; 2]).is_some());
        assert!(check(&*policy, "", &mut Notes::default(), [Duration::ZERO; 2]).is_none());
    }

    #[test]
    fn the_state_survives_a_reload_and_a_new_rate_applies_at_once() {
        let mut kept = Kept::default();
        let first = built(&[("rate", "1/h"), ("burst", "1")], &mut kept);
        assert!(is_admitted(&*first, "", 0) && !is_admitted(&*first, "", 0));
        let same = built(&[("rate", "1/h"), ("burst", "1")], &mut kept);
        assert!(!is_admitted(&*same, "", 10));
        let faster = built(&[("rate", "10/s"), ("burst", "1")], &mut kept);
        assert!(!is_admitted(&*faster, "", 20));
        assert!(is_admitted(&*faster, "", 120) && !is_admitted(&*faster, "", 120));
        let other_key = built(&[("rate", "10/s"), ("burst", "1"), ("key", "host")], &mut kept);
        assert!(is_admitted(&*other_key, "", 120));
    }

    /// The store's view of a key that owes requests is not to be forgotten because a config was read that never became active.
    #[test]
    fn a_reload_that_fails_does_not_change_the_limit() {
        let mut kept = Kept::default();
        let values = [("rate", "1/s"), ("burst", "2"), ("shared", "limits")];
        let first = built(&values, &mut kept);
        let shared = first.shared_limit().unwrap();
        assert!(shared.use_seed(7));
        assert!(is_admitted(&*first, "", 0));
        let mut batch = Vec::new();
        shared.take(1, &mut batch);
        let now = *NOW.get_or_init(crate::clock::now);
        shared.apply(&batch[0], Duration::from_secs(30), now);
        let wait = |policy: &dyn Policy| {
            let refusal = check(policy, "", &mut Notes::default(), [Duration::ZERO; 2]);
            String::from_utf8(refusal.unwrap().headers[0].1.to_vec()).unwrap()
        };
        assert_eq!(wait(&*first), "29");
        let mut failed = kept.next();
        let larger = params(&[("rate", "1/s"), ("burst", "2000"), ("shared", "limits")]);
        let built_larger = build(Context {
            name: "per_client",
            params: &larger,
            kept: &mut failed,
        });
        drop((built_larger.unwrap(), failed));
        assert_eq!(wait(&*first), "29");
        let again = built(&values, &mut kept);
        assert_eq!((wait(&*again), wait(&*again)), ("29".to_owned(), "29".to_owned()));
    }

    #[test]
    fn with_a_store_that_never_answered() {
        let allow = policy(&[("rate", "1/s"), ("shared", "limits")]);
        assert!(is_admitted(&*allow, "", 0) && !is_admitted(&*allow, "", 0));
        assert_eq!(allow.shared_limit().unwrap().store(), "limits");
        let deny = policy(&[("rate", "1/s"), ("shared", "limits"), ("on_failure", "deny")]);
        let refusal = check(&*deny, "", &mut Notes::default(), [Duration::ZERO; 2]).unwrap();
        assert_eq!((refusal.status, refusal.code), (503, "limit_store_unavailable"));
        assert!(policy(&[("rate", "1/s")]).shared_limit().is_none());
    }

    #[test]
    fn errors_name_the_key() {
        let error = |values: &[(&'static str, &str)]| {
            let built = build(Context {
                name: "a",
                params: &params(values),
                kept: &mut Kept::default().next(),
            });
            built.unwrap_err().key
        };
        assert_eq!(error(&[("rate", "fast")]), Some("rate"));
        assert_eq!(error(&[("rate", "1/h"), ("burst", "100000000")]), Some("burst"));
        assert_eq!(
            error(&[("rate", "1/h"), ("on_failure", "deny")]),
            Some("on_failure")
        );
    }

    #[test]
    fn names_become_strings_of_structured_fields() {
        assert_eq!(&*structured_string("a \"b\\ é"), r#""a \"b\\ ?""#);
    }
}
