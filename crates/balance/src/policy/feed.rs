//! Data that a policy needs from files or other servers. The control plane reads it at the start, again at intervals, and when
//! the policy asks; requests never wait for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, by its path as written in the config. It is read again when it has changed.
    File(String),
    /// A URL, `http` or `https`. It is fetched again at this interval.
    Url {
        /// The URL.
        url: String,
        /// Time between two fetches.
        interval: Duration,
        /// File with the CAs that the certificate of the server must be signed by; `None` for those that this machine trusts.
        ca: Option<String>,
    },
}

/// Why data could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FeedError(pub String);

/// Puts new data into use in place of the old.
pub type Apply = Box<dyn FnOnce() + Send>;

/// Reads new data, and changes nothing by that. The old data stays in use when it returns an error.
type Read = dyn Fn(&[u8]) -> Result<Apply, FeedError> + Send + Sync;

/// One source of data, and who takes it.
#[derive(Clone)]
pub struct Feed {
    /// Where the data comes from.
    pub source: Source,
    /// Maximum size of the data, in bytes; more is an error.
    pub limit: usize,
    /// Whether the policy asks for the data before its time.
    wanted: Arc<AtomicBool>,
    read: Arc<Read>,
}

impl Feed {
    /// A feed. `wanted` is set by the policy when it asks for the data before its time; the driver bounds how often it follows.
    pub fn new(
        source: Source,
        limit: usize,
        wanted: Arc<AtomicBool>,
        read: impl Fn(&[u8]) -> Result<Apply, FeedError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            source,
            limit,
            wanted,
            read: Arc::new(read),
        }
    }

    /// Whether the policy asks for the data before its time. Asking ends with this.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed)
    }

    /// A name that is the same for two feeds of the same data, as long as one of them exists: whoever reads one need not begin to
    /// read the other. A policy keeps its data over reloads together with what says that the data is wanted.
    pub fn identity(&self) -> String {
        format!("{:?}/{:p}", self.source, Arc::as_ptr(&self.wanted))
    }

    /// Reads new data. The policy has it once the result is called: that of a config that is never active may be shared with the
    /// active one, which must not change then.
    ///
    /// # Errors
    /// [`FeedError`] when it cannot be used.
    pub fn read(&self, data: &[u8]) -> Result<Apply, FeedError> {
        if data.len() > self.limit {
            let limit = self.limit;
            return Err(FeedError(format!("larger than {limit} bytes")));
        }
        (self.read)(data)
    }

    /// Hands new data to the policy.
    ///
    /// # Errors
    /// [`FeedError`] when it cannot be used: the old data stays.
    pub fn take(&self, data: &[u8]) -> Result<(), FeedError> {
        self.read(data)?();
        Ok(())
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
