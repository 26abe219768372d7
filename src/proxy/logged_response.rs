//! Keeps the head of a response for the access log, if one of its sinks needs it: by then the head has long been sent.

use super::Worker;
use crate::message::OutgoingHead;

/// The head that was put into the client's output, as HTTP/1 writes it; `None` if no sink needs it.
#[inline]
pub(super) fn head_for_log(worker: &Worker, head: &impl OutgoingHead) -> Option<Box<[u8]>> {
    worker.log.borrow().needs_response().then(|| text_of(head))
}

#[cold]
fn text_of(head: &impl OutgoingHead) -> Box<[u8]> {
    let mut text = Vec::with_capacity(head.size().1);
    head.write(&mut text);
    text.into()
}
