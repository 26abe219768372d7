//! Reads HPACK integers and strings from a field block (RFC 7541 §5).

use super::{NotDecodable, huffman};

/// The unread rest of a block.
pub(super) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(block: &'b [u8]) -> Self {
        Self { rest: block }
    }

    /// The next byte, if there is one.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Reads an integer from the last `prefix` bits of `first` and the bytes that follow (RFC 7541 §5.1). More than 28 bits
    /// beyond the first byte are an error: no valid index, length or size is that large.
    pub(super) fn number(&mut self, first: u8, prefix: u32) -> Result<usize, NotDecodable> {
        let mask = (1_usize << prefix) - 1;
        let mut number = usize::from(first) & mask;
        if number < mask {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.next().ok_or(NotDecodable)?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(NotDecodable)
    }

    /// Reads a string (RFC 7541 §5.2). A Huffman-encoded one is decoded into `scratch`.
    pub(super) fn text<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<&'t [u8], NotDecodable>
    where
        'b: 't,
    {
        let first = self.next().ok_or(NotDecodable)?;
        let length = self.number(first, 7)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(NotDecodable)?;
        self.rest = rest;
        if first & 0x80 == 0 {
            return Ok(text);
        }
        huffman::decode(text, scratch)?;
        Ok(scratch)
    }
}
