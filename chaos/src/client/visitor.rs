//! A client that connects anew for each request, in the clear or by TLS: it tells a listener that is not there from one that
//! accepts and then serves nothing.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::repeated::Repeated;
use crate::backend::Behaviour;
use crate::error::Result;
use crate::nonce;
use crate::rng::Rng;

/// Longest wait for a connect, and for the next byte of a response.
const WAIT: Duration = Duration::from_secs(10);
/// Bytes of a response's body.
const SIZE: usize = 100;
/// The longest response.
const LONGEST: usize = 64 << 10;

/// The running client.
#[derive(Debug)]
pub struct Visitor(Repeated<Visits>);

/// What it has seen.
#[derive(Debug, Default)]
pub struct Visits {
    /// Requests that were served.
    pub served: u64,
    /// Connects that were refused.
    pub refused: u64,
    /// Why other requests were not served.
    pub cut: Vec<String>,
    /// How often each certificate was shown, by its hash.
    pub certificates: BTreeMap<u64, u64>,
    /// The nonces of all requests that were sent.
    pub nonces: Vec<u64>,
}

impl Visitor {
    /// Starts to send a request every `interval`, by TLS with these settings.
    pub fn start(
        address: SocketAddr,
        interval: Duration,
        seed: u64,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self> {
        let mut rng = Rng::new(seed);
        let visit = move |visits: &mut Visits| visits.visit(address, rng.bits(), tls.as_ref());
        Ok(Self(Repeated::start("visitor", interval, visit)?))
    }

    /// Ends; returns what it has seen.
    pub fn finish(self) -> Result<Visits> {
        self.0.finish()
    }
}

/// Connects, and sends a request that must be served.
pub fn visit(address: SocketAddr, nonce: u64) -> IoResult<()> {
    let stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    exchange(stream, nonce)
}

impl Visits {
    fn visit(&mut self, address: SocketAddr, nonce: u64, tls: Option<&Arc<ClientConfig>>) {
        let stream = match TcpStream::connect_timeout(&address, WAIT) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return self.refused += 1,
            // Nothing listens, and what was waiting for the listener is reset.
            Err(error) => return self.cut.push(format!("connect: {error}")),
        };
        self.nonces.push(nonce);
        let served = stream.set_read_timeout(Some(WAIT)).and_then(|()| match tls {
            None => exchange(stream, nonce),
            Some(config) => self.exchange_by_tls(stream, nonce, config),
        });
        match served {
            Ok(()) => self.served += 1,
            Err(error) => self.cut.push(error.to_string()),
        }
    }

    fn exchange_by_tls(&mut self, stream: TcpStream, nonce: u64, config: &Arc<ClientConfig>) -> IoResult<()> {
        let name = ServerName::try_from("chaos.test").map_err(IoError::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(IoError::other)?;
        let mut stream = StreamOwned::new(session, stream);
        stream.conn.complete_io(&mut stream.sock)?;
        let shown = stream.conn.peer_certificates().and_then(<[_]>::first);
        let shown = shown.map(|certificate| nonce::hash(certificate));
        *self.certificates.entry(shown.unwrap_or_default()).or_default() += 1;
        exchange(stream, nonce)
    }
}

/// Sends a request and reads its response, which must be whole and the right one.
fn exchange(mut stream: impl Read + Write, nonce: u64) -> IoResult<()> {
    let behaviour = Behaviour {
        size: SIZE,
        ..Behaviour::default()
    };
    let request = format!(
        "GET {}{}?{behaviour} HTTP/1.1\r\nHost: chaos.test\r\nConnection: close\r\n\r\n",
        nonce::PREFIX,
        nonce::hex(nonce),
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let body = nonce::body(nonce, SIZE);
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while received.len() < LONGEST {
        match stream.read(&mut piece)? {
            0 => break,
            count => received.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
        if received.ends_with(&body) {
            break;
        }
    }
    if received.starts_with(b"HTTP/1.1 200 ") && received.ends_with(&body) {
        return Ok(());
    }
    let line = received.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let message = format!(
        "{} bytes, which begin with `{}`",
        received.len(),
        String::from_utf8_lossy(line)
    );
    Err(IoError::new(ErrorKind::InvalidData, message))
}
