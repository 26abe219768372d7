//! Every coding against a decoder: whole bodies, flushes, bodies without an end, and codecs that are used again.

use std::io::Read;

use proptest::prelude::*;

use super::*;

const LEVELS: [Level; 3] = [Level::Fast, Level::Default, Level::Best];

/// A step in the life of a body.
#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u8>),
    Flush,
}

fn push(encoder: &mut ContentEncoder, mut input: &[u8], room: usize, out: &mut Vec<u8>) {
    let mut space = vec![0; room];
    while !input.is_empty() {
        let progress = encoder.push(input, &mut space).unwrap();
        assert!(progress.read > 0 || progress.written > 0, "no progress");
        out.extend_from_slice(&space[..progress.written]);
        input = &input[progress.read..];
    }
}

fn complete(
    mut call: impl FnMut(&mut [u8]) -> Result<Progress, EncodeError>,
    room: usize,
    out: &mut Vec<u8>,
) {
    let mut space = vec![0; room];
    for _ in 0..1_000_000 {
        let progress = call(&mut space).unwrap();
        out.extend_from_slice(&space[..progress.written]);
        if progress.is_complete {
            return;
        }
        assert_ne!(progress.written, 0, "no progress");
    }
    panic!("never complete");
}

fn flush(encoder: &mut ContentEncoder, room: usize, out: &mut Vec<u8>) {
    complete(|space| encoder.flush(space), room, out);
    assert!(!encoder.holds_input());
}

fn finish(encoder: &mut ContentEncoder, room: usize, out: &mut Vec<u8>) {
    complete(|space| encoder.finish(space), room, out);
    assert!(!encoder.holds_input());
}

/// Decodes a stream, as far as it goes; the second value says whether its end was there.
fn decoded(coding: ContentCoding, encoded: &[u8]) -> (Vec<u8>, bool) {
    let mut reader: Box<dyn Read + '_> = match coding {
        ContentCoding::Gzip => Box::new(flate2::read::GzDecoder::new(encoded)),
        ContentCoding::Br => Box::new(::brotli::Decompressor::new(encoded, 4096)),
        ContentCoding::Zstd => {
            let decoder = ::zstd::stream::read::Decoder::new(encoded).unwrap();
            Box::new(decoder.single_frame())
        }
    };
    let mut out = Vec::new();
    let mut space = [0; 4096];
    loop {
        match reader.read(&mut space) {
            Ok(0) => return (out, true),
            Ok(count) => out.extend_from_slice(&space[..count]),
            Err(_) => return (out, false),
        }
    }
}

fn text(length: usize) -> Vec<u8> {
    let words = [
        "balance ",
        "backend ",
        "request ",
        "{\"id\": 17}, ",
        "\r\n",
        "the ",
    ];
    let bytes = (0_usize..).flat_map(|index| words[index * index % 7 % words.len()].bytes());
    bytes.take(length).collect()
}

#[test]
fn names_are_those_of_the_registry() {
    for coding in ContentCoding::ALL {
        assert_eq!(ContentCoding::from_name(coding.name().as_bytes()), Some(coding));
        assert_eq!(
            ContentCoding::from_name(coding.name().to_uppercase().as_bytes()),
            Some(coding)
        );
    }
    assert_eq!(ContentCoding::from_name(b"X-GZIP"), Some(ContentCoding::Gzip));
    for other in ["identity", "deflate", "*", "", "gzi", "gzip "] {
        assert_eq!(ContentCoding::from_name(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn a_body_is_decoded_whole_at_every_level_and_length() {
    for coding in ContentCoding::ALL {
        for level in LEVELS {
            for length in [0, 1, 1000, 65_536, 300_000] {
                for announced in [None, Some(length as u64)] {
                    let body = text(length);
                    let mut encoder = ContentEncoder::new(coding, level, announced).unwrap();
                    let mut out = Vec::new();
                    for piece in body.chunks(16_384) {
                        push(&mut encoder, piece, 16_384, &mut out);
                    }
                    finish(&mut encoder, 16_384, &mut out);
                    assert!(
                        decoded(coding, &out) == (body, true),
                        "{coding:?} {level:?} {length}"
                    );
                    assert!(length < 1000 || out.len() < length / 4);
                }
            }
        }
    }
}

#[test]
fn what_was_flushed_can_be_decoded_at_once() {
    for coding in ContentCoding::ALL {
        let mut encoder = ContentEncoder::new(coding, Level::Default, None).unwrap();
        let mut out = Vec::new();
        let mut sent = Vec::new();
        for event in 0..20 {
            let event = format!("data: {event}\n\n");
            push(&mut encoder, event.as_bytes(), 100, &mut out);
            assert!(encoder.holds_input());
            flush(&mut encoder, 100, &mut out);
            sent.extend_from_slice(event.as_bytes());
            let (received, is_whole) = decoded(coding, &out);
            assert_eq!(received, sent, "{coding:?}");
            assert!(!is_whole, "{coding:?}");
            let length = out.len();
            flush(&mut encoder, 100, &mut out);
            assert_eq!(out.len(), length, "a flush of nothing writes nothing");
        }
    }
}

#[test]
fn a_body_without_its_end_is_seen_to_be_incomplete() {
    let body = text(100_000);
    for coding in ContentCoding::ALL {
        let mut encoder = ContentEncoder::new(coding, Level::Default, Some(100_000)).unwrap();
        let mut out = Vec::new();
        push(&mut encoder, &body, 4096, &mut out);
        assert!(!decoded(coding, &out).1, "{coding:?}");
        flush(&mut encoder, 4096, &mut out);
        assert_eq!(decoded(coding, &out), (body.clone(), false), "{coding:?}");
    }
}

#[test]
fn a_codec_that_went_back_begins_anew() {
    let pool = EncoderPool::default();
    for coding in ContentCoding::ALL {
        for (length, is_abandoned) in [(100_000, true), (200, false), (100_000, false), (250_000, false)] {
            let body = text(length);
            let mut encoder = pool.lend(coding, Level::Default, Some(length as u64)).unwrap();
            let mut out = Vec::new();
            push(&mut encoder, &body, 4096, &mut out);
            if !is_abandoned {
                finish(&mut encoder, 4096, &mut out);
                assert!(decoded(coding, &out) == (body, true), "{coding:?} {length}");
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let noise = prop::collection::vec(any::<u8>(), 0..3000).prop_map(Step::Push);
    let words = (0_usize..10_000).prop_map(|length| Step::Push(text(length)));
    let step = prop_oneof![noise, words, Just(Step::Flush)];
    prop::collection::vec(step, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_body_in_any_pieces_is_decoded_whole(
        steps in steps(),
        coding in prop::sample::select(&ContentCoding::ALL[..]),
        level in prop::sample::select(&LEVELS[..]),
        room in prop_oneof![ContentEncoder::LEAST_ROOM..50, Just(16_384)],
    ) {
        let mut encoder = ContentEncoder::new(coding, level, None).unwrap();
        let (mut body, mut out) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Push(bytes) => {
                    push(&mut encoder, &bytes, room, &mut out);
                    body.extend_from_slice(&bytes);
                }
                Step::Flush => {
                    flush(&mut encoder, room, &mut out);
                    prop_assert!(decoded(coding, &out).0 == body);
                }
            }
        }
        finish(&mut encoder, room, &mut out);
        prop_assert!(decoded(coding, &out) == (body, true));
    }
}
