//! Proves that the oracle detects flaws: a proxy with one well-known flaw at a time, and the attack on it.

use crate::support::oracle::{
    Flaw, HOSTILE, Input, Kind, Lane, Mode, Naive, Route, Script, judge_request, judge_response,
};

/// What every proxy must do.
const HARMLESS: [&[u8]; 6] = [
    b"GET /g HTTP/1.1\r\nHost: a\r\nX-Nonce: n\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
    b"GET /g HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
];

/// A flaw, the attack on it, and one of its expected findings.
type Attack = (Flaw, &'static [u8], Kind);

const ATTACKS: [Attack; 17] = [
    (
        Flaw::LengthWins,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::CodingWins,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::LooseCoding,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::LooseCoding,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::FirstLength,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\nContent-Length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::LastLength,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::GetHasNoBody,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Altered,
    ),
    (
        Flaw::DropsLength,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::BareLf,
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::Folds,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::Nul,
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::BlankBeforeColon,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
        Kind::Smuggled,
    ),
    (
        Flaw::ChunkBareLf,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::ChunkOverflow,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::UpgradesAnyway,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        Kind::Altered,
    ),
    (
        Flaw::ConnectionStrips,
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        Kind::Smuggled,
    ),
    (
        Flaw::ConnectionStrips,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n",
        Kind::Altered,
    ),
];

/// What the oracle finds when a proxy with this flaw gets these bytes.
fn found(flaw: Flaw, bytes: &[u8]) -> Vec<Kind> {
    let mut lane = Lane::new(Route::Plain, |backend| Naive::start(backend, flaw));
    let mut input = Input::new(bytes);
    if flaw == Flaw::GetHasNoBody {
        // Both sides would wait for each other, except that many backends do not wait for a body that they do not need.
        input.mode = Mode::Early;
    }
    let verdict = judge_request(&lane.run(input));
    let mut kinds: Vec<Kind> = verdict
        .violations
        .iter()
        .map(|violation| violation.kind)
        .collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_proxy_that_only_forwards_has_no_violation() {
    for bytes in HARMLESS {
        assert_eq!(found(Flaw::None, bytes), [], "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_proxy_with_one_flaw_has_no_violation_on_harmless_input() {
    for (flaw, ..) in ATTACKS {
        for bytes in HARMLESS {
            assert_eq!(found(flaw, bytes), [], "{flaw:?} {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn every_flaw_is_found_by_its_own_attack_only() {
    for (flaw, attack, kind) in ATTACKS {
        let kinds = found(flaw, attack);
        assert!(kinds.contains(&kind), "{flaw:?}: {kinds:?}");
        if !matches!(flaw, Flaw::UpgradesAnyway | Flaw::ConnectionStrips) {
            assert_eq!(found(Flaw::None, attack), [], "{}", attack.escape_ascii());
        }
    }
}

/// A flaw in handling responses, a response that exposes it, whether the backend closes then, and one of its expected
/// findings.
type HostileResponse = (Flaw, &'static [u8], bool, Kind);

const RESPONSES: [HostileResponse; 4] = [
    (
        Flaw::KeepsExtra,
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        false,
        Kind::Canary,
    ),
    (
        Flaw::KeepsExtra,
        b"HTTP/1.1 304 Not Modified\r\nDate: now\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        false,
        Kind::Canary,
    ),
    (
        Flaw::FirstLengthOfAnswer,
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        true,
        Kind::NoResponse,
    ),
    (
        Flaw::MendsCutAnswers,
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 10\r\n\r\nhello",
        true,
        Kind::WrongResponse,
    ),
];

/// What the oracle finds when a proxy with this flaw gets this response.
fn found_in_response(flaw: Flaw, bytes: &[u8], closes: bool) -> Vec<Kind> {
    let mut lane = Lane::new(Route::Plain, |backend| Naive::start(backend, flaw));
    let mut input = Input::new(b"GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n");
    input.script = Some(Script {
        path: HOSTILE.to_vec(),
        bytes: bytes.to_vec(),
        closes,
        is_early: false,
        late: Vec::new(),
    });
    let verdict = judge_response(&lane.run(input));
    verdict
        .violations
        .iter()
        .map(|violation| violation.kind)
        .collect()
}

#[test]
fn every_flaw_in_handling_responses_is_found() {
    for (flaw, response, closes, kind) in RESPONSES {
        let kinds = found_in_response(flaw, response, closes);
        assert!(kinds.contains(&kind), "{flaw:?}: {kinds:?}");
        let harmless = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(found_in_response(flaw, harmless, false), [], "{flaw:?}");
    }
}
