//! The activation of a config that a reload has read: what can fail is done first, so that a reload that fails changes nothing.

use std::mem;
use std::time::Duration;

use super::reload::{ReloadReport, ReloadResult};
use super::waiting_reload::{Prepared, WaitingReload};
use super::workers::PreparedWorkers;
use super::{Server, StartError};
use crate::admin::Reloaded;
use crate::telemetry::{NewAccessLog, ReplacedSink};

/// How long workers may take to write to a new access log, before the old one is waited for no more.
const LOG_LIMIT: Duration = Duration::from_secs(1);

impl Server {
    /// Binds the addresses that a config adds. The reload waits then for what else it needs; if an address cannot be bound, it
    /// has failed.
    pub(super) async fn prepare_reload(&mut self, read: Result<ReloadResult, Vec<String>>) {
        let prepared = match read {
            Ok(result) => self.prepare(result),
            Err(errors) => Err(errors),
        };
        match prepared {
            Ok(prepared) => self.waiting = Some(prepared),
            Err(errors) => self.finish_reload(Err(errors)).await,
        }
    }

    fn prepare(&self, result: ReloadResult) -> Result<WaitingReload, Vec<String>> {
        let opened = self.open(&result);
        let opened = opened.map_err(|error| vec![error.to_string()])?;
        Ok(WaitingReload::new(result, opened, &self.discovery.starter))
    }

    fn open(&self, result: &ReloadResult) -> Result<Prepared, StartError> {
        let config = &result.config;
        let admin = config.admin.as_ref();
        let listeners = &config.listeners;
        let workers = self.workers.prepare(result.assembled.workers)?;
        let numbers = self.workers.numbers_with(&workers);
        Ok(Prepared {
            listeners: self
                .listeners
                .prepare(listeners, self.admin.closing(admin), &numbers)?,
            shares: self.listeners.share_with(&workers.added())?,
            workers,
            admin: self.admin.prepare(admin, self.listeners.closing(listeners))?,
            access_log: match &*self.state.logs() {
                Some(logs) => logs.open(&config.access_log)?,
                None => None,
            },
        })
    }

    /// Gives each worker a buffer for the new access log.
    fn replace_access_log(&mut self, log: NewAccessLog, workers: &PreparedWorkers) {
        let mut logs = self.state.logs();
        let Some(logs) = logs.as_mut() else { return };
        let replaced = logs.replace(log);
        self.workers.replace_access_log(logs, workers);
        if !replaced.is_empty() {
            self.tasks.spawn(async move {
                tokio::time::sleep(LOG_LIMIT).await;
                replaced.iter().for_each(ReplacedSink::stop_waiting);
            });
        }
    }

    /// Activates the config that a reload has read. If the reload failed, nothing changes.
    pub(super) async fn finish_reload(&mut self, read: Result<WaitingReload, Vec<String>>) {
        let previous = self.reloads.active();
        let outcome = match read {
            Ok(reload) => Ok(self.activate(reload).await),
            Err(errors) => Err(errors),
        };
        self.reloads.log(&outcome);
        let outcome = outcome.map(|report| Reloaded {
            guard: self.guard_reload(previous, &report),
        });
        self.config_watch.configure(&self.reloads);
        self.record_reload(&outcome);
        self.manager.ready();
        self.reloads.finish(outcome);
        if self.reloads.is_running() {
            self.notify_reloading();
        } else if mem::take(&mut self.is_upgrade_postponed) {
            self.start_upgrade(None);
        }
    }

    async fn activate(&mut self, reload: WaitingReload) -> ReloadReport {
        let WaitingReload {
            result,
            sources,
            prepared,
        } = reload;
        self.timeouts = result.config.timeouts;
        self.discovery.sources = sources;
        self.reloads
            .activate(result.assembled, result.config, &self.discovery.sources);
        let snapshot = self.state.shared.snapshot();
        self.removed.expect();
        self.watchers.look_up_again();
        self.watchers.watch(&snapshot.watched());
        self.eligibility.update(&snapshot.pools, |_| false);
        let config = self.reloads.active();
        self.state.config_state().activate(&config, result.text);
        if let Some(log) = prepared.access_log {
            self.replace_access_log(log, &prepared.workers);
        }
        // Last: a listener accepts only once the config that it belongs to is active.
        for listener in &prepared.listeners {
            tracing::info!(address = %listener.address(), "Listening");
        }
        for (sockets, worker, share) in prepared.shares {
            sockets.add(worker, share);
        }
        let generation = self.listeners.activate(&config.listeners, prepared.listeners);
        self.workers.serve(prepared.workers);
        if !self.workers.have_applied(generation).await {
            tracing::warn!("A worker is busy; it applies the changed listeners later");
        }
        // The response to a reload over the admin API is finished by the server that is replaced.
        match self.admin.apply(config.admin.as_ref(), prepared.admin) {
            Ok(Some(address)) => tracing::info!(%address, "Admin API listening"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "Could not change the admin API; it goes on as before"),
        }
        // A token that is not valid any more must not be accepted after the answer.
        self.admin.has_closed().await;
        result.report
    }
}
