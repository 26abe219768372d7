//! The certificates that are in force: read again when their files change, and watched for their end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::MissedTickBehavior;

use super::listeners::Running;
use super::view::AppState;
use crate::clock;
use crate::proxy::SnapshotCell;
use crate::telemetry::Timestamp;
use crate::{listener, tls};

/// How often files are looked at. A certificate that was replaced is shown within twice this time.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long before its end people are told of a certificate. Who renews them by a program does so 30 days before.
const TOLD_BEFORE: Duration = Duration::from_hours(14 * 24);
/// How often they are told.
const TOLD_EVERY: Duration = Duration::from_hours(24);

/// A certificate in force.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub(super) certificate: tls::Certificate,
    /// Who shows it: listeners to clients, pools to backends.
    pub(super) shown_by: Vec<String>,
}

/// All certificates in force, each file once.
pub(super) fn in_force(listeners: &[Running], shared: &SnapshotCell) -> Vec<InForce> {
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
    let mut all: Vec<InForce> = Vec::new();
    for (certificate, shown_by) in of_listeners.chain(of_pools) {
        let same = |known: &&mut InForce| known.certificate.files.cert == certificate.files.cert;
        match all.iter_mut().find(same) {
            Some(known) => known.shown_by.push(shown_by),
            None => all.push(InForce {
                certificate,
                shown_by: vec![shown_by],
            }),
        }
    }
    all
}

/// What was read for the TLS of the listener that goes on as this one.
fn tls_of_same<'r>(
    index: usize,
    running: &listener::Settings,
    read: &'r [listener::Settings],
) -> Option<&'r Arc<tls::Server>> {
    // Which protocols are offered is part of TLS too, but changes with the listener only.
    let is_same = |read: &&listener::Settings| read.address == running.address && read.http2 == running.http2;
    // Several may have port 0 of one address.
    let same = read.get(index).filter(is_same);
    let same = same.or_else(|| read.iter().find(is_same));
    same.and_then(|read| read.tls.as_ref())
}

/// The listeners that were started, as they are once those that run have taken over what was read for their TLS.
pub(super) fn adopted(
    started: &[listener::Settings],
    read: &[listener::Settings],
) -> Vec<listener::Settings> {
    let started = started.iter().enumerate();
    let one = |(index, settings): (usize, &listener::Settings)| listener::Settings {
        tls: settings.tls.as_ref().map(|tls| {
            let read = tls_of_same(index, settings, read);
            Arc::clone(read.unwrap_or(tls))
        }),
        ..settings.clone()
    };
    started.map(one).collect()
}

/// Takes over what a reload has read, where a listener goes on.
pub(super) fn adopt(running: &[Running], read: &[listener::Settings]) {
    for (index, (_, running)) in running.iter().enumerate() {
        if let (Some(tls), Some(read)) = (&running.tls, tls_of_same(index, running, read))
            && let Err(error) = tls.adopt(read)
        {
            tracing::error!(%error, "What was read for TLS cannot be used");
        }
    }
}

/// Reads files again when they have changed, and tells people of certificates that end.
pub(super) async fn watch(state: Arc<AppState>) {
    let mut complaints = Complaints::default();
    let mut reminders = Reminders::default();
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if state.listeners.iter().any(|(_, settings)| settings.tls.is_some()) {
            let its = Arc::clone(&state);
            // On a thread of its own: a file system that hangs must not hold up the control plane.
            let looked = tokio::task::spawn_blocking(move || refresh(&its.listeners)).await;
            for (address, result) in looked.unwrap_or_default() {
                complaints.tell(&address, &result);
            }
        }
        let all = in_force(&state.listeners, &state.shared);
        reminders.tell(&all, clock::wall(), clock::now());
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

/// What went wrong last at each listener. Files are tried again for as long as they are wrong: while a certificate is there
/// and its key is not yet, or one is half written. That is said once.
#[derive(Debug, Default)]
struct Complaints(HashMap<String, String>);

impl Complaints {
    fn tell(&mut self, listener: &str, result: &Refreshed) {
        match result {
            _ if !self.is_new(listener, result) => {}
            Ok(_) => tracing::info!(listener, "Certificates have changed and are in force"),
            Err(error) => tracing::warn!(
                listener,
                %error,
                "Certificates have changed and cannot be used: those before stay in force"
            ),
        }
    }

    /// Whether that was not told yet.
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

/// When people were told last of the end of a certificate.
#[derive(Debug, Default)]
struct Reminders(HashMap<(PathBuf, SystemTime), Instant>);

impl Reminders {
    fn tell(&mut self, all: &[InForce], wall: SystemTime, now: Instant) {
        for certificate in self.due(all, wall, now) {
            let file = certificate.files.cert.display();
            let expires = Timestamp::text(certificate.expires);
            match days_left(certificate.expires, wall) {
                Some(days_left) => tracing::warn!(%file, %expires, days_left, "A certificate expires soon"),
                None => tracing::warn!(%file, %expires, "A certificate has expired"),
            }
        }
    }

    /// Those that people are to be told of now.
    fn due<'a>(&mut self, all: &'a [InForce], wall: SystemTime, now: Instant) -> Vec<&'a tls::Certificate> {
        let ends = |certificate: &&tls::Certificate| certificate.has_expired(wall + TOLD_BEFORE);
        let ending = all.iter().map(|known| &known.certificate).filter(ends);
        let is_recent = |told: &Instant| now.saturating_duration_since(*told) < TOLD_EVERY;
        let mut kept = HashMap::new();
        let mut due = Vec::new();
        for certificate in ending {
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

/// Whole days until a certificate ends; `None` when it has.
pub(super) fn days_left(expires: SystemTime, now: SystemTime) -> Option<u64> {
    let left = expires.duration_since(now).ok().filter(|left| !left.is_zero())?;
    Some(left.as_secs() / (24 * 3600))
}

#[cfg(test)]
mod tests;
