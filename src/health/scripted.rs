//! A backend on loopback for tests, which responds to probes according to a script.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::backend::{Address, Backend};
use crate::tasks::Tasks;

use super::{Check, PROBES, ProbeMethod};

/// How long a test waits for an event that must happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// What the backend does with a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Script {
    /// Reads the request, writes this and closes.
    Response(&'static str),
    /// Reads the request, writes this and leaves the connection open.
    ResponseAndHang(&'static str),
    /// Reads the request and never responds.
    Hang,
}

/// A listening backend and the requests that it received.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<ArcSwap<Script>>,
    requests: mpsc::Receiver<String>,
    _tasks: Tasks,
}

impl Scripted {
    pub(super) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(ArcSwap::from_pointee(script));
        let (on_request, requests) = mpsc::channel(1_000);
        let mut tasks = Tasks::default();
        let now = Arc::clone(&script);
        tasks.spawn(async move {
            let mut connections = Tasks::default();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, **now.load(), on_request.clone()));
            }
        });
        Self {
            address,
            script,
            requests,
            _tasks: tasks,
        }
    }

    pub(super) fn backend(&self) -> Arc<Backend> {
        Backend::new(
            Address::parse(&format!("http://{}", self.address)).unwrap(),
            1,
            false,
        )
    }

    /// Receives the next request; fails the test if there is none.
    pub(super) async fn request(&mut self) -> String {
        tokio::time::timeout(DEADLINE, self.requests.recv())
            .await
            .expect("a request")
            .unwrap()
    }

    /// Number of requests that the test has not received yet.
    pub(super) fn pending(&self) -> usize {
        self.requests.len()
    }
}

async fn serve(mut stream: TcpStream, script: Script, on_request: mpsc::Sender<String>) {
    let mut request = String::new();
    let mut buffer = [0; 1_024];
    while !request.ends_with("\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
        }
    }
    on_request.send(request).await.unwrap();
    match script {
        Script::Response(bytes) | Script::ResponseAndHang(bytes) => {
            stream.write_all(bytes.as_bytes()).await.unwrap();
        }
        Script::Hang => {}
    }
    // Reads until the probe closes the connection.
    if !matches!(script, Script::Response(_)) {
        while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {}
    }
}

/// An HTTP check that requests `path`.
pub(super) fn check(path: Option<&str>) -> Check {
    Check {
        probe: PROBES.first(),
        path: path.map(str::to_owned),
        status: None,
        method: ProbeMethod::Get,
        host: None,
        headers: Vec::new(),
        body: None,
        port: None,
        fail_open: false,
        service: String::new(),
        interval: Duration::from_secs(3_600),
        down_interval: Duration::from_millis(500),
        timeout: Duration::from_secs(5),
        healthy_after: 2,
        unhealthy_after: 3,
        tls: None,
        send_proxy: None,
    }
}
