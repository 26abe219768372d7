//! Decodes field blocks of one connection from any bytes: the fields stay the same after encoding and decoding again,
//! with any table size.
//!
//! Each block is preceded by a byte with its length and a byte with the encoder's table size in units of 32 bytes.

use evenkeel_wire::hpack::{Decoder, Encoder, Kind, NotDecodable};

/// A decoded field.
struct Field {
    name: Vec<u8>,
    kind: Kind,
    value: Vec<u8>,
    is_secret: bool,
}

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let (mut decoder, mut encoder, mut second) = (Decoder::default(), Encoder::default(), Decoder::default());
    let mut rest = data;
    while let [length, size, more @ ..] = rest {
        let (block, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let Ok(fields) = decoded(&mut decoder, block) else {
            return;
        };
        encoder.resize(u32::from(*size) * 32);
        let mut written = Vec::new();
        encoder.begin(&mut written);
        for field in &fields {
            match field.is_secret {
                true => encoder.secret(&field.name, &field.value, &mut written),
                false => encoder.field(&field.name, &field.value, &mut written),
            }
        }
        let again = decoded(&mut second, &written).expect("what was written can be read");
        assert_same(&fields, &again);
    }
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, NotDecodable> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        fields.push(Field {
            name: name.text.to_vec(),
            kind: name.kind,
            value: value.to_vec(),
            is_secret: name.is_secret,
        });
    })?;
    assert!(fields.len() <= block.len());
    Ok(fields)
}

fn assert_same(fields: &[Field], again: &[Field]) {
    assert_eq!(fields.len(), again.len());
    for (field, again) in fields.iter().zip(again) {
        assert_eq!(again.name, field.name.to_ascii_lowercase());
        assert_eq!(again.value, field.value);
        assert!(again.is_secret || !field.is_secret);
        assert!(again.kind == field.kind || again.name != field.name);
    }
}
