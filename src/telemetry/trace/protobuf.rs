//! Writes the few forms of the Protocol Buffers encoding that OTLP needs. It reads nothing.

/// Wire types (Protocol Buffers encoding, "Message Structure").
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// A number in base 128, least significant group first.
pub(super) fn varint(field: u64, number: u64, out: &mut Vec<u8>) {
    raw_varint(field << 3 | VARINT, out);
    raw_varint(number, out);
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

fn raw_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
