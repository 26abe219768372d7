//! Where clients are served. Serving needs much more state than waiting does, so a client comes to a desk with the first
//! byte of a request and leaves it when it is idle again: an idle connection costs no more than its socket and a name,
//! and a worker has as many desks as clients were served at once. Desks are lent again, so that coming and leaving
//! allocates nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::connection::{Left, Visit};
use super::hands::Hands;
use super::parking::Lot;
use super::waiting::WaitingList;
use crate::telemetry::metrics::WorkerCounters;

/// Desks that a worker keeps for reuse; more are freed.
const KEPT: usize = 256;

/// The desks of one worker, the list of its clients that wait, where those stand that do so for long, and who
/// serves streams.
#[derive(Clone)]
pub(super) struct Desks {
    inner: Rc<Inner>,
}

struct Inner {
    spare: RefCell<Vec<Desk>>,
    waiting: WaitingList,
    lot: Lot,
    hands: Hands,
}

/// One desk. Its work is a single future for all who come one after the other, which is what makes it reusable.
pub(super) struct Desk {
    chair: Rc<Chair>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// Who comes and who leaves.
#[derive(Default)]
struct Chair {
    arrived: Cell<Option<Box<Visit>>>,
    left: Cell<Option<(Box<Visit>, Left)>>,
}

impl Desks {
    /// Those of a worker, on its runtime.
    ///
    /// # Errors
    /// As of [`Lot::new`].
    pub(super) fn new(counters: &Arc<WorkerCounters>) -> io::Result<Self> {
        let waiting = WaitingList::default();
        let lot = Lot::new(waiting.clone(), Arc::clone(counters))?;
        let inner = Inner {
            spare: RefCell::default(),
            waiting,
            lot,
            hands: Hands::default(),
        };
        Ok(Self {
            inner: Rc::new(inner),
        })
    }

    /// Where clients are parked.
    pub(super) fn lot(&self) -> &Lot {
        &self.inner.lot
    }

    /// Who serves streams.
    pub(super) fn hands(&self) -> &Hands {
        &self.inner.hands
    }

    /// The clients that wait.
    pub(super) fn waiting(&self) -> &WaitingList {
        &self.inner.waiting
    }

    /// Lends a desk at which nobody sits.
    pub(super) fn lend(&self) -> Desk {
        let spare = self.inner.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Desk::new(self.inner.waiting.clone()))
    }

    /// Takes a desk back, which its client has left.
    pub(super) fn give_back(&self, desk: Desk) {
        let mut spare = self.inner.spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(desk);
        }
    }
}

impl Desk {
    fn new(waiting: WaitingList) -> Self {
        let chair = Rc::<Chair>::default();
        let work = work(Rc::clone(&chair), waiting);
        Self {
            chair,
            work: Box::pin(work),
        }
    }

    /// Begins to serve a client.
    pub(super) fn seat(&mut self, visit: Box<Visit>) {
        self.chair.arrived.set(Some(visit));
    }

    /// Serves the client; ready when it leaves, with why.
    pub(super) fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<(Box<Visit>, Left)> {
        // It never ends: it waits for the next client, who brings a waker.
        let _: Poll<()> = self.work.as_mut().poll(context);
        self.chair.left.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Serves whoever comes, one after the other.
async fn work(chair: Rc<Chair>, waiting: WaitingList) {
    loop {
        let arrived = |_: &mut Context<'_>| chair.arrived.take().map_or(Poll::Pending, Poll::Ready);
        let mut visit: Box<Visit> = std::future::poll_fn(arrived).await;
        let left = visit.serve_all(&waiting).await;
        chair.left.set(Some((visit, left)));
    }
}
