//! Encoding: which fields get an entry, and how entries are found.

use super::*;

#[test]
fn repeated_field_becomes_one_byte() {
    let mut encoder = Encoder::default();
    let response = [
        (":status", "200"),
        ("Content-Type", "text/html"),
        ("Server", "b"),
        ("Date", "Tue, 24 Nov 2026 18:04:49 GMT"),
        ("X-Frame-Options", "DENY"),
    ];
    let blocks: Vec<Vec<u8>> = (0..4).map(|_| encoded(&mut encoder, &response)).collect();
    assert_eq!(blocks[3], b"\x88\xc1\xc0\xbf\xbe");
    assert_eq!(blocks[2], blocks[3]);
    let mut decoder = Decoder::default();
    let lower = response.map(|(name, value)| (name.to_lowercase().into_bytes(), value.as_bytes().to_vec()));
    for block in blocks {
        assert_eq!(decoded(&mut decoder, &block), Ok(lower.to_vec()));
    }
}

#[test]
fn never_indexes_changing_long_or_secret_values() {
    let mut encoder = Encoder::default();
    let long = "a".repeat(257);
    let request = [
        (":path", "/a"),
        ("X-Request-ID", "1"),
        ("Content-Length", "7"),
        ("policy", &long),
        ("Cookie", "a=b"),
        ("Authorization", "Basic x"),
        ("X-API-Key", "x"),
    ];
    let first = encoded(&mut encoder, &request);
    for _ in 0..3 {
        assert_eq!(encoded(&mut encoder, &request), first);
    }
    let mut seen = Vec::new();
    let mut decoder = Decoder::default();
    decoder
        .decode(&first, |name, _| seen.push(name.is_secret))
        .unwrap();
    assert_eq!(seen, [false, false, false, false, true, true, true]);
    assert_eq!(decoder.sizes().0, 0);
}

/// Values that never repeat get no entries, so they evict no useful ones.
#[test]
fn values_that_never_repeat_evict_nothing() {
    let mut encoder = Encoder::default();
    let mut last = Vec::new();
    for number in 0..1000 {
        let number = number.to_string();
        last = encoded(&mut encoder, &[("x-number", &number), ("server", "a")]);
    }
    assert_eq!(last, b"\x00\x08x-number\x03999\xbe");
}

/// RFC 7541 §4.2.
#[test]
fn sends_a_size_update_once() {
    let mut encoder = Encoder::default();
    let mut sizes_sent = |sizes: &[u32]| {
        for size in sizes {
            encoder.resize(*size);
        }
        encoded(&mut encoder, &[])
    };
    assert_eq!(sizes_sent(&[4096]), b"");
    assert_eq!(sizes_sent(&[1 << 20]), b"");
    assert_eq!(sizes_sent(&[30]), b"\x3e");
    assert_eq!(sizes_sent(&[30]), b"");
    assert_eq!(sizes_sent(&[0, 16, 4096]), b"\x20\x3f\xe1\x1f");
    assert_eq!(sizes_sent(&[u32::MAX, 8, 16]), b"\x28\x30");
    assert_eq!(sizes_sent(&[]), b"");
}

#[test]
fn table_of_size_zero_keeps_nothing() {
    let mut encoder = Encoder::default();
    assert_eq!(encoder.sizes().1, 0);
    encoder.resize(0);
    for _ in 0..3 {
        let block = encoded(&mut encoder, &[("server", "a")]);
        assert!(block.ends_with(b"\x0f\x27\x01a"), "{block:x?}");
    }
    assert_eq!(encoder.sizes().1, 0);
}

/// RFC 7541 §6.2.3.
#[test]
fn writes_never_indexed_fields_as_such() {
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    encoder.secret(b"A", b"1", &mut out);
    encoder.secret(b":path", b"/", &mut out);
    assert_eq!(out, b"\x10\x01a\x011\x14\x01/");
    assert_eq!(encoder.sizes(), (0, 0));
}

#[test]
fn finds_both_fields_of_a_shared_bucket() {
    let bucket =
        |value: &String| encoder::hash(indexing::key(b"x"), value.as_bytes()) as usize % encoder::BUCKETS;
    let values: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let shared: Vec<&String> = values
        .iter()
        .filter(|value| bucket(value) == bucket(&values[0]))
        .collect();
    let fields = [("x", shared[0].as_str()), ("x", shared[1].as_str())];
    let mut encoder = Encoder::default();
    let blocks: Vec<Vec<u8>> = (0..3).map(|_| encoded(&mut encoder, &fields)).collect();
    assert_eq!(blocks[2], b"\xbf\xbe");
}

#[test]
fn does_not_find_evicted_entries() {
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    // Write each of 200 values twice, more than the table holds; then all of them again.
    for number in (0..200).chain(0..200) {
        let value = format!("{number:030}");
        for _ in 0..2 {
            let pair = [("server", value.as_str())];
            let block = encoded(&mut encoder, &pair);
            assert_eq!(decoded(&mut decoder, &block), Ok(fields(&pair)));
            assert_eq!(decoder.sizes().0, encoder.sizes().0);
        }
    }
    assert!(encoder.sizes().0 > TABLE - 70);
}

#[test]
fn ordinary_encoder_holds_little_memory() {
    let mut encoder = Encoder::default();
    let response = [
        (":status", "200"),
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", "1234"),
        ("Server", "b/1.2"),
        ("Date", "Tue, 24 Nov 2026 18:04:49 GMT"),
        ("Cache-Control", "max-age=3600"),
    ];
    for _ in 0..3 {
        encoded(&mut encoder, &response);
    }
    assert!(encoder.sizes().1 <= 1024, "{}", encoder.sizes().1);
}
