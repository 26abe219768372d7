//! Valid and invalid headers of both versions, from tables and generated.

use super::binary::{SIGNATURE, crc32c};
use super::*;
use crate::rng::Rng;

fn ip(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::Ip {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((block.len() as u16).to_be_bytes());
    bytes.extend(block);
    bytes
}

const ADDRESSES: &[u8] = b"\xc0\x00\x02\x07\xc0\x00\x02\x01\xc3\xcb\x00\x50";

fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[ADDRESSES, tlvs].concat())
}

/// A header with a checksum as its last TLV; the bits of `wrong` are flipped in it.
fn with_checksum(wrong: u32) -> Vec<u8> {
    let mut bytes = with_tlvs(b"\x04\x00\x01x\x03\x00\x04\0\0\0\0");
    let sum = crc32c([&bytes, &[], &[]]) ^ wrong;
    let place = bytes.len() - 4;
    bytes[place..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn reads_lines() {
    let client = ip("192.0.2.7:50123", "192.0.2.1:80");
    for (line, meant) in [
        ("PROXY TCP4 192.0.2.7 192.0.2.1 50123 80\r\n", client),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 0 65535\r\n",
            ip("192.0.2.7:0", "192.0.2.1:65535"),
        ),
        (
            "PROXY TCP6 2001:db8::7 ::1 50123 443\r\n",
            ip("[2001:db8::7]:50123", "[::1]:443"),
        ),
        ("PROXY UNKNOWN\r\n", ProxyHeader::Unknown),
        ("PROXY UNKNOWN ffff::1 rubbish 0 -1\r\n", ProxyHeader::Unknown),
    ] {
        assert_eq!(
            ProxyHeader::parse(line.as_bytes()),
            Ok(Some((meant, line.len()))),
            "{line}"
        );
    }
}

#[test]
fn rejects_malformed_lines() {
    for (line, error) in [
        ("GET / HTTP/1.1\r\n", BadHeader::Absent),
        ("proxy TCP4 192.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Absent),
        ("PROXYTCP4", BadHeader::Absent),
        (" PROXY UNKNOWN\r\n", BadHeader::Absent),
        ("PROXY \r\n", BadHeader::Line),
        ("PROXY UNKNOWN\n", BadHeader::Line),
        ("PROXY UNKNOWN\rx", BadHeader::Line),
        ("PROXY UNKNOWN\0\r\n", BadHeader::Line),
        ("PROXY TCP4\r\n", BadHeader::Line),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n", BadHeader::Line),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 1 80 x\r\n", BadHeader::Line),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 1 80 \r\n", BadHeader::Line),
        ("PROXY TCP4  192.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Line),
        ("PROXY TCP4\t192.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Line),
        ("PROXY UDP4 192.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Unspecified),
        ("PROXY tcp4 192.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Unspecified),
        (
            "PROXY UNKNOWNS 192.0.2.7 192.0.2.1 1 80\r\n",
            BadHeader::Unspecified,
        ),
        ("PROXY TCP4 ::1 ::1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP6 192.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP6 [::1] ::1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.07 192.0.2.1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2 192.0.2.1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP4 256.0.2.7 192.0.2.1 1 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 65536 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 01 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 00 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 +1 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 -1 80\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 1 0x50\r\n", BadHeader::Address),
        ("PROXY TCP4 192.0.2.7 192.0.2.1 1 \r\n", BadHeader::Address),
    ] {
        assert_eq!(ProxyHeader::parse(line.as_bytes()), Err(error), "{line:?}");
    }
}

/// §2.1: at most 107 bytes, including CRLF.
#[test]
fn line_length_is_bounded() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(longest.len(), 107);
    assert_eq!(
        ProxyHeader::parse(longest.as_bytes()),
        Ok(Some((ProxyHeader::Unknown, 107)))
    );
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert!(ProxyHeader::parse(longer.as_bytes()).is_err());
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(ProxyHeader::parse(endless.as_bytes()), Err(BadHeader::TooLong));
    assert_eq!(ProxyHeader::parse(&endless.as_bytes()[..106]), Ok(None));
}

#[test]
fn reads_binary_headers() {
    let client = ip("192.0.2.7:50123", "192.0.2.1:80");
    let mut six = [0; 36];
    six[15] = 7;
    six[31] = 1;
    six[33] = 9;
    six[35] = 80;
    for (bytes, meant) in [
        (v2(0x21, 0x11, ADDRESSES), client),
        (v2(0x21, 0x21, &six), ip("[::7]:9", "[::1]:80")),
        (v2(0x21, 0x31, &[0; 216]), ProxyHeader::Unix),
        (v2(0x21, 0x00, b""), ProxyHeader::Unknown),
        (v2(0x21, 0x00, b"anything"), ProxyHeader::Unknown),
        (v2(0x21, 0x12, ADDRESSES), ProxyHeader::Unknown),
        (v2(0x20, 0x00, b""), ProxyHeader::Local),
        (v2(0x20, 0xff, b"anything"), ProxyHeader::Local),
        (with_tlvs(b"\x04\x00\x00\xea\x00\x02vp"), client),
        (with_checksum(0), client),
    ] {
        let length = bytes.len();
        assert_eq!(ProxyHeader::parse(&bytes), Ok(Some((meant, length))), "{bytes:?}");
    }
}

#[test]
fn rejects_inconsistent_binary_headers() {
    for (bytes, error) in [
        (v2(0x11, 0x11, ADDRESSES), BadHeader::Unspecified),
        (v2(0x22, 0x11, ADDRESSES), BadHeader::Unspecified),
        (v2(0x21, 0x13, ADDRESSES), BadHeader::Unspecified),
        (v2(0x21, 0x41, ADDRESSES), BadHeader::Unspecified),
        (v2(0x21, 0x11, &ADDRESSES[1..]), BadHeader::Length),
        (v2(0x21, 0x21, ADDRESSES), BadHeader::Length),
        (v2(0x21, 0x31, ADDRESSES), BadHeader::Length),
        (v2(0x21, 0x11, b""), BadHeader::Length),
        (with_tlvs(b"\x04"), BadHeader::Length),
        (with_tlvs(b"\x04\x00"), BadHeader::Length),
        (with_tlvs(b"\x04\x00\x01"), BadHeader::Length),
        (with_tlvs(b"\x04\xff\xffx"), BadHeader::Length),
        (with_tlvs(b"\x03\x00\x03abc"), BadHeader::Length),
        (with_checksum(1), BadHeader::Checksum),
        (v2(0x21, 0x00, &[0; 4081]), BadHeader::TooLong),
        (b"\r\n\r\nGET".to_vec(), BadHeader::Absent),
    ] {
        assert_eq!(ProxyHeader::parse(&bytes), Err(error), "{bytes:?}");
    }
    let longest = v2(0x21, 0x00, &[0; 4080]);
    assert_eq!(
        ProxyHeader::parse(&longest),
        Ok(Some((ProxyHeader::Unknown, 4096)))
    );
}

/// RFC 9260 appendix A, RFC 3720 appendix B.4.
#[test]
fn checksum_matches_known_values() {
    assert_eq!(crc32c([b"1234", b"", b"56789"]), 0xE306_9283);
    assert_eq!(crc32c([&[0; 32], b"", b""]), 0x8A91_36AA);
}

/// Whatever follows it, and however it is split: parsing waits for all of it and takes nothing after it.
#[test]
fn parses_what_was_written_and_not_a_byte_more() {
    let mut rng = Rng::seeded(11);
    for round in 0..2000 {
        let header = any(&mut rng);
        for (_, version) in ProxyVersion::ALL {
            let mut bytes = Vec::new();
            header.write(version, &mut bytes);
            let end = bytes.len();
            let is_known = version == ProxyVersion::V2 || matches!(header, ProxyHeader::Ip { .. });
            let meant = if is_known { header } else { ProxyHeader::Unknown };
            for cut in 0..end {
                assert_eq!(
                    ProxyHeader::parse(&bytes[..cut]),
                    Ok(None),
                    "round {round}, {cut}"
                );
            }
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(
                ProxyHeader::parse(&bytes),
                Ok(Some((meant, end))),
                "round {round}"
            );
        }
    }
}

fn any(rng: &mut Rng) -> ProxyHeader {
    let kind = rng.bits() % 8;
    let mut address = |is_v4: bool| {
        let (high, low, port) = (rng.bits(), rng.bits(), rng.bits() as u16);
        let bits = (u128::from(high) << 64) | u128::from(low);
        match is_v4 {
            true => SocketAddr::from((Ipv4Addr::from_bits(low as u32), port)),
            false => SocketAddr::from((std::net::Ipv6Addr::from_bits(bits), port)),
        }
    };
    match kind {
        0 => ProxyHeader::Local,
        1 => ProxyHeader::Unknown,
        2 => ProxyHeader::Unix,
        kind => ProxyHeader::Ip {
            source: address(kind % 2 == 0),
            destination: address(kind % 2 == 0),
        },
    }
}

#[test]
fn client_header_has_one_family() {
    let named = |source: &str, destination: Option<&str>| {
        let destination = destination.map(|text| text.parse().unwrap());
        ProxyHeader::of_client(source.parse().unwrap(), destination)
    };
    let four = ip("192.0.2.7:1", "192.0.2.1:80");
    assert_eq!(named("192.0.2.7:1", Some("192.0.2.1:80")), four);
    assert_eq!(named("[::ffff:192.0.2.7]:1", Some("[::ffff:192.0.2.1]:80")), four);
    assert_eq!(named("192.0.2.7:1", None), ip("192.0.2.7:1", "0.0.0.0:0"));
    assert_eq!(named("[::7]:1", None), ip("[::7]:1", "[::]:0"));
    let mixed = ip("[2001:db8::7]:1", "[::ffff:192.0.2.1]:80");
    assert_eq!(named("[2001:db8::7]:1", Some("192.0.2.1:80")), mixed);
}
