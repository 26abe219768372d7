//! Tests of reading heads from fields, and of encoding fields.

use super::*;
use crate::hpack::Decoder;

/// `x-key: v` as a never-indexed literal (RFC 7541 §6.2.3).
const NEVER: &[u8] = b"\x10\x05x-key\x01v";

#[test]
fn never_indexed_fields_stay_never_indexed() {
    let (mut head, mut decoder) = (RequestHead::default(), Decoder::default());
    let mut reader = RequestReader::new(&mut head, &Limits::default());
    let block = [b"\x82\x86\x84\x41\x01a\x00\x01x\x01y", NEVER].concat();
    decoder
        .decode(&block, |name, value| reader.add(name, value))
        .unwrap();
    reader.finish(false).unwrap();
    let are_secret: Vec<bool> = head.fields.iter().map(|field| field.is_secret).collect();
    assert_eq!(are_secret, [false, true]);
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    for _ in 0..3 {
        out.clear();
        let mut fields = HeadFields::default();
        fields.add_never_indexed(b"x-key", b"v");
        encode(&fields, &mut encoder, &mut out);
    }
    assert_eq!(out, NEVER);
}

#[test]
fn trailer_lines_become_fields() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let lines = b"X-One: a:b\r\nempty: \r\nodd\r\n";
    let (mut block, mut fields) = (Vec::new(), Vec::new());
    encode_trailers(lines, &mut encoder, &mut block);
    let mut add = |name: Name<'_>, value: &[u8]| fields.push((name.text.to_vec(), value.to_vec()));
    decoder.decode(&block, &mut add).unwrap();
    let expected: [(&[u8], &[u8]); 2] = [(b"x-one", b"a:b"), (b"empty", b"")];
    assert_eq!(
        fields,
        expected.map(|(name, value)| (name.to_vec(), value.to_vec()))
    );
}
