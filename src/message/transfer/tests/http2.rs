//! The same to a client of HTTP/2, which the `h2` crate plays.

use tokio::task::LocalSet;

use super::*;
use crate::clock;
use crate::head::RequestHead;
use crate::http2::{Connection as Server, Event};
use crate::message::{HeadWriter, OutgoingHead};
use crate::tasks::LocalTasks;

struct Ok200;

impl OutgoingHead for Ok200 {
    fn size(&self) -> (usize, usize) {
        (1, 10)
    }

    fn write<W: HeadWriter>(&self, out: &mut W) {
        out.status(200, b"");
        out.finish();
    }
}

/// What the client received: the payload, the trailers, and whether it was ended without an error.
struct Received {
    payload: Vec<u8>,
    trailers: Option<http::HeaderMap>,
    is_whole: bool,
}

/// Sends a request, and receives the response to it.
async fn request(socket: UnixStream) -> Received {
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let driver = LocalTasks::default();
    driver.spawn(async move { drop(connection.await) });
    let request = http::Request::get("http://a.test/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut payload = Vec::new();
    let broken = |payload| Received {
        payload,
        trailers: None,
        is_whole: false,
    };
    // A reset may overtake what was received before it.
    let Ok(response) = response.await else {
        return broken(payload);
    };
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            return broken(payload);
        };
        payload.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    let trailers = body.trailers().await;
    Received {
        payload,
        is_whole: trailers.is_ok(),
        trailers: trailers.ok().flatten(),
    }
}

/// Accepts one request and responds with what `backend` sends, compressed; resets the stream where the body is broken.
async fn respond(socket: UnixStream, mut source: Connection, mut transfer: Transfer) {
    let buffers = Buffers::default();
    let stream = Stream::from(OwnedFd::from(socket.into_std().unwrap()));
    let mut server = Server::new(stream, Buffer::default(), &Limits::default(), clock::now());
    let mut head = RequestHead::default();
    let event = poll_fn(|context| server.poll_next(context, (&mut head, clock::now()), &buffers)).await;
    let Some(Event::Request(stream, Ok(()))) = event else {
        panic!("{event:?}");
    };
    let mut sink = Connection::of_stream(stream);
    let drive = async {
        let next = poll_fn(|context| server.poll_next(context, (&mut head, clock::now()), &buffers));
        assert!(next.await.is_none());
    };
    let send = async {
        sink.put_response(&Ok200, &buffers);
        let moved = poll_fn(|context| transfer.poll(context, &mut source, &mut sink, &buffers, None)).await;
        if moved.is_err() {
            sink.reset();
        }
        drop(sink);
    };
    tokio::join!(send, drive);
}

async fn exchange(sent: &[u8], body: BodyLength, coding: ContentCoding) -> Received {
    let (source, mut backend) = connection();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let send = async {
        backend.write_all(sent).await.unwrap();
        backend.shutdown().await.unwrap();
    };
    let transfer = filtered(body, Encoder::Plain, coding);
    let all = async { tokio::join!(send, respond(ours, source, transfer), request(theirs)).2 };
    timeout(BOUND, all).await.expect("in time")
}

#[tokio::test]
async fn a_body_arrives_compressed_with_its_trailers() {
    LocalSet::new()
        .run_until(async {
            for coding in ContentCoding::ALL {
                let body = text(300_000);
                let sent = [
                    &b"493e0\r\n"[..],
                    &body,
                    b"\r\n0\r\nX-Sum: 1\r\nDigest: a\r\n\r\n",
                ]
                .concat();
                let received = exchange(&sent, BodyLength::Chunked, coding).await;
                assert!(decoded(coding, &received.payload) == (body, true), "{coding:?}");
                let trailers = received.trailers.unwrap();
                assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"1".parse().unwrap()));
            }
        })
        .await;
}

#[tokio::test]
async fn a_truncated_source_resets_the_stream() {
    LocalSet::new()
        .run_until(async {
            for coding in ContentCoding::ALL {
                let received = exchange(&noise(200_000), BodyLength::Exact(200_001), coding).await;
                assert!(!received.is_whole, "{coding:?}");
                assert!(!decoded(coding, &received.payload).1, "{coding:?}");
            }
        })
        .await;
}
