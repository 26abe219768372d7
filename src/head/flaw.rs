//! The field for which an HTTP/2 head was refused. Its bytes are gone once the block is decoded, so that they are kept here;
//! of an HTTP/1 head the bytes themselves are still there.

/// Bytes of a name, and of a value, that are kept.
const KEPT: usize = 256;

/// What an HTTP/2 head was refused for. Made only for heads that are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flaw {
    /// Which field it was, counted from 1 with pseudo fields; 0 where it is no single field but all of them together.
    pub number: usize,
    /// The front of its name.
    pub name: Box<[u8]>,
    /// The front of its value.
    pub value: Box<[u8]>,
    /// How long name and value are in all.
    pub length: usize,
    /// Bytes of all fields that came, as limits count them.
    pub size: usize,
    /// Fields that came.
    pub fields: usize,
}

impl Flaw {
    /// Keeps the field of this number.
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
