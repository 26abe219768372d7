//! How clients stay with the backend that they first got: by a cookie that names it, or by a header that is hashed. The names
//! themselves are made in `evenkeel_balance::sticky`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use evenkeel_balance::sticky::{Names, Table, Value};

use super::Roster;
use super::affinity::Affinity;
use crate::kept::KeptBuilder;

/// Bytes of a secret that the process makes for itself.
const SECRET_BYTES: usize = 32;

/// `sticky` of a pool, as the config resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StickySettings {
    /// A cookie names the backend.
    Cookie(CookieSettings),
    /// Requests with the same value of this header go to the same backend.
    Header(Box<str>),
}

/// The cookie that names a backend.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSettings {
    /// Its name.
    pub name: Box<str>,
    /// How long browsers keep it; `None` until they are closed.
    pub max_age: Option<Duration>,
    /// Whether scripts of pages cannot read it.
    pub is_http_only: bool,
    /// With which requests of other sites browsers send it.
    pub same_site: SameSite,
    /// Whether browsers send it over TLS only.
    pub secure: Secure,
    /// The secret that names backends; `None` for one that the process makes.
    pub secret: Option<Box<str>>,
}

/// The attribute `SameSite` (RFC 6265bis §5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// With links from other sites, and not with what their pages load.
    Lax,
    /// With none.
    Strict,
    /// With all.
    None,
}

/// When a cookie has the attribute `Secure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secure {
    /// When the client used TLS, or browsers would refuse the cookie without the attribute.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The stickiness of a pool.
#[derive(Debug)]
pub enum Sticky {
    /// By a cookie.
    Cookie(Box<StickyCookie>),
    /// By the hash of a header.
    Header(Affinity),
}

/// The cookie of a pool.
#[derive(Debug)]
pub struct StickyCookie {
    settings: CookieSettings,
    names: Names,
}

/// The secret of a pool whose config has none. Kept over reloads.
struct OwnSecret([u8; SECRET_BYTES]);

impl SameSite {
    /// All of them, by their names in the config.
    pub const ALL: [(&'static str, Self); 3] =
        [("lax", Self::Lax), ("strict", Self::Strict), ("none", Self::None)];

    fn attribute(self) -> &'static str {
        match self {
            Self::Lax => "; SameSite=Lax",
            Self::Strict => "; SameSite=Strict",
            Self::None => "; SameSite=None",
        }
    }
}

impl Secure {
    /// All of them, by their names in the config.
    pub const ALL: [(&'static str, Self); 3] = [
        ("auto", Self::Auto),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}

impl CookieSettings {
    /// Whether browsers refuse the cookie without `Secure`.
    pub fn needs_secure(&self) -> bool {
        let has_prefix = |prefix| {
            let start = self.name.get(..str::len(prefix));
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        self.same_site == SameSite::None || has_prefix("__Host-") || has_prefix("__Secure-")
    }
}

impl fmt::Debug for CookieSettings {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieSettings")
            .field("name", &self.name)
            .field("has_secret", &self.secret.is_some())
            .finish_non_exhaustive()
    }
}

impl Sticky {
    /// The stickiness of the pool with this name.
    pub(super) fn new(settings: &StickySettings, pool: &str, keep: &mut KeptBuilder) -> Self {
        match settings {
            StickySettings::Header(name) => Self::Header(Affinity::of_header(name)),
            StickySettings::Cookie(settings) => {
                let names = match &settings.secret {
                    Some(secret) => Names::new(secret.as_bytes(), pool),
                    None => {
                        let own = keep.get_or_insert(&format!("pool/{pool}"), OwnSecret::new);
                        Names::new(&own.0, pool)
                    }
                };
                Self::Cookie(Box::new(StickyCookie {
                    settings: settings.clone(),
                    names,
                }))
            }
        }
    }
}

impl StickyCookie {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether a client's value is of this pool, whatever backend it names.
    pub fn is_of_pool(&self, value: &[u8]) -> bool {
        self.names.is_of_pool(value)
    }

    /// The value of `Set-Cookie` that names a backend (RFC 6265 §4.1).
    pub fn set(&self, value: &Value, is_secure: bool) -> Box<[u8]> {
        let settings = &self.settings;
        let mut text = Vec::with_capacity(settings.name.len() + 96);
        text.extend_from_slice(settings.name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.text());
        text.extend_from_slice(b"; Path=/");
        if let Some(age) = settings.max_age {
            text.extend_from_slice(format!("; Max-Age={}", age.as_secs()).as_bytes());
        }
        if settings.is_http_only {
            text.extend_from_slice(b"; HttpOnly");
        }
        text.extend_from_slice(settings.same_site.attribute().as_bytes());
        let is_secure = match settings.secure {
            Secure::Auto => is_secure || settings.needs_secure(),
            Secure::Always => true,
            Secure::Never => false,
        };
        if is_secure {
            text.extend_from_slice(b"; Secure");
        }
        text.into()
    }

    /// The table of the backends of a roster.
    pub(super) fn table(&self, roster: &Roster) -> Arc<Table> {
        let identities: Vec<String> = roster
            .members()
            .iter()
            .map(|member| member.backend.address.canonical())
            .collect();
        Arc::new(Table::new(&self.names, identities.iter().map(String::as_str)))
    }
}

impl OwnSecret {
    fn new() -> Self {
        let mut secret = [0; SECRET_BYTES];
        // Without random bytes there is no TLS either. A secret of zeros would let clients choose among the backends, and no more.
        let _ = rand::fill(&mut secret);
        Self(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Kept;

    fn settings() -> CookieSettings {
        CookieSettings {
            name: "lb".into(),
            max_age: None,
            is_http_only: true,
            same_site: SameSite::Lax,
            secure: Secure::Auto,
            secret: Some("correct-horse-battery".into()),
        }
    }

    fn cookie(settings: CookieSettings) -> StickyCookie {
        let sticky = Sticky::new(
            &StickySettings::Cookie(settings),
            "api",
            &mut Kept::default().next(),
        );
        match sticky {
            Sticky::Cookie(cookie) => *cookie,
            Sticky::Header(_) => panic!("a cookie"),
        }
    }

    /// What `Set-Cookie` says after the value.
    fn attributes(settings: CookieSettings, is_secure: bool) -> String {
        let cookie = cookie(settings);
        let value = cookie.names.value("http://a:1");
        let set = String::from_utf8(cookie.set(&value, is_secure).into()).unwrap();
        let expected = format!("lb={}", String::from_utf8_lossy(value.text()));
        set.strip_prefix(&expected).unwrap().to_owned()
    }

    #[test]
    fn a_cookie_has_the_attributes_of_the_config() {
        assert_eq!(attributes(settings(), false), "; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(
            attributes(settings(), true),
            "; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        let long = CookieSettings {
            max_age: Some(Duration::from_secs(3600)),
            is_http_only: false,
            same_site: SameSite::Strict,
            secure: Secure::Never,
            ..settings()
        };
        assert_eq!(attributes(long, true), "; Path=/; Max-Age=3600; SameSite=Strict");
    }

    #[test]
    fn a_cookie_that_browsers_refuse_without_secure_has_it() {
        let cross_site = CookieSettings {
            same_site: SameSite::None,
            ..settings()
        };
        assert_eq!(
            attributes(cross_site, false),
            "; Path=/; HttpOnly; SameSite=None; Secure"
        );
        let named = |name: &str| CookieSettings {
            name: name.into(),
            ..settings()
        };
        assert!(named("__Host-lb").needs_secure() && named("__secure-lb").needs_secure());
        assert!(!named("lb").needs_secure() && !named("__Host").needs_secure());
    }

    #[test]
    fn a_secret_of_our_own_is_kept_over_a_reload_and_differs_between_processes() {
        let own = CookieSettings {
            secret: None,
            ..settings()
        };
        let value = |keep: &mut KeptBuilder| {
            let sticky = Sticky::new(&StickySettings::Cookie(own.clone()), "api", keep);
            let Sticky::Cookie(cookie) = sticky else {
                panic!("a cookie")
            };
            cookie.names.value("http://a:1")
        };
        let mut first = Kept::default().next();
        let before = value(&mut first);
        let kept = first.finish();
        assert_eq!(value(&mut kept.next()), before);
        assert_ne!(value(&mut Kept::default().next()), before);
    }

    #[test]
    fn debug_output_has_no_secret() {
        let text = format!("{:?} {:?}", settings(), cookie(settings()));
        assert!(!text.contains("horse"), "{text}");
    }
}
