//! HTTP/2 clients: one based on the `h2` crate for valid traffic, and one that writes frames by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::runtime::{Builder, Runtime};

use super::DEADLINE;
use super::tls::Tls;

/// A connection of the `h2` crate. It makes progress only while one of its methods runs.
pub(crate) struct Http2 {
    runtime: Runtime,
    pub(crate) sender: SendRequest<Bytes>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    /// Statuses and headers of interim responses.
    pub(crate) interim: Vec<Response<()>>,
}

impl Got {
    /// The value of a header.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A request for a path of the host `test`.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    let builder = Request::builder()
        .method(method)
        .uri(format!("http://test{path}"));
    builder.body(()).unwrap()
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(within(async {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
            runtime.spawn(async move { drop(connection.await) });
            sender
        }));
        Self { runtime, sender }
    }

    /// The same under TLS, by a client that offers HTTP/2.
    pub(crate) fn secured(address: SocketAddr, tls: &Tls, name: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(tls.config());
        let sender = runtime.block_on(within(async {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let stream = connector.connect(name, tcp).await.unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            runtime.spawn(async move { drop(connection.await) });
            sender
        }));
        Self { runtime, sender }
    }

    /// Runs a task while the connection makes progress.
    pub(crate) fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(within(task))
    }

    /// Runs a blocking wait on another thread while the connection makes progress.
    pub(crate) fn run_beside<T: Send>(&self, wait: impl FnOnce() -> T + Send) -> T {
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        let got = std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                // Dropped at the end, also by a panic.
                let _done = done;
                wait()
            });
            drop(self.run(is_done));
            waiting.join()
        });
        got.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Sends a request with this body and reads the complete response.
    pub(crate) fn ask(&self, request: Request<()>, body: &[u8]) -> Result<Got, h2::Error> {
        let mut sender = self.sender.clone();
        self.run(async {
            std::future::poll_fn(|context| sender.poll_ready(context)).await?;
            let (mut response, mut sending) = sender.send_request(request, body.is_empty())?;
            if !body.is_empty() {
                sending.send_data(Bytes::copy_from_slice(body), true)?;
            }
            let mut interim = Vec::new();
            while let Some(Ok(head)) =
                std::future::poll_fn(|context| response.poll_informational(context)).await
            {
                interim.push(head);
            }
            read(response.await?, interim).await
        })
    }

    /// Sends a request without waiting for anything.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        is_whole: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = self.sender.clone();
        self.run(async {
            std::future::poll_fn(|context| sender.poll_ready(context))
                .await
                .unwrap();
            let sent = sender.send_request(request(method, path), is_whole).unwrap();
            tokio::task::yield_now().await;
            sent
        })
    }

    /// Reads the response to a request that was sent.
    pub(crate) fn read(&self, response: ResponseFuture) -> Result<Got, h2::Error> {
        self.run(async { read(response.await?, Vec::new()).await })
    }

    /// The response to a plain GET.
    pub(crate) fn get(&self, path: &str) -> Got {
        self.ask(request("GET", path), b"").unwrap()
    }
}

/// Reads a response to its end.
pub(crate) async fn read(
    response: Response<RecvStream>,
    interim: Vec<Response<()>>,
) -> Result<Got, h2::Error> {
    let (parts, mut receiving) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = receiving.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        receiving.flow_control().release_capacity(data.len())?;
    }
    let trailers = receiving.trailers().await?.unwrap_or_default();
    Ok(Got {
        head: Response::from_parts(parts, ()),
        body,
        trailers,
        interim,
    })
}

async fn within<T>(task: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, task).await.expect("in time")
}

/// A connection that sends frames unchanged.
#[derive(Debug)]
pub(crate) struct Frames(TcpStream);

/// A received frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// `GET http://a/`, from the static table (RFC 7541, appendix A).
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

/// The client's preface (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// Exchanges prefaces, with these settings.
    pub(crate) fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut frames = Self::begin(TcpStream::connect(address).unwrap());
        frames.send(4, 0, 0, settings);
        frames
    }

    /// Exchanges prefaces, and sends `more` together with ours.
    pub(crate) fn connect_at_once(address: SocketAddr, more: &[u8]) -> Self {
        let mut frames = Self::over(TcpStream::connect(address).unwrap());
        frames.write(&[PREFACE, &*frame(4, 0, 0, &[]), more].concat());
        frames
    }

    /// Sends these frames in place of settings.
    pub(crate) fn connect_with(address: SocketAddr, frames: &[u8]) -> Self {
        let mut client = Self::begin(TcpStream::connect(address).unwrap());
        client.write(frames);
        client
    }

    fn begin(stream: TcpStream) -> Self {
        let mut frames = Self::over(stream);
        frames.0.write_all(PREFACE).unwrap();
        frames
    }

    /// The server's side of a connection, with these settings.
    pub(crate) fn of_server(stream: TcpStream, settings: &[u8]) -> Self {
        let mut frames = Self::over(stream);
        let mut preface = [0; PREFACE.len()];
        frames.0.read_exact(&mut preface).unwrap();
        assert_eq!(&preface, PREFACE);
        frames.send(4, 0, 0, settings);
        frames
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Waits for a request, and returns its stream.
    pub(crate) fn request(&mut self) -> u32 {
        let head = self.wait_for(|frame| frame.kind == 1);
        head.expect("a request comes").stream
    }

    /// Waits for a request and the end of its stream.
    pub(crate) fn whole_request(&mut self) -> u32 {
        let end = self.wait_for(|frame| frame.kind < 2 && frame.flags & 1 == 1);
        end.expect("a whole request comes").stream
    }

    /// Sends a complete response with this status and text.
    pub(crate) fn response(&mut self, stream: u32, status: u16, text: &str) {
        self.send(1, 4, stream, &status_block(status));
        self.send(0, 1, stream, text.as_bytes());
    }

    /// Closes the connection.
    pub(crate) fn close(self) {
        drop(self.0.shutdown(std::net::Shutdown::Both));
    }

    /// Sends a frame. Errors of a closed connection show when reading.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let _ = self.0.write_all(&frame(kind, flags, stream, payload));
    }

    /// Sends bytes unchanged; returns whether they were accepted.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Reads up to the frame that `is_meant` accepts.
    pub(crate) fn wait_for(&mut self, is_meant: impl Fn(&Frame) -> bool) -> Option<Frame> {
        std::iter::from_fn(|| self.read()).find(is_meant)
    }

    /// The code of the GOAWAY with which the connection ends; `None` if it ends without one.
    pub(crate) fn goodbye(&mut self) -> Option<Reason> {
        let frame = self.wait_for(|frame| frame.kind == 7)?;
        Some(code(&frame.payload[4..]))
    }

    /// The code with which a stream was reset; `None` if the connection ended before.
    pub(crate) fn reset_of(&mut self, stream: u32) -> Option<Reason> {
        let frame = self.wait_for(|frame| frame.kind == 3 && frame.stream == stream)?;
        Some(code(&frame.payload))
    }

    /// Another handle of the same connection.
    pub(crate) fn another(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// Whether the other side has ended the connection; `false` if there are just no bytes yet.
    pub(crate) fn is_at_end(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Whether nothing arrives for this time.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let read = self.read();
        self.0.set_read_timeout(Some(DEADLINE)).unwrap();
        read.is_none()
    }
}

/// `:status`, as a literal that is not indexed.
pub(crate) fn status_block(status: u16) -> Vec<u8> {
    [&[0x08, 0x03], status.to_string().as_bytes()].concat()
}

/// A field as a literal: not indexed, not compressed, with a new name.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).ok().filter(|length| *length < 127);
    let [name_length, value_length] = [name, value].map(|text| length(text).expect("short"));
    [&[0x00, name_length], name, &[value_length], value].concat()
}

fn code(bytes: &[u8]) -> Reason {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into()
}

/// A frame on the wire (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
