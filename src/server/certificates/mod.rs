//! Reloads certificates when their files change, and warns before they expire.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::listeners::Running;
use crate::clock::{self, Instant};
use crate::listener;
use crate::proxy::SnapshotCell;
use crate::telemetry::Timestamp;
use crate::tls;

/// Interval at which files are checked. A replaced certificate is in use within twice this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// Warnings start this long before a certificate expires. ACME clients renew 30 days before, so a warning means that this failed.
const WARN_BEFORE: Duration = Duration::from_hours(14 * 24);
/// Interval between two warnings about the same certificate.
const WARN_INTERVAL: Duration = Duration::from_hours(24);

/// An active certificate.
#[derive(Debug, Clone)]
pub(super) struct ActiveCertificate {
    pub(super) certificate: tls::Certificate,
    /// The listeners that present it to clients and the pools that present it to backends.
    pub(super) shown_by: Vec<String>,
}

/// All active certificates, each file once.
pub(super) fn active(listeners: &[Running], shared: &SnapshotCell) -> Vec<ActiveCertificate> {
    let of_listeners = listeners.iter().flat_map(|(address, settings)| {
        let certificates = settings.tls.as_ref().map(|tls| tls.certificates());
        let shown_by = format!("listener {address}");
        let certificates = certificates.into_iter().flatten();
        certificates.map(move |certificate| (certificate, shown_by.clone()))
    });
    let snapshot = shared.snapshot();
    let of_pools = snapshot.pools.iter().filter_map(|pool| {
        let certificate = pool.settings.tls.as_ref()?.certificate.clone()?;
        Some((certificate, format!("pool {}", pool.settings.name)))
    });
    let mut all: Vec<ActiveCertificate> = Vec::new();
    for (certificate, shown_by) in of_listeners.chain(of_pools) {
        let same = |known: &&mut ActiveCertificate| known.certificate.files.cert == certificate.files.cert;
        match all.iter_mut().find(same) {
            Some(known) => known.shown_by.push(shown_by),
            None => all.push(ActiveCertificate {
                certificate,
                shown_by: vec![shown_by],
            }),
        }
    }
    all
}

/// Reads the certificates of listeners that were active before: their files may have been replaced meanwhile. Those that cannot be read
/// stay as they were. Blocks on the file system.
pub(super) fn refresh_inactive(listeners: &[listener::Settings]) {
    for tls in listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        let _ = tls.refresh();
    }
}

/// Reloads changed files and warns of certificates that expire. Never ends.
pub(super) async fn watch(running: watch::Receiver<Arc<[Running]>>, shared: Arc<SnapshotCell>) {
    let mut errors = ReportedErrors::default();
    let mut warnings = ExpiryWarnings::default();
    let mut interval = tokio::time::interval(CHECK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let listeners = Arc::clone(&running.borrow());
        if listeners.iter().any(|(_, settings)| settings.tls.is_some()) {
            let listeners = Arc::clone(&listeners);
            // On a separate thread: a file system that hangs must not block the control plane.
            let refreshed = tokio::task::spawn_blocking(move || refresh(&listeners)).await;
            for (address, result) in refreshed.unwrap_or_default() {
                errors.log(&address, &result);
            }
        }
        let all = active(&listeners, &shared);
        warnings.log(&all, clock::wall(), clock::now());
    }
}

type Refreshed = Result<bool, tls::CertificateError>;

fn refresh(listeners: &[Running]) -> Vec<(String, Refreshed)> {
    let with_tls = listeners
        .iter()
        .filter_map(|(address, settings)| Some((address, settings.tls.as_ref()?)));
    with_tls
        .map(|(address, tls)| (address.clone(), tls.refresh()))
        .collect()
}

/// The last error of each listener. Files are retried while they are invalid, for example half written, or a certificate whose
/// key has not been replaced yet. The same error is logged once.
#[derive(Debug, Default)]
struct ReportedErrors(HashMap<String, String>);

impl ReportedErrors {
    fn log(&mut self, listener: &str, result: &Refreshed) {
        match result {
            _ if !self.is_new(listener, result) => {}
            Ok(_) => tracing::info!(listener, "New certificates loaded"),
            Err(error) => tracing::warn!(
                listener,
                %error,
                "Could not load new certificates; still using the old ones"
            ),
        }
    }

    /// Whether the result has not been logged yet.
    fn is_new(&mut self, listener: &str, result: &Refreshed) -> bool {
        let Err(error) = result else {
            self.0.remove(listener);
            return matches!(result, Ok(true));
        };
        let text = error.to_string();
        let before = self.0.insert(listener.to_owned(), text.clone());
        before != Some(text)
    }
}

/// The time of the last warning about each certificate that expires, by file and expiry.
#[derive(Debug, Default)]
struct ExpiryWarnings(HashMap<(PathBuf, SystemTime), Instant>);

impl ExpiryWarnings {
    fn log(&mut self, all: &[ActiveCertificate], wall: SystemTime, now: Instant) {
        for certificate in self.due(all, wall, now) {
            let file = certificate.files.cert.display();
            let expires = Timestamp::text(certificate.expires);
            match days_left(certificate.expires, wall) {
                Some(days_left) => {
                    tracing::warn!(%file, %expires, days_left, "Certificate expires soon; replace it")
                }
                None => tracing::warn!(%file, %expires, "Certificate has expired; replace it"),
            }
        }
    }

    /// The certificates that a warning is due for.
    fn due<'a>(
        &mut self,
        all: &'a [ActiveCertificate],
        wall: SystemTime,
        now: Instant,
    ) -> Vec<&'a tls::Certificate> {
        let expires_soon = |certificate: &&tls::Certificate| certificate.has_expired(wall + WARN_BEFORE);
        let expiring = all.iter().map(|known| &known.certificate).filter(expires_soon);
        let is_recent = |warned: &Instant| now.saturating_duration_since(*warned) < WARN_INTERVAL;
        let mut kept = HashMap::new();
        let mut due = Vec::new();
        for certificate in expiring {
            let key = (certificate.files.cert.clone(), certificate.expires);
            let recent = self.0.get(&key).copied().filter(is_recent);
            if recent.is_none() {
                due.push(certificate);
            }
            kept.insert(key, recent.unwrap_or(now));
        }
        self.0 = kept;
        due
    }
}

/// Whole days until a certificate expires; `None` when it has expired.
pub(super) fn days_left(expires: SystemTime, now: SystemTime) -> Option<u64> {
    let left = expires.duration_since(now).ok().filter(|left| !left.is_zero())?;
    Some(left.as_secs() / (24 * 3600))
}

#[cfg(test)]
mod tests;
