//! Tests of decoding and encoding.

mod any;
mod decoding;
mod encoding;

use super::*;
use encoder::put_number;
use reader::Reader;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, NotDecodable> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        assert_eq!(name.kind, Kind::of(name.text));
        fields.push((name.text.to_vec(), value.to_vec()));
    })?;
    Ok(fields)
}

fn encoded(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

fn fields(fields: &[(&str, &str)]) -> Fields {
    let owned = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    fields.iter().map(owned).collect()
}

/// A literal field: `form` 0x40 is indexed, 0x00 is not.
fn literal(form: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![form];
    for text in [name, value] {
        put_number(0, 7, text.len(), &mut bytes);
        bytes.extend_from_slice(text);
    }
    bytes
}
