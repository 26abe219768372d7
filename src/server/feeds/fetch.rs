//! Requests of the control plane with HTTP/1.1, over TLS where the URL says so. Follows no redirects: data that decides who may enter
//! comes from where the config says.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::net::{DialError, Encrypted, Stream, dial, resolve};
use crate::tls::{Client, ClientSettings, Offer, SystemAuthorities};

/// Time for a whole fetch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The `User-Agent` of all requests.
pub const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// Fetches URLs, and connects to their servers. TLS is set up when the first `https` URL is fetched.
#[derive(Debug)]
pub struct Fetcher {
    /// Time for a whole fetch.
    pub timeout: Duration,
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
pub enum FetchError {
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

    /// Fetches with TLS that is set up.
    pub fn of(tls: Client) -> Self {
        Self {
            timeout: TIMEOUT,
            settings: tls.settings.clone(),
            tls: OnceCell::new_with(Some(tls)),
        }
    }

    /// Whether its TLS is set up with equal settings and equal files.
    pub fn is_of(&self, tls: &Client) -> bool {
        self.tls.get() == Some(tls)
    }

    /// The body of the response, which must have the status 200 and at most `limit` bytes.
    pub(super) async fn fetch(&self, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let request = Request::get(&uri)
            .header(ACCEPT, "*/*")
            .body(Full::default())
            .map_err(|error| FetchError::Http(error.to_string()))?;
        let is_accepted = |status: StatusCode| match status {
            StatusCode::OK => Ok(()),
            status if status.is_redirection() => Err(FetchError::Redirect(status.as_u16())),
            status => Err(FetchError::Status(status.as_u16())),
        };
        let response = self.send(request, is_accepted, limit).await?;
        Ok(response.into_body().to_vec())
    }

    /// Sends a request to the server that its URL names. Returns the response, whose body must have at most `limit` bytes and is read
    /// only if `accept` accepts its status.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        accept: impl Fn(StatusCode) -> Result<(), FetchError> + Send,
        limit: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        self.bounded(async {
            let stream = self.connect(request.uri(), Offer::Sequential).await?;
            exchange(stream, request, accept, limit).await
        })
        .await
    }

    /// Bounds the time of a whole request.
    ///
    /// # Errors
    /// That of the request, or [`FetchError::TimedOut`].
    pub async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let bounded = timeout(self.timeout, request).await;
        bounded.unwrap_or(Err(FetchError::TimedOut(self.timeout)))
    }

    /// Connects to the server that a URL names, with the handshake of TLS where its scheme is `https`. The caller bounds the time.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn connect(&self, uri: &Uri, offer: Offer) -> Result<Stream, FetchError> {
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(FetchError::Url),
        };
        let host = uri.host().ok_or(FetchError::Url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        self.connect_to(host, port, is_secure.then_some(offer)).await
    }

    /// Connects to a server, with the handshake of TLS that offers these protocols, or without TLS. The caller bounds the time.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn connect_to(
        &self,
        host: &str,
        port: u16,
        offer: Option<Offer>,
    ) -> Result<Stream, FetchError> {
        let addresses = resolve(host, port).await.map_err(FetchError::Resolve)?;
        let stream = Stream::Plain(dial(&addresses, self.timeout).await?);
        let Some(offer) = offer else {
            return Ok(stream);
        };
        let tls = self.tls.get_or_try_init(|| self.load()).await?;
        let session = tls
            .connect(host, offer)
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
async fn exchange(
    stream: Stream,
    mut request: Request<Full<Bytes>>,
    accept: impl Fn(StatusCode) -> Result<(), FetchError>,
    limit: usize,
) -> Result<Response<Bytes>, FetchError> {
    let invalid = |error: hyper::Error| FetchError::Http(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(invalid)?;
    complete(&mut request)?;
    let receive = async {
        let response = sender.send_request(request).await.map_err(invalid)?;
        accept(response.status())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge(limit),
            false => FetchError::Http(error.to_string()),
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let mut receive = std::pin::pin!(receive);
    // The connection has to be driven as well. Its own error is that of the request, which tells more.
    tokio::select! {
        received = &mut receive => received,
        _ = connection => receive.await,
    }
}

/// Makes the URL of a request its target and its `Host`, in origin form (RFC 9112 §3.2.1), and adds what all requests have.
fn complete(request: &mut Request<Full<Bytes>>) -> Result<(), FetchError> {
    let uri = std::mem::take(request.uri_mut());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| FetchError::Url)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|_| FetchError::Url)?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(())
}
