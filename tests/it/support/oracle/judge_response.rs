//! Judges a hostile response: the client gets all of it, or a 502, or sees that it was truncated; and its connection is
//! reused only if its end was proven.

use super::grammar::{Fields, Framing, Step, elements};
use super::judge::{Kind, Verdict, is_canary, is_response_to, judge_canary, judge_ends};
use super::lane::{Evidence, Route};
use super::message::{Request, Response, read_all};
use super::plan;
use super::recorder::{Script, Seen};
use super::wire::End;

/// The path that gets the hostile response.
pub(crate) const HOSTILE: &[u8] = b"/hostile";

/// A hostile response as the independent parser reads it.
#[derive(Debug)]
pub(crate) struct Meant {
    /// The statuses of the interim responses before it.
    interim: Vec<u16>,
    /// The final response.
    step: Step<Response>,
    /// Whether the connection may carry another exchange.
    is_clean: bool,
}

impl Meant {
    /// Reads what a backend sends to a request with this method.
    pub(crate) fn read(script: &Script, method: &[u8]) -> Self {
        let mut bytes = script.bytes.as_slice();
        let mut interim = Vec::new();
        let mut is_end_proved = true;
        loop {
            let step = Response::read_of_backend(bytes, method, script.closes);
            let is_clean = match &step {
                Step::Whole(response, length) if response.status == 101 => {
                    return Self {
                        interim,
                        step: Step::Broken("an unsolicited 101", None),
                        is_clean: *length == 0,
                    };
                }
                Step::Whole(response, length) if response.status < 200 => {
                    interim.push(response.status);
                    is_end_proved &= response.keeps_open();
                    bytes = &bytes[*length..];
                    continue;
                }
                Step::Whole(response, length) => {
                    let is_alone = *length == bytes.len() && !script.closes && script.late.is_empty();
                    is_alone && is_end_proved && response.keeps_open()
                }
                _ => false,
            };
            return Self {
                interim,
                step,
                is_clean,
            };
        }
    }

    /// Whether the response is complete: then the backend may leave its connection open.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.step, Step::Whole(..))
    }
}

/// Judges the response in the evidence's script.
pub(crate) fn judge_response(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let reading = read_all(&evidence.input.bytes());
    judge_canary(evidence, &mut verdict);
    let (hostile, others): (Vec<&Seen>, Vec<&Seen>) = evidence
        .seen
        .iter()
        .filter(|seen| !is_canary(seen))
        .partition(|seen| is_hostile(seen));
    let (Some(script), Some(request)) = (&evidence.input.script, reading.requests.first()) else {
        verdict.add(Kind::NoResponse, "there is nothing to judge");
        return verdict;
    };
    let meant = Meant::read(script, &request.method);
    judge_reuse(evidence, &meant, &hostile, &mut verdict);
    verdict.forwarded = hostile.len();
    let rest = judge_first(evidence, &meant, request, &mut verdict);
    judge_rest(rest, &others, &mut verdict);
    // A reset may be the only sign of truncation; otherwise it may destroy a response.
    if !(verdict.is_cut && evidence.end == Some(End::Reset)) {
        judge_ends(evidence, &mut verdict);
    }
    // Whether an early response counts as a request that the client left depends on timing.
    verdict.may_have_left = script.is_early;
    verdict
}

fn is_hostile(seen: &Seen) -> bool {
    matches!(&seen.step, Step::Whole(request, _) | Step::Partial(Some(request)) if request.target == HOSTILE)
}

/// A connection whose end was not proven is not reused.
fn judge_reuse(evidence: &Evidence, meant: &Meant, hostile: &[&Seen], verdict: &mut Verdict) {
    // If a connection ended without a response, the request may be sent once more.
    let Some(hostile) = hostile.last() else {
        return verdict.add(Kind::NoResponse, "the request did not reach the backend");
    };
    let mut used = evidence
        .seen
        .iter()
        .filter(|seen| seen.connection == hostile.connection);
    if !meant.is_clean && used.next_back().is_some_and(|last| last.serial > hostile.serial) {
        verdict.add(
            Kind::WrongResponse,
            "the connection of an ambiguous response was reused",
        );
    }
}

/// Judges what the client got for the hostile request; returns the bytes after that.
fn judge_first<'a>(
    evidence: &'a Evidence,
    meant: &Meant,
    request: &Request,
    verdict: &mut Verdict,
) -> &'a [u8] {
    let mut got = evidence.got.as_slice();
    let mut allowed = meant.interim.iter();
    loop {
        // A local response to HEAD has no body.
        let step = Response::read(got, &request.method, evidence.end == Some(End::Finished));
        match step {
            Step::Whole(response, length) if response.status < 200 => {
                let is_known = request.version == 1 && allowed.any(|status| *status == response.status);
                if !is_known {
                    verdict.add(
                        Kind::WrongResponse,
                        format!("nobody sent interim {}", response.status),
                    );
                }
                got = &got[length..];
            }
            Step::Whole(response, length) => {
                verdict.statuses.push(response.status);
                judge_whole(response.clone(), (meant, evidence.route), verdict);
                return if response.keeps_open() {
                    &got[length..]
                } else {
                    &[]
                };
            }
            Step::Partial(Some(response)) => {
                verdict.statuses.push(response.status);
                verdict.is_cut = true;
                judge_cut(response, (meant, evidence.route), verdict);
                return &[];
            }
            _ => {
                // A reset destroys unread bytes; a close does not.
                verdict.add(Kind::NoResponse, "no response at all");
                return &[];
            }
        }
    }
}

fn judge_whole(got: Response, (meant, route): (&Meant, Route), verdict: &mut Verdict) {
    let is_own = got.status == 502
        && elements(&got.fields, "content-type")
            .iter()
            .any(|media| media.starts_with(b"text/plain"));
    match &meant.step {
        _ if is_own => {}
        Step::Whole(response, _) => judge_copy(got, response.clone(), (true, route), verdict),
        step => verdict.add(
            Kind::WrongResponse,
            format!("a complete response became {step:?}: {got:?}"),
        ),
    }
}

fn judge_cut(got: Response, (meant, route): (&Meant, Route), verdict: &mut Verdict) {
    match &meant.step {
        Step::Partial(Some(response)) | Step::Broken(_, Some(response)) => {
            judge_copy(got, response.clone(), (false, route), verdict)
        }
        step => verdict.add(
            Kind::NoResponse,
            format!("a truncated response became {step:?}: {got:?}"),
        ),
    }
}

/// Compares a response with what the backend sent.
fn judge_copy(
    mut got: Response,
    mut sent: Response,
    (is_whole, route): (bool, Route),
    verdict: &mut Verdict,
) {
    if route == Route::Planned && !plan::undo_response(&mut got, &mut sent) {
        verdict.add(
            Kind::Altered,
            format!("the plan was not applied to {sent:?}: {got:?}"),
        );
    }
    let (body, part) = (&sent.body.decoded, &got.body.decoded);
    let is_same_body = if is_whole {
        body == part
    } else {
        body.starts_with(part)
    };
    let mut trailers = sent.body.trailers.iter();
    let are_trailers = got
        .body
        .trailers
        .iter()
        .all(|one| trailers.any(|other| one == other));
    let date = |fields: &Fields| super::grammar::values(fields, "date").len();
    let is_dated = date(&got.fields) >= 1;
    // If no body follows, an announced length is optional; otherwise it is the one that was sent.
    let is_framed = match (sent.framing, got.framing) {
        (Framing::None, framing) => framing == Framing::None,
        (Framing::Length(sent), Framing::Length(got)) => sent == got,
        (Framing::Chunked | Framing::UntilEnd, framing) => {
            matches!(framing, Framing::Chunked | Framing::UntilEnd)
        }
        (Framing::Length(_), _) => false,
    };
    let is_copy = got.status == sent.status && kept(&got) == kept(&sent) && is_same_body && are_trailers;
    if !(is_copy && is_dated && is_framed) {
        verdict.add(Kind::WrongResponse, format!("sent {sent:?}, got {got:?}"));
    }
}

/// The headers that are forwarded unchanged, except `Date`.
fn kept(response: &Response) -> Fields {
    const OWN: [&str; 10] = [
        "connection",
        "content-length",
        "date",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const PROTECTED: [&str; 3] = ["via", "x-request-id", "x-real-ip"];
    let options = elements(&response.fields, "connection");
    let is_kept = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        let text = String::from_utf8_lossy(&name).into_owned();
        let alias = text.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let is_protected = PROTECTED.contains(&text.as_str()) || alias.starts_with("x-forwarded");
        let is_framing = alias == "content-length" || alias == "transfer-encoding";
        !OWN.contains(&text.as_str()) && !is_framing && (is_protected || !options.contains(&name))
    };
    let fields = response.fields.iter().filter(|(name, _)| is_kept(name));
    fields.cloned().collect()
}

/// The rest of the client's connection: the responses to its next requests.
fn judge_rest(mut got: &[u8], seen: &[&Seen], verdict: &mut Verdict) {
    let mut rest = seen.iter();
    while !got.is_empty() {
        match (Response::read(got, b"GET", true), rest.next()) {
            (Step::Whole(response, length), Some(seen)) if is_response_to(&response, seen) => {
                verdict.statuses.push(response.status);
                got = &got[length..];
            }
            (step, _) => {
                return verdict.add(Kind::WrongResponse, format!("after the response: {step:?}"));
            }
        }
    }
}
