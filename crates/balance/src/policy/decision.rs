//! What a policy decides about a request.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The decision.
#[derive(Debug)]
pub enum Decision {
    /// The next policy decides.
    Continue,
    /// The request goes no further: this response takes the place of the backend's.
    Refuse(Box<Refusal>),
    /// The policy has to wait for this.
    Wait(Job),
}

impl Decision {
    /// Whether the next policy decides.
    #[inline]
    pub fn continues(&self) -> bool {
        matches!(self, Self::Continue)
    }

    /// Drops a decision that [`continues`](Self::continues). It holds nothing, and a request has one of each policy: the usual way to
    /// drop one is a call that finds that out.
    #[inline]
    pub fn discard(self) {
        debug_assert!(self.continues(), "others hold memory");
        std::mem::forget(self);
    }
}

/// A local response.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// The error code in the access log; empty when nothing went wrong, as with a preflight request.
    pub code: &'static str,
    /// Headers beside those that every local response has.
    pub headers: Vec<(Cow<'static, str>, Box<[u8]>)>,
    /// The body with its media type, which is empty when it is not known; `None` for the body that the client's `Accept` and the status call for.
    pub body: Option<(Box<str>, Box<[u8]>)>,
    /// What exactly was wrong, for the access log.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal with the usual body.
    pub fn new(status: u16, code: &'static str) -> Box<Self> {
        Box::new(Self {
            status,
            code,
            ..Self::default()
        })
    }

    /// The same refusal with one more header.
    #[must_use]
    pub fn with(mut self: Box<Self>, name: &'static str, value: impl AsRef<[u8]>) -> Box<Self> {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// The same refusal with an explanation for the access log.
    #[must_use]
    pub fn because(mut self: Box<Self>, detail: impl Into<String>) -> Box<Self> {
        self.detail = Some(detail.into());
        self
    }
}

/// A server that a policy asks with [`Job::Fetch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedServer<'a> {
    /// The URL that is asked.
    pub url: &'a str,
    /// File with the CAs that the certificate of the server must be signed by; `None` for those that this machine trusts.
    pub ca: Option<&'a str>,
}

/// What a policy waits for. The driver does it and hands the same value back to [`Policy::resume`](super::Policy::resume), done.
pub enum Job {
    /// A computation that takes too long for a worker, such as the check of a password.
    Compute(Compute),
    /// A request to another server.
    Fetch(Box<Fetch>),
}

/// A computation that runs on a thread of its own. A bounded number of them may wait; above it, and after a panic, the driver
/// hands it back with the result `None`.
pub struct Compute {
    /// Runs the computation.
    pub run: Option<Box<dyn FnOnce() -> bool + Send>>,
    /// What it returned.
    pub result: Option<bool>,
}

/// A request to another server, and its response.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The URL with scheme, host, port, path and query.
    pub url: Box<str>,
    /// The method.
    pub method: &'static str,
    /// The headers, beside `Host` and framing.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    /// Timeout of the whole exchange.
    pub timeout: Duration,
    /// The response, or why there is none.
    pub response: Result<Fetched, String>,
}

/// A response of another server.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its end-to-end headers.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    /// Its body, at most as long as the driver reads.
    pub body: Box<[u8]>,
}

impl Compute {
    /// A computation that has not run.
    pub fn new(run: impl FnOnce() -> bool + Send + 'static) -> Self {
        Self {
            run: Some(Box::new(run)),
            result: None,
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compute(compute) => f.debug_tuple("Compute").field(&compute.result).finish(),
            Self::Fetch(fetch) => f.debug_tuple("Fetch").field(&fetch.url).finish(),
        }
    }
}
