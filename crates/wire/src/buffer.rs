//! Read buffers and the buffer pool of a worker. A connection holds a buffer only while it has unread bytes or is about to
//! read, so an idle connection costs no buffer.

use std::cell::RefCell;

/// Size of an ordinary buffer: a head and a small body fit.
pub const SMALL: usize = 16 << 10;
/// Size of a buffer for bodies that are known to be long: fewer, larger socket calls.
pub const LARGE: usize = 64 << 10;
/// Bytes of a long body that are sent in one piece, such as a DATA frame. Four pieces, with the headers of their frames and the
/// overhead of four TLS records, are 65,112 bytes: one segment that the kernel splits by itself, which may have 64 KiB with all
/// headers. A few bytes more would leave as a second, tiny packet.
pub const PIECE: usize = 16_247;
/// Bytes of a long body that are read at once.
pub const READ: usize = 4 * PIECE;
/// Buffers of one size that a worker keeps for reuse; more are freed.
const KEPT: usize = 256;

/// A fixed-size buffer with the bytes that were read and not yet consumed.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes that were read and not yet consumed.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there are no unread bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Makes a full buffer of these bytes.
    #[inline]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self {
            start: 0,
            end: bytes.len(),
            bytes,
        }
    }

    /// Drops the first `count` unread bytes (at most all of them).
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Free space after the unread bytes. They are moved to the front when none is left.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Marks the first `count` bytes of [`Self::space`] as read from the socket.
    #[inline]
    pub fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
    }

    /// Number of bytes that it can hold.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no byte can be added before some are consumed.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.end - self.start == self.bytes.len()
    }

    /// Whether more than half of it is unread: then keeping it takes less than twice the memory of a copy of those bytes.
    #[inline]
    pub fn is_dense(&self) -> bool {
        2 * (self.end - self.start) > self.bytes.len()
    }
}

/// The buffer pool of one worker.
#[derive(Debug, Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    outputs: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Lends a buffer of at least `size` bytes; sizes up to [`LARGE`] come from the pool.
    #[inline]
    pub fn lend(&self, size: usize) -> Buffer {
        let (pool, size) = match size {
            0..=SMALL => (Some(&self.small), SMALL),
            _ if size <= LARGE => (Some(&self.large), LARGE),
            _ => (None, size),
        };
        let kept = pool.and_then(|pool| pool.borrow_mut().pop());
        Buffer {
            bytes: kept.unwrap_or_else(|| vec![0; size]),
            ..Buffer::default()
        }
    }

    /// Takes a buffer back and discards its content.
    #[inline]
    pub fn give_back(&self, buffer: Buffer) {
        let pool = match buffer.bytes.len() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => return,
        };
        let mut pool = pool.borrow_mut();
        if pool.len() < KEPT {
            pool.push(buffer.bytes);
        }
    }

    /// Lends an empty vector for bytes to write.
    #[inline]
    pub fn lend_output(&self) -> Vec<u8> {
        self.outputs
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    /// Takes such a vector back. One that has grown beyond [`LARGE`] is freed.
    #[inline]
    pub fn give_back_output(&self, mut output: Vec<u8>) {
        let mut outputs = self.outputs.borrow_mut();
        if outputs.len() < KEPT && output.capacity() <= LARGE {
            output.clear();
            outputs.push(output);
        }
    }

    /// Replaces `buffer` with one of at least `size` bytes and the same unread bytes.
    #[inline]
    pub fn grow(&self, buffer: &mut Buffer, size: usize) {
        let mut larger = self.lend(size);
        let unread = buffer.unread();
        let count = unread.len();
        if let Some(room) = larger.space().get_mut(..count) {
            room.copy_from_slice(unread);
            larger.filled(count);
        }
        self.give_back(std::mem::replace(buffer, larger));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn makes_room_by_moving_unread_bytes_to_the_front() {
        let buffers = Buffers::default();
        let mut buffer = buffers.lend(1);
        put(&mut buffer, &[7; SMALL]);
        assert!(buffer.is_full());
        buffer.consume(SMALL - 2);
        assert_eq!(buffer.space().len(), SMALL - 2);
        assert_eq!(buffer.unread(), [7, 7]);
    }

    #[test]
    fn growing_keeps_unread_bytes() {
        let buffers = Buffers::default();
        let mut buffer = buffers.lend(1);
        put(&mut buffer, b"abcdef");
        buffer.consume(2);
        buffers.grow(&mut buffer, 100_000);
        assert_eq!(
            (buffer.unread(), buffer.capacity()),
            (b"cdef".as_slice(), 100_000)
        );
    }

    #[test]
    fn returned_buffer_is_lent_again_empty() {
        let buffers = Buffers::default();
        let mut buffer = buffers.lend(1);
        put(&mut buffer, b"secret");
        let address = buffer.bytes.as_ptr();
        buffers.give_back(buffer);
        let again = buffers.lend(1);
        assert_eq!((again.bytes.as_ptr(), again.is_empty()), (address, true));
    }
}
