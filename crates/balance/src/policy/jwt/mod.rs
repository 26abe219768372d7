//! Verifies JSON Web Tokens (RFC 7519) as RFC 8725 recommends: only configured algorithms, and a key serves only the algorithms of its type.
//!
//! A token that was verified is remembered until it expires, or until a key is removed.

mod algorithm;
mod claims;
mod keys;
mod place;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::algorithm::Algorithm;
use self::claims::{Accepted, Rules};
use self::keys::{Format, KeySet, Keys, NotVerified};
use self::place::Place;
use self::token::{Rejected, Token};
use super::identity::{self, Single};
use super::verified::Verified;
use super::{Apply, BuildError, Context, Decision, Feed, Notes, Policy, Refusal, Source};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params, Value};

/// Maximum size of keys in bytes.
const KEYS_SIZE: usize = 512 << 10;
/// Interval between two fetches of keys.
const KEYS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Number of verified tokens that are remembered.
const TOKENS: usize = 10_000;
/// Leeway where none is configured.
const LEEWAY: Duration = Duration::from_secs(30);
/// Seconds after which a client may try again when there are no keys: as often as they are fetched then.
const RETRY_AFTER: &str = "10";

const PATH: Kind = Kind::Text(Form::new("a path").file());
const TEXT: Kind = Kind::Text(Form::new("a text").checked(|text| !text.is_empty()));
const TEXTS: Kind = Kind::Either(&TEXT, &Kind::List(&TEXT));

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[
    ("token_missing", "the request had no token (status 401)"),
    (
        "token_invalid",
        "the token is malformed, its signature is not valid, or it is not meant for this service (status 401)",
    ),
    ("token_expired", "the token has expired (status 401)"),
    (
        "insufficient_scope",
        "a claim of the token does not have the required value (status 403)",
    ),
    (
        "jwks_unavailable",
        "the keys that verify tokens have not been read yet (status 503)",
    ),
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "jwks",
        Kind::Text(
            Form::new("an https or http URL, or file:PATH").file().checked(|text| parse_source(text).is_some()),
        ),
        "The JSON Web Key Set of the issuer: a URL, fetched every 5 minutes, or `file:PATH`, read again when the file changes. At most \
         512 KiB and 100 keys. Keys for encryption, symmetric keys and keys of unknown types are ignored. If a set is not valid or has \
         no usable key, the previous keys stay. A token with an unknown key id is refused, and the set is fetched again, at most once \
         in 10 seconds. Use `https`: who can change the answer can make tokens. Exactly one of `jwks`, `public_key` and `secret_file` \
         is required.",
    ),
    identity::CA,
    Key::new(
        "public_key",
        PATH,
        "File with public keys in PEM (`BEGIN PUBLIC KEY`), at most 4 for one algorithm. It is read again when it changes.",
    ),
    Key::new(
        "secret_file",
        PATH,
        "File with the secret of HS256 (at least 32 bytes), HS384 (48) or HS512 (64). The end of its last line does not count. It is \
         read again when it changes.",
    ),
    Key::new(
        "algorithms",
        Kind::List(&Kind::Choice(algorithm::NAMES)),
        "Accepted signature algorithms. The algorithm of a token must be in the list, and its key must be of that type. HS256, HS384 and \
         HS512 are only possible with `secret_file`, and only they are.",
    )
    .otherwise("RS256, ES256 and EdDSA; HS256 with `secret_file`"),
    Key::new("issuer", TEXTS, "Accepted values of the claim `iss`, compared exactly.")
        .otherwise("the issuer is not checked"),
    Key::new(
        "audience",
        TEXTS,
        "Accepted values of the claim `aud`; one of those in the token must be in the list. `any` skips the check.",
    )
    .words(&["any"])
    .otherwise("only tokens without `aud` are accepted"),
    Key::new(
        "from",
        Kind::Text(
            Form::new("bearer, header.NAME, cookie.NAME or query.NAME")
                .checked(|text| Place::parse(text).is_some()),
        ),
        "Where the token is: in `Authorization: Bearer`, or alone in a header, cookie or query parameter. The backend gets it as well. \
         A request with two tokens is refused.",
    )
    .default("bearer"),
    Key::new(
        "claims",
        Kind::Map(&TEXT),
        "Values that claims must have; else the status is 403. A `scope` must contain all words of the value, a list must contain the \
         value, any other claim must equal it; numbers and flags are compared as text.",
    )
    .otherwise("any valid token is accepted"),
    Key::new(
        "forward",
        Kind::Map(&TEXT),
        "Request headers in which the backend gets claims: a map from header to claim, such as `X-User: sub`. Lists are joined with \
         commas. A token is refused if such a claim is a map, has a control character or space at its ends, or if an item of a list has a \
         comma. What clients send in these headers is always removed.",
    )
    .otherwise("no claims are forwarded"),
    Key::new(
        "leeway",
        Kind::Duration {
            least: Duration::ZERO,
            most: Duration::from_secs(5 * 60),
        },
        "Maximum difference between the clocks of the issuer and this machine, for `exp`, `nbf` and `iat`.",
    )
    .default("30s"),
    Key::new(
        "required",
        Kind::Flag,
        "Whether requests without a token are refused. A token that is not valid always is.",
    )
    .default("true"),
    Key::new(
        "require_exp",
        Kind::Flag,
        "Whether tokens that do not expire are refused.",
    )
    .default("true"),
];

/// Tokens that were verified, by their digest, until they expire: milliseconds since the Unix epoch.
type Tokens = Verified<Arc<Remembered>, u64>;

#[derive(Debug)]
struct Remembered {
    token: Box<[u8]>,
    accepted: Accepted,
    /// The generation of the keys that verified it.
    generation: u64,
}

#[derive(Debug)]
struct Jwt {
    keys: Arc<Keys>,
    source: Source,
    format: Format,
    algorithms: Vec<&'static Algorithm>,
    place: Place,
    rules: Rules,
    /// The headers of the forwarded claims, in the order of the rules.
    headers: Vec<Box<str>>,
    required: bool,
    /// Not kept over reloads: what it remembers depends on the rules.
    tokens: Tokens,
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let Context { name, params, kept } = context;
    let (key, format, source) = source(params)?;
    let algorithms = algorithms(params, format)?;
    let mut forwarded = Vec::new();
    let mut headers: Vec<Box<str>> = Vec::new();
    for (header, claim) in texts(params.named("forward")) {
        identity::check_header_name("forward", header)?;
        if headers.iter().any(|other| other.eq_ignore_ascii_case(header)) {
            return Err(BuildError::of(
                "forward",
                format!("header `{header}` is set twice"),
            ));
        }
        headers.push(header.into());
        forwarded.push(claim.into());
    }
    let rules = Rules {
        issuers: one_or_more(params.get("issuer")),
        audiences: (params.word("audience") != Some("any")).then(|| one_or_more(params.get("audience"))),
        leeway: millis(params.duration("leeway").unwrap_or(LEEWAY)),
        requires_expiry: params.get("require_exp").is_none() || params.flag("require_exp"),
        required: texts(params.named("claims"))
            .map(|(claim, value)| (claim.into(), value.into()))
            .collect(),
        forwarded,
    };
    // Keys are parsed for certain algorithms, so other algorithms have other keys.
    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name).collect();
    let place = params.text("from").unwrap_or("bearer");
    // Whoever certifies the server, its keys are the same.
    let (Source::File(location) | Source::Url { url: location, .. }) = &source;
    let identity = format!("policy/{name}/keys/{key}/{location}/{}", names.join(","));
    Ok(Box::new(Jwt {
        keys: kept.get_or_insert(&identity, Keys::new),
        source,
        format,
        algorithms,
        place: Place::parse(place)
            .ok_or_else(|| BuildError::of("from", format!("`{place}` is not valid")))?,
        rules,
        headers,
        required: params.get("required").is_none() || params.flag("required"),
        tokens: Tokens::new(TOKENS),
    }))
}

/// The key that names the source, what is there, and where it is.
fn source(params: &Params) -> Result<(&'static str, Format, Source), BuildError> {
    let found = ["jwks", "public_key", "secret_file"].map(|key| params.text(key).map(|text| (key, text)));
    let (key, text) = match Single::of(found.into_iter().flatten()) {
        Single::One(found) => found,
        Single::None | Single::Several => {
            let message = "`jwt` requires exactly one of `jwks`, `public_key` and `secret_file`".to_owned();
            return Err(BuildError { key: None, message });
        }
    };
    if key != "jwks" {
        identity::ca(params, "")?;
    }
    match key {
        "jwks" => {
            let invalid = || BuildError::of("jwks", "not an https or http URL, and not file:PATH");
            let mut source = parse_source(text).ok_or_else(invalid)?;
            let file = identity::ca(params, text)?;
            if let Source::Url { ca, .. } = &mut source {
                *ca = file.map(str::to_owned);
            }
            Ok((key, Format::Jwks, source))
        }
        "public_key" => Ok((key, Format::Pem, Source::File(text.to_owned()))),
        _ => Ok((key, Format::Secret, Source::File(text.to_owned()))),
    }
}

fn parse_source(text: &str) -> Option<Source> {
    if let Some(path) = text.strip_prefix("file:") {
        return (!path.is_empty()).then(|| Source::File(path.to_owned()));
    }
    identity::is_url(text).then(|| Source::Url {
        url: text.to_owned(),
        interval: KEYS_INTERVAL,
        ca: None,
    })
}

fn algorithms(params: &Params, format: Format) -> Result<Vec<&'static Algorithm>, BuildError> {
    let written = params.list("algorithms").iter().filter_map(|value| match value {
        Value::Word(name) => Algorithm::by_name(name),
        _ => None,
    });
    let mut algorithms: Vec<_> = written.collect();
    if params.get("algorithms").is_none() {
        let names: &[_] = match format {
            Format::Jwks | Format::Pem => &["RS256", "ES256", "EdDSA"],
            Format::Secret => &["HS256"],
        };
        algorithms = names.iter().filter_map(|name| Algorithm::by_name(name)).collect();
    }
    if algorithms.is_empty() {
        return Err(BuildError::of("algorithms", "at least one algorithm is required"));
    }
    // A public key that served as a secret would let everybody make tokens.
    let wrong = algorithms
        .iter()
        .find(|algorithm| algorithm.has_secret() != (format == Format::Secret));
    match wrong {
        None => Ok(algorithms),
        Some(wrong) if wrong.has_secret() => {
            let message = format!("{} requires `secret_file`", wrong.name);
            Err(BuildError::of("algorithms", message))
        }
        Some(wrong) => {
            let message = format!("{} requires `jwks` or `public_key`", wrong.name);
            Err(BuildError::of("algorithms", message))
        }
    }
}

fn texts(items: &[(String, Value)]) -> impl Iterator<Item = (&str, &str)> {
    items.iter().filter_map(|(name, value)| match value {
        Value::Text(text) => Some((name.as_str(), text.as_str())),
        _ => None,
    })
}

fn one_or_more(value: Option<&Value>) -> Vec<Box<str>> {
    let items = match value {
        Some(Value::List(items)) => items,
        Some(item) => std::slice::from_ref(item),
        None => &[],
    };
    let texts = items.iter().filter_map(|item| match item {
        Value::Text(text) => Some(text.as_str().into()),
        _ => None,
    });
    texts.collect()
}

impl Policy for Jwt {
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision {
        let token = match self.place.find(request) {
            Single::One(token) => token,
            Single::None if self.required => {
                let refusal = Refusal::new(401, "token_missing");
                return Decision::Refuse(refusal.with("WWW-Authenticate", "Bearer realm=\"restricted\""));
            }
            Single::None => {
                for header in &self.headers {
                    identity::replace_client_copies(request, header, None, notes);
                }
                return Decision::Continue;
            }
            Single::Several => return reject(&Rejected::Invalid("more than one token")),
        };
        let keys = self.keys.load();
        let Some(keys) = keys.as_deref() else {
            self.keys.want();
            let refusal = Refusal::new(503, "jwks_unavailable").with("Retry-After", RETRY_AFTER);
            return Decision::Refuse(refusal.because("the keys have not been read yet"));
        };
        match self.remembered(token, keys, request.wall) {
            Ok(remembered) => self.accept(request, &remembered.accepted, notes),
            Err(rejected) => reject(&rejected),
        }
    }

    fn feeds(&self) -> Vec<Feed> {
        let (keys, format, algorithms) = (Arc::clone(&self.keys), self.format, self.algorithms.clone());
        let read = move |data: &[u8]| {
            let (keys, new) = (Arc::clone(&keys), keys::read(data, format, &algorithms)?);
            let apply: Apply = Box::new(move || keys.replace(new, format));
            Ok(apply)
        };
        let wanted = Arc::clone(&self.keys.wanted);
        vec![Feed::new(self.source.clone(), KEYS_SIZE, wanted, read)]
    }
}

impl Jwt {
    /// What a token says, remembered or verified now.
    fn remembered(&self, token: &[u8], keys: &KeySet, wall: SystemTime) -> Result<Arc<Remembered>, Rejected> {
        let now = millis(wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let digest = self.tokens.quick_digest(token);
        let found = self.tokens.get(&digest, now);
        // A token with the same digest by chance is another one. That this comparison takes longer the more of two tokens is equal tells
        // nobody anything: it needs equal digests, which nobody can make who does not know their seed.
        let is_it = |found: &Arc<Remembered>| *found.token == *token && found.generation == keys.generation;
        if let Some(found) = found.filter(is_it) {
            return Ok(found);
        }
        let verified = Arc::new(Remembered {
            token: token.into(),
            accepted: self.verify(token, keys, now)?,
            generation: keys.generation,
        });
        let expires = verified.accepted.expires;
        self.tokens.insert(digest, Arc::clone(&verified), expires);
        Ok(verified)
    }

    fn verify(&self, token: &[u8], keys: &KeySet, now: u64) -> Result<Accepted, Rejected> {
        let token = Token::parse(token)?;
        let mut configured = self.algorithms.iter();
        if !configured.any(|algorithm| algorithm.name == token.algorithm.name) {
            return Err(Rejected::Invalid("the algorithm is not accepted"));
        }
        let key_id = token.key_id.as_deref();
        keys.verify(token.algorithm, key_id, token.signed, &token.signature)
            .map_err(|why| {
                Rejected::Invalid(match why {
                    NotVerified::UnknownKey => {
                        self.keys.want();
                        "the key is not known"
                    }
                    NotVerified::WrongKey => "the key is not for this algorithm",
                    NotVerified::Ambiguous => "the token names no key",
                    NotVerified::Signature => "the signature is wrong",
                })
            })?;
        self.rules.check(&token.claims()?, now)
    }

    fn accept(&self, request: &Request<'_>, accepted: &Accepted, notes: &mut Notes) -> Decision {
        for (header, value) in self.headers.iter().zip(&accepted.forwarded) {
            identity::replace_client_copies(request, header, value.as_deref(), notes);
        }
        if accepted.user.is_some() {
            notes.user.clone_from(&accepted.user);
        }
        notes.token = Some(Arc::clone(&accepted.claims));
        Decision::Continue
    }
}

/// The response to a token that is not accepted (RFC 6750 §3).
fn reject(rejected: &Rejected) -> Decision {
    let challenge = |error: &str, description: &str| {
        format!(
            "Bearer error=\"{error}\", error_description={}",
            identity::quoted(description)
        )
    };
    let (status, code, detail, challenge) = match rejected {
        Rejected::Invalid(why) => {
            let challenge = challenge("invalid_token", why);
            (401, "token_invalid", (*why).to_owned(), challenge)
        }
        Rejected::Expired => {
            let why = "the token has expired";
            let challenge = challenge("invalid_token", why);
            (401, "token_expired", why.to_owned(), challenge)
        }
        Rejected::Insufficient { claim, value } => {
            let why = format!("the claim {claim} does not have the required value");
            let mut challenge = challenge("insufficient_scope", &why);
            if matches!(&**claim, "scope" | "scp") {
                challenge.push_str(", scope=");
                challenge.push_str(&identity::quoted(value));
            }
            (403, "insufficient_scope", why, challenge)
        }
    };
    let refusal = Refusal::new(status, code).with("WWW-Authenticate", challenge);
    Decision::Refuse(refusal.because(detail))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod signer;
#[cfg(test)]
mod tests;
