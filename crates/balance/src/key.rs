//! Keys of requests: the part of a request by which a limit counts it or a hash strategy places it, such as the client's address.
//! A key is parsed from the config once, and hashed for each request without allocating.

use std::hash::Hasher;
use std::net::IpAddr;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::notes::Notes;
use crate::query;
use crate::request::Request;
use crate::rng::mix;

/// Prefix length to which IPv6 addresses are cut by default: a client usually has a whole /64, and could use each address once.
pub const IPV6_PREFIX: u8 = 64;

/// What every key is, for descriptions of config keys.
pub const FORM: &str =
    "one of client_ip, path, uri, host, user, header.NAME, cookie.NAME, query.NAME or jwt.NAME";

/// The keys that are one word.
pub const WORDS: [&str; 5] = ["client_ip", "path", "uri", "host", "user"];

/// What precedes the name in the other keys.
pub const KINDS: [&str; 4] = ["header.", "cookie.", "query.", "jwt."];

/// The part of a request that is its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The client's address. Of an IPv6 address only the first bits, because a client can choose the others.
    ClientIp {
        /// How many bits of an IPv6 address.
        ipv6_prefix: u8,
    },
    /// The path.
    Path,
    /// The path and the query.
    Uri,
    /// The host without its port, in lower case.
    Host,
    /// The value of a request header.
    Header(Box<str>),
    /// The value of a cookie.
    Cookie(Box<str>),
    /// The value of a query parameter.
    Query(Box<str>),
    /// Who the client proved to be.
    User,
    /// A claim of the client's verified token.
    Jwt(Box<str>),
}

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It begins with nothing known.
    #[error("`{0}` is not a key: use {FORM}")]
    Unknown(String),
    /// `header.` and the like without a name.
    #[error("`{0}` requires a name, such as `{0}NAME`")]
    NoName(&'static str),
    /// The name contains a byte that names of this kind cannot have.
    #[error("`{name}` is not a valid name for `{kind}`: use letters, digits and `-_.!#$%&'*+^|~`")]
    BadName {
        /// The kind with its dot, such as `header.`.
        kind: &'static str,
        /// The name as written.
        name: String,
    },
}

/// Hashes keys. Two hashers with one seed agree; without knowing the seed, nobody can choose keys that collide.
#[derive(Debug, Clone)]
pub struct KeyHasher {
    /// Not 0: a product with 0 would hide the rest.
    start: u64,
    seed: SharedSeed,
}

/// Makes a key of a kind from its name.
type Make = fn(Box<str>) -> Key;

/// The kinds of keys that have a name.
const NAMED: [(&str, Make); 4] = [
    ("header.", Key::Header),
    ("cookie.", Key::Cookie),
    ("query.", Key::Query),
    ("jwt.", Key::Jwt),
];

impl Default for Key {
    fn default() -> Self {
        Self::ClientIp {
            ipv6_prefix: IPV6_PREFIX,
        }
    }
}

impl std::str::FromStr for Key {
    type Err = KeyError;

    /// Parses a key as it is written in the config.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text {
            "client_ip" => return Ok(Self::default()),
            "path" => return Ok(Self::Path),
            "uri" => return Ok(Self::Uri),
            "host" => return Ok(Self::Host),
            "user" => return Ok(Self::User),
            _ => {}
        }
        for (kind, make) in NAMED {
            match text.strip_prefix(kind) {
                Some("") => return Err(KeyError::NoName(kind)),
                Some(name) if is_name(kind, name) => return Ok(make(name.into())),
                Some(name) => {
                    let name = name.to_owned();
                    return Err(KeyError::BadName { kind, name });
                }
                None => {}
            }
        }
        Err(KeyError::Unknown(text.to_owned()))
    }
}

/// Whether a name can occur in requests. Headers and cookies have tokens as names (RFC 9110 §5.1, RFC 6265 §4.1.1); names of
/// parameters and claims are free, except for what cannot stand in a config line or a query.
fn is_name(kind: &str, name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte);
    match kind {
        "header." | "cookie." => name.bytes().all(is_token),
        "query." => name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte)),
        _ => name
            .chars()
            .all(|letter| !letter.is_control() && !letter.is_whitespace()),
    }
}

impl Key {
    /// The same key with this prefix length of IPv6 addresses; other keys stay as they are.
    #[must_use]
    pub fn with_ipv6_prefix(self, bits: u8) -> Self {
        match self {
            Self::ClientIp { .. } => Self::ClientIp {
                ipv6_prefix: bits.min(128),
            },
            other => other,
        }
    }

    /// Whether the key is known only after the client has been identified.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::User | Self::Jwt(_))
    }

    /// The hash of a request's key. `None` when the request does not have it, or has several different values for it: which of
    /// them a backend would use is unknown, so a client could pass one to the backend and another one to us.
    pub fn hash(&self, hasher: &KeyHasher, request: &Request<'_>, notes: &Notes) -> Option<u64> {
        match self {
            Self::ClientIp { ipv6_prefix } => hasher.ip(request.client_ip?, *ipv6_prefix),
            Self::Path => hasher.bytes(request.path()),
            Self::Uri => hasher.uri(request),
            Self::Host => hasher.host(request.host()),
            Self::Header(name) => hasher.bytes(only(request.header(name.as_bytes()))?),
            Self::Cookie(name) => hasher.bytes(only(request.cookie(name.as_bytes()))?),
            Self::Query(name) => hasher.encoded(request.query(name.as_bytes())),
            Self::User => hasher.bytes(notes.user.as_deref()?.as_bytes()),
            Self::Jwt(name) => hasher.bytes(notes.claim(name)?),
        }
    }
}

impl std::fmt::Display for Key {
    /// As it is written in the config.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClientIp { .. } => f.write_str("client_ip"),
            Self::Path => f.write_str("path"),
            Self::Uri => f.write_str("uri"),
            Self::Host => f.write_str("host"),
            Self::User => f.write_str("user"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Cookie(name) => write!(f, "cookie.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Jwt(name) => write!(f, "jwt.{name}"),
        }
    }
}

/// The value, if there is one and no other one.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

impl KeyHasher {
    /// A hasher with this seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            start: mix(seed) | 1,
            seed: SharedSeed::from_u64(seed),
        }
    }

    /// The hash of some bytes.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.start();
        hasher.write(bytes);
        hasher.finish()
    }

    fn start(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.start, &self.seed)
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "every arm of `Key::hash` returns an option"
    )]
    fn bytes(&self, bytes: &[u8]) -> Option<u64> {
        Some(self.hash(bytes))
    }

    /// The hash of the value that these encoded ones mean, if all mean the same.
    fn encoded<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> Option<u64> {
        let first = values.next()?;
        let Some(decoded) = query::decode(first) else {
            return values
                .all(|value| query::equals(value, first))
                .then(|| self.hash(first));
        };
        let all = values.all(|value| query::equals(value, &decoded));
        all.then(|| self.hash(&decoded))
    }

    fn ip(&self, ip: IpAddr, ipv6_prefix: u8) -> Option<u64> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.bytes(&ip.octets()),
            IpAddr::V6(ip) => {
                let unused = 128_u32.saturating_sub(u32::from(ipv6_prefix));
                let mask = u128::MAX.checked_shl(unused).unwrap_or(0);
                self.bytes(&(u128::from(ip) & mask).to_be_bytes())
            }
        }
    }

    fn uri(&self, request: &Request<'_>) -> Option<u64> {
        let mut hasher = self.start();
        hasher.write(request.path());
        if let Some(query) = request.head.query {
            hasher.write(b"?");
            hasher.write(request.head.text(query));
        }
        Some(hasher.finish())
    }

    /// In pieces, because the lower case of a host of any length needs a buffer of that length.
    fn host(&self, host: &[u8]) -> Option<u64> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.is_empty() {
            return None;
        }
        let mut hasher = self.start();
        for piece in host.chunks(64) {
            let mut buffer = [0; 64];
            let lower = buffer.get_mut(..piece.len())?;
            lower.copy_from_slice(piece);
            lower.make_ascii_lowercase();
            hasher.write(lower);
        }
        Some(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{head, request};

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn hash(text: &str, lines: &str) -> Option<u64> {
        let head = head(&format!("{lines}\r\n\r\n"));
        let notes = Notes {
            user: Some("alice".into()),
            claims: vec![("sub".into(), b"7"[..].into())],
            ..Notes::default()
        };
        key(text).hash(&KeyHasher::seeded(1), &request(&head), &notes)
    }

    fn hash_of_ip(key: &Key, ip: &str) -> Option<u64> {
        let head = head("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = Request {
            client_ip: ip.parse().ok(),
            ..request(&head)
        };
        key.hash(&KeyHasher::seeded(1), &request, &Notes::default())
    }

    #[test]
    fn every_form_reads_back() {
        for text in [
            "client_ip",
            "path",
            "uri",
            "host",
            "user",
            "header.X-Api-Key",
            "cookie.a",
            "query.a.b",
            "jwt.sub",
            "jwt.https://issuer.test/tenant",
        ] {
            assert_eq!(key(text).to_string(), text);
        }
        assert!(WORDS.iter().all(|word| key(word).to_string() == *word));
        assert!(KINDS.iter().eq(NAMED.iter().map(|(kind, _)| kind)));
        assert!(key("user").is_identity() && key("jwt.sub").is_identity() && !key("path").is_identity());
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = |text: &str| text.parse::<Key>().unwrap_err().to_string();
        assert!(error("ip").contains("`ip` is not a key: use one of client_ip, path"));
        assert!(error("header.").contains("`header.NAME`"));
        assert!(error("header.X Api").contains("`X Api` is not a valid name for `header.`"));
        assert!(error("query.a&b").contains("`a&b`"));
        assert!(error("Header.X").contains("`Header.X` is not a key"));
        assert!(error("").contains("`` is not a key"));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let of = |ip| hash_of_ip(&key("client_ip"), ip);
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("-"), None);
        let whole = key("client_ip").with_ipv6_prefix(128);
        assert_ne!(
            hash_of_ip(&whole, "2001:db8::1"),
            hash_of_ip(&whole, "2001:db8::2")
        );
        let all = key("client_ip").with_ipv6_prefix(0);
        assert_eq!(hash_of_ip(&all, "2001:db8::1"), hash_of_ip(&all, "::2"));
        assert_eq!(key("path").with_ipv6_prefix(1), Key::Path);
    }

    #[test]
    fn parts_of_the_head_are_told_apart() {
        let lines = "GET /a?x=1 HTTP/1.1\r\nHost: A.test:80\r\nX-Key: k\r\nCookie: c=2";
        let other = "GET /a?x=2 HTTP/1.1\r\nHost: a.TEST.\r\nX-Key: l\r\nCookie: c=3";
        assert_eq!(hash("path", lines), hash("path", other));
        assert_eq!(hash("host", lines), hash("host", other));
        for text in ["uri", "header.x-key", "cookie.c", "query.x"] {
            assert!(hash(text, lines).is_some(), "{text}");
            assert_ne!(hash(text, lines), hash(text, other), "{text}");
        }
        assert!(hash("user", lines).is_some() && hash("jwt.sub", lines).is_some());
        assert_eq!(hash("jwt.iss", lines), None);
    }

    #[test]
    fn a_long_host_is_hashed_whole() {
        let of = |host: &str| hash("host", &format!("GET / HTTP/1.1\r\nHost: {host}"));
        let long = "a".repeat(150);
        assert_eq!(of(&long), of(&long.to_uppercase()));
        assert_ne!(of(&long), of(&format!("{}b", &long[1..])));
        assert_ne!(of(&long), of(&long[1..]));
    }

    /// Else a client would have a limit of its own for each way to write one value.
    #[test]
    fn a_parameter_counts_by_what_its_name_and_value_mean() {
        let of = |query: &str| hash("query.user", &format!("GET /?{query} HTTP/1.1\r\nHost: a"));
        let plain = of("user=a+b");
        assert!(plain.is_some());
        for query in [
            "%75ser=a+b",
            "user=a%20b",
            "us%65r=%61+b",
            "user=a+b&%75ser=%61%20b",
        ] {
            assert_eq!(of(query), plain, "{query}");
        }
        assert_ne!(of("user=a%2Bb"), plain);
        assert_eq!(of("user=a+b&%75ser=b"), None);
        assert_eq!(of("user=%25"), of("user=%"));
        assert_eq!(of("%2575ser=a"), None);
    }

    #[test]
    fn a_missing_or_ambiguous_value_is_no_key() {
        let of = |text, lines: &str| hash(text, &format!("GET /?a=1&b=1&b=1&a=2 HTTP/1.1\r\nHost: a{lines}"));
        assert_eq!(of("header.x-key", ""), None);
        assert_eq!(of("header.x-key", "\r\nX-Key: 1\r\nx-key: 2"), None);
        assert_eq!(
            of("header.x-key", "\r\nX-Key: 1\r\nx-key: 1"),
            of("header.x-key", "\r\nX-Key: 1")
        );
        assert_eq!(of("cookie.a", "\r\nCookie: a=1; a=2"), None);
        assert_eq!(of("query.a", ""), None);
        assert!(of("query.b", "").is_some());
    }

    #[test]
    fn another_seed_gives_another_hash() {
        let head = head("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let of = |seed| Key::Path.hash(&KeyHasher::seeded(seed), &request(&head), &Notes::default());
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
