//! Watches the body of a request, so that its connection is protected only once all of it has arrived.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as _, Frame, SizeHint};

use super::connections::ActiveRequest;

/// A body that says when it is whole.
struct Watched {
    body: Body,
    request: Arc<ActiveRequest>,
}

/// Watches the body of this request.
pub(super) fn watched(body: Body, request: Arc<ActiveRequest>) -> Body {
    if body.is_end_stream() {
        request.received();
        return body;
    }
    Body::new(Watched { body, request })
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.request.received();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
