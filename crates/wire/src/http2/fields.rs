//! The fields of one outgoing head, kept until the head is sent and encoded.

/// Bytes before the name of each field: the lengths of its name and of its value.
const LENGTHS: usize = 8;
/// The bit in the length of a name that marks a field as never indexed. No head is long enough to need it as a length.
const NEVER_INDEXED: u32 = 1 << 31;

/// The fields of one head in the order in which they are sent, pseudo-header fields first. Names may have upper-case
/// letters; encoding makes them lower case.
///
/// One allocation holds all of them: for each field the lengths of its name and value, then both texts.
#[derive(Debug, Default)]
pub struct HeadFields {
    bytes: Vec<u8>,
    /// Where the length of the value goes that is being written, and where that value begins.
    length_at: usize,
    value_at: usize,
}

/// One field of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadField<'h> {
    /// Its name.
    pub name: &'h [u8],
    /// Its value.
    pub value: &'h [u8],
    /// Whether no table may keep it, here or at any later hop (RFC 7541 §6.2.3).
    pub is_never_indexed: bool,
}

impl HeadFields {
    /// With room for `fields` fields whose names and values have `text` bytes in all.
    #[inline]
    pub fn with_capacity(fields: usize, text: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(fields * LENGTHS + text),
            ..Self::default()
        }
    }

    /// Adds a field.
    #[inline]
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.push(name.len() as u32, name, value);
    }

    /// Adds a field that no table may keep (RFC 7541 §6.2.3).
    #[inline]
    pub fn add_never_indexed(&mut self, name: &[u8], value: &[u8]) {
        self.push(name.len() as u32 | NEVER_INDEXED, name, value);
    }

    fn push(&mut self, marked_length: u32, name: &[u8], value: &[u8]) {
        self.bytes.reserve(LENGTHS + name.len() + value.len());
        self.bytes.extend_from_slice(&marked_length.to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
    }

    /// Begins a field whose value follows in parts, up to [`Self::end`].
    #[inline]
    pub fn begin(&mut self, name: &[u8]) {
        self.push(name.len() as u32, name, b"");
        self.value_at = self.bytes.len();
        self.length_at = self.value_at - name.len() - size_of::<u32>();
    }

    /// Adds a part of the value that was begun.
    #[inline]
    pub fn part(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    /// Ends the field that was begun.
    #[inline]
    pub fn end(&mut self) {
        let length = (self.bytes.len() - self.value_at) as u32;
        let place = self.bytes.get_mut(self.length_at..);
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
            *place = length.to_le_bytes();
        }
    }

    /// All fields in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = HeadField<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let ([a, b, c, d, lengths @ ..], after) = rest.split_first_chunk::<LENGTHS>()?;
            let marked_length = u32::from_le_bytes([*a, *b, *c, *d]);
            let (name, after) = after.split_at_checked((marked_length & !NEVER_INDEXED) as usize)?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*lengths) as usize)?;
            rest = after;
            Some(HeadField {
                name,
                value,
                is_never_indexed: marked_length & NEVER_INDEXED != 0,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HeadFields {
        /// From lines `name: value`, which tests read more easily.
        pub(in crate::http2) fn of_lines(lines: &str) -> Self {
            let mut fields = Self::default();
            for line in lines.lines() {
                let (name, value) = line.split_once(": ").expect("a line is `name: value`");
                fields.add(name.as_bytes(), value.as_bytes());
            }
            fields
        }
    }

    #[test]
    fn fields_are_read_back_in_order() {
        let mut fields = HeadFields::default();
        fields.add(b":status", b"200");
        fields.add_never_indexed(b"x-token", b"secret: yes\r\n");
        fields.begin(b"Via");
        fields.part(b"1.1 ");
        fields.part(b"a");
        fields.end();
        fields.begin(b"empty");
        fields.end();
        let read: Vec<_> = fields
            .iter()
            .map(|field| (field.name, field.value, field.is_never_indexed))
            .collect();
        let expected: [(&[u8], &[u8], bool); 4] = [
            (b":status", b"200", false),
            (b"x-token", b"secret: yes\r\n", true),
            (b"Via", b"1.1 a", false),
            (b"empty", b"", false),
        ];
        assert_eq!(read, expected);
    }
}
