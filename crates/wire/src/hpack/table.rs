//! The dynamic table of one direction (RFC 7541 §2.3.2, §4). Names and values are stored back to back in one buffer, so a
//! table that has reached its size allocates nothing.

use std::collections::VecDeque;

use super::TABLE;

/// Bytes that an entry counts in addition to its name and value (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// First allocation in bytes: the fields of a small head.
const ROOM: usize = 256;

/// Entries, each with a note `T` of the encoder or decoder that owns the table.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// The bytes of evicted entries, then those of the entries, oldest first.
    bytes: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry<T>>,
    size: usize,
    max_size: usize,
}

/// Position of an entry in the buffer, which is always shorter than 64 KiB.
#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    start: u16,
    name: u16,
    value: u16,
    note: T,
}

/// The content of an entry.
pub(super) struct Found<'t, T> {
    pub(super) name: &'t [u8],
    pub(super) value: &'t [u8],
    pub(super) note: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            entries: VecDeque::new(),
            size: 0,
            max_size: TABLE,
        }
    }
}

impl<T: Copy> Table<T> {
    /// The current maximum size.
    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    /// Whether an entry with a name and a value of these lengths fits into the table.
    pub(super) fn has_room_for(&self, name: usize, value: usize) -> bool {
        name + value + OVERHEAD <= self.max_size
    }

    /// The entry after which `age` others were inserted.
    pub(super) fn get(&self, age: usize) -> Option<Found<'_, T>> {
        let at = self.entries.len().checked_sub(age.checked_add(1)?)?;
        let entry = self.entries.get(at)?;
        let text = self.bytes.get(usize::from(entry.start)..)?;
        let (name, rest) = text.split_at_checked(usize::from(entry.name))?;
        let value = rest.get(..usize::from(entry.value))?;
        let note = entry.note;
        Some(Found { name, value, note })
    }

    /// Inserts an entry. One that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], note: T) {
        let length = name.len() + value.len();
        let size = length + OVERHEAD;
        self.evict(size);
        if size > self.max_size {
            return;
        }
        self.make_room(length);
        self.entries.push_back(Entry {
            start: self.bytes.len() as u16,
            name: name.len() as u16,
            value: value.len() as u16,
            note,
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += size;
    }

    /// Sets the maximum size, which is at most [`TABLE`].
    pub(super) fn resize(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(0);
    }

    /// Evicts the oldest entries until one of `size` fits.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.max_size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= usize::from(entry.name) + usize::from(entry.value) + OVERHEAD;
        }
    }

    /// When the buffer is full, moves the entries to its front. If that frees less than an eighth, the buffer grows: so a byte
    /// is moved about seven times at worst before it is evicted.
    fn make_room(&mut self, more: usize) {
        let capacity = self.bytes.capacity();
        if self.bytes.len() + more <= capacity {
            return;
        }
        let evicted = self
            .entries
            .front()
            .map_or(self.bytes.len(), |entry| usize::from(entry.start));
        self.bytes.drain(..evicted);
        for entry in &mut self.entries {
            entry.start -= evicted as u16;
        }
        let needed = self.bytes.len() + more;
        if needed > capacity - capacity / 8 {
            let room = (needed + needed / 2).max(ROOM);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
    }

    /// Size of the entries as RFC 7541 §4.1 counts it, and the memory held for them, in bytes.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let held = self.bytes.capacity() + self.entries.capacity() * size_of::<Entry<T>>();
        (self.size, held)
    }
}
