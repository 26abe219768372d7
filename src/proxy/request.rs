//! What all phases read of a request: its head, its client, and who sent it.

use std::time::SystemTime;

use evenkeel_balance::request::Request as View;

use super::{Client, Identity, Snapshot, Worker, grpc};
use crate::head::RequestHead;

/// A request whose head is complete.
pub(super) struct Request<'a> {
    pub(super) client: &'a mut Client,
    pub(super) head: &'a RequestHead,
    pub(super) snapshot: &'a Snapshot,
    pub(super) identity: Identity,
    /// Whether it is a call of gRPC.
    pub(super) is_grpc: bool,
}

impl<'a> Request<'a> {
    /// Finds out who sent it.
    #[inline]
    pub(super) fn identify(client: &'a mut Client, head: &'a RequestHead, snapshot: &'a Snapshot) -> Self {
        let random = [client.worker.random(), client.worker.random()];
        Self {
            identity: Identity::new(&client.peer, &snapshot.trusted_proxies, head, random),
            is_grpc: grpc::is_call(head),
            client,
            head,
            snapshot,
        }
    }

    /// What decisions see of it. Those that need no wall clock get the Unix epoch, so that it is not asked for that.
    #[inline]
    pub(super) fn view(&self, wall: SystemTime) -> View<'a> {
        let peer = &self.client.peer;
        let ip = || peer.ip_address().map(|address| address.ip());
        View {
            head: self.head,
            client_ip: self.identity.named.or_else(ip),
            is_secure: peer.is_secure || self.identity.is_trusted && self.came_by_https(),
            listener: peer.listener,
            now: self.worker().wheel.now(),
            wall,
            random: 0,
        }
    }

    /// Whether a trusted proxy says that the client used TLS.
    #[cold]
    fn came_by_https(&self) -> bool {
        let scheme = self.identity.scheme(self.head);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"))
    }

    /// The worker that serves it.
    #[inline]
    pub(super) fn worker(&self) -> &Worker {
        &self.client.worker
    }
}
