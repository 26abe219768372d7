//! Sends inputs through a real balancer, a process for each batch, and collects what the oracle finds.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::support::Proxy;
use crate::support::oracle::{Evidence, Input, Kind, Lane, PLAN, Route, Verdict, Violation};

/// Inputs per process; after that it must stop cleanly.
const BATCH: usize = 2500;
/// Most violations that are printed.
const TOLD: usize = 12;

/// Hanging inputs after which the run stops: each costs the whole deadline.
const HUNG: usize = 3;

/// The results of many inputs.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Number of inputs.
    pub(super) inputs: usize,
    /// Inputs with which a complete request reached the backend.
    pub(super) forwarded: usize,
    /// Refused inputs.
    pub(super) refused: usize,
    /// Canaries on a connection that a hostile request had used.
    pub(super) reused: usize,
    /// Inputs after which something hung.
    hung: usize,
    failures: Vec<String>,
}

impl Outcome {
    /// Adds the results of another lane.
    pub(super) fn add(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.forwarded += other.forwarded;
        self.refused += other.refused;
        self.reused += other.reused;
        self.hung += other.hung;
        self.failures.extend(other.failures);
    }

    /// Fails if anything was found; `context` explains how to repeat it.
    #[track_caller]
    pub(super) fn check(&self, context: &str) {
        eprintln!(
            "{context}: {} inputs, {} forwarded, {} refused, {} canaries on a used connection",
            self.inputs, self.forwarded, self.refused, self.reused
        );
        let told: Vec<&str> = self.failures.iter().take(TOLD).map(String::as_str).collect();
        assert!(
            told.is_empty(),
            "{context}: {} violations\n{}",
            self.failures.len(),
            told.join("\n\n")
        );
    }

    fn take_down(&mut self, evidence: &Evidence, violations: &[Violation], name: &str) {
        if violations.is_empty() {
            return;
        }
        let found: String = violations
            .iter()
            .map(|violation| format!("  {:?}: {}\n", violation.kind, violation.text))
            .collect();
        let pieces = evidence.input.pieces.iter();
        let pieces: Vec<String> = pieces.map(|piece| printable(piece)).collect();
        self.failures.push(format!(
            "{name} ({:?})\n  sent: {pieces:?}\n{}  got: \"{}\"\n{found}",
            evidence.input.mode,
            evidence
                .input
                .script
                .as_ref()
                .map(|script| format!("  backend: \"{}\"\n", printable(&script.bytes)))
                .unwrap_or_default(),
            printable(&evidence.got),
        ));
    }
}

/// Bytes for messages; the middle of long ones is omitted.
fn printable(bytes: &[u8]) -> String {
    if bytes.len() <= 2000 {
        return bytes.escape_ascii().to_string();
    }
    let (start, end) = (&bytes[..1500], &bytes[bytes.len() - 300..]);
    format!(
        "{} … {} bytes in all … {}",
        start.escape_ascii(),
        bytes.len(),
        end.escape_ascii()
    )
}

/// An input with a name.
pub(super) type Named = (String, Input);

/// Runs all inputs, judged by `judge`.
pub(super) fn try_all(
    route: Route,
    inputs: impl IntoIterator<Item = Named>,
    judge: impl Fn(&str, &Evidence) -> Verdict,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut inputs = inputs.into_iter().peekable();
    while inputs.peek().is_some() && outcome.hung < HUNG {
        outcome.add(try_batch(route, inputs.by_ref().take(BATCH), &judge));
    }
    outcome
}

fn try_batch(
    route: Route,
    inputs: impl Iterator<Item = Named>,
    judge: impl Fn(&str, &Evidence) -> Verdict,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut process = None;
    let mut lane = Lane::new(route, |backend| {
        let plan = match route {
            Route::Plain => "",
            Route::Planned => PLAN,
        };
        let config = format!("workers: 1\nhealth_check: {{ kind: none }}\n{plan}");
        let proxy = Proxy::before(&[])
            .listener("http2: false")
            .backend(&format!("http://{backend}"))
            .config(&config)
            .without_admin()
            .start();
        let address = proxy.address();
        process = Some(proxy);
        address
    });
    let proxy = process.expect("the lane started it");
    let mut judged: Vec<(String, Evidence, Verdict)> = Vec::new();
    for (name, input) in inputs {
        let evidence = lane.run(input);
        let verdict = judge(&name, &evidence);
        outcome.inputs += 1;
        outcome.forwarded += usize::from(verdict.forwarded > 0);
        outcome.refused += usize::from(verdict.statuses.iter().any(|status| *status >= 400));
        outcome.reused += usize::from(verdict.is_canary_reused);
        let hangs = |violation: &Violation| matches!(violation.kind, Kind::Hung | Kind::LeftOpen);
        outcome.hung += usize::from(verdict.violations.iter().any(hangs));
        judged.push((name, evidence, verdict));
        if outcome.hung >= HUNG {
            break;
        }
    }
    // Log lines are in the order of their events.
    lane.run(Input::new(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n"));
    proxy.access_line("/last");
    let mut log = log_by_port(&proxy);
    for (name, evidence, verdict) in &mut judged {
        judge_log(log.entry(evidence.port).or_default(), verdict);
        outcome.take_down(evidence, &verdict.violations, name);
    }
    let panics = proxy
        .messages()
        .into_iter()
        .filter(|line| line.contains("panicked"));
    outcome.failures.extend(panics);
    assert!(proxy.stop().success(), "it does not end cleanly");
    outcome
}

/// The statuses in the access log, by the client's port.
fn log_by_port(proxy: &Proxy) -> HashMap<u16, VecDeque<u64>> {
    let mut by_port: HashMap<u16, VecDeque<u64>> = HashMap::new();
    for line in proxy.access_lines(0) {
        let port = line["client_ip"]
            .as_str()
            .and_then(|client| client.rsplit_once(':'));
        let port = port.and_then(|(_, port)| port.parse().ok()).expect("a port");
        by_port
            .entry(port)
            .or_default()
            .push_back(line["status"].as_u64().unwrap_or_default());
        assert_eq!(Value::from("Request completed"), line["msg"]);
    }
    by_port
}

/// Expects one line per request, with the status that the client received. `lines` are those of its port, which later
/// clients may have used too.
fn judge_log(lines: &mut VecDeque<u64>, verdict: &mut Verdict) {
    let mut expected: Vec<u64> = verdict.statuses.iter().copied().map(u64::from).collect();
    if verdict.has_left {
        expected.push(499);
    }
    let count = expected.len().min(lines.len());
    let found: Vec<u64> = lines.drain(..count).collect();
    if found == expected {
        return;
    }
    if let (true, Some(last)) = (verdict.may_have_left, expected.last_mut()) {
        *last = 499;
        if found == expected {
            return;
        }
    }
    let text = format!("the log has {found:?}, expected {expected:?}");
    verdict.violations.push(Violation {
        kind: Kind::Log,
        text,
    });
}
