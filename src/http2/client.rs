//! The client's side of a connection, by which requests of many clients go to a backend.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::transport::{Moved, Transport};
use super::{Reason, Stream};
use crate::buffer::{Buffer, Buffers};
use crate::clock::Instant;
use crate::http1::Limits;
use crate::net;
use evenkeel_wire::http2::{Engine, ReceiveContext};

/// A connection that requests share.
#[derive(Debug)]
pub struct Shared {
    engine: Rc<RefCell<Engine>>,
    used: Cell<Instant>,
}

/// Moves the bytes of a connection. It has to run for as long as that is shared.
#[derive(Debug)]
pub struct Driver {
    engine: Rc<RefCell<Engine>>,
    transport: Transport,
}

/// Begins a connection. What it begins with is sent with the first request, and nothing is waited for.
pub fn begin(stream: net::Stream, limits: &Limits, now: Instant) -> (Shared, Driver) {
    let engine = Rc::new(RefCell::new(Engine::client(limits)));
    let shared = Shared {
        engine: Rc::clone(&engine),
        used: Cell::new(now),
    };
    let transport = Transport::new(stream, Buffer::default());
    (shared, Driver { engine, transport })
}

impl Driver {
    /// Moves bytes until the connection is over, or nobody has a part in it any more.
    pub fn poll(&mut self, context: &mut Context<'_>, buffers: &Buffers) -> Poll<()> {
        let engine = &mut *self.engine.borrow_mut();
        if Rc::strong_count(&self.engine) == 1 {
            engine.fail(Reason::NO_ERROR);
            // Whether it arrives is the backend's affair.
            let _ = self.transport.poll_send(context, engine);
            return Poll::Ready(());
        }
        poll(context, engine, &mut self.transport, buffers)
    }
}

/// Moves bytes, until the connection is over.
pub(super) fn poll(
    context: &mut Context<'_>,
    engine: &mut Engine,
    transport: &mut Transport,
    buffers: &Buffers,
) -> Poll<()> {
    let mut receiving = ReceiveContext { buffers, head: None };
    match ready!(transport.poll_move(context, engine, &mut receiving)) {
        Moved::Failed(_) => {
            // Whether it arrives is the backend's affair.
            let _ = transport.poll_send(context, engine);
        }
        Moved::Cut => {
            // What came before may be whole answers.
            while engine.receive(&mut transport.input, &mut receiving).is_ok()
                && matches!(transport.poll_read(context, buffers), Poll::Ready(Ok(1..)))
            {}
        }
        Moved::Request(_) | Moved::Done | Moved::Ended => {}
    }
    Poll::Ready(())
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.engine.borrow_mut().lose();
    }
}

impl Shared {
    /// Whether it carries no more requests.
    pub fn is_over(&self) -> bool {
        self.engine.borrow().is_over()
    }

    /// Whether another request may be sent by it.
    pub fn has_room(&self) -> bool {
        self.engine.borrow().has_room()
    }

    /// Requests under way.
    pub fn running(&self) -> usize {
        self.engine.borrow().handles()
    }

    /// When the last request was begun.
    pub fn used(&self) -> Instant {
        self.used.get()
    }

    /// A stream for one more request. Nothing is sent yet.
    pub fn open(&self, now: Instant) -> Stream {
        self.used.set(now);
        Stream::of_client(Rc::clone(&self.engine))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.borrow_mut().wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{self, ErrorKind};
    use std::os::fd::OwnedFd;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::clock;
    use crate::head::Method;
    use crate::http2::HeadFields;
    use crate::tasks::LocalTasks;

    /// What a backend begins with, and pings of it.
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const BOUND: std::time::Duration = std::time::Duration::from_secs(20);

    /// Runs a backend beside the driver of a connection to it.
    fn with_driver(backend: impl AsyncFn(UnixStream, Shared)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.unwrap(), async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            // So large that it takes all that waits at once.
            for socket in [&ours, &theirs] {
                socket2::SockRef::from(socket)
                    .set_send_buffer_size(1 << 20)
                    .unwrap();
            }
            let stream = OwnedFd::from(ours.into_std().unwrap()).into();
            let (shared, mut driver) = begin(stream, &Limits::default(), clock::now());
            let buffers = Buffers::default();
            LocalTasks::default()
                .spawn(async move { poll_fn(|context| driver.poll(context, &buffers)).await });
            timeout(BOUND, backend(theirs, shared)).await.expect("in time");
        });
    }

    /// Writes as much of `bytes` as is taken while nothing is read.
    async fn stuff(socket: &UnixStream, bytes: &[u8]) -> usize {
        let (mut written, mut refusals) = (0, 0);
        while refusals < 500 && written < bytes.len() {
            match socket.try_write(&bytes[written..]) {
                Ok(count) => (written, refusals) = (written + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refusals += 1;
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        written
    }

    /// Nothing is read while too many answers wait for the socket: when they have gone, what was left is read at once.
    #[test]
    fn what_waits_while_nothing_is_read_is_not_forgotten() {
        with_driver(async |mut socket, _shared| {
            let bytes = [&SETTINGS[..], &PING.repeat(1_000_000)].concat();
            let written = stuff(&socket, &bytes).await;
            assert!(written < bytes.len(), "nothing was read any more");
            let wanted = (written - SETTINGS.len()) / PING.len() * PING.len();
            let (mut got, mut space) = (0, vec![0; 64 << 10]);
            while got < wanted {
                let count = socket.read(&mut space).await.unwrap();
                assert!(count > 0, "{got} of {wanted}");
                got += count;
            }
        });
    }

    async fn responded(stream: &mut Stream) -> io::Result<usize> {
        let (head, _) = poll_fn(|context| stream.poll_response(context)).await?;
        assert_eq!(head.unwrap().status, 200);
        let mut got = 0;
        while let Some(payload) = poll_fn(|context| stream.poll_take(context)).await? {
            got += payload.unread().len();
        }
        Ok(got)
    }

    /// The backend's close makes writing fail before all that it has sent is read.
    #[test]
    fn whole_answers_are_not_lost_to_a_write_that_fails() {
        with_driver(async |socket, shared| {
            let mut streams = [shared.open(clock::now()), shared.open(clock::now())];
            for stream in &mut streams {
                let mut head = HeadFields::default();
                head.add(b":method", b"GET");
                head.add(b":scheme", b"http");
                head.add(b":authority", b"a");
                head.add(b":path", b"/");
                stream.put_request(head, Method::Get);
                stream.finish(b"");
                poll_fn(|context| stream.poll_flush(context)).await.unwrap();
            }
            socket.readable().await.unwrap();
            let data = [&[0, 0x40, 0, 0, 0, 0, 0, 0][..], &[0; 1 << 14]].concat();
            let mut bytes = [SETTINGS.as_slice(), &PING].concat();
            for number in [1, 3] {
                bytes.extend_from_slice(&[0, 0, 1, 1, 4, 0, 0, 0, number, 0x88]);
                for last in [0, 0, 0, 0, 0, 0, 1] {
                    let start = bytes.len();
                    bytes.extend_from_slice(&[&data[..8], &[number], &data[8..]].concat());
                    bytes[start + 4] = last;
                }
            }
            assert_eq!(socket.try_write(&bytes).unwrap(), bytes.len());
            drop(socket);
            for stream in &mut streams {
                assert_eq!(responded(stream).await.unwrap(), 7 << 14);
            }
        });
    }
}
