//! Serves one connection of the fault backend.

use std::io::Result;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::behaviour::{Behaviour, Cut, CutEnd};
use super::request::{Reader, Request};
use super::response::{Facts, Response};
use crate::clock;
use crate::executions::Event;
use crate::rng::Rng;

/// How long a draining backend waits for a request on an idle connection, to which it responds with `Connection: close`.
const DRAIN_IDLE: Duration = Duration::from_millis(200);

/// Longest wait of an idle connection that is not drained.
const IDLE: Duration = Duration::from_secs(600);

/// What a cut response leaves in flight is to arrive before the reset, which would discard it.
const BEFORE_RESET: Duration = Duration::from_millis(1);

/// The response to a request for a WebSocket with the key of the example in RFC 6455 §1.3.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Serves until either side closes.
pub(super) async fn serve(stream: TcpStream, shared: Rc<Shared>, mut rng: Rng) {
    drop(stream.set_nodelay(true));
    if shared.options.refuse {
        reset(stream);
        return;
    }
    let mut reader = Reader::new(stream);
    let mut idle = IDLE;
    while let Ok(true) = next_begins(&mut reader, &shared, idle).await {
        let Ok(request) = reader.request().await else {
            return;
        };
        if request.is_upgrade {
            if reader.stream().write_all(SWITCHING).await.is_ok() {
                drop(reader.echo().await);
            }
            return;
        }
        match respond(&mut reader, &request, &shared, &mut rng).await {
            Ok(None) => {}
            Ok(Some(CutEnd::Reset)) => {
                sleep(BEFORE_RESET).await;
                reset(reader.into_stream());
                return;
            }
            Ok(Some(CutEnd::Fin)) | Err(_) => return,
        }
        if request.closes || *shared.draining.borrow() {
            return;
        }
        if let Some(longest) = shared.options.idle_close_us {
            idle = Duration::from_micros(rng.below(longest + 1));
        }
    }
}

/// Waits for a request. `false` when the connection ends, or has been idle for too long.
async fn next_begins(reader: &mut Reader, shared: &Shared, idle: Duration) -> Result<bool> {
    let mut draining = shared.draining.clone();
    tokio::select! {
        begins = timeout(idle, reader.begins()) => return begins.unwrap_or(Ok(false)),
        _ = draining.wait_for(|is_draining| *is_draining) => {}
    }
    timeout(DRAIN_IDLE, reader.begins()).await.unwrap_or(Ok(false))
}

/// Executes a request and responds. Returns how the connection has to end when the response was cut.
async fn respond(
    reader: &mut Reader,
    request: &Request,
    shared: &Shared,
    rng: &mut Rng,
) -> Result<Option<CutEnd>> {
    let options = &shared.options;
    let mut behaviour = Behaviour::read(&request.query);
    let is_spared = request.nonce.is_none() && options.spare_probes;
    let is_refused = !is_spared && is_failing(shared, rng);
    if is_refused {
        behaviour.status = options.error_status;
    }
    let Some(nonce) = request.nonce else {
        shared.log.write(Event::Probed, 0, &request.method);
        let facts = Facts {
            nonce: 0,
            backend: options.number,
            body_hash: 0,
            closes: request.closes,
        };
        behaviour.size = 0;
        reader
            .stream()
            .write_all(Response::new(&behaviour, &facts).whole())
            .await?;
        return Ok(None);
    };
    let facts = Facts {
        nonce,
        backend: options.number,
        body_hash: request.body_hash,
        closes: request.closes || *shared.draining.borrow(),
    };
    let permit = shared.permits.acquire().await;
    let event = if is_refused { Event::Refused } else { Event::Begun };
    shared.log.write(event, nonce, &request.method);
    let delay = behaviour.delay + Duration::from_millis(options.delay_ms);
    if behaviour.is_hanging {
        sleep(IDLE).await;
    } else if !delay.is_zero() {
        sleep(delay).await;
    }
    let response = Response::new(&behaviour, &facts);
    let cut: Option<Cut> = behaviour.cut;
    let bytes = cut.map_or_else(|| response.whole(), |cut| response.until(cut));
    let written = reader.stream().write_all(bytes).await;
    drop(permit);
    shared.log.write(Event::Ended, nonce, &request.method);
    written?;
    Ok(cut.map(|cut| cut.end))
}

/// Whether this request gets the error status, by its share or by the time.
fn is_failing(shared: &Shared, rng: &mut Rng) -> bool {
    let options = &shared.options;
    let periods = options.flap_ms.and_then(|flap| {
        let since = clock::now().saturating_sub(shared.start) / 1_000;
        since.checked_div(flap)
    });
    periods.is_some_and(|periods| periods % 2 == 1) || rng.chance(options.error_permille)
}

/// Closes with RST.
fn reset(stream: TcpStream) {
    drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
    drop(stream);
}
