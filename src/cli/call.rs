//! Calls of the admin API: what is sent to the running process, and what its response means for the exit code.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Outcome, Streams};
use crate::admin::{BackendStatus, client, follow};
use crate::net::ListenAddress;

/// Timeout for a response. Above the time that the process itself takes at most for a command.
pub(super) const TIMEOUT: Duration = Duration::from_secs(25);
/// The same of an upgrade.
pub(super) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(70);

/// Longest wait for the next bytes of the events. The process sends something every second.
const PATIENCE: Duration = Duration::from_secs(45);

/// The running process.
#[derive(Debug)]
pub(super) struct Process {
    /// The address of its admin API.
    pub(super) address: ListenAddress,
    /// The token for it.
    pub(super) token: Option<String>,
}

/// The result of a command that was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// For programs: JSON without a line break at its end.
    pub(super) json: Vec<u8>,
    /// For people: whole lines.
    pub(super) text: String,
}

/// Why a command was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    /// The reason.
    pub(super) why: String,
    /// The response, if there was one.
    pub(super) json: Vec<u8>,
}

/// The body of a response that refuses something (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    detail: String,
    /// The errors of a config.
    errors: Vec<String>,
    /// The backends that there are.
    backends: Vec<String>,
}

impl Process {
    /// Sends a request with this body, and returns the body of a successful response.
    pub(super) fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.call_within(TIMEOUT, (method, path), body)
    }

    /// The same with another timeout.
    pub(super) fn call_within(
        &self,
        timeout: Duration,
        target: (&str, &str),
        body: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let kind = "application/json";
        self.send(timeout, target, client::Content { kind, body })
    }

    /// The same with content of another kind.
    pub(super) fn send(
        &self,
        timeout: Duration,
        target: (&str, &str),
        content: client::Content<'_>,
    ) -> Result<Vec<u8>, Failure> {
        match client::send_blocking(self.api(), target, content, timeout) {
            Ok((200..=299, body)) => Ok(body),
            Ok((status, body)) => Err(refused(status, body)),
            Err(error) => Err(self.unreached(&error)),
        }
    }

    /// Follows the events of a process.
    pub(super) fn follow(&self, path: &str) -> Result<follow::Events, Failure> {
        match follow::follow_blocking(self.api(), path, PATIENCE) {
            Ok(follow::Followed::Events(events)) => Ok(events),
            Ok(follow::Followed::Refused(status, body)) => Err(refused(status, body)),
            Err(error) => Err(self.unreached(&error)),
        }
    }

    fn api(&self) -> client::Api<'_> {
        client::Api {
            address: &self.address,
            token: self.token.as_deref(),
        }
    }

    /// Changes a backend, and returns its status as JSON and parsed.
    pub(super) fn change(
        &self,
        method: &str,
        (pool, backend): (&str, &str),
        action: &str,
        body: &[u8],
    ) -> Result<(Vec<u8>, BackendStatus), Failure> {
        let (pool, backend) = (segment(pool), segment(backend));
        let path = format!("/api/v1/pools/{pool}/backends/{backend}/{action}");
        let json = self.call(method, &path, body)?;
        let status = parse(&json)?;
        Ok((json, status))
    }

    /// The failure of a call without a response.
    pub(super) fn unreached(&self, error: &io::Error) -> Failure {
        let address = &self.address;
        let (outcome, why) = match error.kind() {
            // Only the token can be it: paths are encoded.
            ErrorKind::InvalidInput => (Outcome::Misused, format!("invalid token: {error}")),
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => (
                Outcome::Unreached,
                format!(
                    "could not reach the process: nothing listens at {address}; name its admin API with `--admin ADDRESS`"
                ),
            ),
            ErrorKind::PermissionDenied => (
                Outcome::Unreached,
                format!(
                    "could not reach the process: this user may not connect to {address}; run this as its owner or in its group"
                ),
            ),
            _ => (
                Outcome::Unreached,
                format!("could not reach the process: the admin API at {address} did not respond: {error}"),
            ),
        };
        Failure {
            outcome,
            why,
            json: Vec::new(),
        }
    }
}

/// Parses a successful response.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| Failure {
        outcome: Outcome::Failed,
        why: format!("the response is not that of this version of Evenkeel; `--json` prints it: {error}"),
        json: json.to_vec(),
    })
}

/// Prints a result, or the reason why nothing was done.
pub(super) fn report(
    result: Result<Done, Failure>,
    is_json: bool,
    streams: &mut Streams<'_>,
) -> io::Result<Outcome> {
    match result {
        Ok(done) if is_json => {
            streams.out.write_all(&done.json)?;
            writeln!(streams.out)?;
            Ok(Outcome::Fine)
        }
        Ok(done) => {
            write!(streams.out, "{}", done.text)?;
            Ok(Outcome::Fine)
        }
        Err(failure) => {
            if is_json && !failure.json.is_empty() {
                streams.out.write_all(&failure.json)?;
                writeln!(streams.out)?;
            }
            writeln!(streams.err, "error: {}", failure.why)?;
            Ok(failure.outcome)
        }
    }
}

/// A response that refuses something. One that is not valid is wrong usage.
pub(super) fn refused(status: u16, json: Vec<u8>) -> Failure {
    let refusal: Refusal = serde_json::from_slice(&json).unwrap_or_default();
    let mut why = match refusal.detail.as_str() {
        "" => format!("the process responded with status {status}"),
        detail => detail.to_owned(),
    };
    if status == 401 {
        why += "; name it with `--token TOKEN` or in EVENKEEL_TOKEN";
    }
    if !refusal.backends.is_empty() {
        why += "; its backends are ";
        why += &refusal.backends.join(", ");
    }
    for error in &refusal.errors {
        why.push('\n');
        why += error;
    }
    let outcome = match status {
        400 => Outcome::Misused,
        _ => Outcome::Failed,
    };
    Failure { outcome, why, json }
}

/// A segment of a path, percent-encoded (RFC 3986 §2.1).
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_a_path_is_encoded() {
        assert_eq!(
            segment("http://a:1/ü ?#%"),
            "http%3A%2F%2Fa%3A1%2F%C3%BC%20%3F%23%25"
        );
        assert_eq!(segment("web-1_a.b~"), "web-1_a.b~");
    }

    #[test]
    fn a_refusal_has_its_reason_and_what_there_is() {
        let why = |status, body: &str| {
            let failure = refused(status, body.as_bytes().to_vec());
            let expected = if status == 400 {
                Outcome::Misused
            } else {
                Outcome::Failed
            };
            assert_eq!(failure.outcome, expected);
            assert_eq!(failure.json, body.as_bytes());
            failure.why
        };
        let body = r#"{"code":"unknown_backend","detail":"pool a has no backend","backends":["b","c"]}"#;
        assert_eq!(why(404, body), "pool a has no backend; its backends are b, c");
        let body = r#"{"code":"invalid_config","detail":"stays","errors":["c.yaml:1:1: error: no","more"]}"#;
        assert_eq!(why(422, body), "stays\nc.yaml:1:1: error: no\nmore");
        assert_eq!(why(502, "<html>"), "the process responded with status 502");
        assert_eq!(why(400, r#"{"detail":"no URL"}"#), "no URL");
        let body = r#"{"detail":"missing or wrong bearer token"}"#;
        assert!(why(401, body).ends_with("; name it with `--token TOKEN` or in EVENKEEL_TOKEN"));
    }
}
