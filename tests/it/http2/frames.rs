//! Frames that no honest client sends (RFC 9113 §§3–6), and the errors they cause.

use std::time::Duration;

use h2::Reason;

use super::started;
use crate::support::http2::{Frames, GET, frame};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0x16;
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 0x20;
/// A request without a body.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;
const SIZE: Reason = Reason::FRAME_SIZE_ERROR;
const FLOW: Reason = Reason::FLOW_CONTROL_ERROR;

/// One setting.
pub(super) fn setting(id: u8, value: u32) -> Vec<u8> {
    [&[0, id][..], &value.to_be_bytes()].concat()
}

/// RFC 9113 §5.4.1: these end the connection.
#[test]
#[rustfmt::skip]
fn connection_errors_end_the_connection_with_their_code() {
    let open = frame(HEADERS, END_HEADERS, 1, GET);
    let begun = frame(HEADERS, END_STREAM, 1, GET);
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let cases: &[(&str, Vec<u8>, Reason)] = &[
        ("§4.2 DATA that is too large", frame(DATA, 0, 1, &[0; 16_385]), SIZE),
        ("§4.2 HEADERS that are too large", frame(HEADERS, WHOLE, 1, &[0; 16_385]), SIZE),
        ("§4.2 an unknown frame that is too large", frame(UNKNOWN, 0, 1, &[0; 16_385]), SIZE),
        ("§5.1 DATA on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
        ("§5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL),
        ("§5.1 WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL),
        ("§5.1 CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, GET), PROTOCOL),
        ("§5.1.1 an even stream", frame(HEADERS, WHOLE, 2, GET), PROTOCOL),
        ("§5.1.1 a stream below the last", [frame(HEADERS, WHOLE, 5, GET), frame(HEADERS, WHOLE, 3, GET)].concat(), PROTOCOL),
        ("§5.5 an unknown frame inside a block", [begun.clone(), frame(UNKNOWN, 0, 1, &[])].concat(), PROTOCOL),
        ("§6.1 DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("§6.1 padding as long as the frame", [open.clone(), frame(DATA, PADDED, 1, &[2, 0])].concat(), PROTOCOL),
        ("§6.1 padding without its length", [open.clone(), frame(DATA, PADDED, 1, &[])].concat(), SIZE),
        ("§6.2 HEADERS on stream 0", frame(HEADERS, WHOLE, 0, GET), PROTOCOL),
        ("§6.2 padding as long as the frame", frame(HEADERS, WHOLE | PADDED, 1, &[9, 0x82]), PROTOCOL),
        ("§6.2 padding without its length", frame(HEADERS, WHOLE | PADDED, 1, &[]), SIZE),
        ("§6.2 priority that is cut off", frame(HEADERS, WHOLE | HAS_PRIORITY, 1, &[0; 4]), SIZE),
        ("§6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
        ("§6.3 PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4]), SIZE),
        ("a stream that depends on itself", frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), PROTOCOL),
        ("a head of a stream that depends on itself", frame(HEADERS, WHOLE | HAS_PRIORITY, 1, &[&[0x80, 0, 0, 1, 0], GET].concat()), PROTOCOL),
        ("§6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ("§6.4 RST_STREAM of 3 bytes", frame(RST_STREAM, 0, 1, &[0; 3]), SIZE),
        ("§6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        ("§6.5 SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), SIZE),
        ("§6.5 an acknowledgement with payload", frame(SETTINGS, ACK, 0, &[0; 6]), SIZE),
        ("§6.5.2 ENABLE_PUSH 2", frame(SETTINGS, 0, 0, &setting(2, 2)), PROTOCOL),
        ("§6.5.2 INITIAL_WINDOW_SIZE too large", frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), FLOW),
        ("§6.5.2 MAX_FRAME_SIZE too small", frame(SETTINGS, 0, 0, &setting(5, 16_383)), PROTOCOL),
        ("§6.5.2 MAX_FRAME_SIZE too large", frame(SETTINGS, 0, 0, &setting(5, 1 << 24)), PROTOCOL),
        ("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL 2", frame(SETTINGS, 0, 0, &setting(8, 2)), PROTOCOL),
        ("§6.6 PUSH_PROMISE by a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 8]), PROTOCOL),
        ("§6.7 PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("§6.7 PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), SIZE),
        ("§6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("§6.8 GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, &[0; 7]), SIZE),
        ("§6.9 WINDOW_UPDATE of 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL),
        ("§6.9 WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), SIZE),
        ("§6.9.1 a window that overflows", frame(WINDOW_UPDATE, 0, 0, &most), FLOW),
        ("§6.9.1 a window that overflows by the second of two", [frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]), frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0])].concat(), FLOW),
        (
            "§6.9.2 the window of a stream that overflows by a setting",
            [open.clone(), frame(WINDOW_UPDATE, 0, 1, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()), frame(SETTINGS, 0, 0, &setting(4, 65_536))].concat(),
            FLOW,
        ),
        ("§6.10 CONTINUATION on stream 0", frame(CONTINUATION, END_HEADERS, 0, GET), PROTOCOL),
        ("§6.10 PING inside a block", [begun.clone(), frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL),
        ("§6.2 PRIORITY inside a block", [begun.clone(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])].concat(), PROTOCOL),
        ("§6.10 HEADERS behind a CONTINUATION", [begun.clone(), frame(CONTINUATION, 0, 1, &[]), frame(HEADERS, WHOLE, 1, GET)].concat(), PROTOCOL),
        ("§6.10 CONTINUATION behind DATA", [open.clone(), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(), PROTOCOL),
        ("§6.10 CONTINUATION on a stream that was reset", [open.clone(), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(), PROTOCOL),
        ("§6.10 DATA inside a block", [begun.clone(), frame(DATA, 0, 1, b"x")].concat(), PROTOCOL),
        ("§6.10 HEADERS inside a block", [begun.clone(), frame(HEADERS, WHOLE, 3, GET)].concat(), PROTOCOL),
        ("§6.10 CONTINUATION of another stream", [begun.clone(), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(), PROTOCOL),
        (
            "§6.10 CONTINUATION behind the end of a block",
            [begun, frame(CONTINUATION, END_HEADERS, 1, &[]), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            PROTOCOL,
        ),
        ("§6.10 CONTINUATION behind a whole block", [frame(HEADERS, END_HEADERS, 1, GET), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(), PROTOCOL),
    ];
    ends_with(cases);
}

/// RFC 9113 §§4.3, 5.4.1: a block that cannot be decoded makes the connection unusable, because later blocks depend on
/// it.
#[test]
#[rustfmt::skip]
fn blocks_that_cannot_be_decoded_end_the_connection() {
    let head = |block: &[u8]| frame(HEADERS, WHOLE, 1, block);
    let with = |more: &[u8]| head(&[GET, more].concat());
    let cases: Vec<(&str, Vec<u8>, Reason)> = [
        ("§6.1 an index of 0", with(&[0x80])),
        ("§2.3.3 an index that is nothing", with(&[0xff, 0x20])),
        ("§2.3.3 a name with an index that is nothing", with(&[0x7f, 0x20, 0x01, b'x'])),
        ("§4.2 a resize behind a field", with(&[0x20])),
        ("§6.3 a table that is too large", head(&[&[0x3f, 0xe2, 0x1f], GET].concat())),
        ("§5.1 an integer that overflows", with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
        ("§5.1 an integer that is cut off", with(&[0xff, 0x80])),
        ("§5.2 a string that is cut off", with(&[0x00, 0x03, b'a'])),
        ("§5.2 padding of 8 bits or more", with(&[0x00, 0x82, 0x1f, 0xff, 0x01, b'x'])),
        ("§5.2 padding of zeros", with(&[0x00, 0x81, 0x18, 0x01, b'x'])),
        ("§5.2 the end of a string inside it", with(&[0x00, 0x85, 0x1f, 0xff, 0xff, 0xff, 0xff, 0x01, b'x'])),
    ]
    .into_iter()
    .map(|(what, bytes)| (what, bytes, Reason::COMPRESSION_ERROR))
    .collect();
    ends_with(&cases);
    let pieces = [frame(HEADERS, END_STREAM, 1, &GET[..2]), frame(CONTINUATION, END_HEADERS, 1, &[0x80])].concat();
    ends_with(&[("in two frames", pieces, Reason::COMPRESSION_ERROR)]);
}

fn ends_with(cases: &[(&str, Vec<u8>, Reason)]) {
    let (_backend, proxy) = started();
    let mut wrong = Vec::new();
    for (what, bytes, reason) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(bytes);
        let goodbye = client.goodbye();
        // The connection is closed, not only announced to close.
        if goodbye != Some(*reason) || client.read().is_some() {
            wrong.push((what, goodbye));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Segment boundaries are arbitrary.
#[test]
fn frames_are_parsed_however_they_are_segmented() {
    let (_backend, proxy) = started();
    let priority = [&[0x80, 0, 0, 3, 7][..], &GET[..2]].concat();
    let padded = [&[2][..], &GET[..3], &[0, 0]].concat();
    let request = [
        frame(UNKNOWN, 0xff, 0, b"whatever"),
        frame(HEADERS, END_STREAM | HAS_PRIORITY, 1, &priority),
        frame(CONTINUATION, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, &GET[2..]),
        frame(HEADERS, PADDED, 3, &padded),
        frame(CONTINUATION, END_HEADERS, 3, &GET[3..]),
        frame(DATA, PADDED | END_STREAM, 3, &[1, b'x', 0]),
    ]
    .concat();
    for size in [1, 2, 5, 7, 9, 10, 13, 16, 29, 1_000] {
        let mut client = Frames::connect(proxy.address(), &[]);
        for piece in request.chunks(size) {
            client.write(piece);
        }
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let end = client.wait_for(|frame| frame.kind < 2 && frame.flags & END_STREAM != 0);
            ended.push(end.unwrap_or_else(|| panic!("pieces of {size}")).stream);
        }
        ended.sort_unstable();
        assert_eq!(ended, [1, 3], "pieces of {size}");
    }
}

#[test]
fn settings_and_pings_are_acknowledged_and_unknown_frames_ignored() {
    let (_backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &setting(0x77, 9));
    let is_ack = |kind| move |frame: &crate::support::http2::Frame| frame.kind == kind && frame.flags == ACK;
    assert!(client.wait_for(is_ack(SETTINGS)).is_some());
    client.send(UNKNOWN, 0xff, 0, b"whatever");
    client.send(UNKNOWN, 0xff, 7, b"whatever");
    client.send(PING, 0xfe, 0, b"abcdefgh");
    assert_eq!(client.wait_for(is_ack(PING)).unwrap().payload, b"abcdefgh");
    // An acknowledgement that nobody requested is ignored.
    client.send(PING, ACK, 0, b"abcdefgh");
    // RFC 9113 §5.3.2: priorities may be ignored, on streams in all states.
    client.send(PRIORITY, 0, 9, &[0, 0, 0, 3, 1]);
    client.send(HEADERS, WHOLE, 1, GET);
    assert!(
        client
            .wait_for(|frame| frame.kind == DATA && frame.flags & END_STREAM != 0)
            .is_some()
    );
    client.send(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]);
    client.send(HEADERS, WHOLE, 3, GET);
    assert!(
        client
            .wait_for(|frame| frame.kind == DATA && frame.stream == 3)
            .is_some()
    );
}

/// RFC 9113 §3.4.
#[test]
fn an_invalid_preface_is_refused() {
    let (_backend, proxy) = started();
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(!client.read_to_end().starts_with(b"HTTP/1.1 2"));
    for first in [
        frame(PING, 0, 0, &[0; 8]),
        frame(HEADERS, WHOLE, 1, GET),
        frame(SETTINGS, ACK, 0, &[]),
    ] {
        let mut client = Frames::connect_with(proxy.address(), &first);
        assert_eq!(client.goodbye(), Some(PROTOCOL));
    }
}

/// RFC 9113 §6.9: no data is sent without credit, also after a setting has reduced the window.
#[test]
fn windows_are_respected() {
    let (_backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &setting(4, 3));
    client.send(HEADERS, WHOLE, 1, &super::get("/ten"));
    let data = |client: &mut Frames| client.wait_for(|frame| frame.kind == DATA).unwrap().payload;
    assert_eq!(data(&mut client), b"012");
    // The window is 3 bytes below zero.
    client.send(SETTINGS, 0, 0, &setting(4, 0));
    client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 3]);
    assert!(
        client
            .wait_for(|frame| frame.kind == SETTINGS && frame.flags == ACK)
            .is_some()
    );
    assert!(client.is_silent_for(Duration::from_millis(50)));
    client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]);
    assert_eq!(data(&mut client), b"34");
    client.send(SETTINGS, 0, 0, &setting(4, 1));
    assert_eq!(data(&mut client), b"5");
    client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
    assert_eq!(data(&mut client), b"6789");
}

/// RFC 9113 §6.9: a window error of a stream ends that stream only.
#[test]
fn window_errors_of_a_stream_reset_the_stream() {
    let (_backend, proxy) = started();
    let most = frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]);
    for (what, bytes, reason) in [
        ("§6.9 0", frame(WINDOW_UPDATE, 0, 1, &[0; 4]), PROTOCOL),
        (
            "§6.9.1 more than there can be",
            [most.clone(), most].concat(),
            FLOW,
        ),
    ] {
        let mut client = Frames::connect(proxy.address(), &setting(4, 0));
        // Its response waits for the window.
        client.write(&[frame(HEADERS, WHOLE, 1, &super::get("/ten")), bytes].concat());
        assert_eq!(client.reset_of(1), Some(reason), "{what}");
        client.send(HEADERS, WHOLE, 3, GET);
        let next = client.wait_for(|frame| frame.kind == HEADERS && frame.stream == 3);
        assert!(next.is_some(), "{what}");
    }
}

/// RFC 9113 §§4.1, 4.2, 5.3.2, 6.5.2, 6.8, 7: unusual but legal frames, each before a request that succeeds.
#[test]
#[rustfmt::skip]
fn unusual_legal_frames_change_nothing() {
    let (_backend, proxy) = started();
    let reserved = |mut frame: Vec<u8>| { frame[5] |= 0x80; frame };
    let open = frame(HEADERS, END_HEADERS, 1, &super::get("/ten"));
    let cases: [(&str, Vec<u8>); 12] = [
        ("§4.1 the reserved bit of a stream", reserved(frame(HEADERS, WHOLE, 1, GET))),
        ("§4.1 flags of HEADERS that nobody knows", frame(HEADERS, WHOLE | 0x52, 1, GET)),
        ("§4.1 flags of DATA that nobody knows", [open.clone(), frame(DATA, END_STREAM | 0xf6, 1, b"x")].concat()),
        ("§4.2 DATA as large as may be", [open.clone(), frame(DATA, END_STREAM, 1, &[0; 16_384])].concat()),
        ("§5.3.2 PRIORITY of a stream, and a request by one below", frame(PRIORITY, 0, 5, &[0x80, 0, 0, 3, 255])),
        ("§5.3.2 PRIORITY of a stream that is half-closed", [frame(HEADERS, WHOLE, 1, GET), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255])].concat()),
        ("§6.4 RST_STREAM of a stream that is half-closed", [frame(HEADERS, WHOLE, 1, GET), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat()),
        ("§6.9 WINDOW_UPDATE of a stream that is half-closed", [frame(HEADERS, WHOLE, 1, GET), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])].concat()),
        ("§6.5.2 a setting twice", frame(SETTINGS, 0, 0, &[setting(4, 1 << 20), setting(4, 100), setting(3, 1), setting(3, 2)].concat())),
        ("§6.8 GOAWAY with words", frame(GOAWAY, 0, 0, &[&[0; 8][..], b"good night"].concat())),
        ("§7 GOAWAY for a reason that nobody knows", frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0xff, 0, 0, 0xff])),
        ("§7 RST_STREAM for a reason that nobody knows", [open, frame(RST_STREAM, 0, 1, &[0xff, 0, 0, 0xff])].concat()),
    ];
    for (what, bytes) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&[bytes, frame(HEADERS, WHOLE, 3, GET)].concat());
        let end = client.wait_for(|frame| frame.kind == DATA && frame.stream == 3 && frame.flags & END_STREAM != 0);
        assert!(end.is_some(), "{what}");
    }
}
