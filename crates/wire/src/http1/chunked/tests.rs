//! Tests of chunked bodies, split into reads anywhere. F, H and I numbers name classes of attack.

use super::{ChunkedDecoder, Piece, chunk_header, trailer_fields};
use crate::head::FieldName;
use crate::http1::{Kind, Limits, Malformed};
use proptest::prelude::*;

/// A decoded body: payload, trailer lines, and the rest of the input. `None` if it has not ended.
type Decoded = Result<Option<(Vec<u8>, Vec<u8>, Vec<u8>)>, Malformed>;

/// Decodes `bytes` that are received up to each of `lengths` in turn, as on a connection.
fn decode_in_pieces(kind: Kind, bytes: &[u8], lengths: &[usize], limits: Limits) -> Decoded {
    let mut decoder = ChunkedDecoder::new(kind, limits);
    let mut payload = Vec::new();
    let mut consumed = 0;
    for length in lengths {
        loop {
            let input = &bytes[consumed..*length];
            match decoder.next(input)? {
                Piece::Data { skip, len } => {
                    assert!(len > 0);
                    payload.extend_from_slice(&input[skip..skip + len]);
                    consumed += skip + len;
                }
                Piece::NeedMore { skip } => {
                    consumed += skip;
                    break;
                }
                Piece::End { skip, trailers } => {
                    let trailers = trailers.map(|range| input[range].to_vec()).unwrap_or_default();
                    assert!(decoder.is_ended());
                    return Ok(Some((payload, trailers, bytes[consumed + skip..].to_vec())));
                }
            }
        }
    }
    Ok(None)
}

fn decode_with(bytes: &[u8], limits: Limits) -> Decoded {
    decode_in_pieces(Kind::Request, bytes, &[bytes.len()], limits)
}

/// Decodes the body of a response.
fn decode_response(bytes: impl AsRef<[u8]>, limits: Limits) -> Decoded {
    let bytes = bytes.as_ref();
    decode_in_pieces(Kind::Response, bytes, &[bytes.len()], limits)
}

fn decode(bytes: impl AsRef<[u8]>) -> Decoded {
    decode_with(bytes.as_ref(), Limits::default())
}

fn ended(payload: &str, trailers: &str, rest: &str) -> Decoded {
    Ok(Some((payload.into(), trailers.into(), rest.into())))
}

#[test]
fn decodes_chunks_and_leaves_what_follows() {
    assert_eq!(decode("0\r\n\r\n"), ended("", "", ""));
    assert_eq!(
        decode("5\r\nhello\r\n6\r\n world\r\n000\r\n\r\nGET /"),
        ended("hello world", "", "GET /")
    );
    assert_eq!(decode("00000000000000aF\r\n"), Ok(None));
    assert_eq!(
        decode("1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n\r\n"),
        ended("a", "A: b\r\nC: d\r\n", "\r\n")
    );
}

/// F6; RFC 9112 §7.1.1: extensions are parsed and dropped.
#[test]
fn drops_extensions() {
    let quoted = "5;a;b=c;d=\"e \\\" ;\\\\\r\n".replace("\r\n", "\"\r\n");
    assert_eq!(
        decode(format!("{quoted}hello\r\n0;x\r\n\r\n")),
        ended("hello", "", "")
    );
}

/// F6; RFC 9112 §7.1.1, RFC 9110 §5.6.3: bad white space must be accepted where the grammar has it.
#[test]
fn drops_white_space_around_the_parts_of_an_extension() {
    for line in [
        "5 ;a",
        "5;\t\ta",
        "5\t ; a",
        "5;a ;b",
        "5;a =b",
        "5;a= b",
        "5 ; a = b ; c = \"d e\" ; f",
        "5                ;a",
    ] {
        let body = format!("{line}\r\nhello\r\n0\t;a\r\n\r\n");
        assert_eq!(decode(&body), ended("hello", "", ""), "{line:?}");
        assert_eq!(
            decode_response(&body, Limits::default()),
            ended("hello", "", ""),
            "{line:?}"
        );
    }
}

/// Servers that write each size in a field of fixed width.
#[test]
fn sizes_may_be_padded_in_responses_within_a_bound_of_each_line() {
    let limits = Limits {
        chunk_extensions: 20,
        ..Limits::default()
    };
    let chunks = "1       \r\na\r\n".repeat(100);
    assert_eq!(
        decode_response(format!("{chunks}0  \r\n\r\n"), limits),
        ended(&"a".repeat(100), "", "")
    );
    assert_eq!(
        decode_response("1                \r\na\r\n0\r\n\r\n", limits),
        ended("a", "", "")
    );
    for line in [
        "1                 \r\n",
        " 1\r\n",
        "1 1\r\n",
        " \r\n",
        "1 \n",
        "1 \rX",
        "8000000000000000 \r\n",
    ] {
        let reason = match line {
            "1 \rX" => Malformed::BadChunkEnd,
            _ => Malformed::BadChunkSize,
        };
        assert_eq!(decode_response(line, limits), Err(reason), "{line:?}");
    }
    // Blanks before an extension count as part of it.
    let extended = "1         ;a\r\nx\r\n".repeat(2);
    assert_eq!(
        decode_response(extended, limits),
        Err(Malformed::ChunkExtensionsTooLarge)
    );
}

/// F5; RFC 9112 §7.1: `1*HEXDIG`, and large ones must be expected.
#[test]
fn refuses_sizes_that_are_not_plain_hexadecimal() {
    for line in [
        "0x5\r\n",
        "+5\r\n",
        "-0\r\n",
        "5_0\r\n",
        " 5\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5 \n",
        "5 5\r\n",
        "5 x;a\r\n",
        "5                 ;a\r\n",
        "\t5\r\n",
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "5,\r\n",
        "5\0\r\n",
        "FFFFFFFFFFFFFFFF1\r\n",
        "fffffffffffffffe\r\n",
        "8000000000000000\r\n",
        "00000000000000005\r\n",
        "\n",
        "5.\r\n",
    ] {
        assert_eq!(decode(line), Err(Malformed::BadChunkSize), "{line:?}");
    }
    assert_eq!(decode("7fffffffffffffff\r\n"), Ok(None));
}

#[test]
fn refuses_extensions_that_are_not_name_and_value() {
    for line in [
        "5;\r\n",
        "5;;a\r\n",
        "5; \r\n",
        "5; ;a\r\n",
        "5; =a\r\n",
        "5;a \r\n",
        "5;a b\r\n",
        "5;a=b \r\n",
        "5;a=b c\r\n",
        "5;a=\"b\" \r\n",
        "5;a=\"b\" c\r\n",
        "5;a= \r\n",
        "5;a= ;b\r\n",
        "5;a=b =c\r\n",
        "5;a=\r\n",
        "5;=a\r\n",
        "5;a=\"b\r\n",
        "5;a=\"b\"c\r\n",
        "5;a\nX",
        "5;a=\"\n\"",
        "5;a=\"\0\"",
        "5;a=\"\\\r\n",
        "5;a=b=c\r\n",
        "5;\u{e4}\r\n",
        "5;a\tb\r\n",
    ] {
        assert_eq!(decode(line), Err(Malformed::BadChunkExtension), "{line:?}");
    }
}

/// F6: only CRLF ends a chunk line and a chunk.
#[test]
fn refuses_other_line_ends() {
    for body in [
        "5\nhello",
        "5\r\r;ABCD\r\n",
        "5\rhello",
        "5;a\rX",
        "5\r\nhello\n",
        "5\r\nhello\r0",
        "5\r\nhelloXX",
        "5\r\nhello0\r\n",
        "5\r\nhelloX\n",
        "3\r\nfoo\rX\n",
        "0\rX",
    ] {
        assert_eq!(decode(body), Err(Malformed::BadChunkEnd), "{body:?}");
    }
    assert_eq!(decode("0\r\n\n"), Err(Malformed::BareLf));
    assert_eq!(decode("0\r\n\rX"), Err(Malformed::BareCr));
    assert_eq!(decode("3\r\nfoo\r\n\r\n"), Err(Malformed::BadChunkSize));
}

#[test]
fn trailers_are_as_strict_as_heads() {
    for (section, reason) in [
        ("X\r\n\r\n", Malformed::BadFieldName),
        ("X : y\r\n\r\n", Malformed::BadFieldName),
        (": y\r\n\r\n", Malformed::BadFieldName),
        ("GET / HTTP/1.1\r\n\r\n", Malformed::BadFieldName),
        (" X: y\r\n\r\n", Malformed::ObsFold),
        ("X: y\r\n z\r\n\r\n", Malformed::ObsFold),
        ("X: y\n\r\n", Malformed::BareLf),
        ("X: y\rz\r\n\r\n", Malformed::BareCr),
        ("X: \0\r\n\r\n", Malformed::ControlByte),
    ] {
        assert_eq!(decode(format!("0\r\n{section}")), Err(reason), "{section:?}");
    }
    // A request line that contains a colon is not a field name: it is refused at the space.
    assert_eq!(
        decode("0\r\nX:POST / HTTP/1.1\r\n\r\n"),
        ended("", "X:POST / HTTP/1.1\r\n", "")
    );
}

#[test]
fn errors_are_permanent() {
    let mut decoder = ChunkedDecoder::new(Kind::Request, Limits::default());
    assert_eq!(decoder.next(b"x"), Err(Malformed::BadChunkSize));
    assert_eq!(decoder.next(b"0\r\n\r\n"), Err(Malformed::BadChunkSize));
}

#[test]
fn reports_the_end_again_without_consuming_more() {
    let mut decoder = ChunkedDecoder::new(Kind::Request, Limits::default());
    assert_eq!(
        decoder.next(b"0\r\n\r\nrest"),
        Ok(Piece::End {
            skip: 5,
            trailers: None
        })
    );
    assert_eq!(
        decoder.next(b"rest"),
        Ok(Piece::End {
            skip: 0,
            trailers: None
        })
    );
}

#[test]
fn bounds_extensions_of_the_whole_body_and_the_trailers() {
    let limits = Limits {
        chunk_extensions: 6,
        trailers: 20,
        fields: 2,
        ..Limits::default()
    };
    let decode = |body: &str| decode_with(body.as_bytes(), limits);
    assert_eq!(decode("1;ab\r\nx\r\n0;cd\r\n\r\n"), ended("x", "", ""));
    assert_eq!(
        decode("1;ab\r\nx\r\n0;cde\r\n\r\n"),
        Err(Malformed::ChunkExtensionsTooLarge)
    );
    assert_eq!(decode("1;abcdef"), Err(Malformed::ChunkExtensionsTooLarge));
    assert_eq!(
        decode("0\r\nA: 3456789012345\r\n\r\n"),
        ended("", "A: 3456789012345\r\n", "")
    );
    assert_eq!(
        decode("0\r\nA: 34567890123456\r\n\r\n"),
        Err(Malformed::TrailersTooLarge)
    );
    assert_eq!(
        decode("0\r\nA: 34567890123456789"),
        Err(Malformed::TrailersTooLarge)
    );
    assert_eq!(
        decode("0\r\nA:\r\nB:\r\nC:\r\n\r\n"),
        Err(Malformed::TooManyFields)
    );
}

/// H8, I1; RFC 9110 §6.5.1.
#[test]
fn trailer_fields_drop_forbidden_fields() {
    let section = b"grpc-status: 0\r\nContent-Length: 5\r\nX-Forwarded-For: 1.2.3.4\r\nx_real_ip: 1\r\nAuthorization: x\r\nHost: b\r\n\
        TRANSFER-ENCODING: chunked\r\nConnection: close\r\nX-Sum:  7 \r\n";
    let mut fields = Vec::new();
    trailer_fields(section, &mut fields, &Limits::default()).unwrap();
    let kept: Vec<_> = fields
        .iter()
        .map(|field| (field.id, field.name.of(section), field.value.of(section)))
        .collect();
    let expected: [(FieldName, &[u8], &[u8]); 2] = [
        (FieldName::Other, b"grpc-status", b"0"),
        (FieldName::Other, b"X-Sum", b"7"),
    ];
    assert_eq!(kept, expected);
    trailer_fields(b"", &mut fields, &Limits::default()).unwrap();
    assert!(fields.is_empty());
}

#[test]
fn trailer_fields_check_their_input() {
    let limits = Limits {
        trailers: 20,
        fields: 2,
        ..Limits::default()
    };
    for (section, reason) in [
        ("A: b", Malformed::BareCr),
        ("A: b\r", Malformed::BareCr),
        ("A: b\n", Malformed::BareLf),
        ("A: b\rc\r\n", Malformed::BareCr),
        ("A: \0\r\n", Malformed::ControlByte),
        ("\r\n", Malformed::BadFieldName),
        ("A\t: b\r\n", Malformed::BadFieldName),
        ("A:\r\nB:\r\nC:\r\n", Malformed::TooManyFields),
        ("A: 3456789012345678\r\n", Malformed::TrailersTooLarge),
    ] {
        assert_eq!(
            trailer_fields(section.as_bytes(), &mut Vec::new(), &limits),
            Err(reason),
            "{section:?}"
        );
    }
}

#[test]
fn chunk_header_is_hexadecimal_without_leading_zeros() {
    for len in [
        0,
        1,
        9,
        10,
        15,
        16,
        255,
        256,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        u64::MAX,
    ] {
        let mut out = b"x".to_vec();
        chunk_header(len, &mut out);
        assert_eq!(out, format!("x{len:x}\r\n").into_bytes());
    }
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"5\r\nhello\r\n"[..]),
        Just(&b"1;a=\"b c\"\r\nx\r\n"[..]),
        Just(&b"2;e\r\nxy\r\n"[..]),
        Just(&b"0\r\n\r\n"[..]),
        Just(&b"0\r\n"[..]),
        Just(&b"A: b\r\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b";"[..]),
        Just(&b"f"[..]),
        Just(&b" "[..]),
        Just(&b"\t"[..]),
        Just(&b"5  \r\nhello\r\n"[..]),
        Just(&b"1 ; a = b\r\nx\r\n"[..]),
        Just(&b"\xff"[..]),
    ];
    let good =
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6).prop_map(|chunks| {
            let mut out = Vec::new();
            for chunk in chunks {
                chunk_header(chunk.len() as u64, &mut out);
                out.extend_from_slice(&chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(super::LAST_CHUNK);
            out
        });
    prop_oneof![
        proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat()),
        good,
        proptest::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_body(
        bytes in bodies(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        limit in 0_usize..40,
        is_response in any::<bool>(),
    ) {
        let limits = Limits { chunk_extensions: limit, trailers: limit, line: limit.max(2), fields: limit / 8, ..Limits::default() };
        let kind = if is_response { Kind::Response } else { Kind::Request };
        let expected = decode_in_pieces(kind, &bytes, &[bytes.len()], limits);
        let mut lengths: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.push(bytes.len());
        lengths.sort_unstable();
        prop_assert_eq!(decode_in_pieces(kind, &bytes, &lengths, limits), expected.clone());
        let singles: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(decode_in_pieces(kind, &bytes, &singles, limits), expected);
    }

    #[test]
    fn a_body_written_in_chunks_is_read_back(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
        rest in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            chunk_header(chunk.len() as u64, &mut bytes);
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(super::LAST_CHUNK);
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(decode(&bytes), Ok(Some((chunks.concat(), Vec::new(), rest))));
    }
}
