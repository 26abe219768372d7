//! The memory of `br` encoders, which is used again for the next body: to get it from the kernel for each body, page by page, takes
//! longer than to encode one of 64 KiB.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use brotli::enc::cluster::HistogramPair;
use brotli::enc::combined_alloc::BrotliAlloc;
use brotli::enc::command::Command;
use brotli::enc::entropy_encode::HuffmanTree;
use brotli::enc::histogram::{ContextType, HistogramCommand, HistogramDistance, HistogramLiteral};
use brotli::enc::{PDF, StandardAlloc, StaticCommand, ZopfliNode, floatX, s16, v8};
use brotli::{Allocator, SliceWrapper, SliceWrapperMut};

/// Bytes of the smallest tables that are kept. The system's allocator keeps smaller ones itself.
const LEAST: usize = 32 << 10;
/// Bytes of the tables of a type that are kept at most: those of two encoders of the default level.
const MOST: usize = 4 << 20;

/// A table.
type Table<T> = <StandardAlloc as Allocator<T>>::AllocatedMemory;

/// The memory of the encoders of a worker. A clone is the same memory.
#[derive(Clone, Default)]
pub(super) struct Memory(Rc<RefCell<Kept>>);

/// The tables that wait to be used again.
#[derive(Default)]
struct Kept {
    bytes: VecDeque<Table<u8>>,
    signed: VecDeque<Table<i32>>,
    unsigned: VecDeque<Table<u32>>,
    commands: VecDeque<Table<Command>>,
}

impl BrotliAlloc for Memory {}

/// Tables of these types are kept: they are the large ones.
macro_rules! kept {
    ($($type:ty: $field:ident,)*) => {$(
        impl Allocator<$type> for Memory {
            type AllocatedMemory = Table<$type>;

            fn alloc_cell(&mut self, length: usize) -> Table<$type> {
                lend(&mut self.0.borrow_mut().$field, length)
            }

            fn free_cell(&mut self, table: Table<$type>) {
                keep(&mut self.0.borrow_mut().$field, table);
            }
        }
    )*};
}

/// Tables of these types are not.
macro_rules! plain {
    ($($type:ty,)*) => {$(
        impl Allocator<$type> for Memory {
            type AllocatedMemory = Table<$type>;

            fn alloc_cell(&mut self, length: usize) -> Table<$type> {
                Allocator::<$type>::alloc_cell(&mut StandardAlloc::default(), length)
            }

            fn free_cell(&mut self, _: Table<$type>) {}
        }
    )*};
}

kept! {
    u8: bytes,
    i32: signed,
    u32: unsigned,
    Command: commands,
}

plain! {
    u16,
    u64,
    floatX,
    v8,
    s16,
    PDF,
    StaticCommand,
    HistogramLiteral,
    HistogramCommand,
    HistogramDistance,
    HistogramPair,
    ContextType,
    HuffmanTree,
    ZopfliNode,
}

/// A table of this length, with nothing of the body before in it.
fn lend<T: Clone + Default>(kept: &mut VecDeque<Table<T>>, length: usize) -> Table<T> {
    let index = kept.iter().rposition(|table| table.slice().len() == length);
    match index.and_then(|index| kept.remove(index)) {
        Some(mut table) => {
            table.slice_mut().fill(T::default());
            table
        }
        None => Allocator::<T>::alloc_cell(&mut StandardAlloc::default(), length),
    }
}

/// Keeps a table, in place of those that have waited the longest.
fn keep<T: Clone + Default>(kept: &mut VecDeque<Table<T>>, table: Table<T>) {
    let bytes = |table: &Table<T>| size_of_val(table.slice());
    if !(LEAST..=MOST).contains(&bytes(&table)) {
        return;
    }
    kept.push_back(table);
    let mut total: usize = kept.iter().map(bytes).sum();
    while total > MOST {
        total -= kept.pop_front().as_ref().map_or(total, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_lent_again_empty() {
        let mut kept: VecDeque<Table<u32>> = VecDeque::new();
        let mut table = lend(&mut kept, LEAST);
        table.slice_mut().fill(7);
        let place = table.slice().as_ptr();
        keep(&mut kept, table);
        let other = lend(&mut kept, LEAST + 1);
        assert_eq!((other.slice().len(), kept.len()), (LEAST + 1, 1));
        let again = lend(&mut kept, LEAST);
        assert_eq!(again.slice().as_ptr(), place);
        assert!(again.slice().iter().all(|value| *value == 0));
    }

    #[test]
    fn keeps_the_latest_tables_up_to_a_limit_and_no_small_ones() {
        let mut kept: VecDeque<Table<u8>> = VecDeque::new();
        let lengths = |kept: &VecDeque<Table<u8>>| -> Vec<usize> {
            kept.iter().map(|table| table.slice().len()).collect()
        };
        for length in [LEAST - 1, LEAST, MOST / 2, MOST / 2 - LEAST] {
            let table = lend(&mut kept, length);
            keep(&mut kept, table);
        }
        assert_eq!(lengths(&kept), [LEAST, MOST / 2, MOST / 2 - LEAST]);
        let table = lend(&mut kept, LEAST);
        keep(&mut kept, table);
        assert_eq!(lengths(&kept), [MOST / 2, MOST / 2 - LEAST, LEAST]);
        let table = lend(&mut kept, MOST + 1);
        keep(&mut kept, table);
        assert_eq!(kept.len(), 3);
    }
}
