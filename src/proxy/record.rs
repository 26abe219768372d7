//! What is taken down of a request while it runs, for its line in the access log.

use std::sync::Arc;
use std::time::Duration;

use super::{Failure, Route};
use crate::clock::Instant;
use crate::pool::{Member, Pool};
use crate::retry::Outcome;
use crate::telemetry::Label;
use crate::telemetry::metrics::Timeout;

/// Retries that are listed, of a request that waited for its backend.
const MOST_LISTED: usize = 16;

/// Collected while a request runs.
pub(super) struct Record<'a> {
    pub(super) beginning: Beginning,
    pub(super) route: Option<&'a Route>,
    pub(super) pool: Option<&'a Pool>,
    /// The policy that refused the request.
    pub(super) policy: Option<Arc<str>>,
    pub(super) attempts: AttemptRecord<'a>,
    pub(super) ending: Ending,
    /// What exactly was wrong in the attempt that ended last, or with the request: it is logged beside a failure only.
    pub(super) detail: Option<String>,
    /// The timeout that ended the attempt that ended last, if it is another one than its failure says.
    pub(super) expired: Option<Timeout>,
    /// Bytes that a tunnel took from the client.
    pub(super) tunnelled: u64,
    /// Whether the stream of a malformed request was reset, so that no response can be sent.
    pub(super) was_stream_reset: bool,
    /// The head of the response, if the access log needs it.
    pub(super) response_head: Option<Box<[u8]>>,
    /// Whether the line was written.
    pub(super) is_logged: bool,
}

/// What was known when the request began.
pub(super) struct Beginning {
    pub(super) started: Instant,
    pub(super) head_bytes: u64,
    /// Bytes that the client's connection had sent before.
    pub(super) bytes_out: u64,
}

/// The attempts so far.
pub(super) struct AttemptRecord<'a> {
    pub(super) count: u32,
    /// The backend that was asked last, or whose response the client gets.
    pub(super) member: Option<&'a Member>,
    pub(super) response_time: Option<Duration>,
    pub(super) retried: Vec<Retried<'a>>,
}

/// An attempt that was followed by another one.
pub(super) struct Retried<'a> {
    pub(super) member: &'a Member,
    pub(super) reason: &'static str,
    pub(super) detail: Option<String>,
}

/// How the request ended.
#[derive(Default)]
pub(super) struct Ending {
    /// The status that the client gets; 0 as long as no response has begun.
    pub(super) status: u16,
    /// The status of gRPC, where there is one.
    pub(super) grpc_status: Option<u32>,
    pub(super) failure: Option<Failure>,
    /// The error code of the policy that refused it.
    pub(super) code: Option<&'static str>,
}

impl<'a> Record<'a> {
    #[inline]
    pub(super) fn new(started: Instant, head_bytes: usize, bytes_out: u64) -> Self {
        Self {
            beginning: Beginning {
                started,
                head_bytes: head_bytes as u64,
                bytes_out,
            },
            route: None,
            pool: None,
            policy: None,
            attempts: AttemptRecord {
                count: 0,
                member: None,
                response_time: None,
                retried: Vec::new(),
            },
            ending: Ending::default(),
            detail: None,
            expired: None,
            tunnelled: 0,
            was_stream_reset: false,
            response_head: None,
            is_logged: false,
        }
    }

    #[inline]
    pub(super) fn attempts_at(&mut self, member: &'a Member) {
        self.attempts.count += 1;
        self.attempts.member = Some(member);
        self.detail = None;
        self.expired = None;
    }

    /// The attempt that began last has ended.
    #[inline]
    pub(super) fn attempt_ended(&mut self, outcome: &Outcome) {
        if let Some(time) = outcome.response_time() {
            self.attempts.response_time = Some(time);
        }
    }

    pub(super) fn retried(&mut self, member: &'a Member, reason: &'static str) {
        let detail = self.detail.take();
        self.attempts.retried.push(Retried {
            member,
            reason,
            detail,
        });
    }

    /// An attempt at this backend ran beside the one at the backend that was asked last, and gave nothing.
    pub(super) fn ran_beside(&mut self, member: &'a Member, reason: &'static str) {
        self.attempts.count += 1;
        self.attempts.retried.push(Retried {
            member,
            reason,
            detail: None,
        });
    }

    /// The response that the client gets is this backend's, though perhaps not the last one asked.
    #[inline]
    pub(super) fn responded_by(&mut self, member: &'a Member, status: u16) {
        self.attempts.member = Some(member);
        self.ending.status = status;
    }

    /// The same after a wait. Who waits through a long restart has as many retries as it takes, and not all of them are listed.
    pub(super) fn retried_after_wait(&mut self, member: &'a Member, reason: &'static str) {
        if self.attempts.retried.len() < MOST_LISTED {
            self.retried(member, reason);
        }
    }

    /// The member that was asked last.
    pub(super) fn last_member(&self) -> Option<&'a Member> {
        self.attempts.member
    }

    /// The backend that was asked last.
    pub(super) fn backend(&self) -> Option<&'a Label> {
        self.attempts.member.map(|member| &member.label)
    }

    /// The timeout that ended it, for the counters.
    pub(super) fn timeout(&self) -> Option<Timeout> {
        let timeout = self.ending.failure.and_then(Failure::timeout)?;
        Some(self.expired.unwrap_or(timeout))
    }

    /// How it failed. A client that left has the status 499, whatever was on its way to it.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.ending.failure = Some(failure);
        if failure.status() == 499 {
            self.ending.status = 499;
            self.ending.grpc_status = None;
        }
    }
}
