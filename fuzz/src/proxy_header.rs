//! Parses a PROXY header from any bytes: the same result in any segmentation, no byte after the header consumed, and an
//! accepted header can be written and read again.

use evenkeel::internals::net::{BadHeader, LONGEST_HEADER, ProxyHeader, ProxyVersion};

/// Longest header of version 1 (§2.1 of the protocol).
const LONGEST_LINE: usize = 107;

/// Panics if a property does not hold. The input is the beginning of a connection.
pub fn check(data: &[u8]) {
    let whole = ProxyHeader::parse(data);
    match whole {
        Ok(Some((header, end))) => {
            assert!(end <= data.len() && end <= LONGEST_HEADER);
            assert!(data[0] != b'P' || end <= LONGEST_LINE);
            // Bytes after the header change nothing; before its end there is no result.
            let other = [&data[..end], b"\r\n\r\n\0"].concat();
            assert_eq!(ProxyHeader::parse(&data[..end]), whole);
            assert_eq!(ProxyHeader::parse(&other), whole);
            for cut in 0..end {
                assert_eq!(ProxyHeader::parse(&data[..cut]), Ok(None), "cut at {cut}");
            }
            round_trips(header);
        }
        Ok(None) => assert!(data.len() < LONGEST_HEADER, "more than a header is waited for"),
        Err(error) => error_is_final(data, error),
    }
}

/// More bytes do not cure an error, and fewer bytes are the beginning of a header or an error.
fn error_is_final(data: &[u8], error: BadHeader) {
    for cut in 0..data.len() {
        let part = ProxyHeader::parse(&data[..cut]);
        assert!(matches!(part, Ok(None) | Err(_)), "{error} and {part:?} at {cut}");
    }
    let more = [data, b"\r\nPROXY UNKNOWN\r\n"].concat();
    let again = ProxyHeader::parse(&more);
    assert!(again.is_err(), "{error} and {again:?}");
}

fn round_trips(header: ProxyHeader) {
    for (_, version) in ProxyVersion::ALL {
        let mut bytes = Vec::new();
        header.write(version, &mut bytes);
        let meant = match (version, header) {
            // Version 1 cannot express these.
            (ProxyVersion::V1, ProxyHeader::Local | ProxyHeader::Unix) => ProxyHeader::Unknown,
            _ => header,
        };
        assert_eq!(ProxyHeader::parse(&bytes), Ok(Some((meant, bytes.len()))));
    }
}
