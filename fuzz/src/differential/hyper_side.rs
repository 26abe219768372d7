//! Reads messages with hyper, from a stream in memory that has all bytes at once and then ends. Nothing waits, so
//! futures are polled by hand, without a runtime.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::Message;
use crate::reference::Target;

/// Most polls of a connection's future; each poll runs as far as it can, so few are needed.
const TURNS: usize = 1000;

/// All bytes of the other side, then its end.
struct Memory {
    unread: Bytes,
    /// Whether it sends at all: a server does not respond before the request.
    is_open: bool,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut space: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_open {
            return Poll::Pending;
        }
        let length = self.unread.len().min(space.remaining());
        space.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_open = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// All requests that hyper's server passes to a service.
pub(super) fn requests(bytes: &[u8]) -> Vec<Message> {
    let found = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&found);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let target = Target::read(&head.uri.to_string(), head.method.as_str());
            let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
            let line = super::line(head.method.as_str(), &target.path, &query);
            let mut message = message(line, head.version, &head.headers);
            seen.borrow_mut().push(None);
            message.body = collect(body).await;
            let is_whole = message.body.is_some();
            if let Some(last) = seen.borrow_mut().last_mut() {
                *last = Some(message);
            }
            // The connection cannot continue after a broken body.
            let response = Response::builder().status(if is_whole { 200 } else { 400 });
            Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap_or_default())
        }
    });
    // The end of the client's bytes does not mean that it has left.
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(memory(bytes, true), service);
    drop(run(connection));
    found.take().into_iter().flatten().collect()
}

/// The response that hyper's client accepts.
pub(super) fn response(bytes: &[u8], is_head: bool) -> Option<Message> {
    let stream = memory(bytes, false);
    run(async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
        let request = Request::builder()
            .method(if is_head { Method::HEAD } else { Method::GET })
            .header("host", "a")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let mut message = message(head.status.as_u16().to_string(), head.version, &head.headers);
            message.body = collect(body).await;
            Some(message)
        };
        beside(exchange, connection).await
    })
    .flatten()
}

/// Drives `other` until `one` has ended.
async fn beside<T>(one: impl Future<Output = T>, other: impl Future) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut has_ended = false;
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = one.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        has_ended = has_ended || other.as_mut().poll(context).is_ready();
        one.as_mut().poll(context)
    })
    .await
}

/// The output, if the future completes without waiting.
fn run<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..TURNS).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

fn memory(bytes: &[u8], is_open: bool) -> Memory {
    Memory {
        unread: Bytes::copy_from_slice(bytes),
        is_open,
    }
}

async fn collect(body: Incoming) -> Option<Vec<u8>> {
    let collected = body.collect().await.ok()?;
    Some(collected.to_bytes().to_vec())
}

fn message(line: String, version: Version, headers: &HeaderMap) -> Message {
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in headers {
        let values = fields.entry(name.as_str().to_owned()).or_default();
        values.push(value.as_bytes().to_vec());
    }
    Message {
        line,
        version: format!("{version:?}"),
        fields,
        body: None,
    }
}
