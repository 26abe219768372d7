//! HTTP/2 of the client, by the `h2` crate: a few connections, over which requests go in turn.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, client};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::record::Failure;
use super::request::Outgoing;
use super::response::Response;
use super::tap::{Goaways, Tap};
use crate::nonce;

/// Connections in use.
const COUNT: usize = 4;

/// Bytes under way on a connection. The default of 64 KiB would limit the load on a busy machine, where each round trip
/// takes long.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Times that a request is sent. RFC 9113 §8.7: what the server has certainly not processed may be sent again.
const SENDS: usize = 3;

type Result<T> = std::result::Result<T, Failure>;

/// The connections of a client.
pub(super) struct Connections {
    address: SocketAddr,
    next: Cell<usize>,
    open: [RefCell<Option<SendRequest<Bytes>>>; COUNT],
}

/// Why a request has no whole response.
enum Interruption {
    /// The server has not processed it.
    NotProcessed,
    /// What the client records.
    Failed(Failure),
}

impl Connections {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            next: Cell::new(0),
            open: Default::default(),
        }
    }

    /// Exchanges on the connection whose turn it is.
    pub(super) async fn exchange(&self, request: &Outgoing) -> Result<Response> {
        for _ in 0..SENDS {
            let (index, sender) = self.sender().await?;
            match exchange(sender, request).await {
                Ok(response) => return Ok(response),
                Err(Interruption::Failed(failure)) => return Err(failure),
                Err(Interruption::NotProcessed) => self.forget(index),
            }
        }
        Err(Failure::Closed)
    }

    /// An open connection that takes requests.
    async fn sender(&self) -> Result<(usize, SendRequest<Bytes>)> {
        let index = self.next.get() % COUNT;
        self.next.set(index + 1);
        let kept = self.open.get(index).and_then(|slot| slot.borrow().clone());
        if let Some(sender) = kept {
            // A connection that has ended says so here.
            if let Ok(sender) = sender.ready().await {
                return Ok((index, sender));
            }
        }
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|_| Failure::Connect)?;
        drop(stream.set_nodelay(true));
        let mut settings = client::Builder::new();
        settings
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (sender, connection) = settings.handshake(stream).await.map_err(|_| Failure::Connect)?;
        tokio::task::spawn_local(async move { drop(connection.await) });
        if let Some(slot) = self.open.get(index) {
            *slot.borrow_mut() = Some(sender.clone());
        }
        let sender = sender.ready().await.map_err(|_| Failure::Connect)?;
        Ok((index, sender))
    }

    fn forget(&self, index: usize) {
        if let Some(slot) = self.open.get(index) {
            *slot.borrow_mut() = None;
        }
    }
}

/// A connection of its own whose GOAWAY frames are known, and the task that ends with it.
pub(super) async fn watched(address: SocketAddr) -> Result<(SendRequest<Bytes>, Goaways, JoinHandle<()>)> {
    let stream = TcpStream::connect(address).await.map_err(|_| Failure::Connect)?;
    drop(stream.set_nodelay(true));
    let (tap, goaways) = Tap::new(stream);
    let (sender, connection) = client::handshake(tap).await.map_err(|_| Failure::Connect)?;
    let task = tokio::task::spawn_local(async move { drop(connection.await) });
    let sender = sender.ready().await.map_err(|_| Failure::Connect)?;
    Ok((sender, goaways, task))
}

/// Exchanges on this connection, and sends nothing again.
pub(super) async fn exchange_once(sender: SendRequest<Bytes>, request: &Outgoing) -> Result<Response> {
    exchange(sender, request)
        .await
        .map_err(|interruption| match interruption {
            Interruption::Failed(failure) => failure,
            Interruption::NotProcessed => Failure::Closed,
        })
}

async fn exchange(
    mut sender: SendRequest<Bytes>,
    request: &Outgoing,
) -> std::result::Result<Response, Interruption> {
    let mut head = http::Request::builder()
        .method(request.method.name())
        .uri(format!("http://chaos.test{}", request.target))
        .header(nonce::NONCE, nonce::hex(request.nonce));
    if let Some(cookie) = &request.cookie {
        head = head.header("cookie", cookie);
    }
    if !request.body.is_empty() {
        head = head.header("content-length", request.body.len());
    }
    let head = head
        .body(())
        .map_err(|_| Interruption::Failed(Failure::Malformed))?;
    let has_no_body = request.body.is_empty();
    let sent = sender.send_request(head, has_no_body);
    let (response, mut stream) = sent.map_err(|error| interruption(&error, Failure::Closed))?;
    if !has_no_body {
        // A failure shows in the response.
        drop(stream.send_data(Bytes::copy_from_slice(&request.body), true));
    }
    let response = response
        .await
        .map_err(|error| interruption(&error, Failure::Closed))?;
    let (parts, mut body) = response.into_parts();
    let mut received = Response {
        status: parts.status.as_u16(),
        ..Response::default()
    };
    for (name, value) in &parts.headers {
        received.note(name.as_str(), value.to_str().unwrap_or_default());
    }
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| Interruption::Failed(Failure::Truncated))?;
        drop(body.flow_control().release_capacity(data.len()));
        received.body.extend_from_slice(&data);
    }
    body.trailers()
        .await
        .map_err(|_| Interruption::Failed(Failure::Truncated))?;
    Ok(received)
}

fn interruption(error: &h2::Error, otherwise: Failure) -> Interruption {
    let is_refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let has_left = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    if is_refused || has_left {
        Interruption::NotProcessed
    } else {
        Interruption::Failed(otherwise)
    }
}
