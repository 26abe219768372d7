//! Compresses the response to one request, where a policy of its route asks for it: decides what becomes of the response and lends
//! the encoder.

use evenkeel_balance::policy::{Outcome, ResponseFacts};

use super::changes::HeaderChanges;
use super::exchange::Exchange;
use crate::coding::ContentEncoder;
use crate::head::{BodyLength, ResponseHead};

/// Decides about a response, whose head was parsed from `bytes`, and adds what its headers say then to `changes`, which holds all
/// other changes. Returns the encoder of its body, if that is compressed.
pub(super) fn choose(
    exchange: &Exchange<'_>,
    (head, bytes): (&ResponseHead, &[u8]),
    changes: &mut HeaderChanges<'_>,
) -> Option<ContentEncoder> {
    let compression = exchange.changes.as_ref()?.plan.compression()?;
    let before = changes.edits_of(head, bytes);
    let facts = ResponseFacts::of(head, bytes, &before);
    let mut outcome = compression.choose(exchange.request.head, &facts);
    let mut encoder = None;
    if let Outcome::Encoded(coding) = outcome {
        let length = match head.body {
            BodyLength::Exact(length) => Some(length),
            BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        if head.body != BodyLength::None {
            let encoders = &exchange.request.worker().encoders;
            encoder = encoders.lend(coding, compression.level(), length);
        }
        // The memory for encoders is used up, or there is no body.
        if encoder.is_none() {
            outcome = Outcome::Varies;
        }
    }
    for edit in outcome.edits(&facts) {
        changes.apply(&edit);
    }
    changes.hides_length = outcome.hides_length();
    encoder
}
