//! The routes that show the last 15 minutes, and follow what happens as server-sent events.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::super::control::{Control, Feeds};
use super::super::response::Problem;
use crate::telemetry::{Entry, Feed};

/// A comment follows after this long without anything else, so that a proxy does not take the connection as idle.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /api/v1/history`: the samples of the last 15 minutes and the last events, the oldest first.
pub(super) async fn history(State(control): State<Control>) -> Response {
    let list = |feed: &Feed| {
        let entries = feed.entries();
        let lines: Vec<&str> = entries.iter().map(|entry| &*entry.json).collect();
        lines.join(",")
    };
    let Feeds { events, samples, .. } = &control.feeds;
    let body = format!(
        r#"{{"interval_seconds":1,"samples":[{}],"events":[{}]}}"#,
        list(samples),
        list(events)
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /api/v1/events?after=ID`: kept events with a higher number, and each further event and sample, until the client closes the connection.
pub(super) async fn events(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut pairs = query.as_deref().unwrap_or_default().split('&');
    let asked = pairs.find_map(|pair| pair.strip_prefix("after="));
    let last = headers
        .get("last-event-id")
        .map(|id| id.to_str().unwrap_or_default());
    let after = last.or(asked).map(str::parse).transpose();
    let after = after.map_err(|_| {
        Problem::invalid_request("`after` and `Last-Event-ID` must be the number of an event")
    })?;
    let Ok(permit) = Arc::clone(&control.feeds.followers).try_acquire_owned() else {
        let detail = "too many clients follow the events; try again later";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail));
    };
    let following = Following::new(&control.feeds, after, permit);
    let body = Body::new(Stream {
        next: Box::pin(following.step()),
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

/// One client that follows.
struct Following {
    /// What is sent next, if anything is known already.
    first: String,
    events: broadcast::Receiver<Entry>,
    samples: broadcast::Receiver<Entry>,
    _permit: OwnedSemaphorePermit,
}

impl Following {
    fn new(feeds: &Feeds, after: Option<u64>, permit: OwnedSemaphorePermit) -> Self {
        let (newer, events) = feeds.events.follow(after);
        let (_, samples) = feeds.samples.follow(None);
        // At least a comment: the head of the response is sent with it.
        let mut first = String::from(": events of Evenkeel\n\n");
        for entry in &newer {
            write_event(&mut first, entry);
        }
        Self {
            first,
            events,
            samples,
            _permit: permit,
        }
    }

    /// The next part of the stream. `None` ends it: this client is too slow, or the process ends.
    async fn step(mut self) -> Option<(Self, Bytes)> {
        let mut text = std::mem::take(&mut self.first);
        if text.is_empty() {
            tokio::select! {
                event = self.events.recv() => write_event(&mut text, &received(event)?),
                sample = self.samples.recv() => {
                    // Writing to a string cannot fail, here and below.
                    let _ = write!(text, "event: sample\ndata: {}\n\n", received(sample)?.json);
                }
                () = tokio::time::sleep(HEARTBEAT) => text.push_str(":\n\n"),
            }
        }
        Some((self, Bytes::from(text)))
    }
}

/// `None` for a client that has missed a part, and when nothing follows.
fn received(received: Result<Entry, RecvError>) -> Option<Entry> {
    received.ok()
}

fn write_event(text: &mut String, entry: &Entry) {
    let _ = write!(text, "event: event\nid: {}\ndata: {}\n\n", entry.id, entry.json);
}

type Step = Pin<Box<dyn Future<Output = Option<(Following, Bytes)>> + Send>>;

/// The body of the response: one step after the other.
struct Stream {
    next: Step,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((following, part)) = ready!(self.next.as_mut().poll(cx)) else {
            self.next = Box::pin(std::future::ready(None));
            return Poll::Ready(None);
        };
        self.next = Box::pin(following.step());
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}
