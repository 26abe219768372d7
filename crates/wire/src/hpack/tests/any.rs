//! Property tests: encoder, decoder and a simple model keep their tables in sync on any input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Valid and invalid names and values; some repeat, some are long.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![&b"x-name"[..], b"X-Upper", b":path", b":status", b"Server", b"200", b"", b"date"])
            .prop_map(<[u8]>::to_vec),
        4 => (0_u8..8).prop_map(|number| vec![number; 30]),
        1 => vec(any::<u8>(), 0..40),
        1 => vec(Just(b'a'), 1..5000),
    ]
}

/// One field of a block in any representation, or a table size update.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (prop_oneof![Just(0x40), Just(0x00), Just(0x10)], text(), text())
            .prop_map(|(form, name, value)| literal(form, &name, &value)),
        4 => (1_u8..80).prop_map(|index| vec![0x80 | index]),
        6 => (0x41_u8..0x7f, text()).prop_map(|(first, value)| {
            let mut bytes = vec![first];
            put_number(0, 7, value.len(), &mut bytes);
            bytes.extend_from_slice(&value);
            bytes
        }),
        1 => (0_usize..5000).prop_map(|size| {
            let mut bytes = Vec::new();
            put_number(0x20, 5, size, &mut bytes);
            bytes
        }),
    ]
}

/// The table as the RFC describes it, without regard to cost.
#[derive(Default)]
struct Model {
    entries: Fields,
    max_size: Option<usize>,
}

impl Model {
    fn field(&self, index: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        match static_table::entry_of(index) {
            Some((name, value)) => Some((name.text.to_vec(), value.to_vec())),
            None => self.entries.get(index.checked_sub(62)?).cloned(),
        }
    }

    fn read(&mut self, block: &[u8]) -> Option<Fields> {
        let mut reader = Reader::new(block);
        let mut fields: Fields = Vec::new();
        while let Some(first) = reader.next() {
            if first & 0x80 != 0 {
                fields.push(self.field(reader.number(first, 7).ok()?)?);
                continue;
            }
            if first & 0xe0 == 0x20 {
                let max_size = reader.number(first, 5).ok()?;
                if max_size > TABLE || !fields.is_empty() {
                    return None;
                }
                self.max_size = Some(max_size);
                self.evict();
                continue;
            }
            let is_indexed = first & 0x40 != 0;
            let name = match reader.number(first, if is_indexed { 6 } else { 4 }).ok()? {
                0 => reader.text(&mut Vec::new()).ok()?.to_vec(),
                index => self.field(index)?.0,
            };
            let value = reader.text(&mut Vec::new()).ok()?.to_vec();
            fields.push((name.clone(), value.clone()));
            if is_indexed {
                self.entries.insert(0, (name, value));
                self.evict();
            }
        }
        Some(fields)
    }

    fn size(&self) -> usize {
        let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + 32;
        self.entries.iter().map(size).sum()
    }

    fn evict(&mut self) {
        while self.size() > self.max_size.unwrap_or(TABLE) {
            self.entries.pop();
        }
    }
}

proptest! {
    #[test]
    fn decodes_blocks_like_the_model(blocks in vec(vec(part(), 0..12), 1..12)) {
        let (mut decoder, mut model) = (Decoder::default(), Model::default());
        for block in blocks {
            let block = block.concat();
            let fields = decoded(&mut decoder, &block);
            prop_assert_eq!(fields.clone().ok(), model.read(&block));
            if fields.is_err() {
                break;
            }
            let (size, held) = decoder.sizes();
            prop_assert_eq!(size, model.size());
            prop_assert!(size <= TABLE);
            prop_assert!(held < 16 << 10, "{}", held);
        }
    }

    #[test]
    fn decodes_what_was_encoded(
        blocks in vec((vec(prop_oneof![0_u32..300, any::<u32>()], 0..3), vec((text(), text()), 0..12)), 1..20),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (sizes, fields) in blocks {
            for size in sizes {
                encoder.resize(size);
            }
            let mut block = Vec::new();
            encoder.begin(&mut block);
            for (name, value) in &fields {
                encoder.field(name, value, &mut block);
            }
            let lower: Fields =
                fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
            prop_assert_eq!(decoded(&mut decoder, &block), Ok(lower));
            prop_assert_eq!(decoder.sizes().0, encoder.sizes().0);
            prop_assert!(encoder.sizes().1 < 16 << 10);
        }
    }

    #[test]
    fn decodes_or_rejects_any_bytes(blocks in vec(vec(any::<u8>(), 0..200), 1..5)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let _ = decoded(&mut decoder, &block);
            prop_assert!(decoder.sizes().0 <= TABLE);
        }
    }
}
