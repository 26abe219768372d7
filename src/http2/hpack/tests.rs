//! Judging blocks: the examples of the RFC, flaws of all kinds, and tables that stay alike.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HEAD: Section = Section::Head {
    most: 32 << 10,
    is_whole: true,
};

/// `GET http://a/`.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

fn judged(decoder: &mut Decoder, block: &[u8]) -> Result<Option<Malformed>, NotDecodable> {
    decoder.judge(block, HEAD, &mut Vec::new())
}

/// A field of this form: 0x40 is kept, 0x00 is not.
fn literal(form: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![form];
    put_number(0, 7, name.len(), &mut bytes);
    bytes.extend_from_slice(name);
    put_number(0, 7, value.len(), &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}

fn with(name: &[u8], value: &[u8]) -> Vec<u8> {
    [GET, &literal(0, name, value)].concat()
}

/// RFC 7541, appendix C.4.
#[test]
fn the_examples_of_the_rfc_are_read() {
    let blocks: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let mut decoder = Decoder::default();
    for (block, size) in blocks.into_iter().zip([57, 110, 164]) {
        assert_eq!(judged(&mut decoder, block), Ok(None));
        assert_eq!(decoder.size, size);
    }
}

#[test]
fn what_cannot_be_decoded_is_an_error() {
    let cases: [&[u8]; 11] = [
        // An index of 0, one that is nothing, and the same as a name.
        &[0x80],
        &[0xbe],
        &[0x7f, 0x00, 0x01, b'a'],
        // Integers that are too long, or cut off.
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff],
        // Strings that are cut off.
        &[0x00],
        &[0x00, 0x05, b'a'],
        // Padding of Huffman that is none.
        &[0x41, 0x81, 0x00],
        // A table that is larger than allowed.
        &[0x3f, 0xe2, 0x1f],
        // A resize behind a field.
        &[0x82, 0x20],
        &[0x82, 0x86, 0x84, 0x20],
    ];
    for block in cases {
        assert_eq!(
            judged(&mut Decoder::default(), block),
            Err(NotDecodable),
            "{block:x?}"
        );
    }
    let mut decoder = Decoder::default();
    assert_eq!(
        judged(&mut decoder, &[&[0x20, 0x3f, 0xe1, 0x1f], GET].concat()),
        Ok(None)
    );
    assert_eq!(judged(&mut decoder, &[0x82, 0x86, 0x84, 0xbe]), Ok(None));
    assert_eq!(
        judged(&mut decoder, &[&[0x20], GET].concat()),
        Ok(None),
        "the table is gone"
    );
    assert_eq!(judged(&mut decoder, &[0x82, 0x86, 0x84, 0xbe]), Err(NotDecodable));
}

#[test]
#[allow(
    clippy::too_many_lines,
    reason = "a table, and what is done with each of its lines"
)]
fn flaws_are_named() {
    let cases: &[(&[u8], Malformed)] = &[
        (&with(b"X-Upper", b"1"), Malformed::BadFieldName),
        (&with(b"", b"1"), Malformed::BadFieldName),
        (&with(b"a b", b"1"), Malformed::BadFieldName),
        (&with(b"a:b", b"1"), Malformed::BadFieldName),
        (&with(b":odd", b"1"), Malformed::BadFieldName),
        (&with(b":status", b"200"), Malformed::BadFieldName),
        (&with(b":path", b"/"), Malformed::BadFieldName),
        (&[GET, &[0x88]].concat(), Malformed::BadFieldName),
        (
            &[GET, &literal(0, b"x", b"y"), &[0x84]].concat(),
            Malformed::BadFieldName,
        ),
        (&with(b"x", b"a\rb"), Malformed::ControlByte),
        (&with(b"x", b"a "), Malformed::ControlByte),
        (&with(b"connection", b"close"), Malformed::BadConnection),
        (&with(b"te", b"gzip"), Malformed::BadConnection),
        (
            &[GET, &[0x0f, 0x2a, 0x01, b'x']].concat(),
            Malformed::BadConnection,
        ),
        (&with(b"content-length", b"5"), Malformed::BadContentLength),
        (&with(b"content-length", b""), Malformed::BadContentLength),
        (&[GET, &[0x9c]].concat(), Malformed::BadContentLength),
        (
            &[
                &with(b"content-length", b"0"),
                &literal(0, b"content-length", b"1")[..],
            ]
            .concat(),
            Malformed::DuplicateContentLength,
        ),
        (&[0x82, 0x86, 0x41, 0x01, b'a'], Malformed::BadRequestLine),
        (&[0x86, 0x84, 0x41, 0x01, b'a'], Malformed::BadRequestLine),
        (&[], Malformed::BadRequestLine),
        (
            &[&[0x82, 0x86][..], &literal(0, b":path", b"/a#b")].concat(),
            Malformed::BadTarget,
        ),
        (
            &[&[0x82, 0x86][..], &literal(0, b":path", b"http://a/")].concat(),
            Malformed::BadTarget,
        ),
        (
            &[&[0x82, 0x86][..], &literal(0, b":path", b"")].concat(),
            Malformed::BadTarget,
        ),
        (
            &[&[0x82, 0x84][..], &literal(0, b":scheme", b"http://a/?")].concat(),
            Malformed::BadTarget,
        ),
        (
            &[&[0x86, 0x84][..], &literal(0, b":method", b"GET /admin HTTP/1.1")].concat(),
            Malformed::BadMethod,
        ),
        (
            &[&[0x82, 0x86, 0x84][..], &literal(0, b":authority", b"u@a")].concat(),
            Malformed::BadHost,
        ),
        (
            &[&[0x84][..], &literal(0, b":method", b"CONNECT")].concat(),
            Malformed::BadRequestLine,
        ),
        (&with(b"x", &[b'y'; 40_000]), Malformed::HeadTooLarge),
    ];
    for (block, flaw) in cases {
        let mut replacement = Vec::new();
        let result = Decoder::default().judge(block, HEAD, &mut replacement);
        assert_eq!(result, Ok(Some(*flaw)), "{block:x?}");
        // What takes its place has none.
        let result = judged(&mut Decoder::default(), &replacement);
        assert_eq!(result, Ok(None), "{block:x?}");
    }
}

#[test]
fn trailers_have_no_pseudo_fields() {
    let mut decoder = Decoder::default();
    let mut judged = |block: &[u8]| decoder.judge(block, Section::Trailers, &mut Vec::new());
    assert_eq!(judged(&literal(0, b"x", b"y")), Ok(None));
    assert_eq!(judged(&[0x84]), Ok(Some(Malformed::BadFieldName)));
    assert_eq!(judged(&literal(0, b"X", b"y")), Ok(Some(Malformed::BadFieldName)));
}

/// Names and values, good and bad.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"x-name".to_vec()),
        Just(b"X-Upper".to_vec()),
        Just(b":path".to_vec()),
        Just(b":authority".to_vec()),
        Just(b"content-length".to_vec()),
        Just(b"connection".to_vec()),
        vec(any::<u8>(), 1..40),
        vec(Just(b'a'), 1..2000),
    ]
}

/// One field of a block.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (prop_oneof![Just(0x40), Just(0x00), Just(0x10)], text(), text())
            .prop_map(|(form, name, value)| literal(form, &name, &value)),
        4 => (1_u8..70).prop_map(|index| vec![0x80 | index]),
        4 => (0x41_u8..0x78, text()).prop_map(|(first, value)| {
            let mut bytes = vec![first];
            put_number(0, 7, value.len(), &mut bytes);
            bytes.extend_from_slice(&value);
            bytes
        }),
    ]
}

/// Mostly none: a table of this size, and then of the full one, holds nothing.
fn resizes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => Just(Vec::new()), 1 => Just(vec![0x20, 0x3f, 0xe1, 0x1f]), 1 => Just(vec![0x3f, 0x81, 0x01])]
}

/// The table of whoever reads a block, with all that stands in it.
#[derive(Default)]
struct Model {
    entries: VecDeque<[Vec<u8>; 2]>,
    most: Option<usize>,
}

impl Model {
    fn read(&mut self, block: &[u8]) {
        let mut reader = Reader { block, at: 0 };
        while let Some(first) = reader.peek() {
            if first & 0xe0 == 0x20 {
                self.most = Some(reader.number(5).unwrap());
                self.evict(0);
                continue;
            }
            if first & 0x80 != 0 {
                reader.number(7).unwrap();
                continue;
            }
            let is_kept = first & 0x40 != 0;
            let name = match reader.number(if is_kept { 6 } else { 4 }).unwrap() {
                0 => reader.text(&mut Vec::new()).unwrap().to_vec(),
                // Names of the static table are all the same here.
                index if index <= name::STATIC => vec![b's'; name::of_static(index).unwrap().0.length],
                index => self.entries[index - name::STATIC - 1][0].clone(),
            };
            let value = reader.text(&mut Vec::new()).unwrap().to_vec();
            if is_kept {
                let size = name.len() + value.len() + OVERHEAD;
                self.evict(size);
                if size <= self.most.unwrap_or(TABLE) {
                    self.entries.push_front([name, value]);
                }
            }
        }
    }

    fn evict(&mut self, more: usize) {
        let size = |[name, value]: &[Vec<u8>; 2]| name.len() + value.len() + OVERHEAD;
        while self.entries.iter().map(size).sum::<usize>() + more > self.most.unwrap_or(TABLE)
            && self.entries.pop_back().is_some()
        {}
    }
}

#[test]
fn a_name_that_is_no_longer_there_is_not_used() {
    let mut decoder = Decoder::default();
    // A name without a flaw, kept with a value that has one, and named again in the same block.
    let block = [GET, &literal(0x40, b"x-name", b"a\rb"), &[0x7e, 0x01, b'c']].concat();
    let mut replacement = Vec::new();
    let flaw = decoder.judge(&block, HEAD, &mut replacement);
    assert_eq!(flaw, Ok(Some(Malformed::ControlByte)));
    assert!(decoder.has_spoiled());
    for index in [0x7e, 0x7f] {
        let name: &[u8] = if index == 0x7e { &[0x7e] } else { &[0x7f, 0x00] };
        let again = [&[0x82, 0x86, 0x84], name, &[0x01, b'd']].concat();
        assert!(judged(&mut decoder, &again).unwrap().is_some(), "{index:x}");
    }
}

#[test]
fn flaws_of_what_nobody_can_use_spoil_nothing() {
    let mut decoder = Decoder::default();
    let block = [GET, &literal(0x40, b"X-Upper", b"1"), &literal(0x40, b"x", b"2")].concat();
    assert!(judged(&mut decoder, &block).unwrap().is_some());
    assert!(!decoder.has_spoiled());
}

/// The crate would refuse a replacement that is too large before anybody sees it.
#[test]
fn what_takes_the_place_of_a_large_head_is_small() {
    let large = [b'y'; 40_000];
    let again: Vec<u8> = [0x7e, 0x00].repeat(20_000);
    let blocks = [
        [GET, &literal(0x40, b"x", &large)].concat(),
        [
            GET,
            &literal(0x40, b"x", b"1"),
            &literal(0x40, b"x", &large),
            &literal(0x40, b"x", b"2"),
        ]
        .concat(),
        [&[0x82, 0x86][..], &literal(0, b":path", &[b'/'; 40_000])].concat(),
        // Two bytes each, that stand for a thousand.
        [GET, &literal(0x40, &[b'X'; 1_000], b""), &again].concat(),
        [GET, &literal(0x40, &[b'x'; 1_000], b""), &again].concat(),
    ];
    for (at, block) in blocks.iter().enumerate() {
        let (mut first, mut second) = (Decoder::default(), Decoder::default());
        let mut replacement = Vec::new();
        assert!(first.judge(block, HEAD, &mut replacement).unwrap().is_some());
        assert!(replacement.len() < 2 * TABLE, "{at}: {}", replacement.len());
        assert_eq!(judged(&mut second, &replacement), Ok(None), "{at}");
        let sizes =
            |decoder: &Decoder| -> Vec<usize> { decoder.entries.iter().map(|entry| entry.size).collect() };
        assert_eq!(sizes(&first), sizes(&second), "{at}");
    }
}

#[test]
fn a_large_block_leaves_no_room_behind() {
    let mut decoder = Decoder::default();
    let block = [GET, &[0x90; 128 << 10]].concat();
    assert!(judged(&mut decoder, &block).unwrap().is_some());
    assert!(decoder.parts.capacity() <= PARTS, "{}", decoder.parts.capacity());
    let block = [GET, &[0x7e, 0x00].repeat(64 << 10)].concat();
    assert!(judged(&mut decoder, &block).unwrap().is_some());
    assert!(decoder.parts.capacity() <= PARTS, "{}", decoder.parts.capacity());
}

#[test]
fn a_field_without_a_name_is_not_kept() {
    let block = [GET, &literal(0x40, b"", b"1")].concat();
    assert_eq!(judged(&mut Decoder::default(), &block), Err(NotDecodable));
}

proptest! {
    /// Whatever comes, whoever reads the replacements has the same table as whoever sent the blocks.
    #[test]
    fn replacements_leave_tables_alike(blocks in vec((resizes(), vec(part(), 0..12)), 1..12)) {
        let (mut first, mut second) = (Decoder::default(), Decoder::default());
        let (mut sent, mut got) = (Model::default(), Model::default());
        for (resizes, block) in blocks {
            let block = [&resizes, GET, &block.concat()].concat();
            let mut replacement = Vec::new();
            let Ok(flaw) = first.judge(&block, HEAD, &mut replacement) else { break };
            let seen = if flaw.is_some() { &replacement } else { &block };
            let result = judged(&mut second, seen);
            prop_assert!(result.is_ok(), "{flaw:?} {block:x?} {seen:x?}");
            let sizes = |decoder: &Decoder| -> Vec<usize> {
                decoder.entries.iter().map(|entry| entry.size).collect()
            };
            prop_assert_eq!(sizes(&first), sizes(&second));
            sent.read(&block);
            got.read(seen);
            let texts = sent.entries.iter().zip(&got.entries);
            prop_assert_eq!(first.entries.len(), texts.len());
            for (entry, (sent, got)) in first.entries.iter().zip(texts) {
                prop_assert!(entry.name.flaw.is_some() || sent[0] == got[0]);
                prop_assert!(entry.value.flaw.is_some() || sent[1] == got[1]);
            }
        }
    }

    #[test]
    fn any_bytes_are_judged(block in vec(any::<u8>(), 0..200)) {
        let _ = judged(&mut Decoder::default(), &block);
    }
}
