//! A TLS client and a TLS backend, based on rustls.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::DEADLINE;
use super::authority::{Authority, Pair};

/// A client's TLS config. It keeps session tickets between connections.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

/// A client connection after its handshake.
pub(crate) struct Connected(StreamOwned<ClientConnection, TcpStream>);

/// A response as the client received it.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(der(&authority.pem())).unwrap();
    roots
}

/// The first certificate in PEM.
pub(crate) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()
}

impl Tls {
    /// Trusts an authority.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::with(authority, None, &[])
    }

    /// Trusts an authority, presents a certificate and offers these protocols.
    pub(crate) fn with(authority: &Authority, shown: Option<&Pair>, protocols: &[&[u8]]) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(authority));
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(vec![der(&pair.cert)], key(pair))
                .unwrap(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self(Arc::new(config))
    }

    /// The rustls config.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// Connects and completes the handshake; sends `name` as SNI unless it is an address.
    pub(crate) fn connect(&self, address: SocketAddr, name: &str) -> Connected {
        self.try_connect(address, name)
            .unwrap_or_else(|error| panic!("no handshake for {name}: {error}"))
    }

    /// The same, if it may fail.
    pub(crate) fn try_connect(&self, address: SocketAddr, name: &str) -> io::Result<Connected> {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Connected(StreamOwned::new(session, stream)))
    }

    /// The response to a GET for `host` on a connection with `name` as SNI.
    pub(crate) fn get(&self, address: SocketAddr, name: &str, host: &str) -> Got {
        self.connect(address, name).get(host, "/")
    }
}

impl Connected {
    /// Requests a path of a host.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Got {
        self.try_get(host, path)
            .unwrap_or_else(|error| panic!("no response for {host}{path}: {error}"))
    }

    /// The same, if it may fail: in TLS 1.3 a client learns only now that it was rejected.
    pub(crate) fn try_get(&mut self, host: &str, path: &str) -> io::Result<Got> {
        // In one piece: `write!` makes a record of each of its parts.
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.0.write_all(request.as_bytes())?;
        let head = read_head(&mut self.0)?;
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Got {
            status: status.unwrap_or(0),
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }

    /// Sends a request unchanged.
    pub(crate) fn send(&mut self, request: impl AsRef<[u8]>) {
        self.0.write_all(request.as_ref()).unwrap();
        self.0.flush().unwrap();
    }

    /// Closes the sending side, in TLS and in TCP.
    pub(crate) fn announce_end(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        self.0.sock.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Sends a request unchanged, and reads to the end of the connection, which must have a `close_notify`.
    pub(crate) fn read_to_end(&mut self, request: &str) -> io::Result<String> {
        let mut text = String::new();
        self.0.write_all(request.as_bytes())?;
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The server's certificate.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone()
    }

    /// Whether the session was resumed with a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The negotiated protocol.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.0.conn.alpn_protocol()
    }
}

fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

/// The TLS config of a server that presents this certificate and speaks these protocols.
pub(crate) fn server_config(pair: &Pair, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(&pair.cert)], key(pair))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// A backend with TLS and HTTP/1.1. It responds with the SNI that it received and whether the client presented a
/// certificate: `NAME true`. It ends with the test.
pub(crate) struct Secured {
    address: SocketAddr,
}

impl Secured {
    /// Presents this certificate; if `clients` is set, accepts only clients with a certificate signed by it.
    pub(crate) fn start(pair: &Pair, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(roots(authority));
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder
            .with_single_cert(vec![der(&pair.cert)], key(pair))
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                // A client that does not trust the certificate ends the connection.
                thread::spawn(move || drop(respond_to_all(StreamOwned::new(session, stream))));
            }
        });
        Self { address }
    }

    /// Its URL with a host that resolves to it.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }
}

fn respond_to_all(mut stream: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    loop {
        read_head(&mut stream)?;
        let name = stream.conn.server_name().unwrap_or("none").to_owned();
        let text = format!("{name} {}", stream.conn.peer_certificates().is_some());
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(response.as_bytes())?;
    }
}
