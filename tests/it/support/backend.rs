//! A scripted backend that records the requests it receives.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::DEADLINE;
use super::event::{Gate, Log};
use super::message::{Reader, field};

/// A request as the backend received it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The connection of this backend that it came on; the first is 0.
    pub(crate) connection: usize,
    /// Its position on that connection; the first is 0.
    pub(crate) turn: usize,
    /// Start line and headers, with the empty line.
    pub(crate) head: String,
    /// The body on the wire, with chunk lines. Empty until it was read.
    pub(crate) raw_body: Vec<u8>,
    /// The decoded body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of the first header with this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Method and path.
    pub(crate) fn start(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap_or_default()
    }
}

/// What a backend does with a request, step by step. After that it reads the connection's next request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    is_early: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    Echo,
    Wait(Gate),
    FinishSending,
    CloseWhenIdle(Duration),
    Close,
    Reset,
}

impl Response {
    /// No step yet.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Sends bytes unchanged.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::nothing().send(bytes)
    }

    /// Sends a complete response with this status and text.
    pub(crate) fn status(status: u16, text: &str) -> Self {
        let length = text.len();
        Self::raw(format!(
            "HTTP/1.1 {status} S\r\nContent-Length: {length}\r\n\r\n{text}"
        ))
    }

    /// Sends a complete response with status 200 and this text.
    pub(crate) fn ok(text: &str) -> Self {
        Self::status(200, text)
    }

    /// Sends a complete response with status 200 and the body of the request.
    pub(crate) fn echo() -> Self {
        Self::nothing().step(Step::Echo)
    }

    /// Begins before the request body was read. The body is not read at all then.
    pub(crate) fn early(mut self) -> Self {
        self.is_early = true;
        self
    }

    /// Waits for a gate first, before all steps so far.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.steps.insert(0, Step::Wait(gate.clone()));
        self
    }

    /// Then sends more bytes.
    pub(crate) fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.step(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Then waits for a gate.
    pub(crate) fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Then closes the sending side and continues to read.
    pub(crate) fn finish_sending(self) -> Self {
        self.step(Step::FinishSending)
    }

    /// Then closes the connection unless a byte comes within `time`.
    pub(crate) fn close_when_idle(self, time: Duration) -> Self {
        self.step(Step::CloseWhenIdle(time))
    }

    /// Then closes the connection.
    pub(crate) fn close(self) -> Self {
        self.step(Step::Close)
    }

    /// Then resets the connection.
    pub(crate) fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

type Script = dyn Fn(&Request) -> Response + Send + Sync;

/// A backend on a port of its own. When dropped, it stops and closes all its connections.
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    greeting: Response,
    requests: Log<Request>,
    /// A handle of each connection made, as long as it is open.
    connections: Mutex<Vec<Option<TcpStream>>>,
    is_stopping: AtomicBool,
}

impl Backend {
    /// Starts a backend that responds to each request as `script` returns.
    pub(crate) fn start(script: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_on(anywhere, Response::nothing(), script)
    }

    /// Starts a backend that responds to every request with 200 and `text`.
    pub(crate) fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::start(move |_| Response::ok(&text))
    }

    /// Starts a backend on a given address, which performs the steps of `greeting` on each new connection before it
    /// reads.
    pub(crate) fn start_on(
        address: SocketAddr,
        greeting: Response,
        script: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            greeting,
            requests: Log::default(),
            connections: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || its.accept(&listener)));
        Self {
            address,
            shared,
            acceptor,
        }
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL for a config.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far that `is_meant` accepts; probes are requests too.
    pub(crate) fn requests(&self, is_meant: impl Fn(&Request) -> bool) -> Vec<Request> {
        let all = self.shared.requests.all();
        all.iter().filter(|request| is_meant(request)).cloned().collect()
    }

    /// Waits for the first request that `is_meant` accepts.
    pub(crate) fn wait_for_request(&self, is_meant: impl Fn(&Request) -> bool) -> Request {
        self.shared.requests.wait_for("a request", |all| {
            all.iter().find(|request| is_meant(request)).cloned()
        })
    }

    /// Waits until `look` returns a result for the requests so far.
    pub(crate) fn wait_for<R>(&self, what: &str, look: impl FnMut(&[Request]) -> Option<R>) -> R {
        self.shared.requests.wait_for(what, look)
    }

    /// Waits until it has received this number of requests.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.wait_for_requests_where(count, |_| true);
    }

    /// Waits until it has received this number of requests that `is_meant` accepts.
    pub(crate) fn wait_for_requests_where(&self, count: usize, is_meant: impl Fn(&Request) -> bool) {
        self.shared.requests.wait_for("more requests", |all| {
            let meant = all.iter().filter(|request| is_meant(request)).count();
            (meant >= count).then_some(())
        });
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections().len()
    }

    /// Stops it now: its port refuses, its connections are closed.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        // Accepting blocks: one more connection makes it check the flag.
        drop(TcpStream::connect(self.address));
        drop(acceptor.join());
        for stream in self.shared.connections().iter().flatten() {
            // It may be closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Vec<Option<TcpStream>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_stopping.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let Ok(copy) = stream.try_clone() else { continue };
            let mut connections = self.connections();
            let connection = connections.len();
            connections.push(Some(copy));
            let its = Arc::clone(self);
            // Ends with its connection, which ends with the backend.
            thread::spawn(move || its.serve(stream, connection));
        }
    }

    /// Serves one connection. An error only ends this connection; the other side judges it.
    fn serve(&self, stream: TcpStream, connection: usize) {
        drop(self.converse(&stream, connection));
        // The connection, or its reset, ends with its last handle.
        self.connections()[connection] = None;
        drop(stream);
    }

    fn converse(&self, stream: &TcpStream, connection: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut reader = Reader::new(stream.try_clone()?);
        if !self.greeting.play(stream, b"")? {
            return Ok(());
        }
        let mut turn = 0;
        while let Some(head) = reader.head()? {
            let mut request = Request {
                connection,
                turn,
                head,
                raw_body: Vec::new(),
                body: Vec::new(),
            };
            let response = (self.script)(&request);
            if !response.is_early {
                let body = reader.body(&request.head, false)?;
                request.raw_body = body.raw;
                request.body = body.decoded;
            }
            let body = request.body.clone();
            self.requests.push(request);
            if !response.play(stream, &body)? {
                return Ok(());
            }
            turn += 1;
        }
        Ok(())
    }
}

impl Response {
    /// Performs the steps for a request with this body; returns `false` if the connection is over.
    fn play(&self, mut stream: &TcpStream, body: &[u8]) -> io::Result<bool> {
        for step in &self.steps {
            match step {
                Step::Send(bytes) => stream.write_all(bytes)?,
                Step::Echo => {
                    let length = body.len();
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                    stream.write_all(body)?;
                }
                Step::Wait(gate) => gate.wait(),
                Step::FinishSending => stream.shutdown(Shutdown::Write)?,
                Step::CloseWhenIdle(time) => {
                    // A timeout of zero cannot be set.
                    stream.set_read_timeout(Some((*time).max(Duration::from_micros(1))))?;
                    let is_idle = !matches!(stream.peek(&mut [0]), Ok(1));
                    stream.set_read_timeout(None)?;
                    if is_idle {
                        return Ok(false);
                    }
                }
                Step::Close => return Ok(false),
                Step::Reset => {
                    // Closing then sends RST instead of FIN, and drops unsent bytes.
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// An address that refuses connections, and that no other socket gets while the returned one lives.
pub(crate) fn refusing_address() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&anywhere.into()).expect("a port is free");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    (address.expect("a bound socket has an address"), socket)
}
