//! What the `reload` scenario changes beside routes and weights: a listener that comes and goes, and the certificate of
//! another one; and the clients that watch both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};

use super::{Context, goals};
use crate::client::{Visitor, Visits};
use crate::error::{Explain, Result};
use crate::peer::{ExtraListener, PemFiles, free_addresses};
use crate::report::Report;

/// Reloads after which the listener comes or goes.
const COMES_AND_GOES: u64 = 4;
/// Reloads after which the certificate is another one.
const EXCHANGED: u64 = 3;
/// Time between two connections of each of the clients.
const INTERVAL: Duration = Duration::from_millis(20);

/// The listeners, and the certificates of one of them.
#[derive(Debug)]
pub(super) struct Exchanged {
    coming: SocketAddr,
    tls: SocketAddr,
    certificates: [PemFiles; 2],
    config: Arc<ClientConfig>,
}

/// The running clients.
#[derive(Debug)]
pub(super) struct Watchers {
    of_coming: Visitor,
    of_tls: Visitor,
}

impl Exchanged {
    /// Finds addresses and makes certificates; `folder` is for their files.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let [coming, tls] = free_addresses()?;
        let mut roots = RootCertStore::empty();
        let first = certificate(folder, "first", &mut roots)?;
        let second = certificate(folder, "second", &mut roots)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .explain("cannot use TLS")?;
        // Both certificates are accepted. A resumed session would show the one of before.
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            coming,
            tls,
            certificates: [first, second],
            config: Arc::new(config),
        })
    }

    /// The listeners of the config with this number.
    pub(super) fn listeners(&self, number: u64) -> Vec<ExtraListener> {
        let [first, second] = &self.certificates;
        let certificate = if (number / EXCHANGED).is_multiple_of(2) {
            first
        } else {
            second
        };
        let mut listeners = vec![ExtraListener {
            address: self.tls,
            tls: Some(certificate.clone()),
        }];
        if !(number / COMES_AND_GOES).is_multiple_of(2) {
            listeners.push(ExtraListener {
                address: self.coming,
                tls: None,
            });
        }
        listeners
    }

    /// Starts the clients.
    pub(super) fn watch(&self, seed: u64) -> Result<Watchers> {
        Ok(Watchers {
            of_coming: Visitor::start(self.coming, INTERVAL, !seed, None)?,
            of_tls: Visitor::start(self.tls, INTERVAL, seed ^ 1, Some(Arc::clone(&self.config)))?,
        })
    }
}

impl Watchers {
    /// Ends them, and returns what those of the listener that comes and goes, and of the other one have seen.
    pub(super) fn finish(self) -> Result<[Visits; 2]> {
        Ok([self.of_coming.finish()?, self.of_tls.finish()?])
    }
}

/// What the clients may have seen.
pub(super) fn judge(context: &Context, report: &mut Report, [coming, tls]: &[Visits; 2]) {
    report.goal(
        "requests to the listener that comes and goes: served, and refused while it is gone",
        format!("{} and {}, at least 1 each", coming.served, coming.refused),
        coming.served > 0 && coming.refused > 0,
    );
    goals::not_cut(
        context,
        report,
        "connections accepted by the listener that comes and goes, and not served",
        &coming.cut,
    );
    let shown: Vec<u64> = tls.certificates.values().copied().collect();
    report.goal(
        "connections by TLS with each of two certificates",
        format!("{shown:?}"),
        shown.len() == 2,
    );
    let failed = goals::number(tls.cut.len()) + tls.refused;
    let reason = tls.cut.first().map(|reason| format!("; {reason}"));
    report.goal(
        "failed requests by TLS",
        format!(
            "{failed} of {}{}",
            failed + tls.served,
            reason.unwrap_or_default()
        ),
        failed == 0 && tls.served > 0,
    );
}

fn certificate(folder: &Path, name: &str, roots: &mut RootCertStore) -> Result<PemFiles> {
    let made = generate_simple_self_signed(["chaos.test".to_owned()]);
    let CertifiedKey { cert, signing_key } = made.explain("cannot make a certificate")?;
    let files = PemFiles {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    fs::write(&files.certificate, cert.pem())?;
    fs::write(&files.key, signing_key.serialize_pem())?;
    roots
        .add(cert.der().clone())
        .explain("cannot trust a certificate")?;
    Ok(files)
}
