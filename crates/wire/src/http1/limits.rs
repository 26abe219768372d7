//! Size limits of a message, the same for requests and responses.

/// Size limits of one message, in bytes unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole head: start line, fields and the empty line.
    pub head: usize,
    /// One line of the head, including its line end.
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
