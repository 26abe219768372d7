//! The events of a run, decoded from its bytes: bytes that cannot occur in the text of a seed are commands.

use crate::input::Input;

/// The sender waits until nothing moves any more.
pub(super) const PAUSE: u8 = 0xff;
/// Ends the client's bytes, and each response.
const NEXT: u8 = 0xfe;
/// A backend closes its sending side.
pub(super) const END: u8 = 0xfd;
/// A backend resets its connection.
pub(super) const RESET: u8 = 0xfc;
/// Placeholder for the nonce of the attempt: 16 bytes.
pub(super) const NONCE: u8 = 0xfb;
/// First in a response: it is sent before the request body was read.
pub(super) const EARLY: u8 = 0xfa;

/// Most pauses of the client, and of all backends together; each costs as much as a request.
pub(super) const PAUSES: usize = 8;

/// The default response of a backend.
const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n\xfb";

/// How the client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// When it has seen everything.
    Late,
    /// It closes its sending side, and continues to read.
    HalfClosed,
    /// It resets its connection.
    Reset,
}

/// A run.
pub(super) struct Script {
    /// The client's bytes, in parts.
    pub(super) client: Vec<Vec<u8>>,
    /// How it leaves.
    pub(super) leaving: Leaving,
    /// The responses of backends, one per attempt, repeated from the first.
    responses: Vec<Vec<u8>>,
    /// Whether there are one or two backends.
    pub(super) has_two_backends: bool,
}

impl Script {
    /// Bits 1 and 2 of the options say how the client leaves, bit 3 adds a backend.
    pub(super) fn new(input: &Input<'_>) -> Self {
        let mut parts = input.message.split(|byte| *byte == NEXT);
        let client = parts.next().unwrap_or_default();
        Self {
            client: parts_of(client),
            leaving: match input.options >> 1 & 3 {
                1 => Leaving::HalfClosed,
                2 => Leaving::Reset,
                _ => Leaving::Late,
            },
            responses: parts.map(<[u8]>::to_vec).collect(),
            has_two_backends: input.options & 8 != 0,
        }
    }

    /// The bytes for the `attempt`-th attempt, from 0.
    pub(super) fn response(&self, attempt: usize) -> Vec<u8> {
        match self.responses.len() {
            0 => USUAL.to_vec(),
            count => self.responses[attempt % count].clone(),
        }
    }
}

/// The parts between pauses; after the last pause that counts there are none.
fn parts_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let parts = bytes.splitn(PAUSES + 1, |byte| *byte == PAUSE);
    let without_pauses = |part: &[u8]| part.iter().copied().filter(|byte| *byte != PAUSE).collect();
    parts.map(without_pauses).collect()
}
