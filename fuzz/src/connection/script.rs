//! What happens in one run, from its bytes: bytes that cannot stand in a seed's text give the orders.

use crate::input::Input;

/// Whoever sends waits until nothing moves any more.
pub(super) const PAUSE: u8 = 0xff;
/// Ends the client's bytes, and each answer.
const NEXT: u8 = 0xfe;
/// A backend says that it sends no more.
pub(super) const END: u8 = 0xfd;
/// A backend resets its connection.
pub(super) const RESET: u8 = 0xfc;
/// Stands for the nonce of the attempt: 16 bytes.
pub(super) const NONCE: u8 = 0xfb;
/// First in an answer: it is sent before the request's body was read.
pub(super) const EARLY: u8 = 0xfa;

/// Pauses of the client, and of all backends together, that count; each costs as much as a request.
pub(super) const PAUSES: usize = 8;

/// What a backend says without being told what.
const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n\xfb";

/// How the client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// When it has seen everything.
    Late,
    /// It says that it sends no more, and reads on.
    HalfClosed,
    /// It resets its connection.
    Reset,
}

/// A run.
pub(super) struct Script {
    /// What the client sends, in parts.
    pub(super) client: Vec<Vec<u8>>,
    /// How it leaves.
    pub(super) leaving: Leaving,
    /// What backends send, one attempt after the other, and again from the front.
    responses: Vec<Vec<u8>>,
    /// Whether there is one backend or two.
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

    /// What the backend asked at the `attempt`-th attempt, from 0, sends.
    pub(super) fn response(&self, attempt: usize) -> Vec<u8> {
        match self.responses.len() {
            0 => USUAL.to_vec(),
            count => self.responses[attempt % count].clone(),
        }
    }
}

/// What is sent with pauses between; behind the last that counts there are none.
fn parts_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let parts = bytes.splitn(PAUSES + 1, |byte| *byte == PAUSE);
    let without_pauses = |part: &[u8]| part.iter().copied().filter(|byte| *byte != PAUSE).collect();
    parts.map(without_pauses).collect()
}
