//! One exchange on a connection of its own: what probes need.

use bytes::Bytes;
use h2::client::Builder;
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of an answer that are kept; what follows is not read.
const KEPT: usize = 64 << 10;
/// Bytes of an answer's head, decoded.
const HEAD: u32 = 32 << 10;

/// An answer.
#[derive(Debug)]
pub struct Asked {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its body, as far as it is kept.
    pub body: Vec<u8>,
    /// What stands behind it.
    pub trailers: HeaderMap,
}

/// Begins a connection by `stream`, sends one request and reads its answer. Whoever calls bounds the time.
///
/// # Errors
/// Those of the socket and of the protocol.
pub async fn ask<S>(stream: S, request: Request<()>, body: Bytes) -> Result<Asked, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD);
    let (sender, connection) = builder.handshake(stream).await?;
    let exchange = async {
        let mut sender = sender.ready().await?;
        let (answer, mut sending) = sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(body, true)?;
        }
        let (parts, mut receiving) = answer.await?.into_parts();
        let mut kept = Vec::new();
        while let Some(data) = receiving.data().await {
            let data = data?;
            receiving.flow_control().release_capacity(data.len())?;
            kept.extend_from_slice(&data);
            if kept.len() > KEPT {
                break;
            }
        }
        let trailers = receiving.trailers().await?.unwrap_or_default();
        Ok(Asked {
            status: parts.status.as_u16(),
            fields: parts.headers,
            body: kept,
            trailers,
        })
    };
    tokio::select! {
        asked = exchange => asked,
        ended = connection => Err(match ended {
            Err(error) => error,
            Ok(()) => h2::Error::from(h2::Reason::NO_ERROR),
        }),
    }
}
