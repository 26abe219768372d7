//! The dynamic table of one direction (RFC 7541 §2.3.2, §4): names and values one behind the other in one buffer, so that a
//! table that has grown allocates nothing.

use std::collections::VecDeque;

use super::TABLE;

/// What an entry costs beside its bytes (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// Room that is taken first: the fields of a small head.
const ROOM: usize = 256;

/// Entries, each with a note of whoever keeps the table.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Those of entries that are gone, then those of entries, oldest first.
    bytes: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry<T>>,
    size: usize,
    most: usize,
}

/// Where an entry stands. The buffer is never as long as 64 KiB.
#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    start: u16,
    name: u16,
    value: u16,
    note: T,
}

/// An entry that was asked for.
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
            most: TABLE,
        }
    }
}

impl<T: Copy> Table<T> {
    /// The size that is in force.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether an entry of a name and a value of such lengths can be kept at all.
    pub(super) fn has_room_for(&self, name: usize, value: usize) -> bool {
        name + value + OVERHEAD <= self.most
    }

    /// The entry before which `age` others were made later.
    pub(super) fn get(&self, age: usize) -> Option<Found<'_, T>> {
        let at = self.entries.len().checked_sub(age.checked_add(1)?)?;
        let entry = self.entries.get(at)?;
        let text = self.bytes.get(usize::from(entry.start)..)?;
        let (name, rest) = text.split_at_checked(usize::from(entry.name))?;
        let value = rest.get(..usize::from(entry.value))?;
        let note = entry.note;
        Some(Found { name, value, note })
    }

    /// Makes an entry. One that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], note: T) {
        let length = name.len() + value.len();
        let size = length + OVERHEAD;
        self.evict(size);
        if size > self.most {
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

    /// Keeps no more than `most` from now on, which is at most [`TABLE`].
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(0);
    }

    /// Makes room for an entry of `size`.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.most
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= usize::from(entry.name) + usize::from(entry.value) + OVERHEAD;
        }
    }

    /// Moves entries to the front of the buffer when it is full. It grows when that won less than an eighth of it: then a byte
    /// is moved some seven times at worst until it is gone.
    fn make_room(&mut self, more: usize) {
        let capacity = self.bytes.capacity();
        if self.bytes.len() + more <= capacity {
            return;
        }
        let gone = self
            .entries
            .front()
            .map_or(self.bytes.len(), |entry| usize::from(entry.start));
        self.bytes.drain(..gone);
        for entry in &mut self.entries {
            entry.start -= gone as u16;
        }
        let needed = self.bytes.len() + more;
        if needed > capacity - capacity / 8 {
            let room = (needed + needed / 2).max(ROOM);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
    }

    /// Bytes of entries as RFC 7541 §4.1 counts them, and memory that is held for them.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let held = self.bytes.capacity() + self.entries.capacity() * size_of::<Entry<T>>();
        (self.size, held)
    }
}
