//! The thread that talks to the process: it asks for the status, follows the events, makes changes and waits for signals. It reconnects for
//! as long as `top` runs.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::super::call::segment;
use super::api::{Api, ApiError};
use super::model::{Action, Event, History, ProcessKey, Sample, Update, Verb};
use crate::admin::{BackendStatus, Status};
use crate::clock;

/// Bound of updates that wait to be shown, and of actions that wait to be sent.
const WAITING_BOUND: usize = 256;
/// Time between two requests for the status.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same for many backends, whose status is long.
const LONG_INTERVAL: Duration = Duration::from_secs(3);
/// More backends than this are many.
const MANY_BACKENDS: usize = 60;
/// Pauses before the stream is opened again: the first one, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The status and the history at the start.
pub(super) struct First {
    pub(super) status: Status,
    pub(super) history: History,
}

/// Asks for the status and the history.
pub(super) async fn first(api: &Api) -> Result<First, ApiError> {
    Ok(First {
        status: api.get("/api/v1/status").await?,
        history: api.get("/api/v1/history").await?,
    })
}

/// The running thread, which ends when this is dropped.
pub(super) struct Background {
    /// What is new.
    pub(super) updates: mpsc::Receiver<Update>,
    /// What is to be done.
    pub(super) actions: mpsc::Sender<Action>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the thread. The process is the one of `first`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn start(runtime: Runtime, api: Api, first: &First) -> io::Result<Self> {
        let (sender, updates) = mpsc::channel(WAITING_BOUND);
        let (actions, received) = mpsc::channel(WAITING_BOUND);
        let (end, ended) = oneshot::channel();
        let process = ProcessKey::of(&first.status);
        let last = first.history.events.last().map(|event| event.id);
        let run = async move {
            tokio::select! {
                _ = poll(&api, &sender, process) => {}
                _ = follow(&api, &sender, last) => {}
                _ = act(&api, &sender, received) => {}
                _ = wait_for_signal(&sender) => {}
                _ = ended => {}
            }
        };
        let thread = std::thread::Builder::new()
            .name("top".to_owned())
            .spawn(move || runtime.block_on(run))?;
        Ok(Self {
            updates,
            actions,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.end.take());
        self.updates.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already printed.
            let _ = thread.join();
        }
    }
}

/// Nobody shows the updates any more.
struct Closed;

async fn send(updates: &mpsc::Sender<Update>, update: Update) -> Result<(), Closed> {
    updates.send(update).await.map_err(|_| Closed)
}

async fn poll(api: &Api, updates: &mpsc::Sender<Update>, mut process: ProcessKey) -> Result<(), Closed> {
    let mut interval = INTERVAL;
    loop {
        sleep(interval).await;
        let status: Status = match api.get("/api/v1/status").await {
            Ok(status) => status,
            Err(error) => {
                send(updates, Update::Lost(error.to_string())).await?;
                continue;
            }
        };
        let at = clock::now();
        // Another process has a history of its own.
        let current = ProcessKey::of(&status);
        if current != process
            && let Ok(history) = api.get("/api/v1/history").await
        {
            process = current;
            send(updates, Update::History(history)).await?;
        }
        let backends: usize = status.pools.iter().map(|pool| pool.backends.len()).sum();
        interval = if backends > MANY_BACKENDS {
            LONG_INTERVAL
        } else {
            INTERVAL
        };
        send(updates, Update::Status(Box::new(status), at)).await?;
    }
}

async fn follow(api: &Api, updates: &mpsc::Sender<Update>, mut last: Option<u64>) -> Result<(), Closed> {
    let mut pause = PAUSES.0;
    loop {
        let error = match api.follow(last).await {
            Err(error) => error,
            Ok(mut following) => loop {
                let event = match following.next().await {
                    Ok(event) => event,
                    Err(error) => break error,
                };
                pause = PAUSES.0;
                let update = match event.kind.as_str() {
                    "sample" => serde_json::from_str::<Sample>(&event.data).map(Update::Sample),
                    "event" => serde_json::from_str::<Event>(&event.data).map(Update::Event),
                    _ => continue,
                };
                // What is not understood is of another version.
                let Ok(update) = update else { continue };
                if let Update::Event(event) = &update {
                    last = Some(event.id);
                }
                send(updates, update).await?;
            },
        };
        send(updates, Update::StreamLost(error.to_string())).await?;
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn act(
    api: &Api,
    updates: &mpsc::Sender<Update>,
    mut actions: mpsc::Receiver<Action>,
) -> Result<(), Closed> {
    while let Some(Action { verb, backend }) = actions.recv().await {
        let (pool, url) = (segment(&backend.pool), segment(&backend.url));
        let path = format!("/api/v1/pools/{pool}/backends/{url}/{}", verb.name());
        let result = api.call("POST", &path).await;
        let result = result
            .map(|body| done(verb, &body))
            .map_err(|error| error.to_string());
        send(updates, Update::Acted(result)).await?;
        if let Ok(status) = api.get("/api/v1/status").await {
            send(updates, Update::Status(Box::new(status), clock::now())).await?;
        }
    }
    Ok(())
}

/// What has become of a backend, by its status.
fn done(verb: Verb, body: &[u8]) -> String {
    let Ok(status) = serde_json::from_slice::<BackendStatus>(body) else {
        return "done".to_owned();
    };
    let url = &status.url;
    match (verb, &status.why) {
        (Verb::Drain, _) => format!("{url} is drained; requests in flight: {}", status.in_flight),
        (Verb::Ready, None) => format!("{url} gets requests again"),
        (Verb::Ready, Some(why)) => format!("{url} is not drained, but gets no requests yet: {why}"),
    }
}

/// Signals that would end the process while the terminal is in its state of `top`.
async fn wait_for_signal(updates: &mpsc::Sender<Update>) -> Result<(), Closed> {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
    ];
    let signals = kinds.map(signal);
    let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = signals else {
        // They end the process then, as if this was not here.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = interrupt.recv() => {}
    }
    send(updates, Update::End).await
}
