//! Waits for the head of a response.

use std::task::{Context, Poll, ready};

use super::connection::Connection;
use super::head::{AwaitedHead, HeadError, poll_head};
use crate::buffer::Buffers;
use crate::head::{Method, ResponseHead};
use crate::http1::{self, HeadScan, Kind, Limits, Malformed};
use crate::http2::{self, BrokeOff};

/// Why the head of a response did not come.
#[derive(Debug)]
pub enum ResponseError {
    /// What came cannot be understood.
    Malformed(Malformed),
    /// The connection ended before the head was whole; without an error, before its first byte.
    Ended(Option<HeadError>),
    /// The stream was reset or its connection broke.
    BrokeOff(Option<BrokeOff>),
}

/// The head of a response that is read.
#[derive(Debug)]
pub struct AwaitedResponse<'a> {
    /// What was looked at so far.
    pub scan: &'a mut HeadScan,
    /// Where the head is stored.
    pub head: &'a mut ResponseHead,
    /// The method of the request.
    pub method: Method,
    /// The bounds of the head.
    pub limits: &'a Limits,
}

/// Reads the next head of the response that is `awaited`, interim or final. Gives how many bytes
/// at the front of the input it takes up.
///
/// # Errors
/// [`ResponseError`].
#[inline(always)] // It has one caller, which runs for every request.
pub fn poll_response(
    context: &mut Context<'_>,
    connection: &mut Connection,
    awaited: AwaitedResponse<'_>,
    buffers: &Buffers,
) -> Poll<Result<usize, ResponseError>> {
    let AwaitedResponse {
        scan,
        head,
        method,
        limits,
    } = awaited;
    if let Some(stream) = connection.http2() {
        let Ok((result, lines)) = ready!(stream.poll_response(context)) else {
            let broke_off = stream.broke_off();
            return Poll::Ready(Err(ResponseError::BrokeOff(broke_off)));
        };
        *head = result.map_err(ResponseError::Malformed)?;
        let end = lines.len();
        connection.set_head(lines);
        return Poll::Ready(Ok(end));
    }
    let whole = AwaitedHead {
        scan: &mut *scan,
        kind: Kind::Response,
        limits,
    };
    let end = match ready!(poll_head(context, connection, whole, buffers)) {
        Ok(Some(end)) => end,
        Ok(None) => return Poll::Ready(Err(ResponseError::Ended(None))),
        Err(HeadError::Malformed(reason)) => {
            let reason = what_was_sent(connection).unwrap_or(reason);
            return Poll::Ready(Err(ResponseError::Malformed(reason)));
        }
        Err(error) => {
            let ended = ResponseError::Ended(Some(error));
            return Poll::Ready(Err(
                what_was_sent(connection).map_or(ended, ResponseError::Malformed)
            ));
        }
    };
    head.clear();
    http1::parse_response(connection.input.unread(), scan, end, method, head)
        .map_err(ResponseError::Malformed)?;
    scan.clear();
    Poll::Ready(Ok(end))
}

/// What came in place of HTTP/1, where the backend speaks another protocol: that is a mistake in the config.
#[cold]
fn what_was_sent(connection: &Connection) -> Option<Malformed> {
    let unread = connection.input.unread();
    match connection.is_plain() {
        true if http2::is_begin_of_server(unread) => Some(Malformed::Http2Response),
        true if http1::is_tls_alert(unread) => Some(Malformed::TlsResponse),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::buffer::Buffer;
    use crate::net::Stream;

    #[tokio::test]
    async fn other_protocols_in_place_of_a_status_line_are_recognised() {
        let told = |bytes: &[u8]| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut connection = Connection::new(Stream::from(OwnedFd::from(ours)));
            connection.input = Buffer::of(bytes.to_vec());
            what_was_sent(&connection)
        };
        assert_eq!(
            told(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"),
            Some(Malformed::Http2Response)
        );
        assert_eq!(told(b"\x15\x03\x03\0\x02\x02\x32"), Some(Malformed::TlsResponse));
        assert_eq!(told(b"SSH-2.0-x\r\n"), None);
    }
}
