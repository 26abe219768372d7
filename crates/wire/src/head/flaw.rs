//! The field for which an HTTP/2 head was refused. It is copied, because its bytes are gone once the block is decoded; of an
//! HTTP/1 head the bytes are still in the buffer.

/// Most bytes kept of a name, and of a value.
const KEPT: usize = 256;

/// The field for which an HTTP/2 head was refused, with the totals of the head. Allocated only for refused heads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flaw {
    /// Position of the field, counted from 1, pseudo-header fields included; 0 if no single field is at fault.
    pub number: usize,
    /// The name, truncated.
    pub name: Box<[u8]>,
    /// The value, truncated.
    pub value: Box<[u8]>,
    /// Length of name and value together, before truncation.
    pub length: usize,
    /// Size of all fields received, as limits count it.
    pub size: usize,
    /// Number of fields received.
    pub fields: usize,
}

impl Flaw {
    /// Copies the field at position `number`.
    pub fn of_field(number: usize, name: &[u8], value: &[u8]) -> Self {
        Self {
            number,
            name: name.get(..KEPT).unwrap_or(name).into(),
            value: value.get(..KEPT).unwrap_or(value).into(),
            length: name.len() + value.len(),
            ..Self::default()
        }
    }
}
