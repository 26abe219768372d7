//! Compresses the response to one request, where a policy of its route asks for it: decides what becomes of the response and lends
//! the encoder. The bodies of local responses are there already, and are compressed here.

use evenkeel_balance::edits::Direction;
use evenkeel_balance::policy::{Compression, Outcome, ResponseFacts};

use super::changes::HeaderChanges;
use super::exchange::Exchange;
use crate::coding::{ContentEncoder, EncodeError, EncodedBody};
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

/// Bytes of a local body that are compressed without a break for other connections of the worker: 0.1 to 1 ms.
const PIECE: usize = 16 << 10;

/// A local response before it is sent.
pub(super) struct Local<'a> {
    pub(super) status: u16,
    /// Its own headers: name, value, and whether it may be a secret.
    pub(super) headers: &'a [(&'a [u8], &'a [u8], bool)],
    /// The media type of its body.
    pub(super) media: &'a str,
    pub(super) body: &'a [u8],
}

/// Decides about a local response, and adds what its headers say then to `changes`, which holds all other changes. Returns the
/// compressed body, if it is compressed.
pub(super) async fn local(
    exchange: &Exchange<'_>,
    compression: &Compression,
    response: Local<'_>,
    changes: &mut HeaderChanges<'_>,
) -> Option<Vec<u8>> {
    let request = exchange.request.head;
    let mut outcome = compression.choose(request, &response.facts(changes));
    let mut encoded = None;
    if let Outcome::Encoded(coding) = outcome {
        let encoders = &exchange.request.worker().encoders;
        let encoder = encoders.lend(coding, compression.level(), Some(response.body.len() as u64));
        encoded = match encoder {
            Some(encoder) => encode(encoder, response.body).await.ok(),
            None => None,
        };
        if encoded.is_none() {
            outcome = Outcome::Varies;
        }
    }
    let edits = outcome.edits(&response.facts(changes));
    for edit in edits {
        changes.apply(&edit);
    }
    changes.hides_length = outcome.hides_length();
    encoded
}

/// Compresses a whole body, and lets the other connections of the worker go on between pieces.
async fn encode(encoder: ContentEncoder, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut encoded = EncodedBody::new(encoder);
    for piece in body.chunks(PIECE) {
        encoded.push(piece)?;
        tokio::task::yield_now().await;
    }
    encoded.finish()
}

impl Local<'_> {
    /// What compression depends on, with these changes of the headers.
    fn facts<'f>(&'f self, changes: &'f HeaderChanges<'_>) -> ResponseFacts<'f> {
        let own = self.headers.iter().map(|(name, value, _)| (*name, *value));
        let kept = own.filter(|(name, _)| !changes.removes(Direction::Response, name));
        let media = (!self.media.is_empty()).then_some((&b"content-type"[..], self.media.as_bytes()));
        let added = changes.added().map(|(name, value, _)| (name, value));
        ResponseFacts::local(
            self.status,
            self.body.len(),
            media.into_iter().chain(kept).chain(added),
        )
    }
}
