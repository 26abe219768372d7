//! A connection that the fault backend cuts inside a frame of HTTP/2 that it sends: the `h2` crate writes whole frames only.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::behaviour::{Cut, CutEnd, CutPlace};

/// Bytes of the head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;
/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The flag of DATA and HEADERS that ends a stream.
const END_STREAM: u8 = 1;
/// Bytes that wait for the socket before more are taken.
const MOST_WAITING: usize = 1 << 20;

/// The connection.
#[derive(Debug)]
pub(super) struct Severable {
    stream: TcpStream,
    knife: Knife,
}

/// Where the connection is to be cut; shared with the tasks of its streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Knife(Rc<RefCell<Frames>>);

/// What is known of the frames that were sent.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes that wait for the socket.
    waiting: Vec<u8>,
    /// The head of the frame under way.
    head: Vec<u8>,
    /// Bytes of its payload that are still to come.
    left: usize,
    /// Bytes of its payload that are still sent before the cut.
    before_cut: Option<usize>,
    streams: HashMap<u32, Stream>,
    /// How the connection ends, once it was cut.
    end: Option<CutEnd>,
    /// Whether a GOAWAY ends the connection at once.
    is_aborted: bool,
    severed: Vec<u64>,
}

/// A stream whose response is not over.
#[derive(Debug)]
struct Stream {
    nonce: u64,
    cut: Option<Cut>,
    has_begun: bool,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Severable {
    pub(super) fn new(stream: TcpStream) -> (Self, Knife) {
        let knife = Knife::default();
        let shared = knife.clone();
        (Self { stream, knife }, shared)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut frames = self.knife.0.borrow_mut();
        while !frames.waiting.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &frames.waiting))?;
            frames.waiting.drain(..count);
        }
        let Some(end) = frames.end else {
            return Poll::Ready(Ok(()));
        };
        if end == CutEnd::Reset {
            drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
        }
        Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
    }
}

impl Knife {
    /// A stream has a request with this nonce.
    pub(super) fn begin(&self, stream: u32, nonce: u64) {
        let begun = Stream {
            nonce,
            cut: None,
            has_begun: false,
        };
        self.0.borrow_mut().streams.insert(stream, begun);
    }

    /// Cuts the connection inside the response of this stream.
    pub(super) fn arm(&self, stream: u32, cut: Cut) {
        if let Some(stream) = self.0.borrow_mut().streams.get_mut(&stream) {
            stream.cut = Some(cut);
        }
    }

    /// The next GOAWAY ends the connection at once.
    pub(super) fn abort(&self) {
        self.0.borrow_mut().is_aborted = true;
    }

    /// The requests, beside those that asked for it, whose responses had begun when the connection was cut.
    pub(super) fn severed(&self) -> Vec<u64> {
        self.0.borrow().severed.clone()
    }
}

impl Frames {
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.end.is_none() {
            let (wanted, is_head) = match HEAD - self.head.len() {
                0 => (self.left.min(self.before_cut.unwrap_or(usize::MAX)), false),
                missing => (missing, true),
            };
            let Some((part, rest)) = bytes.split_at_checked(wanted.min(bytes.len())) else {
                return;
            };
            bytes = rest;
            if is_head {
                self.head.extend_from_slice(part);
                if let Some(frame) = Frame::read(&self.head) {
                    self.begin(frame);
                }
                continue;
            }
            self.waiting.extend_from_slice(part);
            self.left -= part.len();
            if let Some(before_cut) = &mut self.before_cut {
                *before_cut -= part.len();
                if *before_cut == 0 {
                    self.sever();
                }
            }
            if self.left == 0 {
                self.head.clear();
            }
        }
    }

    /// The head of a frame is complete.
    fn begin(&mut self, frame: Frame) {
        self.left = frame.length;
        let stream = self.streams.get_mut(&frame.stream);
        let cut = stream.as_ref().and_then(|stream| stream.cut);
        if let Some(cut) = cut.filter(|cut| frame.is_meant_by(*cut)) {
            let at = frame.place_of(cut);
            self.waiting
                .extend_from_slice(self.head.get(..at.min(HEAD)).unwrap_or_default());
            self.before_cut = Some(at.saturating_sub(HEAD));
            if at <= HEAD {
                self.sever();
            }
            return;
        }
        self.waiting.extend_from_slice(&self.head);
        let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
        if ends || frame.kind == RST_STREAM {
            self.streams.remove(&frame.stream);
        } else if let Some(stream) = stream.filter(|_| frame.kind == HEADERS) {
            stream.has_begun = true;
        }
        if frame.kind == GOAWAY && self.is_aborted {
            self.note_severed();
        }
        if frame.length == 0 {
            self.head.clear();
        }
    }

    /// Nothing more is sent.
    fn sever(&mut self) {
        let frame = Frame::read(&self.head);
        let own = frame.and_then(|frame| self.streams.remove(&frame.stream));
        self.end = own.and_then(|own| own.cut).map(|cut| cut.end);
        self.note_severed();
    }

    fn note_severed(&mut self) {
        let begun = self.streams.values();
        let begun = begun.filter(|stream| stream.has_begun && stream.cut.is_none());
        self.severed.extend(begun.map(|stream| stream.nonce));
    }
}

impl Frame {
    fn read(head: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, s, t, u, v] = head else {
            return None;
        };
        let length = u32::from_be_bytes([0, a, b, c]);
        Some(Self {
            length: usize::try_from(length).ok()?,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff,
        })
    }

    /// Whether the cut is inside this frame of its stream.
    fn is_meant_by(self, cut: Cut) -> bool {
        match cut.place {
            CutPlace::Head => self.kind == HEADERS,
            CutPlace::Continuation => self.kind == CONTINUATION,
            CutPlace::FrameHead if cut.permille.is_multiple_of(2) => self.kind == HEADERS,
            CutPlace::FrameHead | CutPlace::SizeLine | CutPlace::Body => self.kind == DATA,
            CutPlace::LastChunk => self.kind == DATA && self.flags & END_STREAM != 0,
            CutPlace::Stream | CutPlace::Goaway => false,
        }
    }

    /// Bytes of the frame that are sent: never all of them.
    fn place_of(self, cut: Cut) -> usize {
        let permille = usize::try_from(cut.permille.min(999)).unwrap_or_default();
        match cut.place {
            CutPlace::FrameHead => HEAD * permille / 1_000,
            _ => (HEAD + self.length * permille / 1_000).min(HEAD + self.length.saturating_sub(1)),
        }
        .min(HEAD + self.length - 1)
    }
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.knife.0.borrow().waiting.len() > MOST_WAITING {
            ready!(self.poll_send(context))?;
        }
        self.knife.0.borrow_mut().push(bytes);
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn cut(place: CutPlace, permille: u64) -> Cut {
        Cut {
            place,
            permille,
            end: CutEnd::Fin,
        }
    }

    #[test]
    fn what_is_sent_ends_inside_the_chosen_frame_and_names_the_other_responses_under_way() {
        let before = [
            frame(HEADERS, 4, 3, b"abc"),
            frame(HEADERS, 4, 5, b"d"),
            frame(DATA, END_STREAM, 5, b"e"),
        ]
        .concat();
        let own = [
            frame(HEADERS, 0, 1, b"0123456789"),
            frame(CONTINUATION, 4, 1, b"0123456789"),
            frame(DATA, 0, 1, b"0123456789"),
            frame(DATA, END_STREAM, 1, b""),
        ];
        for (place, permille, expected) in [
            (CutPlace::Head, 0, HEAD),
            (CutPlace::Head, 500, HEAD + 5),
            (CutPlace::Head, 999, HEAD + 9),
            (CutPlace::FrameHead, 500, 4),
            (CutPlace::Continuation, 500, 19 + HEAD + 5),
            (CutPlace::Body, 100, 38 + HEAD + 1),
            (CutPlace::FrameHead, 999, 38 + 8),
            (CutPlace::LastChunk, 999, 57 + 8),
        ] {
            let bytes = [&before[..], &own.concat()].concat();
            for size in [1, 7, bytes.len()] {
                let knife = Knife::default();
                for stream in [1, 3, 5, 7] {
                    knife.begin(stream, stream.into());
                }
                knife.arm(1, cut(place, permille));
                for part in bytes.chunks(size) {
                    knife.0.borrow_mut().push(part);
                }
                let sent = knife.0.borrow().waiting.clone();
                assert_eq!(sent, &bytes[..before.len() + expected], "{place:?} {permille}");
                assert_eq!(knife.0.borrow().end, Some(CutEnd::Fin));
                assert_eq!(knife.severed(), [3]);
            }
        }
    }
}
