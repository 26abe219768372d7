//! Serves one connection of the fault backend over HTTP/2 with prior knowledge, by the `h2` crate. Of what a request may ask for, it
//! knows the time, the size and the cut.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Shared;
use super::behaviour::{Behaviour, Cut, CutPlace};
use super::severable::{Knife, Severable};
use crate::executions::Event;
use crate::nonce;

/// Time for what was sent to arrive before the end of a stream or of the connection, which would discard it.
const BEFORE_END: Duration = Duration::from_millis(1);
/// Bytes of a header that does not fit into one frame of 16 KiB (RFC 9113 §4.2), also with the 6 bits of Huffman coding for each: the
/// rest is a CONTINUATION.
const PADDING: usize = 24_000;
/// Below this part of 1,000, a stream is reset before its head.
const BEFORE_HEAD: u64 = 300;

type Outcome = Result<(), h2::Error>;

/// Serves until either side closes, or a response is cut together with its connection.
pub(super) async fn serve(stream: TcpStream, shared: Rc<Shared>) {
    drop(stream.set_nodelay(true));
    let (stream, knife) = Severable::new(stream);
    let Ok(mut connection) = server::handshake(stream).await else {
        return;
    };
    let (abort, mut aborts) = mpsc::channel(1);
    let mut draining = shared.draining.clone();
    let mut is_draining = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { break };
                let exchange = Exchange { shared: Rc::clone(&shared), knife: knife.clone(), abort: abort.clone() };
                // A connection that was cut ends all of them.
                tokio::task::spawn_local(async move { drop(exchange.run(request, respond).await) });
            }
            Some(()) = aborts.recv() => {
                knife.abort();
                connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
            }
            _ = draining.wait_for(|is_draining| *is_draining), if !is_draining => {
                is_draining = true;
                connection.graceful_shutdown();
            }
        }
    }
    for nonce in knife.severed() {
        shared.log.write(Event::Severed, nonce, "-");
    }
    sleep(BEFORE_END).await;
}

/// A request and its response.
struct Exchange {
    shared: Rc<Shared>,
    knife: Knife,
    abort: mpsc::Sender<()>,
}

impl Exchange {
    async fn run(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Outcome {
        let (head, mut body) = request.into_parts();
        let mut received = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
        }
        let shared = &self.shared;
        let number = head
            .uri
            .path()
            .strip_prefix(nonce::PREFIX)
            .and_then(nonce::number);
        let Some(nonce) = number else {
            shared.log.write(Event::Probed, 0, head.method.as_str());
            respond.send_response(Response::new(()), true)?;
            return Ok(());
        };
        let behaviour = Behaviour::read(head.uri.query().unwrap_or_default());
        let stream = respond.stream_id().as_u32();
        self.knife.begin(stream, nonce);
        shared.log.write(Event::Begun, nonce, head.method.as_str());
        sleep(behaviour.delay + Duration::from_millis(shared.options.delay_ms)).await;
        if let Some(cut) = behaviour.cut {
            self.knife.arm(stream, cut);
        }
        let response = self.response(&behaviour, nonce, nonce::hash(&received));
        let outcome = match behaviour.cut {
            Some(cut) if matches!(cut.place, CutPlace::Stream | CutPlace::Goaway) => {
                self.part(respond, response, cut).await
            }
            _ => whole(respond, response),
        };
        self.shared.log.write(Event::Ended, nonce, head.method.as_str());
        outcome
    }

    fn response(&self, behaviour: &Behaviour, nonce: u64, body_hash: u64) -> Response<Vec<u8>> {
        let body = nonce::body(nonce, behaviour.size);
        let mut response = Response::builder()
            .status(behaviour.status)
            .header(nonce::NONCE, nonce::hex(nonce))
            .header(nonce::BACKEND, self.shared.options.number)
            .header(nonce::BODY_HASH, nonce::hex(body_hash));
        if !behaviour.is_chunked {
            response = response.header("content-length", body.len());
        }
        let is_long = behaviour
            .cut
            .is_some_and(|cut| cut.place == CutPlace::Continuation);
        if is_long {
            response = response.header("x-padding", "p".repeat(PADDING));
        }
        response.body(body).unwrap_or_default()
    }

    /// Sends a part of the response; then the stream is reset, or the connection ends with a GOAWAY.
    async fn part(&self, mut respond: SendResponse<Bytes>, response: Response<Vec<u8>>, cut: Cut) -> Outcome {
        let (head, body) = response.into_parts();
        let mut sending = None;
        if cut.permille >= BEFORE_HEAD {
            let mut stream = respond.send_response(Response::from_parts(head, ()), false)?;
            let permille = usize::try_from(cut.permille).unwrap_or_default();
            let part = body.get(..body.len() * permille / 1_000).unwrap_or_default();
            stream.send_data(Bytes::copy_from_slice(part), false)?;
            sending = Some(stream);
            sleep(BEFORE_END).await;
        }
        if cut.place == CutPlace::Goaway {
            // Nobody takes it once the connection has ended.
            let _ = self.abort.send(()).await;
            // Until the connection has ended, which resets the stream where it is dropped.
            sleep(Duration::from_millis(100)).await;
        } else if let Some(mut stream) = sending {
            stream.send_reset(Reason::INTERNAL_ERROR);
        } else {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
        Ok(())
    }
}

/// Sends all of it, which the connection may cut. The end is always a frame of DATA.
fn whole(mut respond: SendResponse<Bytes>, response: Response<Vec<u8>>) -> Outcome {
    let (head, body) = response.into_parts();
    let mut stream = respond.send_response(Response::from_parts(head, ()), false)?;
    stream.send_data(body.into(), true)
}
