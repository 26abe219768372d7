//! Blocks of the other side, read field by field. Nothing is copied but into the table, so that a block whose bytes each
//! stand for an entry of 4 KiB costs no more than any of its length; the sum of what it says is for the caller to bound.

use super::reader::Reader;
use super::standing::{self, STANDING};
use super::table::Table;
use super::{Kind, Name, NotDecodable, TABLE};

/// Room for decoded text that is kept from one block to the next: no ordinary value is longer, and with the table's it
/// bounds what a connection holds.
const ROOM: usize = 4096;

/// One connection's, for all blocks that come on it.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table<Kind>,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Decodes a whole block and hands every field to `each`, in order. What `each` makes of them does not matter to the
    /// blocks that follow.
    ///
    /// # Errors
    /// [`NotDecodable`]: the connection must end. Fields that stand before the place were handed over.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(Name<'_>, &[u8]),
    ) -> Result<(), NotDecodable> {
        let mut reader = Reader::new(block);
        let mut has_begun = false;
        while let Some(first) = reader.next() {
            match first {
                0x80.. => self.indexed(reader.number(first, 7)?, &mut each)?,
                // RFC 7541 §4.2: these come first.
                0x20..0x40 if has_begun => return Err(NotDecodable),
                0x20..0x40 => {
                    self.resize(reader.number(first, 5)?)?;
                    continue;
                }
                _ => self.literal(&mut reader, first, &mut each)?,
            }
            has_begun = true;
        }
        for text in [&mut self.name, &mut self.value] {
            if text.capacity() > ROOM {
                *text = Vec::new();
            }
        }
        Ok(())
    }

    /// RFC 7541 §6.3.
    fn resize(&mut self, most: usize) -> Result<(), NotDecodable> {
        if most > TABLE {
            return Err(NotDecodable);
        }
        self.table.resize(most);
        Ok(())
    }

    /// RFC 7541 §6.1.
    fn indexed(&self, index: usize, each: &mut impl FnMut(Name<'_>, &[u8])) -> Result<(), NotDecodable> {
        if let Some((name, value)) = standing::entry_of(index) {
            each(name, value);
            return Ok(());
        }
        let (name, value) = made(&self.table, index)?;
        each(name, value);
        Ok(())
    }

    /// RFC 7541 §6.2.
    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        first: u8,
        each: &mut impl FnMut(Name<'_>, &[u8]),
    ) -> Result<(), NotDecodable> {
        let is_kept = first & 0x40 != 0;
        let is_secret = first & 0xf0 == 0x10;
        let index = reader.number(first, if is_kept { 6 } else { 4 })?;
        let name = if index > STANDING {
            let (name, _) = made(&self.table, index)?;
            let value = reader.text(&mut self.value)?;
            each(Name { is_secret, ..name }, value);
            if is_kept {
                // RFC 7541 §4.4: the entry that has the name may have to make room.
                self.name.clear();
                self.name.extend_from_slice(name.text);
                self.table.insert(&self.name, value, name.kind);
            }
            return Ok(());
        } else if let Some((name, _)) = standing::entry_of(index) {
            name
        } else {
            let text = reader.text(&mut self.name)?;
            let kind = Kind::of(text);
            Name {
                text,
                kind,
                is_secret,
            }
        };
        let value = reader.text(&mut self.value)?;
        each(Name { is_secret, ..name }, value);
        if is_kept {
            self.table.insert(name.text, value, name.kind);
        }
        Ok(())
    }
}

/// The entry of the dynamic table that has an index.
fn made(table: &Table<Kind>, index: usize) -> Result<(Name<'_>, &[u8]), NotDecodable> {
    let age = index.checked_sub(STANDING + 1).ok_or(NotDecodable)?;
    let found = table.get(age).ok_or(NotDecodable)?;
    let name = Name {
        text: found.name,
        kind: found.note,
        is_secret: false,
    };
    Ok((name, found.value))
}

#[cfg(test)]
impl Decoder {
    /// Bytes of the table as RFC 7541 §4.1 counts them, and memory that is held in all.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let (size, held) = self.table.sizes();
        (size, held + self.name.capacity() + self.value.capacity())
    }
}
