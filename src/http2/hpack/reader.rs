//! Integers and strings as they stand in a block (RFC 7541 §5).

use super::{NotDecodable, huffman};

/// What is left of a block.
pub(super) struct Reader<'b> {
    pub(super) block: &'b [u8],
    pub(super) at: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.block.get(self.at).copied()
    }

    fn byte(&mut self) -> Result<u8, NotDecodable> {
        let byte = self.peek().ok_or(NotDecodable)?;
        self.at += 1;
        Ok(byte)
    }

    /// An integer whose first `prefix` bits stand in the byte that comes (RFC 7541 §5.1). More than 28 bits are too many.
    pub(super) fn number(&mut self, prefix: u32) -> Result<usize, NotDecodable> {
        let mask = (1_usize << prefix) - 1;
        let mut number = usize::from(self.byte()?) & mask;
        if number < mask {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(NotDecodable)
    }

    /// A string (RFC 7541 §5.2), decoded into `scratch` where it has to be.
    pub(super) fn text<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<&'t [u8], NotDecodable>
    where
        'b: 't,
    {
        let is_coded = self.peek().ok_or(NotDecodable)? & 0x80 != 0;
        let length = self.number(7)?;
        let end = self.at + length;
        let text = self.block.get(self.at..end).ok_or(NotDecodable)?;
        self.at = end;
        if !is_coded {
            return Ok(text);
        }
        scratch.clear();
        huffman::decode(text, scratch)?;
        Ok(scratch)
    }
}
