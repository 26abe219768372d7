//! A blocking client of the server-sent events of the admin API, for commands that follow a running process.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::time::Duration;

use socket2::Socket;

use super::client::{self, Api};
use crate::clock;

/// Longest line. An event has at most 32 fields of 8 KiB, whose escapes may take six times as much.
const LINE_BOUND: u64 = 2 * 1024 * 1024;

/// A followed stream, or the response that refuses it.
pub enum Followed {
    /// The events, until the process ends them.
    Events(Events),
    /// The status and the body of another response.
    Refused(u16, Vec<u8>),
}

/// The events of a stream, in their order.
pub struct Events {
    reader: BufReader<Socket>,
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its kind: `event` or `sample`.
    pub kind: String,
    /// One line of JSON.
    pub data: String,
}

/// Follows the events at `path`. The process sends something at least every 15 s; `patience` is the longest wait for it.
///
/// # Errors
/// The connection failed; nothing was received in time (`TimedOut`); the response is not HTTP (`InvalidData`) or truncated
/// (`UnexpectedEof`); the token contains invalid characters (`InvalidInput`).
pub fn follow_blocking(api: Api<'_>, path: &str, patience: Duration) -> io::Result<Followed> {
    let stream = client::send(api, ("GET", path), client::Content::NONE, clock::now() + patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let line = read_line(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        head.extend_from_slice(&line);
        if line == b"\r\n" {
            break;
        }
        if head.len() as u64 > LINE_BOUND {
            return Err(client::invalid("the response headers are too long"));
        }
    }
    match client::parse_status(&head)? {
        200 => Ok(Followed::Events(Events { reader })),
        status => {
            let mut body = Vec::new();
            reader.take(LINE_BOUND).read_to_end(&mut body)?;
            Ok(Followed::Refused(status, body))
        }
    }
}

impl Iterator for Events {
    type Item = io::Result<ServerEvent>;

    /// `None` when the process has ended the stream.
    fn next(&mut self) -> Option<Self::Item> {
        let mut event = ServerEvent {
            kind: String::new(),
            data: String::new(),
        };
        loop {
            let line = match read_line(&mut self.reader) {
                Ok(line) => line?,
                Err(error) => return Some(Err(error)),
            };
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(": ") {
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("data", data)) => data.clone_into(&mut event.data),
                // The end of an event; a comment has no data.
                None if line.trim_end().is_empty() && !event.data.is_empty() => return Some(Ok(event)),
                _ => {}
            }
        }
    }
}

/// The next line with its end; `None` at the end of the stream, at which a part of a line is discarded.
fn read_line(reader: &mut BufReader<Socket>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader
        .take(LINE_BOUND)
        .read_until(b'\n', &mut line)
        .map_err(client::timed_out)?;
    match line.last() {
        Some(b'\n') => Ok(Some(line)),
        _ if line.len() as u64 == LINE_BOUND => Err(client::invalid("a line of the response is too long")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::net::ListenAddress;

    const SOON: Duration = Duration::from_secs(10);

    fn follow(response: &'static [u8]) -> io::Result<Followed> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = ListenAddress::Ip(listener.local_addr().expect("an address"));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).expect("a request");
            stream.write_all(response).expect("the client reads");
        });
        let api = Api {
            address: &address,
            token: None,
        };
        let followed = follow_blocking(api, "/events", SOON);
        server.join().expect("no panic");
        followed
    }

    #[test]
    fn events_come_in_their_order_and_comments_are_skipped() {
        let response = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n\
            event: sample\ndata: {\"a\": \"b: c\"}\n\n:\n\nevent: event\nid: 7\ndata: {}\n\nevent: event\ndata: {\"cut";
        let Ok(Followed::Events(events)) = follow(response) else {
            panic!("a stream");
        };
        let events: Vec<_> = events.map(|event| event.expect("an event")).collect();
        let event = |kind: &str, data: &str| ServerEvent {
            kind: kind.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(
            events,
            [event("sample", "{\"a\": \"b: c\"}"), event("event", "{}")]
        );
    }

    #[test]
    fn another_response_is_a_refusal() {
        let Ok(Followed::Refused(status, body)) = follow(b"HTTP/1.0 401 Unauthorized\r\n\r\nno") else {
            panic!("a refusal");
        };
        assert_eq!((status, body), (401, b"no".to_vec()));
        for (response, kind) in [
            (&b"HTTP/1.0 200 OK\r\n"[..], io::ErrorKind::UnexpectedEof),
            (b"SSH-2.0\r\n\r\n", io::ErrorKind::InvalidData),
        ] {
            assert_eq!(follow(response).err().map(|error| error.kind()), Some(kind));
        }
    }
}
