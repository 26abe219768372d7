//! A request that Evenkeel itself sends to a server: with a whole body, apart from the exchange of a client. The question of a
//! policy is one, and so is a mirrored copy.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::connect::{self, Connector, Need};
use super::response_head::{self, INTERIM_BOUND};
use super::{Failure, Worker, reuse, via};
use crate::head::{BodyLength, Method, RequestHead};
use crate::message::{Collect, HeadWriter, Limits, OutgoingHead, ResponseError, Target, TransferError};
use crate::net::{ProxyHeader, ProxyVersion};
use crate::pool::{BackendConnection, Member, Pool};
use crate::retry::Cause;

/// A request that belongs to no connection.
#[derive(Debug, Default, Clone)]
pub(super) struct OwnRequest {
    pub(super) method: Box<[u8]>,
    /// Host and port.
    pub(super) authority: Box<[u8]>,
    pub(super) path: Box<[u8]>,
    /// The query without its `?`.
    pub(super) query: Option<Box<[u8]>>,
    pub(super) headers: Vec<OwnHeader>,
    /// The body; `None` for a request without one.
    pub(super) body: Option<Vec<u8>>,
}

/// A header of such a request.
#[derive(Debug, Clone)]
pub(super) struct OwnHeader {
    pub(super) name: Box<[u8]>,
    pub(super) value: Box<[u8]>,
    /// Whether no table may keep its value.
    pub(super) is_secret: bool,
}

/// Where such a request goes, and with what.
pub(super) struct Route<'r> {
    pub(super) worker: &'r Rc<Worker>,
    pub(super) limits: &'r Limits,
    pub(super) pool: &'r Pool,
    pub(super) member: &'r Member,
    /// The PROXY header, where the pool sends one.
    pub(super) introduction: Option<(ProxyVersion, ProxyHeader)>,
}

/// What becomes of the body of the response.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// It is kept, up to this size.
    Keep(usize),
    /// It is read up to this size, so that the connection can be kept.
    Discard(usize),
}

/// The response to such a request.
#[derive(Debug)]
pub(super) struct OwnResponse {
    pub(super) status: u16,
    pub(super) headers: Vec<(Box<str>, Box<[u8]>)>,
    pub(super) body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) struct NoResponse {
    /// What was wrong, for the log.
    pub(super) why: String,
    /// The cause, if the server brought it about.
    pub(super) cause: Option<Cause>,
    /// Whether the connection may have been stale: it had carried another request, and ended before the response began.
    is_stale: bool,
}

struct Head<'r> {
    request: &'r OwnRequest,
    is_secure: bool,
}

impl OwnHeader {
    /// Those by which a request that is made for the one with this head is recognised where it comes back.
    pub(super) fn via(head: &RequestHead) -> impl Iterator<Item = Self> {
        let elements = via::of_instances(head).chain([via::element(head.version)]);
        elements.map(|element| Self {
            name: b"Via"[..].into(),
            value: element.into(),
            is_secret: false,
        })
    }
}

impl OwnRequest {
    fn method(&self) -> Method {
        Method::from_token(&self.method)
    }
}

impl OutgoingHead for Head<'_> {
    fn size(&self) -> (usize, usize) {
        let headers = &self.request.headers;
        let text = headers
            .iter()
            .map(|header| header.name.len() + header.value.len());
        (
            headers.len() + 5,
            text.sum::<usize>() + self.request.path.len() + 128,
        )
    }

    fn write<W: HeadWriter>(&self, out: &mut W) {
        let request = self.request;
        out.request(&Target {
            method: &request.method,
            is_secure: self.is_secure,
            authority: &request.authority,
            path: &request.path,
            query: request.query.as_deref(),
        });
        for header in &request.headers {
            out.field(&header.name, &header.value, header.is_secret);
        }
        out.framing(match &request.body {
            None => BodyLength::None,
            Some(body) => BodyLength::Exact(body.len() as u64),
        });
        out.finish();
    }
}

impl Route<'_> {
    /// Sends a request and reads its response. A reused connection that the server has closed meanwhile is replaced by a new one,
    /// once, where the server cannot have processed the request or its method is idempotent.
    ///
    /// # Errors
    /// Why there is no response.
    pub(super) async fn send(&self, request: &OwnRequest, body: Body) -> Result<OwnResponse, NoResponse> {
        match self.attempt(request, body, false).await {
            Err(error) if error.is_stale => self.attempt(request, body, true).await,
            result => result,
        }
    }

    async fn attempt(
        &self,
        request: &OwnRequest,
        body: Body,
        is_fresh: bool,
    ) -> Result<OwnResponse, NoResponse> {
        let is_idempotent = request.method().is_idempotent();
        let need = Need {
            worker: self.worker,
            limits: self.limits,
            is_repeatable: is_idempotent,
            upgrades: false,
            introduction: self.introduction,
        };
        let connector = Connector::new(need, self.pool, self.member);
        let connected = connector.connect(is_fresh).await;
        let mut backend = connected.map_err(|error| {
            let is_refused = error.failure == Failure::ConnectFailed;
            if is_refused {
                connect::count_failed(self.worker, self.pool);
            }
            NoResponse {
                why: error.detail.unwrap_or_else(|| error.failure.code().to_owned()),
                cause: is_refused.then_some(Cause::ConnectFailure),
                is_stale: false,
            }
        })?;
        let buffers = &self.worker.buffers;
        let before = backend.connection.bytes_out;
        let head = Head {
            request,
            is_secure: self.member.secured(self.pool, crate::tls::Offer::Both).is_some(),
        };
        backend.connection.put_request(&head, request.method(), buffers);
        let sent = request.body.as_deref().unwrap_or_default();
        backend.connection.put_body(sent, buffers);
        let waiting = (!backend.is_reused).then(|| self.member.backend.wait_on_new());
        let received = self.receive_head(&mut backend, request.method()).await;
        drop(waiting);
        if let Err(mut error) = received {
            let fate = backend.connection.request_fate(before);
            error.is_stale &= backend.is_reused && (is_idempotent || fate.is_unprocessed);
            return Err(error);
        }
        self.receive_body(backend, request, body).await
    }

    /// Sends what waits, and reads heads up to that of the final response.
    async fn receive_head(&self, backend: &mut BackendConnection, method: Method) -> Result<(), NoResponse> {
        for _ in 0..=INTERIM_BOUND {
            poll_fn(|context| self.poll_head(context, backend, method)).await?;
            match backend.head.status {
                101 => return Err(NoResponse::invalid("it switches protocols".to_owned())),
                200.. => return Ok(()),
                _ => backend.connection.input.consume(backend.head_end),
            }
        }
        let why = format!("more than {INTERIM_BOUND} interim responses");
        Err(NoResponse::invalid(why))
    }

    fn poll_head(
        &self,
        context: &mut Context<'_>,
        backend: &mut BackendConnection,
        method: Method,
    ) -> Poll<Result<(), NoResponse>> {
        let buffers = &self.worker.buffers;
        // If it fails, the server may have responded before it closed.
        let _ = backend.connection.poll_flush(context);
        let asked = (method, self.limits);
        response_head::poll(context, backend, asked, buffers).map_err(|error| match error {
            ResponseError::Malformed(reason) => NoResponse::invalid(reason.to_string()),
            ResponseError::Ended(_) | ResponseError::BrokeOff(_) => NoResponse {
                why: "the connection ended before a response".to_owned(),
                cause: Some(Cause::Reset),
                is_stale: true,
            },
        })
    }

    /// Reads the body of the response, and keeps the connection if its end is proved.
    async fn receive_body(
        &self,
        mut backend: Box<BackendConnection>,
        request: &OwnRequest,
        body: Body,
    ) -> Result<OwnResponse, NoResponse> {
        let buffers = &self.worker.buffers;
        let status = backend.head.status;
        let headers = match body {
            Body::Keep(_) => headers_of(&backend),
            Body::Discard(_) => Vec::new(),
        };
        reuse::note_keep_alive(&mut backend, self.pool);
        let mut credentials = request.headers.iter().filter_map(|header| {
            let is_it = header.name.eq_ignore_ascii_case(b"authorization");
            is_it.then_some(&*header.value)
        });
        backend.is_of_one_user |= reuse::authenticates_connection(&mut credentials, &backend);
        backend.connection.input.consume(backend.head_end);
        let mut collect = match body {
            Body::Keep(limit) => Collect::new(&backend.head, self.limits, limit),
            Body::Discard(limit) => Collect::new(&backend.head, self.limits, limit).discarding(),
        };
        let read = poll_fn(|context| {
            let _ = backend.connection.poll_flush(context);
            collect.poll(context, &mut backend.connection, buffers)
        });
        read.await.map_err(|error| match error {
            TransferError::TooLarge => NoResponse::invalid("its body is too large".to_owned()),
            error => NoResponse::invalid(error.to_string()),
        })?;
        if !backend.connection.has_output() && reuse::is_possible(&backend) {
            reuse::give_back(backend, self.pool, self.worker);
        }
        Ok(OwnResponse {
            status,
            headers,
            body: collect.into_body(),
        })
    }
}

impl NoResponse {
    fn invalid(why: String) -> Self {
        Self {
            why: format!("invalid response: {why}"),
            cause: None,
            is_stale: false,
        }
    }
}

/// The end-to-end headers of the response whose head is at the front of the input (RFC 9110 §7.6.1).
fn headers_of(backend: &BackendConnection) -> Vec<(Box<str>, Box<[u8]>)> {
    let bytes = backend.connection.input.unread();
    let head = &backend.head;
    let fields = head.fields.iter().filter_map(|field| {
        let name = field.name.of(bytes);
        let is_ours = field.id.is_hop_by_hop() || head.connection_names(bytes, name);
        // The name of a header is a token, which is ASCII.
        let name = std::str::from_utf8(name).ok().filter(|_| !is_ours)?;
        Some((name.into(), field.value.of(bytes).into()))
    });
    fields.collect()
}
