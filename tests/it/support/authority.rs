//! A certificate authority for tests, using rcgen. The unit tests of `tls` use it too.
#![allow(
    dead_code,
    reason = "the unit tests and the tests from outside each use a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "for tests only, some of them outside of the crate that has the clock"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

const DAY: i64 = 24 * 3600;

/// The authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate to be signed: valid from yesterday, for 90 days.
#[derive(Clone)]
pub(crate) struct Wanted {
    names: Vec<String>,
    /// Seconds from now.
    from: i64,
    to: i64,
    is_authority: bool,
    purpose: Option<ExtendedKeyUsagePurpose>,
    common_name: &'static str,
}

/// A certificate and its key in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// A folder that is deleted when dropped.
pub(crate) struct Folder(PathBuf);

/// A certificate for these names.
pub(crate) fn wanted(names: &[&str]) -> Wanted {
    Wanted {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        from: -DAY,
        to: 90 * DAY,
        is_authority: false,
        purpose: None,
        common_name: "test",
    }
}

impl Wanted {
    /// Valid between these days from now.
    pub(crate) fn days(mut self, from: i64, to: i64) -> Self {
        (self.from, self.to) = (from * DAY, to * DAY);
        self
    }

    /// Valid for this many more seconds.
    pub(crate) fn seconds(mut self, to: i64) -> Self {
        self.to = to;
        self
    }

    /// Sets the subject's common name.
    pub(crate) fn called(mut self, name: &'static str) -> Self {
        self.common_name = name;
        self
    }

    /// An authority, as `openssl req -x509` makes it.
    pub(crate) fn authority(mut self) -> Self {
        self.is_authority = true;
        self
    }

    /// Restricted to this purpose.
    pub(crate) fn only_for(mut self, purpose: ExtendedKeyUsagePurpose) -> Self {
        self.purpose = Some(purpose);
        self
    }

    /// Self-signed.
    pub(crate) fn alone(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = self.params().self_signed(&key).unwrap().pem();
        Pair {
            cert,
            key: key.serialize_pem(),
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let at = |seconds: i64| {
            let since = now.saturating_add_signed(seconds);
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since)
        };
        params.not_before = at(self.from);
        params.not_after = at(self.to);
        params
            .distinguished_name
            .push(DnType::CommonName, self.common_name);
        if self.is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.extended_key_usages = self.purpose.iter().cloned().collect();
        params
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut params = wanted(&[]).authority().params();
        // Two authorities with the same name would fail with a bad signature instead of an unknown issuer.
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Its own certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate.
    pub(crate) fn sign(&self, wanted: &Wanted) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = wanted.params().signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            cert,
            key: key.serialize_pem(),
        }
    }

    /// Signs a certificate with an RSA key.
    pub(crate) fn sign_rsa(&self, wanted: &Wanted) -> Pair {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let cert = wanted.params().signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            cert,
            key: key.serialize_pem(),
        }
    }

    /// Signs a certificate for these names.
    pub(crate) fn sign_for(&self, names: &[&str]) -> Pair {
        self.sign(&wanted(names))
    }
}

impl Folder {
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evenkeel-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it, as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file; returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes `NAME.pem` and `NAME.key`; returns both as an item of `certificates`.
    pub(crate) fn put(&self, name: &str, pair: &Pair) -> String {
        let cert = self.write(&format!("{name}.pem"), &pair.cert);
        let key = self.write(&format!("{name}.key"), &pair.key);
        format!("{{ cert: \"{cert}\", key: \"{key}\" }}")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
