//! Encodes field blocks with little work. Repeated fields become one byte through the tables; the others are written as
//! plain literals. The encoder does not use the Huffman code, which would save a quarter of the bytes that are not indexed
//! and take more time than everything else. Nor does it take a name from a dynamic entry with another value: copying the
//! name is as fast as finding the entry.

use super::TABLE;
use super::indexing::{self, IndexingPolicy, Known};
use super::static_table::STATIC_ENTRIES;
use super::table::Table;

/// Longest value, in bytes, that gets an entry. A few longer ones (policies, tokens) would fill the table, and they seldom
/// repeat.
const MAX_INDEXED_VALUE: usize = 256;
/// Buckets of the hash index: about the number of ordinary entries in a full table.
pub(super) const BUCKETS: usize = 64;

/// The encoder of one connection, for all blocks that it sends. It allocates nothing before the first indexable field.
///
/// A field gets an entry when it is written a second time: values that never repeat, such as request numbers and times, are
/// as frequent as those that do, and would evict them. The table of a backend connection holds fields of many clients.
/// Since values are compared whole and identifying ones are never indexed, a client cannot learn another's by guessing.
#[derive(Debug, Default)]
pub struct Encoder {
    table: Table<Link>,
    index_by_hash: Option<Box<HashIndex>>,
    /// Number of entries inserted so far.
    inserted: u32,
    resize: Option<Resize>,
}

/// What the hash index keeps for an entry.
#[derive(Debug, Clone, Copy)]
struct Link {
    hash: u32,
    /// Index of its name in the static table, or 0.
    index: u8,
    /// Number of the previous entry in the same bucket.
    previous: u32,
}

#[derive(Debug)]
struct HashIndex {
    /// Number of the latest entry in each bucket.
    entries: [u32; BUCKETS],
    /// Upper half of the hash of the last two fields that were written without an entry. Two, because otherwise two fields
    /// that share a bucket and alternate would never be recognised as repeated.
    seen: [[u16; 2]; BUCKETS],
}

/// A change of the table size that has not been sent to the peer yet.
#[derive(Debug, Clone, Copy)]
struct Resize {
    smallest: usize,
    last: usize,
}

impl Encoder {
    /// Applies the peer's SETTINGS_HEADER_TABLE_SIZE. A change is sent at the start of the next block; the table is never
    /// larger than [`TABLE`].
    pub fn resize(&mut self, size: u32) {
        let last = usize::try_from(size).unwrap_or(TABLE).min(TABLE);
        match &mut self.resize {
            Some(resize) => {
                resize.smallest = resize.smallest.min(last);
                resize.last = last;
            }
            None if last == self.table.max_size() => {}
            None => self.resize = Some(Resize { smallest: last, last }),
        }
    }

    /// Begins a block: writes pending table size updates.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(Resize { smallest, last }) = self.resize.take() else {
            return;
        };
        // RFC 7541 §4.2: the smallest size since the last block, because it evicts entries, then the current one.
        if smallest < last {
            self.table.resize(smallest);
            put_number(0x20, 5, smallest, out);
        }
        self.table.resize(last);
        put_number(0x20, 5, last, out);
    }

    /// Writes one field, with its name in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let key = indexing::key(name);
        let Some(indexing) = indexing::find(name, key) else {
            self.indexable(
                key,
                &Literal {
                    name,
                    index: 0,
                    value,
                },
                out,
            );
            return;
        };
        if let Some(index) = indexing.index_with(value) {
            out.push(0x80 | index);
            return;
        }
        let literal = Literal::of(indexing, value);
        match indexing.policy {
            IndexingPolicy::Repeats => self.indexable(key, &literal, out),
            IndexingPolicy::Changes => literal.put(0x00, 4, out),
            IndexingPolicy::Secret => literal.put(0x10, 4, out),
        }
    }

    /// Writes one field as a never-indexed literal, because it was received as one (RFC 7541 §6.2.3).
    pub fn secret(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let indexing = indexing::find(name, indexing::key(name));
        let literal = indexing.map_or(
            Literal {
                name,
                index: 0,
                value,
            },
            |indexing| Literal::of(indexing, value),
        );
        literal.put(0x10, 4, out);
    }

    /// Writes a field that may be indexed: by its entry, or with a new entry if it repeats.
    fn indexable(&mut self, key: u32, field: &Literal<'_>, out: &mut Vec<u8>) {
        let is_short = field.value.len() <= MAX_INDEXED_VALUE;
        if !is_short || !self.table.has_room_for(field.name.len(), field.value.len()) {
            field.put(0x00, 4, out);
            return;
        }
        let hash = hash(key, field.value);
        if let Some(age) = self.find(hash, field) {
            put_number(0x80, 7, STATIC_ENTRIES + 1 + age, out);
        } else if self.is_repeated(hash) {
            self.insert(hash, field);
            field.put(0x40, 6, out);
        } else {
            field.put(0x00, 4, out);
        }
    }

    /// Age of this field's entry: the number of entries inserted after it.
    fn find(&self, hash: u32, field: &Literal<'_>) -> Option<usize> {
        let bucket = hash as usize % BUCKETS;
        let mut number = *self.index_by_hash.as_deref()?.entries.get(bucket)?;
        // Each step leads to an older entry. The chain ends at an evicted entry, or at a number that a newer entry has reused.
        let mut min_age = 0;
        loop {
            let age = self.inserted.wrapping_sub(number) as usize;
            let found = self.table.get(age).filter(|_| age >= min_age)?;
            if found.note.hash == hash
                && found.value == field.value
                && found.note.index == field.index
                && (field.index != 0
                    || found.name == field.name
                    || found.name.eq_ignore_ascii_case(field.name))
            {
                return Some(age);
            }
            number = found.note.previous;
            min_age = age + 1;
        }
    }

    /// Whether a field with this hash was written recently. Remembers the hash.
    fn is_repeated(&mut self, hash: u32) -> bool {
        let index_by_hash = self.index_by_hash.get_or_insert_with(Box::default);
        let mark = (hash >> 16) as u16;
        let Some(seen) = index_by_hash.seen.get_mut(hash as usize % BUCKETS) else {
            return false;
        };
        let is_repeated = seen.contains(&mark);
        if !is_repeated {
            let [last, _] = *seen;
            *seen = [mark, last];
        }
        is_repeated
    }

    fn insert(&mut self, hash: u32, field: &Literal<'_>) {
        self.inserted = self.inserted.wrapping_add(1);
        let index_by_hash = self.index_by_hash.get_or_insert_with(Box::default);
        let last = index_by_hash.entries.get_mut(hash as usize % BUCKETS);
        let previous = last.map_or(0, |last| std::mem::replace(last, self.inserted));
        let index = field.index;
        self.table.insert(
            field.name,
            field.value,
            Link {
                hash,
                index,
                previous,
            },
        );
    }
}

impl Default for HashIndex {
    fn default() -> Self {
        Self {
            entries: [0; BUCKETS],
            seen: [[0; 2]; BUCKETS],
        }
    }
}

/// A field written as a literal.
struct Literal<'f> {
    name: &'f [u8],
    /// Index of its name in the static table, or 0.
    index: u8,
    value: &'f [u8],
}

impl<'f> Literal<'f> {
    fn of(indexing: &Known, value: &'f [u8]) -> Self {
        Self {
            name: indexing.name,
            index: indexing.index,
            value,
        }
    }

    /// Writes it in the representation that the bits of `first` select (RFC 7541 §6.2).
    fn put(&self, first: u8, prefix: u32, out: &mut Vec<u8>) {
        put_number(first, prefix, usize::from(self.index), out);
        if self.index == 0 {
            put_number(0, 7, self.name.len(), out);
            let start = out.len();
            out.extend_from_slice(self.name);
            out.get_mut(start..).unwrap_or_default().make_ascii_lowercase();
        }
        put_number(0, 7, self.value.len(), out);
        out.extend_from_slice(self.value);
    }
}

/// Writes an integer into the last `prefix` bits of `first` and the bytes that follow (RFC 7541 §5.1).
pub(super) fn put_number(first: u8, prefix: u32, number: usize, out: &mut Vec<u8>) {
    let mask = (1_u8 << prefix) - 1;
    match number.checked_sub(usize::from(mask)) {
        None => out.push(first | number as u8),
        Some(rest) => put_long(first | mask, rest, out),
    }
}

fn put_long(first: u8, mut rest: usize, out: &mut Vec<u8>) {
    out.push(first);
    while rest > 0x7f {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Hashes eight bytes per step. It need not resist collisions: a peer that finds some only makes its own fields be compared
/// with a few more entries.
pub(super) fn hash(key: u32, value: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        (product >> 64) as u64 ^ product as u64
    };
    let (words, _) = value.as_chunks();
    let start = u64::from(key) << 32 | value.len() as u64;
    let hash = words
        .iter()
        .fold(start, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, indexing::last_word(value)) as u32
}

#[cfg(test)]
impl Encoder {
    /// Size of the table as RFC 7541 §4.1 counts it, and the total memory held, in bytes.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let (size, held) = self.table.sizes();
        (
            size,
            held + self.index_by_hash.as_ref().map_or(0, |_| size_of::<HashIndex>()),
        )
    }
}
