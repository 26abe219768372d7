//! Bounds of a message. They mean the same for requests and answers.

/// Bounds of one message, in bytes unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole head: start line, fields and the empty line.
    pub head: usize,
    /// One line of the head, its end included.
    pub line: usize,
    /// Number of field lines in a head.
    pub fields: usize,
    /// All chunk extensions of one body together.
    pub chunk_extensions: usize,
    /// All trailer lines of one body together.
    pub trailers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 << 10,
            line: 16 << 10,
            fields: 100,
            chunk_extensions: 4 << 10,
            trailers: 8 << 10,
        }
    }
}
