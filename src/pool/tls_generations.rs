//! Counts the TLS settings that a pool has had, so that no request uses a connection that was established with others.

use std::sync::Arc;

use crate::kept::KeptBuilder;
use crate::tls::Client;

/// The TLS settings of a pool in one config, and their generation. A reload that fails leaves those of the active config as they are,
/// so that a later one with the same settings keeps the connections.
#[derive(Debug)]
pub(super) struct TlsGeneration {
    settings: Option<Arc<Client>>,
    number: u64,
}

impl TlsGeneration {
    /// The generation of these settings of a pool: that of the active config if they are equal to its settings, or else a new one.
    pub(super) fn of(tls: Option<&Arc<Client>>, pool: &str, keep: &mut KeptBuilder) -> u64 {
        let next = |before: Option<&Arc<Self>>| match before {
            Some(before) if before.settings.as_ref() == tls => Arc::clone(before),
            before => Arc::new(Self {
                settings: tls.cloned(),
                number: before.map_or(0, |before| before.number) + 1,
            }),
        };
        keep.follow(pool, next).number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Kept;
    use crate::tls::{ClientSettings, SystemAuthorities};

    fn client(name: &str) -> Arc<Client> {
        let settings = ClientSettings {
            server_name: Some(name.to_owned()),
            danger_skip_verify: true,
            ..ClientSettings::default()
        };
        Arc::new(Client::load(settings, &SystemAuthorities::default()).unwrap())
    }

    #[test]
    fn equal_settings_have_one_generation_whatever_reloads_fail() {
        let of = |name: &str, keep: &mut KeptBuilder| TlsGeneration::of(Some(&client(name)), "pool/a", keep);
        let mut keep = Kept::default().next();
        let first = of("a", &mut keep);
        let kept = keep.finish();
        assert_ne!(of("b", &mut kept.next()), first, "it fails afterwards");
        let mut keep = kept.next();
        assert_eq!(of("a", &mut keep), first);
        let mut keep = keep.finish().next();
        let second = of("b", &mut keep);
        assert!(second > first);
        assert!(
            of("a", &mut keep.finish().next()) > second,
            "its connections may be old"
        );
    }
}
