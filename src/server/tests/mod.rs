//! A whole process with policies of routes, between clients, backends and servers on real sockets.

mod background;
mod fetches;
mod mirrors;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_balance::policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::assemble::Assembled;
use super::*;
use crate::config;
use crate::kept::Kept;
use crate::proxy::PolicySettings;
use crate::schema::{Params, Value};
use crate::telemetry::metrics::WorkerCounters;

/// Maximum wait for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// A request as a server received it.
#[derive(Debug, Clone)]
struct Request {
    head: String,
    body: String,
    /// Its position on its connection; the first is 0.
    turn: usize,
}

/// What a server does with a request.
enum Reply {
    /// It sends these bytes.
    Send(String),
    /// It closes the connection.
    Close,
    /// It does nothing more on this connection.
    Hang,
}

/// A server that replies to each request as its script says.
struct Peer {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
    connections: Arc<AtomicUsize>,
    _tasks: Tasks,
}

type Script = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

fn ok(body: &str) -> Reply {
    let length = body.len();
    Reply::Send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

impl Peer {
    async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(1_000);
        let connections = Arc::<AtomicUsize>::default();
        let script: Script = Arc::new(script);
        let mut tasks = Tasks::default();
        let count = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut served = Tasks::default();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                served.spawn(serve(stream, Arc::clone(&script), sender.clone()));
            }
        });
        Self {
            address,
            requests,
            connections,
            _tasks: tasks,
        }
    }

    async fn request(&mut self) -> Request {
        timeout(DEADLINE, self.requests.recv()).await.unwrap().unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, script: Script, requests: mpsc::Sender<Request>) {
    for turn in 0.. {
        let Some((head, body)) = read_message(&mut stream).await else {
            return;
        };
        let request = Request { head, body, turn };
        let reply = script(&request);
        let _ = requests.send(request).await;
        match reply {
            Reply::Send(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap_or(()),
            Reply::Close => return,
            Reply::Hang => std::future::pending().await,
        }
    }
}

/// Reads a head, and the body that it announces; `None` when the stream ends before.
async fn read_message(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[end..end + length].to_vec()).unwrap();
    Some((head, body))
}

/// The value of the first header with this name.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
}

/// A running process.
struct Bench {
    server: Server,
    address: SocketAddr,
}

impl Bench {
    /// Starts a process with one worker before these backends; `adapt` changes its config.
    async fn start(pools: &[(&str, &Peer)], adapt: impl FnOnce(&mut Config)) -> Self {
        let mut text = "pools:\n".to_owned();
        for (name, peer) in pools {
            let address = peer.address;
            text.push_str(&format!(
                "  {name}: {{ health_check: off, backends: [\"http://{address}\"] }}\n"
            ));
        }
        text.push_str("routes: [{ pool: api }]\n");
        let mut config = configured(&text);
        adapt(&mut config);
        Self::run(config).await
    }

    async fn run(config: Config) -> Self {
        let logs = Logs::start(&config.access_log).unwrap();
        let logs = Arc::new(Mutex::new(Some(logs)));
        let plan = Plan {
            config,
            source: None,
            source_name: "test".to_owned(),
            pid_file: None,
            launch: Launch::take(),
            no_upgrade: None,
        };
        let mut addresses = Vec::new();
        let server = Server::start(plan, &logs, Signals::new().unwrap(), |running| {
            addresses.clone_from(&running.addresses)
        });
        let server = server.await.unwrap();
        let ListenAddress::Ip(address) = addresses[0] else {
            panic!("{addresses:?}");
        };
        Self { server, address }
    }

    /// Sends a request on a new connection, and reads the whole response.
    async fn send(&self, request: &str) -> String {
        let mut stream = self.open(request).await;
        let mut response = String::new();
        let read = stream.read_to_string(&mut response);
        timeout(DEADLINE, read).await.unwrap().unwrap();
        response
    }

    /// Sends a request on a new connection.
    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Requests a path with these header lines; returns the response.
    async fn get(&self, path: &str, lines: &str) -> String {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{lines}\r\n"
        ))
        .await
    }

    /// Waits until a count of the only worker has this value.
    async fn wait_for_count(&self, count: impl Fn(&WorkerCounters) -> u64, value: u64) {
        let waiting = async {
            while count(&self.server.state.counters.all()[0]) != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, waiting).await.unwrap();
    }
}

/// The config of a process with one worker and these lines.
fn configured(lines: &str) -> Config {
    let text = format!("listen: 127.0.0.1:0\nadmin: off\naccess_log: off\nworkers: 1\n{lines}");
    let loaded = config::from_text(&text, "test", std::path::Path::new("/"), &|_| None);
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Gives the only route a policy with these parameters.
fn add_policy(config: &mut Config, name: &str, kind: &str, values: &[(&'static str, Value)]) {
    let settings = PolicySettings {
        name: name.into(),
        entry: policy::by_name(kind).unwrap(),
        params: params(values),
    };
    config.routes[0].policies.push(Arc::new(settings));
}

fn params(values: &[(&'static str, Value)]) -> Params {
    let mut params = Params::default();
    for (key, value) in values {
        params.set(key, value.clone());
    }
    params
}
