//! The activation of a config that a reload has read: what can fail is done first, so that a reload that fails changes nothing.

use std::time::Duration;

use super::reload::{ReloadReport, ReloadResult};
use super::waiting_reload::WaitingReload;
use super::{Server, worker};
use crate::admin::Reloaded;

/// How long the answer to a reload waits for workers that are busy to accept on new listeners and to close removed ones. They do
/// it in any case.
const APPLY_LIMIT: Duration = Duration::from_secs(1);

impl Server {
    /// Binds the addresses that a config adds. The reload waits then for what else it needs; if an address cannot be bound, it
    /// has failed.
    pub(super) async fn prepare_reload(&mut self, read: Result<ReloadResult, Vec<String>>) {
        match read.and_then(|result| self.prepare(result)) {
            Ok(prepared) => self.waiting = Some(prepared),
            Err(errors) => self.finish_reload(Err(errors)).await,
        }
    }

    fn prepare(&self, result: ReloadResult) -> Result<WaitingReload, Vec<String>> {
        let added = self.listeners.prepare(&result.config.listeners, None);
        let added = added.map_err(|error| vec![error.to_string()])?;
        Ok(WaitingReload::new(result, added, &self.discovery.starter))
    }

    /// Activates the config that a reload has read. If the reload failed, nothing changes.
    pub(super) async fn finish_reload(&mut self, read: Result<WaitingReload, Vec<String>>) {
        let outcome = match read {
            Ok(reload) => Ok(self.activate(reload).await),
            Err(errors) => Err(errors),
        };
        self.reloads.log(&outcome);
        let outcome = outcome.map(|report| Reloaded {
            ignored_until_restart: report.ignored(),
        });
        self.state.config_state().reloaded(&outcome);
        self.manager.ready();
        self.reloads.finish(outcome);
        if self.reloads.is_running() {
            self.notify_reloading();
        }
    }

    async fn activate(&mut self, reload: WaitingReload) -> ReloadReport {
        let WaitingReload {
            result,
            sources,
            added,
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
        let mut config_state = self.state.config_state();
        config_state.config = self.reloads.active();
        let replaced = std::mem::replace(&mut config_state.config_text, result.text);
        config_state.previous_text = Some(replaced);
        drop(config_state);
        // Last: a listener accepts only once the config that it belongs to is active.
        for listener in &added {
            tracing::info!(address = %listener.address(), "Listening");
        }
        let generation = self.listeners.activate(&config.listeners, added);
        let applied = worker::all_applied(&self.workers, generation);
        if tokio::time::timeout(APPLY_LIMIT, applied).await.is_err() {
            tracing::warn!("A worker is busy; it applies the changed listeners later");
        }
        result.report
    }
}
