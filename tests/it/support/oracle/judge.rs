//! Decides from the evidence whether balancer, client and backend could disagree about where a message ends, or whether
//! anyone received bytes of another message.

use http_desync_guardian::http_token_utils::{TokenSimilarity, determine_similarity};
use http_desync_guardian::request_analyzer::HttpRequestData;
use http_desync_guardian::{ClassificationReason, RequestSafetyTier};

use super::faithful;
use super::grammar::{Step, values};
use super::lane::Evidence;
use super::message::{Reading, Request, Response, Rest, read_all};
use super::recorder::{CANARY, Seen};
use super::wire::End;

/// The statuses with which the balancer may refuse a request. Not 502 to 504: the backend made no error.
const REFUSALS: [u16; 7] = [400, 408, 413, 414, 417, 431, 501];
/// HTTP versions that are not supported.
const UNSUPPORTED: u16 = 505;

/// The kind of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A connection did not end, or the canary got no response, in time.
    Hung,
    /// The client's connection was reset, which may destroy the response.
    Reset,
    /// The backend got more requests than the client sent, or bytes that are no request.
    Smuggled,
    /// The backend got another request than the client sent.
    Altered,
    /// The backend got a head that other recipients interpret differently.
    Ambiguous,
    /// A truncated request is still open at the backend.
    LeftOpen,
    /// The client got bytes that are not the response to its request.
    WrongResponse,
    /// The client got no response, or cannot tell where it ends.
    NoResponse,
    /// The canary got another response than its own.
    Canary,
    /// The access log does not match what happened.
    Log,
}

/// A violation.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Details.
    pub(crate) text: String,
}

/// The result of one input.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The statuses of the final responses that the client got.
    pub(crate) statuses: Vec<u16>,
    /// Number of complete requests that reached the backend, without the canary's.
    pub(crate) forwarded: usize,
    /// Whether the access log must have a line `client_gone` after the lines of `statuses`.
    pub(crate) has_left: bool,
    /// Whether the last log line may be `client_gone` instead of the status that the client got.
    pub(crate) may_have_left: bool,
    /// Whether the last canary used a connection that had carried a hostile request.
    pub(crate) is_canary_reused: bool,
    /// Whether the client saw that its last response was truncated.
    pub(crate) is_cut: bool,
    /// The violations.
    pub(crate) violations: Vec<Violation>,
}

impl Verdict {
    /// Records a violation.
    pub(super) fn add(&mut self, kind: Kind, text: impl Into<String>) {
        let text = text.into();
        self.violations.push(Violation { kind, text });
    }
}

/// Judges a hostile request to a correct backend.
pub(crate) fn judge_request(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let reading = read_all(&evidence.input.bytes());
    // Bytes sent after the last request of the connection may meet a closed socket.
    let may_reset = matches!(reading.rest, Rest::Ignored);
    if !(may_reset && evidence.end == Some(End::Reset)) {
        judge_ends(evidence, &mut verdict);
    }
    judge_canary(evidence, &mut verdict);
    let seen: Vec<&Seen> = evidence.seen.iter().filter(|seen| !is_canary(seen)).collect();
    judge_seen(&seen, &reading, &mut verdict);
    let responses = read_responses(&evidence.got, &reading, &mut verdict);
    verdict.statuses = responses.iter().map(|response| response.status).collect();
    judge_responses(&responses, &seen, &mut verdict);
    let is_open = responses.last().is_none_or(Response::keeps_open);
    if is_open && responses.len() < reading.requests.len() {
        verdict.add(Kind::NoResponse, "a complete request got no response");
    }
    verdict.has_left = is_open && matches!(reading.rest, Rest::Partial(_) | Rest::Broken(_));
    verdict.may_have_left = seen.iter().any(|seen| !matches!(seen.step, Step::Whole(..)));
    verdict
}

/// How the connections ended.
pub(super) fn judge_ends(evidence: &Evidence, verdict: &mut Verdict) {
    match evidence.end {
        None => verdict.add(Kind::Hung, "the client's connection did not end"),
        Some(End::Reset) => verdict.add(Kind::Reset, "the client's connection was reset"),
        Some(End::Finished) => {}
    }
    if !evidence.is_settled {
        verdict.add(
            Kind::LeftOpen,
            "a connection to the backend stands in the middle of a request",
        );
    }
}

/// Whether the canary got the responses to its own requests and nothing else.
pub(super) fn judge_canary(evidence: &Evidence, verdict: &mut Verdict) {
    let own = read_all(&evidence.canary_sent).requests;
    let (all, others): (Vec<&Seen>, Vec<&Seen>) = evidence.seen.iter().partition(|seen| is_canary(seen));
    if all.len() != own.len() {
        let text = format!("of {} requests {} reached the backend", own.len(), all.len());
        return verdict.add(Kind::Canary, text);
    }
    let mut got = evidence.canary_got.as_slice();
    for (sent, seen) in own.iter().zip(&all) {
        if let Step::Whole(request, _) = &seen.step {
            for difference in faithful::differences(sent, request, true) {
                verdict.add(Kind::Canary, format!("its request was altered: {difference}"));
            }
        }
        match Response::read(got, b"GET", false) {
            Step::Whole(response, length) if is_response_to(&response, seen) && response.keeps_open() => {
                got = &got[length..];
            }
            _ => {
                let text = format!("it got {:?}", shown(&evidence.canary_got));
                verdict.add(Kind::Canary, text);
                break;
            }
        }
    }
    if !got.is_empty() {
        verdict.add(Kind::Canary, format!("after its responses: {:?}", shown(got)));
    }
    let last = all.last().map(|seen| seen.connection);
    verdict.is_canary_reused = others.iter().any(|seen| Some(seen.connection) == last);
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub(super) fn is_canary(seen: &Seen) -> bool {
    matches!(&seen.step, Step::Whole(request, _) if request.target == CANARY)
}

/// Compares each request that reached the backend with what was sent.
fn judge_seen(all: &[&Seen], reading: &Reading, verdict: &mut Verdict) {
    for (index, seen) in all.iter().enumerate() {
        let (request, is_whole) = match &seen.step {
            Step::Whole(request, _) => (request, true),
            Step::Partial(Some(request)) => (request, false),
            Step::Broken(reason, _) => {
                let text = format!("{reason}: {:?}", shown(&seen.head));
                verdict.add(Kind::Smuggled, text);
                continue;
            }
            Step::Partial(None) => {
                let text = format!("half a head: {:?}", shown(&seen.head));
                verdict.add(Kind::Smuggled, text);
                continue;
            }
        };
        verdict.forwarded += usize::from(is_whole);
        judge_head(&seen.head, verdict);
        let sent = reading.requests.get(index);
        // Only an incomplete request may follow the complete ones, and must not look complete.
        let sent = sent.or(reading
            .begun()
            .filter(|_| index == reading.requests.len() && !is_whole));
        let Some(sent) = sent else {
            let text = format!("nobody sent {:?}", shown(&seen.head));
            verdict.add(Kind::Smuggled, text);
            continue;
        };
        for difference in faithful::differences(sent, request, is_whole) {
            verdict.add(Kind::Altered, difference);
        }
        if !is_whole && !seen.has_ended {
            verdict.add(Kind::LeftOpen, "a request was cut short and its connection kept");
        }
        if !is_whole && index + 1 != all.len() {
            verdict.add(Kind::Smuggled, "a request follows one that was cut short");
        }
    }
}

/// Rates a head like scanners for ambiguous requests.
fn judge_head(head: &[u8], verdict: &mut Verdict) {
    let head: Vec<u8> = head
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !is_lookalike(line))
        .flatten()
        .copied()
        .collect();
    let rating = HttpRequestData::analyze_raw_request(&head);
    let is_known = matches!(
        rating.reason,
        // A body where none is usual, with one framing header: RFC 9110 §9.3.1 gives it no meaning but allows it, and
        // dropping either the header or the bytes would desynchronise.
        ClassificationReason::UndefinedContentLengthSemantics
            | ClassificationReason::UndefinedTransferEncodingSemantics
            | ClassificationReason::GetHeadZeroContentLength
    );
    if rating.tier != RequestSafetyTier::Compliant && !is_known {
        let message = rating.message.unwrap_or_default();
        verdict.add(Kind::Ambiguous, message);
    }
}

/// Whether the rating takes a header for framing although it has another name, such as `ContentxLength` or
/// `#Transfer-Encoding`: it compares the letters only. Names with another character in place of the dash, which a
/// backend might accept, are found by comparing the headers.
fn is_lookalike(line: &[u8]) -> bool {
    let name: Vec<u8> = line.iter().take_while(|byte| **byte != b':').copied().collect();
    let framing = [&b"content-length"[..], b"transfer-encoding"];
    let is_similar = |known| determine_similarity(known, &name) == TokenSimilarity::SameLetters;
    name.len() < line.len() && framing.into_iter().any(is_similar)
}

/// Splits what the client got into final responses.
fn read_responses(mut got: &[u8], reading: &Reading, verdict: &mut Verdict) -> Vec<Response> {
    let mut responses: Vec<Response> = Vec::new();
    while !got.is_empty() {
        let request = reading
            .requests
            .iter()
            .chain(reading.begun())
            .nth(responses.len());
        let asked = match request {
            Some(request) => &request.method[..],
            None if reading.is_rest_to_head => b"HEAD",
            None => b"",
        };
        if responses.last().is_some_and(|last| !last.keeps_open()) {
            let text = format!("bytes after the last response: {:?}", shown(got));
            verdict.add(Kind::WrongResponse, text);
            break;
        }
        match Response::read(got, asked, true) {
            Step::Whole(response, length) => {
                got = &got[length..];
                if response.status >= 200 {
                    responses.push(response);
                }
            }
            Step::Partial(_) | Step::Broken(..) => {
                let text = format!("no response: {:?}", shown(got));
                verdict.add(Kind::NoResponse, text);
                break;
            }
        }
    }
    responses
}

/// Whether each request that reached the backend got its own response, and each other one a refusal.
fn judge_responses(responses: &[Response], seen: &[&Seen], verdict: &mut Verdict) {
    let mut rest = responses.iter().peekable();
    for seen in seen {
        match rest.next_if(|response| serial(response).is_some()) {
            Some(response) if is_response_to(response, seen) => {}
            Some(response) => verdict.add(
                Kind::WrongResponse,
                format!("response {} got {response:?}", seen.serial),
            ),
            None if matches!(seen.step, Step::Whole(..)) => {
                verdict.add(
                    Kind::NoResponse,
                    format!("response {} did not arrive", seen.serial),
                );
            }
            None => {}
        }
    }
    let Some(response) = rest.next() else { return };
    let is_refusal = REFUSALS.contains(&response.status) || response.status == UNSUPPORTED;
    if serial(response).is_some() || !is_refusal || response.keeps_open() {
        verdict.add(Kind::WrongResponse, format!("nobody asked for {response:?}"));
    }
}

/// Whether a response is the one that the backend sent to this request.
pub(super) fn is_response_to(response: &Response, seen: &Seen) -> bool {
    let (Step::Whole(request, _) | Step::Partial(Some(request)) | Step::Broken(_, Some(request))) =
        &seen.step
    else {
        return false;
    };
    let body = own_body(seen.serial, request);
    let is_same = request.method == b"HEAD" || response.body.decoded == body;
    response.status == 200 && serial(response) == Some(seen.serial) && is_same
}

fn own_body(serial: u64, request: &Request) -> Vec<u8> {
    let nonce = values(&request.fields, "x-nonce")
        .first()
        .copied()
        .unwrap_or_default();
    [serial.to_string().as_bytes(), b" ", nonce].concat()
}

fn serial(response: &Response) -> Option<u64> {
    let serial = values(&response.fields, "x-serial").first().copied()?;
    std::str::from_utf8(serial).ok()?.parse().ok()
}
