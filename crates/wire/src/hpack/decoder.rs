//! Decodes received field blocks, field by field. Fields are copied only into the dynamic table, so a block of one-byte
//! references to entries of 4 KiB costs no more than any other block of its length. The caller bounds the total size of
//! the decoded fields.

use super::reader::Reader;
use super::static_table::{self, STATIC_ENTRIES};
use super::table::Table;
use super::{Kind, Name, NotDecodable, TABLE};

/// Largest scratch buffer, in bytes, that is kept from one block to the next. Ordinary values are shorter. Together with
/// the table it bounds the memory of a connection.
const ROOM: usize = 4096;

/// The decoder of one connection, for all blocks that it receives.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table<Kind>,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Decodes a whole block and passes every field to `each`, in order. Later blocks decode correctly whatever `each` does
    /// with the fields.
    ///
    /// # Errors
    /// [`NotDecodable`]: the connection must end. The fields before the error have been passed to `each`.
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
                // RFC 7541 §4.2: size updates are allowed only at the beginning of a block.
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

    /// Dynamic table size update (RFC 7541 §6.3).
    fn resize(&mut self, max_size: usize) -> Result<(), NotDecodable> {
        if max_size > TABLE {
            return Err(NotDecodable);
        }
        self.table.resize(max_size);
        Ok(())
    }

    /// Indexed field (RFC 7541 §6.1).
    fn indexed(&self, index: usize, each: &mut impl FnMut(Name<'_>, &[u8])) -> Result<(), NotDecodable> {
        if let Some((name, value)) = static_table::entry_of(index) {
            each(name, value);
            return Ok(());
        }
        let (name, value) = dynamic_entry(&self.table, index)?;
        each(name, value);
        Ok(())
    }

    /// Literal field (RFC 7541 §6.2).
    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        first: u8,
        each: &mut impl FnMut(Name<'_>, &[u8]),
    ) -> Result<(), NotDecodable> {
        let is_indexed = first & 0x40 != 0;
        let is_secret = first & 0xf0 == 0x10;
        let index = reader.number(first, if is_indexed { 6 } else { 4 })?;
        let name = if index > STATIC_ENTRIES {
            let (name, _) = dynamic_entry(&self.table, index)?;
            let value = reader.text(&mut self.value)?;
            each(Name { is_secret, ..name }, value);
            if is_indexed {
                // RFC 7541 §4.4: inserting may evict the entry that the name refers to.
                self.name.clear();
                self.name.extend_from_slice(name.text);
                self.table.insert(&self.name, value, name.kind);
            }
            return Ok(());
        } else if let Some((name, _)) = static_table::entry_of(index) {
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
        if is_indexed {
            self.table.insert(name.text, value, name.kind);
        }
        Ok(())
    }
}

/// The entry of the dynamic table with this index.
fn dynamic_entry(table: &Table<Kind>, index: usize) -> Result<(Name<'_>, &[u8]), NotDecodable> {
    let age = index.checked_sub(STATIC_ENTRIES + 1).ok_or(NotDecodable)?;
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
    /// Size of the table as RFC 7541 §4.1 counts it, and the total memory held, in bytes.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let (size, held) = self.table.sizes();
        (size, held + self.name.capacity() + self.value.capacity())
    }
}
