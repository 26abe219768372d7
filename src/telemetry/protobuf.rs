//! Writes and reads the few forms of the Protocol Buffers encoding that OTLP and Prometheus need.

/// Wire types (Protocol Buffers encoding, "Message Structure").
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// The value of a field that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A number in base 128, least significant group first.
pub(super) fn varint(field: u64, number: u64, out: &mut Vec<u8>) {
    raw_varint(field << 3 | VARINT, out);
    raw_varint(number, out);
}

/// A `sint32` or `sint64`.
pub(super) fn signed(field: u64, number: i64, out: &mut Vec<u8>) {
    raw_varint(field << 3 | VARINT, out);
    raw_signed(number, out);
}

/// A signed number without its field, as lists of them hold it.
pub(super) fn raw_signed(number: i64, out: &mut Vec<u8>) {
    raw_varint((number << 1 ^ number >> 63) as u64, out);
}

/// A `double`.
pub(super) fn double(field: u64, number: f64, out: &mut Vec<u8>) {
    fixed64(field, number.to_bits(), out);
}

/// A `fixed64`.
pub(super) fn fixed64(field: u64, number: u64, out: &mut Vec<u8>) {
    raw_varint(field << 3 | FIXED64, out);
    out.extend_from_slice(&number.to_le_bytes());
}

/// A `fixed32`.
pub(super) fn fixed32(field: u64, number: u32, out: &mut Vec<u8>) {
    raw_varint(field << 3 | FIXED32, out);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Bytes or a string, with their length before them.
pub(super) fn bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    raw_varint(field << 3 | LENGTH_DELIMITED, out);
    raw_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message that `write` appends.
pub(super) fn message(field: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    raw_varint(field << 3 | LENGTH_DELIMITED, out);
    let start = out.len();
    write(out);
    let end = out.len();
    raw_varint((end - start) as u64, out);
    // The length is known only now, and belongs before the message.
    let moved = out.len() - end;
    if let Some(written) = out.get_mut(start..) {
        written.rotate_right(moved);
    }
}

/// Fields that are encoded already.
pub(super) fn raw(fields: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(fields);
}

/// The fields of a message with their numbers, up to its end or to what cannot be read. Numbers of fixed size are passed over.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        loop {
            let tag = take_varint(&mut rest)?;
            let value = match tag & 7 {
                VARINT => Value::Number(take_varint(&mut rest)?),
                LENGTH_DELIMITED => {
                    let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                    Value::Bytes(take(&mut rest, length)?)
                }
                FIXED64 => {
                    take(&mut rest, 8)?;
                    continue;
                }
                FIXED32 => {
                    take(&mut rest, 4)?;
                    continue;
                }
                _ => return None,
            };
            return Some((tag >> 3, value));
        }
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

/// A number of at most 64 bits.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A number without its field.
pub(super) fn raw_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
