//! Calls of the admin API, over TCP or a Unix socket: single ones, and the stream of events.

use std::future::Future;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::sse::{Parser, ServerEvent};
use crate::net::{ListenAddress, Stream, dial, dial_unix};

/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a whole call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of the stream of events. The process sends at least a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(20);
/// Bound of a response in bytes: the status of ten thousand backends with their last checks has about 30 million.
const RESPONSE_BOUND: usize = 64 << 20;

type Connection = http1::Connection<TokioIo<Stream>, Empty<Bytes>>;

/// The admin API of a process.
#[derive(Debug, Clone)]
pub(super) struct Api {
    /// Its address.
    pub(super) address: ListenAddress,
    /// The token for it.
    pub(super) token: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// There was no response.
    #[error("{0}")]
    Unreached(String),
    /// The token is missing or wrong.
    #[error("missing or wrong token; name it with `--token TOKEN` or in EVENKEEL_TOKEN")]
    Unauthorized,
    /// The process refused it.
    #[error("{0}")]
    Refused(String),
    /// The response is not what this version expects.
    #[error("the response is not that of this version of Evenkeel: {0}")]
    Unexpected(String),
}

/// What a response that refuses something says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    detail: String,
}

impl Api {
    /// Gets this path and parses the response.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let body = self.call("GET", path).await?;
        serde_json::from_slice(&body).map_err(|error| ApiError::Unexpected(error.to_string()))
    }

    /// Sends a request without a body, and returns the body of a successful response.
    pub(super) async fn call(&self, method: &str, path: &str) -> Result<Bytes, ApiError> {
        let exchange = async {
            let (response, mut connection) = self.send(method, path).await?;
            let body = Limited::new(response.into_body(), RESPONSE_BOUND).collect();
            let body = driven(&mut connection, body).await;
            let body = body.map_err(|error| ApiError::Unreached(error.to_string()))?;
            Ok(body.to_bytes())
        };
        let in_time = timeout(TIMEOUT, exchange).await;
        in_time.unwrap_or_else(|_| Err(ApiError::Unreached(format!("no response within {TIMEOUT:?}"))))
    }

    /// Follows the events after this number.
    pub(super) async fn follow(&self, after: Option<u64>) -> Result<Following, ApiError> {
        let path = match after {
            Some(after) => format!("/api/v1/events?after={after}"),
            None => "/api/v1/events".to_owned(),
        };
        let sent = timeout(TIMEOUT, self.send("GET", &path)).await;
        let (response, connection) =
            sent.unwrap_or_else(|_| Err(ApiError::Unreached(format!("no response within {TIMEOUT:?}"))))?;
        Ok(Following {
            body: response.into_body(),
            connection,
            parser: Parser::default(),
        })
    }

    /// Sends a request on a new connection. A response with another status than 200 is an error.
    async fn send(&self, method: &str, path: &str) -> Result<(Response<Incoming>, Connection), ApiError> {
        let unreached = |error: hyper::Error| ApiError::Unreached(error.to_string());
        let invalid = |error: hyper::http::Error| ApiError::Refused(format!("invalid token: {error}"));
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, mut connection) = http1::handshake(stream).await.map_err(unreached)?;
        let host = match &self.address {
            ListenAddress::Ip(address) => address.to_string(),
            ListenAddress::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .header("connection", "close");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(invalid)?;
        let response = driven(&mut connection, sender.send_request(request)).await;
        let response = response.map_err(unreached)?;
        match response.status() {
            StatusCode::OK => Ok((response, connection)),
            StatusCode::UNAUTHORIZED => Err(ApiError::Unauthorized),
            status => {
                let body = Limited::new(response.into_body(), RESPONSE_BOUND).collect();
                let body = driven(&mut connection, body).await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                Err(refusal(status, &body))
            }
        }
    }

    async fn connect(&self) -> Result<Stream, ApiError> {
        let connected = match &self.address {
            ListenAddress::Ip(address) => dial(&[*address], CONNECT_TIMEOUT).await,
            ListenAddress::Unix(path) => dial_unix(path, CONNECT_TIMEOUT).await,
        };
        match connected {
            Ok(socket) => Ok(Stream::Plain(socket)),
            Err(error) => Err(ApiError::Unreached(error.to_string())),
        }
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let texts = [refusal.detail, refusal.message];
    let text = texts.into_iter().find(|text| !text.is_empty());
    ApiError::Refused(text.unwrap_or_else(|| format!("the process responded with status {status}")))
}

/// Waits for `future` and moves the bytes of its connection meanwhile.
async fn driven<F: Future>(connection: &mut Connection, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    // What the connection reports when it ends, the future reports too.
    tokio::select! {
        output = &mut future => output,
        _ = connection => future.await,
    }
}

/// The stream of events.
pub(super) struct Following {
    body: Incoming,
    connection: Connection,
    parser: Parser,
}

impl Following {
    /// The next event.
    ///
    /// # Errors
    /// The stream has ended.
    pub(super) async fn next(&mut self) -> Result<ServerEvent, ApiError> {
        let ended = |why: &str| Err(ApiError::Unreached(why.to_owned()));
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(event);
            }
            let frame = timeout(SILENCE, driven(&mut self.connection, self.body.frame())).await;
            let data = match frame {
                Err(_) => return ended("no events for too long"),
                Ok(None) => return ended("the process closed the stream of events"),
                Ok(Some(Err(error))) => return ended(&error.to_string()),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            if self.parser.push(&data).is_err() {
                return ended("an event is too long");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why() {
        let text = |body: &str| refusal(StatusCode::NOT_FOUND, body.as_bytes()).to_string();
        assert_eq!(text(r#"{"message":"there is no pool a"}"#), "there is no pool a");
        assert_eq!(
            text(r#"{"message":"m","detail":"there is no pool b"}"#),
            "there is no pool b"
        );
        assert_eq!(text("<html>"), "the process responded with status 404 Not Found");
    }
}
