//! The connections of one worker by listener, so that those of a removed listener are drained without the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::listening::ListenerList;
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
            if tokio::time::timeout(limit, running.join()).await.is_err() {
                tracing::warn!(
                    connections = running.running(),
                    "Connections of a removed listener are still open after timeouts.drain; aborting them"
                );
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
        loop {
            let groups = self.groups.borrow();
            let mut tasks = groups.iter().map(|group| group.tasks.tasks());
            let Some(busy) = tasks.find(|tasks| tasks.running() > 0).cloned() else {
                return;
            };
            drop(groups);
            busy.join().await;
        }
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
