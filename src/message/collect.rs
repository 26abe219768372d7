//! Reads the body of a response into memory, or past it.

use std::task::{Context, Poll, ready};

use super::connection::Connection;
use super::protocol::source_length;
use super::transfer::TransferError;
use crate::buffer::Buffers;
use crate::head::ResponseHead;
use crate::http1::{Decoder, Kind, Limits, Piece};

/// A body that is being read.
#[derive(Debug)]
pub struct Collect {
    decoder: Decoder,
    body: Vec<u8>,
    is_kept: bool,
    length: usize,
    limit: usize,
}

impl Collect {
    /// Reads the body behind this head, which was taken from the input. More than `limit` bytes are an error.
    pub fn new(head: &ResponseHead, limits: &Limits, limit: usize) -> Self {
        let length = source_length(head.version, head.body);
        Self {
            decoder: Decoder::new(length, Kind::Response, limits),
            body: Vec::new(),
            is_kept: true,
            length: 0,
            limit,
        }
    }

    /// The same, without keeping what is read.
    #[must_use]
    pub fn discarding(self) -> Self {
        Self {
            is_kept: false,
            ..self
        }
    }

    /// Reads on; ready at the proven end of the body.
    ///
    /// # Errors
    /// [`TransferError`], after which the connection cannot be used for another message.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<(), TransferError>> {
        loop {
            match self.decoder.next(source.input.unread(), source.input_ended)? {
                Piece::Data { skip, len } => {
                    source.input.consume(skip);
                    self.length += len;
                    if self.length > self.limit {
                        return Poll::Ready(Err(TransferError::TooLarge));
                    }
                    if self.is_kept {
                        let payload = source.input.unread().get(..len).unwrap_or_default();
                        self.body.extend_from_slice(payload);
                    }
                    source.input.consume(len);
                }
                Piece::NeedMore { skip } => {
                    source.input.consume(skip);
                    let expected = self.decoder.expects();
                    // Of other bodies only a hint is known.
                    let is_announced = self.decoder.has_known_end();
                    if is_announced && expected > self.limit.saturating_sub(self.length) as u64 {
                        return Poll::Ready(Err(TransferError::TooLarge));
                    }
                    ready!(source.poll_fill(context, buffers, expected)).map_err(TransferError::Source)?;
                }
                Piece::End { skip, .. } => {
                    source.input.consume(skip);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// What was read.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::head::{BodyLength, Version};
    use crate::net::Stream;

    /// What reading a body with this length makes of these bytes, after which the backend closes.
    async fn read(
        bytes: &[u8],
        body: BodyLength,
        is_kept: bool,
    ) -> Result<(Vec<u8>, Vec<u8>), TransferError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        let mut source = Connection::new(Stream::from(OwnedFd::from(ours)));
        let head = ResponseHead {
            version: Version::Http11,
            body,
            ..ResponseHead::default()
        };
        let mut collect = Collect::new(&head, &Limits::default(), 8);
        if !is_kept {
            collect = collect.discarding();
        }
        let buffers = Buffers::default();
        std::future::poll_fn(|context| collect.poll(context, &mut source, &buffers)).await?;
        Ok((collect.into_body(), source.input.unread().to_vec()))
    }

    #[tokio::test]
    async fn reads_a_body_to_its_end_and_no_further() {
        let whole = |body: &str, rest: &str| (body.as_bytes().to_vec(), rest.as_bytes().to_vec());
        let exact = read(b"12345678more", BodyLength::Exact(8), true).await.unwrap();
        assert_eq!(exact, whole("12345678", "more"));
        let chunked = b"3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\nmore";
        let chunked = read(chunked, BodyLength::Chunked, true).await.unwrap();
        assert_eq!(chunked, whole("abcde", "more"));
        let closed = read(b"abc", BodyLength::UntilClose, true).await.unwrap();
        assert_eq!(closed, whole("abc", ""));
        let dropped = read(b"abcmore", BodyLength::Exact(3), false).await.unwrap();
        assert_eq!(dropped, whole("", "more"));
    }

    #[tokio::test]
    async fn a_body_above_the_limit_or_without_its_end_is_an_error() {
        for (bytes, body) in [
            (&b""[..], BodyLength::Exact(9)),
            (b"9\r\n123456789\r\n0\r\n\r\n", BodyLength::Chunked),
            (b"123456789", BodyLength::UntilClose),
        ] {
            for is_kept in [true, false] {
                let error = read(bytes, body, is_kept).await.unwrap_err();
                assert!(matches!(error, TransferError::TooLarge), "{body:?}: {error}");
            }
        }
        let error = read(b"1234", BodyLength::Exact(5), true).await.unwrap_err();
        assert!(matches!(error, TransferError::Body(_)), "{error}");
    }
}
