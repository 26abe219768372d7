//! A scripted backend for gRPC calls. It uses the `h2` crate directly, so that it can also do what no gRPC library
//! does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};

use crate::support::event::Log;

/// A call with this path makes the backend send GOAWAY.
pub(super) const LEAVE: &str = "/leave";

/// A step of a call.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends response headers with this status and these fields.
    Head(u16, &'static [(&'static str, &'static str)]),
    /// The same, with END_STREAM.
    Only(u16, &'static [(&'static str, &'static str)]),
    /// Sends data.
    Data(&'static str),
    /// Sends data with END_STREAM.
    Last(&'static str),
    /// Sends trailers.
    Trailers(&'static [(&'static str, &'static str)]),
    /// Reads data once.
    Read,
    /// Reads to the end of the request.
    ReadAll,
    /// Echoes data as it arrives, to the end of the request.
    Echo,
    /// Resets the stream.
    Reset,
    /// Waits until the stream is reset.
    WaitForReset,
}

/// What it has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// A call started: its path and its `grpc-timeout`.
    Call(String, Option<String>),
    /// The stream with this path was reset.
    Reset(String, Reason),
}

type Script = dyn Fn(&str) -> Vec<Step> + Send + Sync;

pub(super) struct Calls {
    address: SocketAddr,
    seen: Arc<Log<Seen>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Calls {
    /// Starts a backend that runs the steps that `script` returns for the path of each call.
    pub(super) fn start(script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Log::default());
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (its, stops, script) = (Arc::clone(&seen), Arc::clone(&is_stopping), Arc::new(script));
        // Its connections and calls end with its runtime.
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((socket, _)) = listener.accept().await {
                    if stops.load(Ordering::SeqCst) {
                        return;
                    }
                    Handle::current().spawn(serve(
                        socket,
                        Arc::clone(&script) as Arc<Script>,
                        Arc::clone(&its),
                    ));
                }
            });
        });
        Self {
            address,
            seen,
            is_stopping,
            thread: Some(thread),
        }
    }

    /// Its URL for a config.
    pub(super) fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// Waits for this event.
    pub(super) fn wait_for(&self, meant: &Seen) {
        self.seen.wait_for("something seen", |all| {
            all.iter().any(|seen| seen == meant).then_some(())
        });
    }

    /// Number of calls of a path so far.
    pub(super) fn calls(&self, path: &str) -> usize {
        let all = self.seen.all();
        all.iter()
            .filter(|seen| matches!(seen, Seen::Call(called, _) if called == path))
            .count()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Accepting blocks: one more connection makes it check the flag.
        drop(std::net::TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn serve(socket: TcpStream, script: Arc<Script>, seen: Arc<Log<Seen>>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        if path == LEAVE {
            connection.graceful_shutdown();
        }
        let timeout = request.headers().get("grpc-timeout");
        let timeout = timeout.map(|value| value.to_str().unwrap().to_owned());
        seen.push(Seen::Call(path.clone(), timeout));
        let (steps, its) = (script(&path), Arc::clone(&seen));
        Handle::current().spawn(async move {
            if let Err(reason) = play(steps, request, respond).await {
                its.push(Seen::Reset(path, reason));
            }
        });
    }
}

/// Runs the steps. Errors are for the client to judge, except a reset.
async fn play(
    steps: Vec<Step>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Reason> {
    let mut body = request.into_body();
    let mut sending = None;
    for step in steps {
        match (step, &mut sending) {
            (Step::Head(status, fields), _) => {
                sending = respond.send_response(head(status, fields), false).ok();
            }
            (Step::Only(status, fields), _) => drop(respond.send_response(head(status, fields), true)),
            (Step::Data(text), Some(sending)) => drop(sending.send_data(text.into(), false)),
            (Step::Last(text), Some(sending)) => drop(sending.send_data(text.into(), true)),
            (Step::Trailers(fields), Some(sending)) => drop(sending.send_trailers(map(fields))),
            (Step::Reset, Some(sending)) => sending.send_reset(Reason::CANCEL),
            (Step::Reset, None) => respond.send_reset(Reason::CANCEL),
            (Step::Read, _) => drop(body.data().await),
            (Step::Echo, Some(sending)) => {
                while let Some(Ok(data)) = body.data().await {
                    drop(body.flow_control().release_capacity(data.len()));
                    drop(sending.send_data(data, false));
                }
            }
            (Step::ReadAll, _) => while let Some(Ok(_)) = body.data().await {},
            (Step::WaitForReset, Some(sending)) => {
                return Err(std::future::poll_fn(|context| sending.poll_reset(context))
                    .await
                    .unwrap_or(Reason::CONNECT_ERROR));
            }
            (Step::WaitForReset, None) => {
                return Err(std::future::poll_fn(|context| respond.poll_reset(context))
                    .await
                    .unwrap_or(Reason::CONNECT_ERROR));
            }
            (step, None) => panic!("{step:?} needs a head"),
        }
    }
    Ok(())
}

fn head(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = status.try_into().unwrap();
    *head.headers_mut() = map(fields);
    head
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = fields
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    pairs.collect()
}
