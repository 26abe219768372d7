//! Decides which requests are sent to another pool too. Nobody waits for the responses to these copies.

use crate::policy::BuildError;
use crate::request::Request;
use crate::rng;
use crate::schema::{Form, Key, Kind, Params, Section};

/// The header that marks a copy, and its value. A request that has it is not copied again, so that two balancers that mirror
/// to each other do not copy for ever. A client that sends it only keeps its own request from being copied; unless it is trusted, the
/// backend does not get the mark.
pub const MARK: (&str, &str) = ("X-Evenkeel-Mirrored", "1");

/// Percentages are read with this many parts of a percent.
const PARTS: u64 = 1_000;

/// The keys of `mirror`.
pub const SECTION: Section = Section {
    name: "mirror",
    about: "Sends a copy of requests to another pool, for tests with real traffic. Responses to copies are dropped, and copies never delay or fail the original: they are dropped when 128 of one worker are in flight, and when a body is larger than `retry.replay_limit` or not complete when the response begins. The host of a copy ends in `-shadow`, and it has the header `X-Evenkeel-Mirrored: 1`; a request with this header is not copied again, and a client that is not among `trusted_proxies` cannot set it. Requests that upgrade to another protocol are not copied.",
    keys: &[
        Key::new(
            "pool",
            Kind::Text(Form::new("the name of a pool")),
            "The pool that receives the copies.",
        )
        .required(),
        Key::new(
            "percent",
            Kind::Text(
                Form::new("a percentage from 0 to 100, such as 10 or 0.5")
                    .or_number()
                    .checked(|text| thousandths(text).is_some()),
            ),
            "The share of requests that are copied, by chance, with at most three decimals.",
        )
        .default("100"),
    ],
};

/// What is copied, and to which pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pool: Box<str>,
    /// In thousandths of a percent.
    share: u64,
}

impl Mirror {
    /// The copies that the config asks for.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub fn build(params: &Params) -> Result<Self, BuildError> {
        let pool = params.text("pool").unwrap_or_default();
        if pool.is_empty() {
            return Err(BuildError::of("pool", "`mirror` requires the name of a pool"));
        }
        let percent = params.text("percent").unwrap_or("100");
        let share = thousandths(percent).ok_or_else(|| {
            BuildError::of(
                "percent",
                format!("{percent:?} is not a percentage from 0 to 100 with at most three decimals"),
            )
        })?;
        Ok(Self {
            pool: pool.into(),
            share,
        })
    }

    /// The pool that receives the copies.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Whether a request is copied.
    pub fn is_chosen(&self, request: &Request<'_>) -> bool {
        // Mixed, because other decisions about the request use the same bits.
        let drawn = rng::below(rng::mix(!request.random), 100 * PARTS);
        drawn < self.share && request.head.upgrade.is_none() && !is_copy(request)
    }
}

/// Whether a request is a copy.
fn is_copy(request: &Request<'_>) -> bool {
    request.header(MARK.0.as_bytes()).next().is_some()
}

/// Appends the host of a copy: `-shadow` behind the name and before the port, as Envoy does. An IPv6 address stays, because nothing
/// can be appended to it.
pub fn shadow_host(authority: &[u8], out: &mut Vec<u8>) {
    if authority.starts_with(b"[") {
        out.extend_from_slice(authority);
        return;
    }
    let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
    let (name, port) = authority.split_at_checked(end).unwrap_or((authority, b""));
    out.extend_from_slice(name);
    if !name.is_empty() {
        out.extend_from_slice(b"-shadow");
    }
    out.extend_from_slice(port);
}

/// Reads a percentage as thousandths of a percent.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str, most| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, 3) || !is_number(decimals, 3) {
        return None;
    }
    let parts: u64 = format!("{decimals:0<3}").parse().ok()?;
    let share = whole.parse::<u64>().ok()? * PARTS + parts;
    (share <= 100 * PARTS).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{head, request};
    use crate::schema::Value;

    fn mirror(percent: &str) -> Result<Mirror, BuildError> {
        let mut params = Params::default();
        params.set("pool", Value::Text("shadow".to_owned()));
        params.set("percent", Value::Text(percent.to_owned()));
        Mirror::build(&params)
    }

    fn chosen(percent: &str, lines: &str, requests: u64) -> u64 {
        let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        let mirror = mirror(percent).unwrap();
        let chosen = (0..requests).filter(|random| {
            let request = Request {
                random: rng::mix(*random),
                ..request(&head)
            };
            mirror.is_chosen(&request)
        });
        chosen.count() as u64
    }

    #[test]
    fn copies_about_the_percentage() {
        assert_eq!(chosen("0", "", 1_000), 0);
        assert_eq!(chosen("100", "", 1_000), 1_000);
        let tenth = chosen("10", "", 10_000);
        assert!((800..1_200).contains(&tenth), "{tenth}");
        let half = chosen("0.5", "", 100_000);
        assert!((350..650).contains(&half), "{half}");
    }

    #[test]
    fn a_copy_is_never_copied() {
        assert_eq!(chosen("100", "x-evenkeel-mirrored: 1\r\n", 100), 0);
        assert_eq!(chosen("100", "X-Evenkeel-Mirrored:\r\n", 100), 0);
    }

    #[test]
    fn an_upgrade_is_not_copied() {
        let lines = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        assert_eq!(chosen("100", lines, 100), 0);
    }

    #[test]
    fn reads_percentages() {
        for (text, share) in [
            ("0", 0),
            ("100", 100_000),
            ("10", 10_000),
            ("0.5", 500),
            ("0.001", 1),
            ("100.000", 100_000),
        ] {
            assert_eq!(mirror(text).map(|mirror| mirror.share), Ok(share), "{text}");
        }
        for wrong in [
            "", "101", "100.001", "-1", "+1", "1e1", ".5", "5.", "0.0001", "10%", "1.2.3",
        ] {
            assert_eq!(mirror(wrong).unwrap_err().key, Some("percent"), "{wrong}");
        }
        let everything = Mirror::build(&{
            let mut params = Params::default();
            params.set("pool", Value::Text("shadow".to_owned()));
            params
        });
        assert_eq!(everything.unwrap().share, 100_000);
        assert_eq!(Mirror::build(&Params::default()).unwrap_err().key, Some("pool"));
    }

    #[test]
    fn the_host_of_a_copy_ends_in_shadow() {
        for (host, expected) in [
            ("a.test", "a.test-shadow"),
            ("a.test:8080", "a.test-shadow:8080"),
            ("10.0.0.1", "10.0.0.1-shadow"),
            ("[::1]:80", "[::1]:80"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            shadow_host(host.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
