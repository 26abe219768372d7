//! The connections of one worker by listener, so that those of a removed listener are drained without the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::listening::ListenerList;
use crate::clock;
use crate::proxy::Worker;
use crate::tasks::{LocalTasks, TaskGroup};

/// The connections of all listeners.
pub(super) struct ConnectionGroups {
    worker: Rc<Worker>,
    groups: RefCell<Vec<Group>>,
    /// Listeners with a smaller id are in the list, or were removed from it.
    next_id: Cell<usize>,
    drains: LocalTasks,
}

/// The connections of one listener.
struct Group {
    listener: usize,
    tasks: TaskGroup,
    is_draining: bool,
}

impl ConnectionGroups {
    pub(super) fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            groups: RefCell::default(),
            next_id: Cell::new(0),
            drains: LocalTasks::default(),
        })
    }

    /// Takes over which listeners there are. Returns those whose connections have to be drained now.
    pub(super) fn follow(&self, list: &ListenerList) -> Vec<usize> {
        self.next_id.set(list.next_id);
        for listed in &list.listeners {
            self.add(listed.settings.id);
        }
        let is_listed = |listener| list.listeners.iter().any(|listed| listed.settings.id == listener);
        let groups = self.groups.borrow();
        // A connection for a listener that this worker has not heard of yet may have been handed over.
        let removed = groups.iter().filter(|group| {
            !group.is_draining && group.listener < list.next_id && !is_listed(group.listener)
        });
        removed.map(|group| group.listener).collect()
    }

    /// The connections of a listener. Another worker may hand one over after this worker has drained the listener, or before
    /// it has heard of it.
    pub(super) fn of(self: &Rc<Self>, listener: usize) -> TaskGroup {
        if let Some(tasks) = self.find(listener) {
            return tasks;
        }
        let tasks = self.add(listener);
        if listener < self.next_id.get() {
            self.drain(listener);
        }
        tasks
    }

    /// Lets the connections of a removed listener end. Those that still run after `timeouts.drain` are aborted.
    pub(super) fn drain(self: &Rc<Self>, listener: usize) {
        self.worker.drain_listener(listener);
        let mut groups = self.groups.borrow_mut();
        let Some(group) = groups.iter_mut().find(|group| group.listener == listener) else {
            return;
        };
        group.is_draining = true;
        let (tasks, this) = (group.tasks.clone(), Rc::clone(self));
        let limit = self.worker.local().snapshot.timeouts.drain;
        self.drains.spawn(async move {
            let running = tasks.tasks();
            if clock::timeout(limit, running.join()).await.is_err() {
                tracing::warn!(
                    connections = running.running(),
                    "Connections of a removed listener are still open after timeouts.drain; aborting them"
                );
                this.worker.cut_listener(listener);
                tasks.abort();
                running.join().await;
            }
            this.groups
                .borrow_mut()
                .retain(|group| group.listener != listener);
            this.worker.forget_listener(listener);
        });
    }

    /// Number of connections and streams.
    pub(super) fn running(&self) -> usize {
        let groups = self.groups.borrow();
        groups.iter().map(|group| group.tasks.tasks().running()).sum()
    }

    /// Waits until no connection is left.
    pub(super) async fn join(&self) {
        while let Some(busy) = self.busy() {
            busy.join().await;
        }
    }

    /// The connections of a listener that has some.
    fn busy(&self) -> Option<LocalTasks> {
        let groups = self.groups.borrow();
        let mut tasks = groups.iter().map(|group| group.tasks.tasks());
        tasks.find(|tasks| tasks.running() > 0).cloned()
    }

    fn find(&self, listener: usize) -> Option<TaskGroup> {
        let groups = self.groups.borrow();
        let found = groups.iter().find(|group| group.listener == listener);
        found.map(|group| group.tasks.clone())
    }

    fn add(&self, listener: usize) -> TaskGroup {
        self.find(listener).unwrap_or_else(|| {
            let tasks = TaskGroup::default();
            self.groups.borrow_mut().push(Group {
                listener,
                tasks: tasks.clone(),
                is_draining: false,
            });
            tasks
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::listening::{ListedListener, SocketShares};
    use super::*;
    use crate::listener::Settings;
    use crate::net::ListenAddress;
    use crate::proxy::{ClientTimeouts, HalfClose, Limits, Snapshot, SnapshotCell, TrustedProxies};
    use crate::router::Router;
    use crate::telemetry::access_log::{LogBuffer, OnFull, Options};

    const DEADLINE: Duration = Duration::from_secs(20);
    const DRAIN: Duration = Duration::from_millis(100);

    fn groups() -> Rc<ConnectionGroups> {
        let snapshot = Snapshot {
            router: Router::new(&[]).unwrap(),
            routes: Vec::new(),
            pools: Vec::new(),
            derived_pools: Vec::new(),
            servers: Vec::new(),
            policies: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            timeouts: ClientTimeouts {
                header: DRAIN,
                idle: DRAIN,
                drain: DRAIN,
                drain_delay: DRAIN,
                upgrade: DRAIN,
            },
            tracer: None,
            spans: Arc::default(),
            limits: Limits {
                connections: None,
                connections_per_client: None,
                requests_per_connection: None,
                message: crate::message::Limits::default(),
                body: None,
                min_body_rate: None,
            },
        };
        let log = LogBuffer::new(None, OnFull::Drop, Options::default());
        ConnectionGroups::new(&Worker::new(
            0,
            SnapshotCell::new(snapshot),
            Arc::default(),
            log,
            Arc::default(),
        ))
    }

    /// A list of these listeners. One with id 2 was the last that was added.
    fn list(ids: &[usize]) -> ListenerList {
        let listeners = ids.iter().map(|id| ListedListener {
            settings: Arc::new(Settings {
                id: *id,
                address: ListenAddress::Unix("socket".into()),
                proxy_protocol: false,
                http2: false,
                tls: None,
                redirect: None,
                half_close: HalfClose::default(),
            }),
            sockets: SocketShares::new([]),
        });
        ListenerList {
            generation: 1,
            next_id: 3,
            listeners: listeners.collect(),
        }
    }

    /// Runs a test as a worker runs.
    fn on_worker(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        runtime
            .unwrap()
            .block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() });
    }

    #[test]
    fn connections_of_a_removed_listener_are_aborted_after_the_drain_and_no_others() {
        on_worker(async {
            let groups = groups();
            assert!(groups.follow(&list(&[0, 1, 2])).is_empty());
            for listener in [0, 1, 1] {
                groups.of(listener).spawn(pending());
            }
            assert_eq!(groups.follow(&list(&[0, 2])), [1]);
            groups.drain(1);
            assert!(groups.follow(&list(&[0, 2])).is_empty(), "it drains already");
            let is_draining = |listener| groups.worker.is_draining(listener);
            assert!(is_draining(1) && !is_draining(0) && !is_draining(2));
            assert_eq!(groups.running(), 3);
            while is_draining(1) {
                tokio::time::sleep(DRAIN / 10).await;
            }
            assert_eq!(groups.running(), 1);
        });
    }

    #[test]
    fn a_connection_handed_over_after_its_listener_was_removed_is_drained() {
        on_worker(async {
            let groups = groups();
            groups.follow(&list(&[0, 2]));
            groups.of(1).spawn(async {});
            assert!(groups.worker.is_draining(1));
            while groups.worker.is_draining(1) {
                tokio::task::yield_now().await;
            }
            assert_eq!(groups.running(), 0);
        });
    }

    #[test]
    fn a_connection_handed_over_before_its_listener_is_known_stays_unless_it_is_removed_by_then() {
        for is_removed in [false, true] {
            on_worker(async {
                let groups = groups();
                groups.of(2).spawn(pending());
                assert!(!groups.worker.is_draining(2));
                let ids: &[usize] = if is_removed { &[0] } else { &[0, 2] };
                assert_eq!(groups.follow(&list(ids)).contains(&2), is_removed);
            });
        }
    }
}
