//! Blocks for the other side, written with as little work as will do. What repeats becomes a byte by the tables; the rest
//! goes out as it is. Nothing is written in the Huffman code, which would save a quarter of the bytes that are not
//! indexed for more time than all the rest takes; nor does a name that is not in the static table refer to an entry of
//! another value, since it is copied as fast as it is found.

use super::TABLE;
use super::known::{self, Habit, Known};
use super::standing::STANDING;
use super::table::Table;

/// Longest value that gets an entry. Longer ones (policies, tokens) would fill the table with a few, and are seldom the same.
const LONGEST: usize = 256;
/// Places by which entries are found: as many as a full table has of ordinary size.
pub(super) const PLACES: usize = 64;

/// One connection's, for all blocks that are written on it. It holds nothing before the first field that may repeat.
///
/// A field gets an entry when it comes a second time: what never does, numbers of requests and times of each, is as frequent
/// as what does, and would crowd it out. The tables of a connection to a backend see fields of many clients; since values
/// are compared whole, and those that identify are never kept, one client learns nothing of another's by trying.
#[derive(Debug, Default)]
pub struct Encoder {
    table: Table<Link>,
    places: Option<Box<Places>>,
    /// Entries made so far.
    made: u32,
    resize: Option<Resize>,
}

/// How an entry is found.
#[derive(Debug, Clone, Copy)]
struct Link {
    hash: u32,
    /// That of its name in the static table, or 0.
    index: u8,
    /// The entry before it that has the same place, by its number.
    before: u32,
}

#[derive(Debug)]
struct Places {
    /// The last entry of a place, by its number.
    entries: [u32; PLACES],
    /// What was written last without an entry, and before that, by the upper half of its hash. Two, because fields that have
    /// one place and come in turns would else never be known again.
    seen: [[u16; 2]; PLACES],
}

/// A change of the table's size that the other side has not been told.
#[derive(Debug, Clone, Copy)]
struct Resize {
    least: usize,
    last: usize,
}

impl Encoder {
    /// Takes the other side's SETTINGS_HEADER_TABLE_SIZE. What changes is told at the start of the next block; the table is
    /// never larger than [`TABLE`].
    pub fn resize(&mut self, size: u32) {
        let last = usize::try_from(size).unwrap_or(TABLE).min(TABLE);
        match &mut self.resize {
            Some(resize) => {
                resize.least = resize.least.min(last);
                resize.last = last;
            }
            None if last == self.table.most() => {}
            None => self.resize = Some(Resize { least: last, last }),
        }
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(Resize { least, last }) = self.resize.take() else {
            return;
        };
        // RFC 7541 §4.2: the smallest that was in force in between, since it evicted, and the last.
        if least < last {
            self.table.resize(least);
            put_number(0x20, 5, least, out);
        }
        self.table.resize(last);
        put_number(0x20, 5, last, out);
    }

    /// Writes one field, its name in lower case whatever it was.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let key = known::key(name);
        let Some(known) = known::find(name, key) else {
            self.repeated(
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
        if let Some(index) = known.with(value) {
            out.push(0x80 | index);
            return;
        }
        let literal = Literal::of(known, value);
        match known.habit {
            Habit::Repeats => self.repeated(key, &literal, out),
            Habit::Changes => literal.put(0x00, 4, out),
            Habit::Secret => literal.put(0x10, 4, out),
        }
    }

    /// Writes one field that no table may keep, here or further on: what came as such (RFC 7541 §6.2.3).
    pub fn secret(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let known = known::find(name, known::key(name));
        let literal = known.map_or(
            Literal {
                name,
                index: 0,
                value,
            },
            |known| Literal::of(known, value),
        );
        literal.put(0x10, 4, out);
    }

    /// Writes a field by its entry; or gives it one, if it comes again.
    fn repeated(&mut self, key: u32, field: &Literal<'_>, out: &mut Vec<u8>) {
        let is_short = field.value.len() <= LONGEST;
        if !is_short || !self.table.has_room_for(field.name.len(), field.value.len()) {
            field.put(0x00, 4, out);
            return;
        }
        let hash = hash(key, field.value);
        if let Some(age) = self.find(hash, field) {
            put_number(0x80, 7, STANDING + 1 + age, out);
        } else if self.is_again(hash) {
            self.insert(hash, field);
            field.put(0x40, 6, out);
        } else {
            field.put(0x00, 4, out);
        }
    }

    /// How many entries were made since the one of this field.
    fn find(&self, hash: u32, field: &Literal<'_>) -> Option<usize> {
        let place = hash as usize % PLACES;
        let mut number = *self.places.as_deref()?.entries.get(place)?;
        // Every step leads to an older one; one that leads on to what is gone, or to what took its number since, ends.
        let mut least = 0;
        loop {
            let age = self.made.wrapping_sub(number) as usize;
            let found = self.table.get(age).filter(|_| age >= least)?;
            if found.note.hash == hash
                && found.value == field.value
                && found.note.index == field.index
                && (field.index != 0
                    || found.name == field.name
                    || found.name.eq_ignore_ascii_case(field.name))
            {
                return Some(age);
            }
            number = found.note.before;
            least = age + 1;
        }
    }

    /// Whether a field of this hash was written lately; it is from now on.
    fn is_again(&mut self, hash: u32) -> bool {
        let places = self.places.get_or_insert_with(Box::default);
        let mark = (hash >> 16) as u16;
        let Some(seen) = places.seen.get_mut(hash as usize % PLACES) else {
            return false;
        };
        let is_again = seen.contains(&mark);
        if !is_again {
            let [last, _] = *seen;
            *seen = [mark, last];
        }
        is_again
    }

    fn insert(&mut self, hash: u32, field: &Literal<'_>) {
        self.made = self.made.wrapping_add(1);
        let places = self.places.get_or_insert_with(Box::default);
        let last = places.entries.get_mut(hash as usize % PLACES);
        let before = last.map_or(0, |last| std::mem::replace(last, self.made));
        let index = field.index;
        self.table
            .insert(field.name, field.value, Link { hash, index, before });
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            entries: [0; PLACES],
            seen: [[0; 2]; PLACES],
        }
    }
}

/// A field that is written out.
struct Literal<'f> {
    name: &'f [u8],
    /// That of its name in the static table, or 0.
    index: u8,
    value: &'f [u8],
}

impl<'f> Literal<'f> {
    fn of(known: &Known, value: &'f [u8]) -> Self {
        Self {
            name: known.name,
            index: known.index,
            value,
        }
    }

    /// Writes it in the form that `first` begins (RFC 7541 §6.2).
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

/// An integer in the last `prefix` bits of `first` and what follows them (RFC 7541 §5.1).
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

/// Eight bytes a step. Whoever finds values of one hash makes his own fields be compared with a few more entries.
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
    mix(hash, known::last_word(value)) as u32
}

#[cfg(test)]
impl Encoder {
    /// Bytes of the table as RFC 7541 §4.1 counts them, and memory that is held in all.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let (size, held) = self.table.sizes();
        (
            size,
            held + self.places.as_ref().map_or(0, |_| size_of::<Places>()),
        )
    }
}
