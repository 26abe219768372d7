//! Decoding: the examples of the RFC, invalid blocks, and memory held.

use super::*;

/// A block, its fields, and the size of the table after it.
type Read<'r> = (&'r [u8], &'r [(&'r str, &'r str)], usize);

/// Decodes consecutive blocks.
fn assert_decodes(blocks: &[Read<'_>]) {
    let mut decoder = Decoder::default();
    for (block, expected, size) in blocks {
        assert_eq!(decoded(&mut decoder, block), Ok(fields(expected)));
        assert_eq!(decoder.sizes().0, *size);
    }
}

/// RFC 7541, appendix C.1.
#[test]
fn reads_and_writes_rfc_integers() {
    let cases: [(&[u8], u32, usize); 3] = [(b"\x0a", 5, 10), (b"\x1f\x9a\x0a", 5, 1337), (b"\x2a", 7, 42)];
    for (bytes, prefix, number) in cases {
        let mut reader = Reader::new(bytes);
        let first = reader.next().unwrap();
        assert_eq!(reader.number(first, prefix), Ok(number));
        assert_eq!(reader.next(), None);
        let mut out = Vec::new();
        put_number(0, prefix, number, &mut out);
        assert_eq!(out, bytes);
    }
}

/// RFC 7541, appendix C.2.
#[test]
fn decodes_rfc_fields() {
    assert_decodes(&[(
        b"\x40\x0acustom-key\x0dcustom-header",
        &[("custom-key", "custom-header")],
        55,
    )]);
    assert_decodes(&[(b"\x04\x0c/sample/path", &[(":path", "/sample/path")], 0)]);
    assert_decodes(&[(b"\x10\x08password\x06secret", &[("password", "secret")], 0)]);
    assert_decodes(&[(b"\x82", &[(":method", "GET")], 0)]);
}

/// RFC 7541, appendices C.3 and C.4.
#[test]
fn decodes_rfc_requests() {
    let first: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    let second = &[first, &[("cache-control", "no-cache")]].concat();
    let third: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    assert_decodes(&[
        (b"\x82\x86\x84\x41\x0fwww.example.com", first, 57),
        (b"\x82\x86\x84\xbe\x58\x08no-cache", second, 110),
        (b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value", third, 164),
    ]);
    assert_decodes(&[
        (
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            first,
            57,
        ),
        (b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", second, 110),
        (
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
            third,
            164,
        ),
    ]);
}

/// RFC 7541, appendices C.5 and C.6: a size update to 256 bytes comes first, and entries are evicted.
#[test]
fn decodes_rfc_responses() {
    let first: &[(&str, &str)] = &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let second = &[&[(":status", "307")], &first[1..]].concat();
    let third: &[(&str, &str)] = &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ];
    assert_decodes(&[
        (
            b"\x3f\xe1\x01\x48\x03302\x58\x07private\x61\x1dMon, 21 Oct 2013 20:13:21 GMT\x6e\x17https://www.example.com",
            first,
            222,
        ),
        (b"\x48\x03307\xc1\xc0\xbf", second, 222),
        (
            b"\x88\xc1\x61\x1dMon, 21 Oct 2013 20:13:22 GMT\xc0\x5a\x04gzip\x77\x38foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            third,
            215,
        ),
    ]);
    assert_decodes(&[
        (
            b"\x3f\xe1\x01\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\
\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
            first,
            222,
        ),
        (b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf", second, 222),
        (
            b"\x88\xc1\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x84\xa6\x2d\x1b\xff\xc0\x5a\
\x83\x9b\xd9\xab\x77\xad\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\x7f\x36\x72\xc1\
\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07",
            third,
            215,
        ),
    ]);
}

#[test]
fn rejects_invalid_blocks() {
    let cases: [&[u8]; 14] = [
        // Index 0, an index beyond the table, and the same as index of a name.
        &[0x80],
        &[0xbe],
        &[0x7f, 0x00, 0x01, b'a'],
        &[0xff, 0xff, 0xff, 0xff, 0x7f],
        // Integers that are too long or truncated.
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff, 0x80, 0x80, 0x80, 0x80, 0x00],
        &[0xff],
        // Truncated strings.
        &[0x00],
        &[0x00, 0x05, b'a'],
        &[0x41],
        // Invalid Huffman padding.
        &[0x41, 0x81, 0x00],
        // A size update larger than allowed.
        &[0x3f, 0xe2, 0x1f],
        // A size update after a field.
        &[0x82, 0x20],
        &[0x82, 0x86, 0x84, 0x20],
    ];
    for block in cases {
        let result = decoded(&mut Decoder::default(), block);
        assert_eq!(result, Err(NotDecodable), "{block:x?}");
    }
}

#[test]
fn size_update_evicts_entries() {
    let mut decoder = Decoder::default();
    let block = [&[0x20, 0x3f, 0xe1, 0x1f][..], &literal(0x40, b"a", b"b")].concat();
    assert_eq!(decoded(&mut decoder, &block), Ok(fields(&[("a", "b")])));
    assert_eq!(decoded(&mut decoder, &[0xbe]), Ok(fields(&[("a", "b")])));
    assert_eq!(decoded(&mut decoder, &[0x20]), Ok(Vec::new()));
    assert_eq!(decoded(&mut decoder, &[0xbe]), Err(NotDecodable));
    // A table of 0 keeps nothing.
    assert_eq!(decoded(&mut decoder, &block[4..]), Ok(fields(&[("a", "b")])));
    assert_eq!(decoder.sizes().0, 0);
}

/// RFC 7541 §4.4.
#[test]
fn entry_may_evict_the_entry_its_name_refers_to() {
    let mut decoder = Decoder::default();
    let (name, value) = ([b'n'; 1500], [b'v'; 2500]);
    decoded(&mut decoder, &literal(0x40, &name, b"1")).unwrap();
    for _ in 0..5 {
        let mut block = vec![0x7e];
        put_number(0, 7, value.len(), &mut block);
        block.extend_from_slice(&value);
        let whole = vec![(name.to_vec(), value.to_vec())];
        assert_eq!(decoded(&mut decoder, &block), Ok(whole.clone()));
        assert_eq!(decoded(&mut decoder, &[0xbe]), Ok(whole));
        assert_eq!(decoded(&mut decoder, &[0xbf]), Err(NotDecodable));
    }
}

/// RFC 7541 §4.4.
#[test]
fn entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::default();
    decoded(&mut decoder, &literal(0x40, b"a", b"b")).unwrap();
    let fitting = literal(0x40, b"c", &[b'd'; TABLE - 33]);
    decoded(&mut decoder, &fitting).unwrap();
    assert_eq!(decoder.sizes().0, TABLE);
    assert_eq!(decoded(&mut decoder, &[0xbf]), Err(NotDecodable));
    decoded(&mut decoder, &literal(0x40, b"c", &[b'd'; TABLE - 32])).unwrap();
    assert_eq!(decoder.sizes().0, 0);
    assert_eq!(decoded(&mut decoder, &[0xbe]), Err(NotDecodable));
}

#[test]
fn determines_the_kind_of_a_name() {
    let cases: [(&[u8], Kind); 12] = [
        (b":authority", Kind::Authority),
        (b":protocol", Kind::Protocol),
        (b":status", Kind::Status),
        (b":odd", Kind::UnknownPseudo),
        (b":", Kind::UnknownPseudo),
        (b"", Kind::Flawed),
        (b"X-Upper", Kind::Flawed),
        (b"a b", Kind::Flawed),
        (b"a:b", Kind::Flawed),
        (b"a\0", Kind::Flawed),
        (b"host", Kind::Field(FieldName::Host)),
        (b"x-name", Kind::Field(FieldName::Other)),
    ];
    for (text, kind) in cases {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        // As a literal, by its entry, and as indexed name with another value.
        let block = [&literal(0x40, text, b"1")[..], &[0xbe, 0x7e, 0x01, b'2', 0xbe]].concat();
        decoder
            .decode(&block, |name, _| seen.push((name.text.to_vec(), name.kind)))
            .unwrap();
        assert_eq!(seen, vec![(text.to_vec(), kind); 4]);
    }
    assert_eq!(size_of::<Kind>(), 1, "each entry of a table has one");
}

#[test]
fn reports_never_indexed_fields() {
    let mut seen = Vec::new();
    let block = [
        &literal(0x10, b"a", b"1")[..],
        &literal(0x00, b"a", b"1"),
        &literal(0x40, b"a", b"1"),
        &[0xbe, 0x1f, 0x2f, 0x01, b'2', 0x14, 0x01, b'/'],
    ]
    .concat();
    let mut decoder = Decoder::default();
    decoder
        .decode(&block, |name, _| seen.push(name.is_secret))
        .unwrap();
    assert_eq!(seen, [true, false, false, false, true, true]);
}

/// The first request of a browser, with every field indexed.
fn browser() -> Vec<u8> {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
    let accept =
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
    let pairs = [
        (":authority", "www.example.com"),
        ("sec-ch-ua", "\"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        ("upgrade-insecure-requests", "1"),
        ("user-agent", agent),
        ("accept", accept),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
        ("sec-fetch-dest", "document"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("priority", "u=0, i"),
    ];
    let fields = pairs.map(|(name, value)| {
        let mut bytes = vec![0x40, 0x80 | huffman::tests::encoded(name.as_bytes()).len() as u8];
        bytes.extend(huffman::tests::encoded(name.as_bytes()));
        let value = huffman::tests::encoded(value.as_bytes());
        put_number(0x80, 7, value.len(), &mut bytes);
        bytes.extend(value);
        bytes
    });
    fields.concat()
}

#[test]
fn idle_decoder_holds_little_memory() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.sizes().1, 0);
    decoded(&mut decoder, &browser()).unwrap();
    let held = decoder.sizes().1;
    assert!(held < 1536, "{held}");
}

#[test]
fn releases_scratch_buffers_after_a_large_block() {
    let mut decoder = Decoder::default();
    let text = huffman::tests::encoded(&[b'x'; 100_000]);
    let mut block = vec![0x40];
    for _ in 0..2 {
        put_number(0x80, 7, text.len(), &mut block);
        block.extend_from_slice(&text);
    }
    decoded(&mut decoder, &block).unwrap();
    assert!(decoder.sizes().1 <= 8192, "{}", decoder.sizes().1);
}
