//! Fetches a URL with HTTP/1.1, over TLS where the URL says so. Follows no redirects: data that decides who may enter comes from
//! where the config says.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::net::{DialError, Encrypted, Stream, dial, resolve};
use crate::tls::{Client, ClientSettings, Offer, SystemAuthorities};

/// Time for a whole fetch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches URLs. TLS is set up when the first `https` URL is fetched.
#[derive(Debug)]
pub struct Fetcher {
    /// Time for a whole fetch.
    pub(super) timeout: Duration,
    tls: OnceCell<Client>,
    settings: ClientSettings,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("invalid URL")]
    Url,
    #[error("name does not resolve: {0}")]
    Resolve(io::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("no complete response within {0:?}")]
    TimedOut(Duration),
    #[error("status {0}; redirects are not followed")]
    Redirect(u16),
    #[error("status {0} instead of 200")]
    Status(u16),
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    #[error("invalid response: {0}")]
    Http(String),
}

impl Fetcher {
    /// Fetches with these TLS settings.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            timeout: TIMEOUT,
            tls: OnceCell::new(),
            settings,
        }
    }

    /// The body of the response, which must have the status 200 and at most `limit` bytes.
    pub(super) async fn fetch(&self, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let exchange = async {
            let stream = self.connect(&uri).await?;
            exchange(stream, &uri, limit).await
        };
        let bounded = timeout(self.timeout, exchange).await;
        bounded.unwrap_or(Err(FetchError::TimedOut(self.timeout)))
    }

    async fn connect(&self, uri: &Uri) -> Result<Stream, FetchError> {
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(FetchError::Url),
        };
        let host = uri.host().ok_or(FetchError::Url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let addresses = resolve(host, port).await.map_err(FetchError::Resolve)?;
        let stream = Stream::Plain(dial(&addresses, self.timeout).await?);
        if !is_secure {
            return Ok(stream);
        }
        let tls = self.tls.get_or_try_init(|| self.load()).await?;
        let session = tls
            .connect(host, Offer::Sequential)
            .map_err(|error| FetchError::Tls(error.to_string()))?;
        let stream = Encrypted::handshake(stream, session).await;
        let stream = stream.map_err(|error| FetchError::Tls(error.to_string()))?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Loads the trusted CAs, on a thread of its own: they may be hundreds of files.
    async fn load(&self) -> Result<Client, FetchError> {
        let settings = self.settings.clone();
        let load = move || Client::load(settings, &SystemAuthorities::default());
        let loaded = tokio::task::spawn_blocking(load).await;
        let loaded = loaded.map_err(|error| FetchError::Tls(error.to_string()))?;
        loaded.map_err(|error| FetchError::Tls(error.to_string()))
    }
}

/// One request and its response. The connection is closed behind it.
async fn exchange(stream: Stream, uri: &Uri, limit: usize) -> Result<Vec<u8>, FetchError> {
    let invalid = |error: hyper::Error| FetchError::Http(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(invalid)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Http(error.to_string()))?;
    let receive = async {
        let response = sender.send_request(request).await.map_err(invalid)?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
            status => return Err(FetchError::Status(status.as_u16())),
        }
        let body = Limited::new(response.into_body(), limit).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge(limit),
            false => FetchError::Http(error.to_string()),
        })?;
        Ok(body.to_bytes().to_vec())
    };
    let mut receive = std::pin::pin!(receive);
    // The connection has to be driven as well. Its own error is that of the request, which tells more.
    tokio::select! {
        received = &mut receive => received,
        _ = connection => receive.await,
    }
}
