//! Feeds from real files and from servers on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::ClientSettings;
use crate::tls::testing::{Authority, Folder, Pair};

/// Maximum wait for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(20);
/// Maximum size of the data in tests.
const LIMIT: usize = 100;

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A server that sends the same bytes to each request, until they are replaced.
struct Server {
    address: SocketAddr,
    response: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    heads: mpsc::Receiver<String>,
    _tasks: Tasks,
}

impl Server {
    async fn start(response: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let response = Arc::new(Mutex::new(response.to_owned()));
        let requests = Arc::new(AtomicUsize::new(0));
        let (head, heads) = mpsc::channel(100);
        let mut tasks = Tasks::default();
        let (current, count) = (Arc::clone(&response), Arc::clone(&requests));
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let response = current.lock().unwrap().clone();
                count.fetch_add(1, Ordering::Relaxed);
                let served = match &tls {
                    None => serve(stream, &response).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, &response).await,
                        Err(_) => continue,
                    },
                };
                let _ = head.try_send(served);
            }
        });
        Self {
            address,
            response,
            requests,
            heads,
            _tasks: tasks,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/keys?secret=1", self.address)
    }

    fn respond(&self, response: &str) {
        response.clone_into(&mut self.response.lock().unwrap());
    }
}

/// Reads a head, and sends the response; an empty one is never sent.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, response: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
    if response.is_empty() {
        std::future::pending::<()>().await;
    }
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
    String::from_utf8(head).unwrap()
}

/// A feed, the data that it has taken, and how to ask for more. `broken` is refused.
fn feed(source: Source) -> (Feed, mpsc::Receiver<String>, Arc<AtomicBool>) {
    let (taken, received) = mpsc::channel(100);
    let wanted = Arc::new(AtomicBool::new(false));
    let take = move |data: &[u8]| {
        let text = String::from_utf8_lossy(data).into_owned();
        let is_broken = text == "broken";
        taken.try_send(text).unwrap();
        match is_broken {
            true => Err(FeedError("it is broken".to_owned())),
            false => Ok(Box::new(|| ()) as Apply),
        }
    };
    (
        Feed::new(source, LIMIT, Arc::clone(&wanted), take),
        received,
        wanted,
    )
}

async fn next(received: &mut mpsc::Receiver<String>) -> String {
    timeout(DEADLINE, received.recv()).await.unwrap().unwrap()
}

fn fetcher() -> Arc<Fetcher> {
    Arc::new(Fetcher::default())
}

async fn fetched(response: &str) -> Result<String, String> {
    let server = Server::start(response, None).await;
    let body = fetcher().fetch(&server.url(), LIMIT).await;
    let body = body.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let folder = Folder::new();
    let path = folder.path().join("users");
    let (feed, mut received, _) = feed(Source::File("users".to_owned()));
    assert!(load_file(&feed, folder.path()).is_err(), "there is no file yet");
    std::fs::write(&path, "one").unwrap();
    load_file(&feed, folder.path()).unwrap();
    assert_eq!(next(&mut received).await, "one");
    let mut feeds = Feeds::start(vec![feed], folder.path(), &fetcher());
    assert_eq!(feeds.running(), 1);
    assert_eq!(next(&mut received).await, "one");
    for text in ["two", "broken", "three"] {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(next(&mut received).await, text);
    }
    drop(feeds);
    assert!(
        timeout(DEADLINE, received.recv()).await.unwrap().is_none(),
        "the task has ended"
    );
}

#[test]
fn a_file_that_is_too_long_or_a_folder_is_an_error() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("users"), "x".repeat(LIMIT + 1)).unwrap();
    let (long, ..) = feed(Source::File("users".to_owned()));
    assert_eq!(
        load_file(&long, folder.path()).map(drop),
        Err(FeedError("it is larger than 100B".to_owned()))
    );
    let (of_folder, ..) = feed(Source::File(".".to_owned()));
    assert!(load_file(&of_folder, folder.path()).is_err());
    let (url, ..) = feed(Source::Url {
        url: "http://127.0.0.1:1/".to_owned(),
        interval: DEADLINE,
        ca: None,
    });
    let loaded = load_file(&url, folder.path()).unwrap();
    assert!(loaded.is_none(), "a start does not depend on servers");
}

#[tokio::test]
async fn rotated_data_of_a_server_is_taken_and_failures_are_retried() {
    let server = Server::start(&ok("one"), None).await;
    let (feed, mut received, _) = feed(Source::Url {
        url: server.url(),
        interval: Duration::from_secs(1),
        ca: None,
    });
    let _feeds = Feeds::start(vec![feed], Path::new("."), &fetcher());
    assert_eq!(next(&mut received).await, "one");
    server.respond("HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n");
    let before = server.requests.load(Ordering::Relaxed);
    let failed = async {
        while server.requests.load(Ordering::Relaxed) < before + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, failed).await.unwrap();
    server.respond(&ok("two"));
    let newest = async { while next(&mut received).await != "two" {} };
    timeout(DEADLINE, newest).await.unwrap();
}

#[tokio::test]
async fn a_request_names_the_server_and_no_more() {
    let mut server = Server::start(&ok("data"), None).await;
    fetcher().fetch(&server.url(), LIMIT).await.unwrap();
    let head = timeout(DEADLINE, server.heads.recv()).await.unwrap().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET /keys?secret=1 HTTP/1.1\r\naccept: */*\r\nhost: {}\r\nuser-agent: evenkeel/{version}\r\nconnection: close\r\n\r\n",
        server.address
    );
    assert_eq!(head, expected);
}

#[tokio::test]
async fn only_a_complete_response_with_status_200_is_taken() {
    assert_eq!(fetched(&ok("data")).await, Ok("data".to_owned()));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n";
    assert_eq!(fetched(chunked).await, Ok("data".to_owned()));
    assert_eq!(fetched(&ok(&"x".repeat(LIMIT))).await, Ok("x".repeat(LIMIT)));
    for (response, why) in [
        (ok(&"x".repeat(LIMIT + 1)), "larger than 100 bytes"),
        (
            chunked.replace("4\r\ndata", &format!("65\r\n{}", "x".repeat(101))),
            "larger than 100 bytes",
        ),
        (
            "HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "status 404 instead of 200",
        ),
        ("HTTP/1.1 204 no\r\n\r\n".to_owned(), "status 204 instead of 200"),
    ] {
        assert_eq!(fetched(&response).await, Err(why.to_owned()));
    }
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata",
        "hello\r\n\r\n",
        "HTTP/1.1 200",
    ] {
        let why = fetched(response).await.unwrap_err();
        assert!(why.starts_with("invalid response: "), "{why}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Server::start(&ok("other"), None).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        other.url()
    );
    let why = fetched(&redirect).await.unwrap_err();
    assert_eq!(why, "status 302; redirects are not followed");
    assert_eq!(other.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_server_that_does_not_respond_is_given_up() {
    let server = Server::start("", None).await;
    let mut fetcher = Fetcher::default();
    fetcher.timeout = Duration::from_millis(50);
    let why = timeout(DEADLINE, fetcher.fetch(&server.url(), LIMIT))
        .await
        .unwrap();
    assert_eq!(why.unwrap_err().to_string(), "no complete response within 50ms");
}

#[tokio::test]
async fn a_server_is_trusted_only_with_a_valid_certificate() {
    let folder = Folder::new();
    let authority = Authority::new();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let trusting = || {
        Fetcher::new(ClientSettings {
            ca: Some(ca.clone()),
            ..ClientSettings::default()
        })
    };
    for (names, signer, is_trusted) in [
        (["127.0.0.1"], &authority, true),
        (["127.0.0.2"], &authority, false),
        (["127.0.0.1"], &Authority::new(), false),
    ] {
        let server = Server::start(&ok("data"), Some(acceptor(&signer.sign_for(&names)))).await;
        let url = format!("https://{}/", server.address);
        let body = trusting().fetch(&url, LIMIT).await;
        assert_eq!(body.is_ok(), is_trusted, "{body:?}");
    }
}

fn acceptor(pair: &Pair) -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[test]
fn a_failure_is_logged_once_and_its_end_too() {
    let mut report = Report::new("keys".to_owned());
    let failed = |why: &str| Err(FeedError(why.to_owned()));
    assert_eq!(report.line(&failed("a")), Some(Line::NoData));
    assert_eq!(report.line(&failed("a")), None);
    assert_eq!(report.line(&failed("b")), Some(Line::NoData));
    assert_eq!(report.line(&Ok(())), Some(Line::Again));
    assert_eq!(report.line(&Ok(())), None);
    assert_eq!(report.line(&failed("a")), Some(Line::StillPrevious));
    assert_eq!(report.line(&failed("a")), None);
    assert_eq!(report.line(&Ok(())), Some(Line::Again));
    assert_eq!(
        Report::new(String::new()).line(&Ok(())),
        None,
        "the first data is nothing to tell"
    );
}

#[test]
fn a_query_is_not_logged() {
    assert_eq!(
        without_query("https://a.test/keys?secret=1"),
        "https://a.test/keys"
    );
    assert_eq!(without_query("https://a.test/keys"), "https://a.test/keys");
}
