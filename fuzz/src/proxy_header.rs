//! A PROXY header from any bytes: one verdict however they come, nothing behind the header taken, and what is accepted can
//! be written and read again.

use evenkeel::net::{BadHeader, LONGEST_HEADER, ProxyHeader, ProxyVersion};

/// Longest header of version 1 (§2.1 of the protocol).
const LONGEST_LINE: usize = 107;

/// Panics when something does not hold. The input is what a connection begins with.
pub fn check(data: &[u8]) {
    let whole = ProxyHeader::parse(data);
    match whole {
        Ok(Some((header, end))) => {
            assert!(end <= data.len() && end <= LONGEST_HEADER);
            assert!(data[0] != b'P' || end <= LONGEST_LINE);
            // What follows, or does not, changes nothing; before its end there is nothing to say.
            let other = [&data[..end], b"\r\n\r\n\0"].concat();
            assert_eq!(ProxyHeader::parse(&data[..end]), whole);
            assert_eq!(ProxyHeader::parse(&other), whole);
            for cut in 0..end {
                assert_eq!(ProxyHeader::parse(&data[..cut]), Ok(None), "cut at {cut}");
            }
            comes_back(header);
        }
        Ok(None) => assert!(data.len() < LONGEST_HEADER, "more than a header is waited for"),
        Err(error) => stands(data, error),
    }
}

/// An error is not mended by more bytes, nor are fewer bytes anything but the beginning of a header or an error.
fn stands(data: &[u8], error: BadHeader) {
    for cut in 0..data.len() {
        let part = ProxyHeader::parse(&data[..cut]);
        assert!(matches!(part, Ok(None) | Err(_)), "{error} and {part:?} at {cut}");
    }
    let more = [data, b"\r\nPROXY UNKNOWN\r\n"].concat();
    let again = ProxyHeader::parse(&more);
    assert!(again.is_err(), "{error} and {again:?}");
}

fn comes_back(header: ProxyHeader) {
    for (_, version) in ProxyVersion::ALL {
        let mut bytes = Vec::new();
        header.write(version, &mut bytes);
        let meant = match (version, header) {
            // A line has no words for these.
            (ProxyVersion::V1, ProxyHeader::Local | ProxyHeader::Unix) => ProxyHeader::Unknown,
            _ => header,
        };
        assert_eq!(ProxyHeader::parse(&bytes), Ok(Some((meant, bytes.len()))));
    }
}
