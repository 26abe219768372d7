//! The demo's own traffic: requests of several kinds at a constant rate, whatever becomes of them, over HTTP/1 connections that are kept and
//! over HTTP/2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::backend::Command;
use super::outages;
use super::thread::{DemoThread, runtime};
use crate::http2::{self, HeadFields};
use crate::net::{ListenAddress, Stream, dial, dial_unix};
use crate::tasks::Tasks;

/// Bound of requests in flight. More are left out: the traffic must not become an overload.
const IN_FLIGHT_BOUND: usize = 64;
/// Bound of idle connections that are kept.
const KEPT_BOUND: usize = 8;
/// Time for one request. The demo itself takes at most 75 ms.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Paths that end with `/` get a number up to this one.
const NUMBERS: u64 = 50;
const USER_AGENT: &str = "evenkeel-demo";

/// A kind of request. All of them may be sent again after a failure: no outage of one backend makes an error.
struct Kind {
    method: &'static str,
    path: &'static str,
    protocol: Protocol,
    body: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// The kinds, one after the other.
const KINDS: [Kind; 10] = [
    http1("GET", "/", ""),
    http1("GET", "/products/", ""),
    http2("GET", "/products/", ""),
    http1("GET", "/search/", ""),
    http1("POST", "/orders", r#"{"product":1}"#),
    http1("GET", "/products/", ""),
    http1("HEAD", "/products/", ""),
    http2("GET", "/search/", ""),
    http1("PUT", "/carts/", r#"{"products":[1,2]}"#),
    http1("DELETE", "/carts/", ""),
];

const fn http1(method: &'static str, path: &'static str, body: &'static str) -> Kind {
    Kind {
        method,
        path,
        protocol: Protocol::Http1,
        body,
    }
}

const fn http2(method: &'static str, path: &'static str, body: &'static str) -> Kind {
    Kind {
        protocol: Protocol::Http2,
        ..http1(method, path, body)
    }
}

/// How much traffic there is, and which outages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Requests per second, at least 1.
    pub(super) per_second: u32,
    /// Length of a cycle of outages; zero for none.
    pub(super) cycle: Duration,
}

/// Traffic and outages that last until this is dropped.
pub(super) struct Traffic {
    _thread: DemoThread,
}

impl Traffic {
    /// Sends requests to the listener at `address`, and changes the backend that receives `commands`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn start(
        load: Load,
        address: &ListenAddress,
        commands: mpsc::Sender<Command>,
    ) -> io::Result<Self> {
        let client = Arc::new(Client {
            address: local(address),
            kept: Mutex::default(),
        });
        let thread = DemoThread::start("demo-traffic", runtime()?, move || {
            let mut tasks = Tasks::default();
            tasks.spawn(send_all(load.per_second, client));
            if !load.cycle.is_zero() {
                tasks.spawn(outages::repeat(load.cycle, commands));
            }
            tasks
        })?;
        Ok(Self { _thread: thread })
    }
}

/// The address by which this machine reaches itself, for a listener on all addresses.
fn local(address: &ListenAddress) -> ListenAddress {
    match address {
        ListenAddress::Ip(at) if at.ip().is_unspecified() => {
            let ip = match at.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            ListenAddress::Ip(SocketAddr::new(ip, at.port()))
        }
        other => other.clone(),
    }
}

async fn send_all(per_second: u32, client: Arc<Client>) {
    let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
    // After a pause of this machine there is no burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut requests = Tasks::default();
    for (number, kind) in (0_u64..).zip(KINDS.iter().cycle()) {
        ticks.tick().await;
        if requests.running() >= IN_FLIGHT_BOUND {
            continue;
        }
        let client = Arc::clone(&client);
        requests.spawn(async move {
            // What becomes of it is in the metrics of the load balancer. It refuses connections while it stops.
            let _ = timeout(TIMEOUT, client.send(kind, number)).await;
        });
    }
}

struct Client {
    address: ListenAddress,
    kept: Mutex<Vec<Http1>>,
}

/// A connection of HTTP/1 that carries one request at a time.
struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
}

impl Client {
    async fn send(&self, kind: &'static Kind, number: u64) -> Result<(), Failure> {
        match kind.protocol {
            Protocol::Http2 => {
                let body = kind.body.as_bytes().to_vec();
                http2::round_trip(self.connect().await?, kind.head(number), body).await?;
            }
            Protocol::Http1 => {
                let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut connection = match kept {
                    Some(connection) => connection,
                    None => Http1::new(self.connect().await?).await?,
                };
                connection.exchange(kind.request(number)?).await?;
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < KEPT_BOUND && !connection.sender.is_closed() {
                    kept.push(connection);
                }
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Stream, Failure> {
        let socket = match &self.address {
            ListenAddress::Ip(address) => dial(&[*address], CONNECT_TIMEOUT).await?,
            ListenAddress::Unix(path) => dial_unix(path, CONNECT_TIMEOUT).await?,
        };
        Ok(Stream::Plain(socket))
    }
}

/// Why a request failed: only the type of `?`, because nobody reads it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Http1 {
    async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection })
    }

    /// Sends a request and reads the whole response.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(), hyper::Error> {
        let Self { sender, connection } = self;
        let receive = async {
            let response = sender.send_request(request).await?;
            response.into_body().collect().await.map(drop)
        };
        let mut receive = std::pin::pin!(receive);
        // The connection has to be driven as well. When it ends, the response may have been received.
        tokio::select! {
            received = &mut receive => received,
            _ = connection => receive.await,
        }
    }
}

impl Kind {
    fn path(&self, number: u64) -> String {
        match self.path {
            "/" => "/".to_owned(),
            // A factor that has no divisor in common with the number of paths: all of them are used.
            path if path.ends_with('/') => {
                let round = number / KINDS.len() as u64;
                format!("{path}{}", round % NUMBERS * 7 % NUMBERS + 1)
            }
            path => path.to_owned(),
        }
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path(number))
            .header("host", "demo.localhost")
            .header("user-agent", USER_AGENT);
        if self.method == "POST" {
            // With it, a POST may be sent again.
            request = request.header("idempotency-key", number);
        }
        request.body(Full::from(self.body))
    }

    fn head(&self, number: u64) -> HeadFields {
        let mut head = HeadFields::default();
        for (name, value) in [
            (":method", self.method),
            (":scheme", "http"),
            (":authority", "demo.localhost"),
            (":path", &self.path(number)),
            ("user-agent", USER_AGENT),
        ] {
            head.add(name.as_bytes(), value.as_bytes());
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_request_may_be_sent_again() {
        for kind in &KINDS {
            let request = kind.request(1).unwrap();
            let is_safe = kind.method != "POST" || request.headers().contains_key("idempotency-key");
            assert!(is_safe, "{} {}", kind.method, kind.path);
            let is_get = kind.method == "GET" && kind.body.is_empty();
            assert!(kind.protocol == Protocol::Http1 || is_get, "{}", kind.path);
        }
        assert!(KINDS.iter().any(|kind| kind.protocol == Protocol::Http2));
    }

    #[test]
    fn numbered_paths_use_every_number() {
        let kind = &KINDS[1];
        let paths: std::collections::BTreeSet<String> =
            (0..10 * NUMBERS).map(|number| kind.path(number)).collect();
        assert_eq!(paths.len() as u64, NUMBERS);
        assert!(paths.contains("/products/1") && paths.contains("/products/50"));
        assert_eq!(KINDS[0].path(3), "/");
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        let at = |text: &str| ListenAddress::Ip(text.parse().unwrap());
        for (address, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.2:1", "127.0.0.2:1"),
        ] {
            assert_eq!(local(&at(address)), at(expected));
        }
    }
}
