//! Talks to the stores through which instances share limits: reports what was admitted in batches, and brings back what is left.
//! Runs on the control plane; no request ever waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::policy::{SharedLimit, Usage};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, Script,
};
use tokio::sync::watch;
use tokio::time::timeout;

use super::feeds::Fetcher;
use crate::clock::{self, Instant};
use crate::net::{Stream, dial_unix};
use crate::rng::{Rng, jittered};
use crate::tasks::Tasks;
use crate::tls::{CertificateError, Offer};

/// Time between two reports: how far instances can exceed a limit depends on it, as does the load of the store.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// An instance that has nothing to report says so at this interval, so that the others know of it.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// An instance that has not reported for this long is no longer counted.
const INSTANCE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for a connection, with TLS and password.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for a response. Until it ends, a lost store is not noticed.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pauses between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Keys in one report. The store does nothing else while it runs a script.
const BATCH: usize = 500;
/// The seed of the hashes that name keys, which all instances of a store use.
const SEED: &str = "evenkeel:seed";

/// The limits that are shared through one store; replaced by a reload.
pub type Limits = watch::Receiver<Arc<[Arc<SharedLimit>]>>;

/// A store, as the config describes it.
pub struct Store {
    name: String,
    server: ConnectionInfo,
    /// Whether the connection uses TLS.
    is_secure: bool,
    /// What connects to it.
    fetcher: Arc<Fetcher>,
    /// The id of this instance.
    instance: String,
    script: Script,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one of a store. The URL is not shown, because it may contain a password.
    #[error(
        "not the URL of a store: use redis://HOST:PORT/DATABASE, rediss:// for TLS, or redis+unix:///PATH"
    )]
    Url,
    /// The file with the CAs cannot be used.
    #[error(transparent)]
    Ca(#[from] CertificateError),
}

/// When the limits of a store were reported.
struct Reports {
    last: HashMap<Box<str>, Instant>,
    rng: Rng,
}

impl Store {
    /// A store of this name in the config, at this URL.
    ///
    /// # Errors
    /// [`StoreError`] when the URL is not one of a store.
    pub fn new(name: &str, url: &str, fetcher: Arc<Fetcher>) -> Result<Self, StoreError> {
        // TLS is ours, as with all other servers: to the library, the stream is one without it.
        let secure = url
            .strip_prefix("rediss://")
            .map(|rest| format!("redis://{rest}"));
        let is_secure = secure.is_some();
        let url = secure.as_deref().unwrap_or(url);
        let is_known = ["redis://", "redis+unix://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        let server = url.into_connection_info().ok().filter(|_| is_known);
        Ok(Self {
            name: name.to_owned(),
            server: server.ok_or(StoreError::Url)?,
            is_secure,
            fetcher,
            instance: format!("{:016x}", Rng::fresh().bits()),
            script: Script::new(include_str!("report.lua")),
        })
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reports the limits of the store until the task is aborted or the sender of the limits is gone. Connects again when the
    /// connection is lost.
    pub async fn run(self, mut limits: Limits) {
        let mut reports = Reports {
            last: HashMap::new(),
            rng: Rng::fresh(),
        };
        let mut pause = BACKOFF.0;
        let mut is_away = false;
        loop {
            // An emptied store gets back the seed in use.
            let known = limits.borrow().iter().find_map(|limit| limit.seed());
            let seed = known.unwrap_or_else(|| reports.rng.bits());
            let error = match self.connect(seed).await {
                Ok((mut connection, seed, _driver)) => {
                    tracing::info!(store = self.name, "Limit store connected");
                    (pause, is_away) = (BACKOFF.0, false);
                    match self
                        .report_all(&mut connection, seed, &mut limits, &mut reports)
                        .await
                    {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let current = Arc::clone(&limits.borrow_and_update());
            current.iter().for_each(|limit| limit.lost());
            if !is_away {
                let store = &self.name;
                tracing::warn!(store, %error, "Limit store unavailable; `on_failure` of each limit applies until it is back");
            }
            is_away = true;
            tokio::time::sleep(jittered(pause, reports.rng.bits())).await;
            pause = (pause * 2).min(BACKOFF.1);
            if limits.has_changed().is_err() {
                return;
            }
        }
    }

    /// Connects to the server.
    async fn open(&self) -> Result<Stream, std::io::Error> {
        match self.server.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let offer = self.is_secure.then_some(Offer::Nothing);
                let stream = self.fetcher.connect_to(host, *port, offer).await;
                stream.map_err(std::io::Error::other)
            }
            ConnectionAddr::Unix(path) => {
                let socket = dial_unix(path, CONNECT_TIMEOUT).await;
                socket.map(Stream::Plain).map_err(std::io::Error::other)
            }
            // Its URL has none of the other kinds.
            _ => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    /// Connects and logs in. The task drives the connection.
    async fn connect_and_log_in(&self) -> Result<(MultiplexedConnection, Tasks), RedisError> {
        let stream = self.open().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        let server = self.server.redis_settings();
        let (connection, driver) = MultiplexedConnection::new_with_config(server, stream, config).await?;
        let mut tasks = Tasks::default();
        tasks.spawn(driver);
        Ok((connection, tasks))
    }

    /// Connects, and reads the seed that all instances use. A store without one gets this one.
    async fn connect(&self, seed: u64) -> Result<(MultiplexedConnection, u64, Tasks), RedisError> {
        let connected = timeout(CONNECT_TIMEOUT, self.connect_and_log_in()).await;
        let (mut connection, driver) =
            connected.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        let ours = format!("{seed:016x}");
        let mut set = redis::cmd("SET");
        let _: Option<String> = set
            .arg(SEED)
            .arg(&ours)
            .arg("NX")
            .query_async(&mut connection)
            .await?;
        let seed: String = redis::cmd("GET").arg(SEED).query_async(&mut connection).await?;
        let seed = u64::from_str_radix(&seed, 16);
        let invalid = |_| {
            RedisError::from((
                redis::ErrorKind::UnexpectedReturnType,
                "evenkeel:seed is not a seed",
            ))
        };
        Ok((connection, seed.map_err(invalid)?, driver))
    }

    /// Reports until something fails. Ends when the sender of the limits is gone.
    async fn report_all(
        &self,
        connection: &mut MultiplexedConnection,
        seed: u64,
        limits: &mut Limits,
        reports: &mut Reports,
    ) -> Result<(), RedisError> {
        loop {
            let current = Arc::clone(&limits.borrow_and_update());
            let is_used = |id: &str| current.iter().any(|limit| limit.id() == id);
            reports.last.retain(|id, _| is_used(id));
            for limit in current.iter() {
                if !limit.use_seed(seed) {
                    let store = &self.name;
                    tracing::warn!(
                        store,
                        limit = limit.id(),
                        "The limit store has a new seed; limits are shared again after a restart"
                    );
                    limit.lost();
                    continue;
                }
                self.report(connection, limit, &mut reports.last).await?;
            }
            if limits.has_changed().is_err() {
                return Ok(());
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    }

    /// Reports one limit.
    async fn report(
        &self,
        connection: &mut MultiplexedConnection,
        limit: &SharedLimit,
        last: &mut HashMap<Box<str>, Instant>,
    ) -> Result<(), RedisError> {
        let now = clock::now();
        let since = last
            .get(limit.id())
            .map(|last| now.saturating_duration_since(*last));
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let has_more = limit.take(BATCH, &mut batch);
            if batch.is_empty() && since.is_some_and(|since| since < IDLE_INTERVAL) {
                return Ok(());
            }
            let elapsed = since.unwrap_or(REPORT_INTERVAL);
            match self.send(connection, limit, &batch, elapsed).await {
                Ok(reply) => apply(limit, &batch, &reply),
                Err(error) => {
                    limit.give_back(&batch);
                    return Err(error);
                }
            }
            if !has_more {
                break;
            }
        }
        last.insert(limit.id().into(), now);
        Ok(())
    }

    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        limit: &SharedLimit,
        batch: &[Usage],
        since: Duration,
    ) -> Result<Vec<u64>, RedisError> {
        // In a cluster, all keys of a limit belong to one node: what is in braces decides.
        let name = format!("evenkeel:{{{}}}", limit.id());
        let mut call = self.script.prepare_invoke();
        call.key(format!("{name}:instances"));
        call.arg(&self.instance)
            .arg(limit.interval().as_nanos() as f64 / 1000.0)
            .arg(since.as_micros() as u64)
            .arg(INSTANCE_TIMEOUT.as_micros() as u64);
        for usage in batch {
            call.key(format!("{name}:{:x}", usage.key)).arg(usage.requests);
        }
        call.invoke_async(connection).await
    }
}

impl std::fmt::Debug for Store {
    /// Without the URL, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Takes over the reply to a report.
fn apply(limit: &SharedLimit, batch: &[Usage], reply: &[u64]) {
    let Some((instances, ahead)) = reply.split_first() else {
        return;
    };
    limit.connected(u32::try_from(*instances).unwrap_or(u32::MAX));
    let now = clock::now();
    for (usage, ahead) in batch.iter().zip(ahead) {
        limit.apply(usage, Duration::from_micros(*ahead), now);
    }
}

#[cfg(test)]
pub(super) mod tests;
