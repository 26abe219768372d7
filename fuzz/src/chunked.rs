//! Decodes chunked bodies from any bytes in any reads, and compares with a decoder that is as simple as possible. Also
//! encodes any payload and decodes it again.

use evenkeel_wire::head::BodyLength;
use evenkeel_wire::http1::chunked::{ChunkedDecoder, trailer_fields};
use evenkeel_wire::http1::{Decoder, Encoder, Kind, Limits, Malformed, Piece};

use crate::input::Input;
use crate::reference::chunked::{Body, End, decode};

/// The result of a body: its payload, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    payload: Vec<u8>,
    end: Result<Option<(usize, Vec<u8>)>, Malformed>,
}

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    for kind in [Kind::Request, Kind::Response] {
        check_body_of(kind, &input);
    }
    round_trips(&input);
}

fn check_body_of(kind: Kind, input: &Input<'_>) {
    let limits = input.limits();
    let whole = read(kind, input.message, &[input.message.len()], &limits);
    for lengths in input.splits() {
        assert_eq!(
            read(kind, input.message, &lengths, &limits),
            whole,
            "split at {lengths:?}"
        );
    }
    assert!(whole.payload.len() <= input.message.len());
    let is_response = kind == Kind::Response;
    agrees_with_the_reference(&whole, &decode(input.message, is_response, &limits));
    if let Ok(Some((_, trailers))) = &whole.end {
        let mut fields = Vec::new();
        assert!(trailers.len() <= limits.trailers);
        trailer_fields(trailers, &mut fields, &limits).expect("what was accepted is accepted");
    }
}

/// Decodes as a connection does: consumed bytes are dropped, the rest stays until more arrive.
fn read(kind: Kind, bytes: &[u8], lengths: &[usize], limits: &Limits) -> Decoded {
    let mut decoder = ChunkedDecoder::new(kind, *limits);
    let mut payload = Vec::new();
    let mut consumed = 0;
    for length in lengths {
        loop {
            let unread = &bytes[consumed..*length];
            match decoder.next(unread) {
                Err(error) => {
                    assert_eq!(decoder.next(b"0\r\n\r\n"), Err(error), "an error stands");
                    let end = Err(error);
                    return Decoded { payload, end };
                }
                Ok(Piece::NeedMore { skip }) => {
                    assert!(skip <= unread.len());
                    consumed += skip;
                    break;
                }
                Ok(Piece::Data { skip, len }) => {
                    assert!(len > 0);
                    payload.extend_from_slice(&unread[skip..skip + len]);
                    consumed += skip + len;
                }
                Ok(Piece::End { skip, trailers }) => {
                    assert!(decoder.is_ended());
                    let trailers = trailers.map(|range| unread[range].to_vec()).unwrap_or_default();
                    let end = Ok(Some((consumed + skip, trailers)));
                    return Decoded { payload, end };
                }
            }
        }
    }
    Decoded {
        payload,
        end: Ok(None),
    }
}

fn agrees_with_the_reference(ours: &Decoded, theirs: &Body) {
    assert_eq!(ours.payload, theirs.payload);
    match (&ours.end, &theirs.end) {
        (
            Ok(Some((end, trailers))),
            End::At {
                end: other,
                trailers: lines,
            },
        ) => {
            assert_eq!((end, trailers), (other, lines));
        }
        (Err(_), End::Broken) | (Ok(None), End::Missing) => {}
        // The reference parses a trailer section only when it is complete.
        (Err(_) | Ok(None), End::InTrailers) => {}
        _ => panic!("{ours:?} is not {theirs:?}"),
    }
}

/// A payload encoded in pieces of any size decodes to the same payload, by the body decoder too.
fn round_trips(input: &Input<'_>) {
    let mut rng = input.rng();
    let encoder = Encoder::for_body(BodyLength::Chunked);
    let mut encoded = Vec::new();
    let mut rest = input.message;
    while !rest.is_empty() {
        let length = 1 + (rng.bits() % rest.len() as u64) as usize;
        encoder.open(length, &mut encoded);
        encoded.extend_from_slice(&rest[..length]);
        encoder.close(&mut encoded);
        rest = &rest[length..];
    }
    encoder.end(b"X-Sum: 1\r\n", &mut encoded);
    let limits = Limits::default();
    let mut decoder = Decoder::new(BodyLength::Chunked, Kind::Request, &limits);
    let mut payload = Vec::new();
    let mut unread = &encoded[..];
    loop {
        match decoder.next(unread, true) {
            Ok(Piece::Data { skip, len }) => {
                payload.extend_from_slice(&unread[skip..skip + len]);
                unread = &unread[skip + len..];
            }
            Ok(Piece::End { skip, trailers }) => {
                assert_eq!(trailers.map(|range| &unread[range]), Some(&b"X-Sum: 1\r\n"[..]));
                assert_eq!(skip, unread.len());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(payload, input.message);
}
