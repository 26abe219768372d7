//! Checks user names and passwords (Basic authentication, RFC 7617).
//!
//! Hashes of passwords are slow on purpose, so they are computed off the worker. A pair that was verified is remembered for a while: the
//! usual request does not wait. A wrong password is never remembered.

mod hash;
mod users;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evenkeel_wire::instant::Instant;

use self::users::{Known, Users};
use super::identity::{self, Single};
use super::verified::{Digest, Verified};
use super::{Apply, BuildError, Compute, Context, Decision, Edit, Feed, Job, Notes, Policy, Refusal, Source};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Value};

/// Maximum size of a file with users.
const FILE_SIZE: usize = 4 << 20;
/// Number of verified pairs that are remembered.
const PAIRS: usize = 1_024;
/// Time for which a verified pair is remembered.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// Maximum length of a password in bytes, as in the C library: SHA-crypt takes time in proportion to the square of the length.
const PASSWORD: usize = 512;
/// Maximum length of the credentials in Base64, before they are decoded.
const CREDENTIALS: usize = 2_048;
/// Seconds after which a client may try again when too many passwords are being checked.
const RETRY_AFTER: &str = "1";

const HASH: Kind = Kind::Text(Form::new("a bcrypt, Argon2 or SHA-crypt hash").secret());

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[
    (
        "unauthorized",
        "the request had no valid user name and password (status 401)",
    ),
    (
        "auth_unavailable",
        "the file with the users has not been read yet (status 503)",
    ),
    (
        "auth_overloaded",
        "too many passwords waited to be checked (status 503)",
    ),
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "users_file",
        Kind::Text(Form::new("a path").file()),
        "File with one `name:hash` a line, as `htpasswd -B` writes it; `#` begins a comment. Hashes: bcrypt (`$2a$`, `$2b$`, `$2y$`, \
         cost up to 16), `$argon2id$`, `$argon2i$`, SHA-crypt (`$5$`, `$6$`). The file is read again when it changes; if it is not valid \
         then, the previous users stay. At most 4 MiB. Exactly one of `users_file` and `users` is required.",
    ),
    Key::new(
        "users",
        Kind::Map(&HASH),
        "Hashes of passwords by user name. Kinds of hashes as in `users_file`.",
    ),
    Key::new(
        "realm",
        Kind::Text(Form::new("a text without control characters").checked(is_realm)),
        "The name of the protected area, which browsers show when they ask for the password.",
    )
    .default("restricted"),
    Key::new(
        "forward_user",
        Kind::Text(Form::new("a header name")),
        "Request header in which the backend gets the user name, such as `X-User`. What clients send in it is always removed.",
    )
    .otherwise("the backend does not get the name"),
    Key::new(
        "forward_authorization",
        Kind::Flag,
        "Whether the backend gets the `Authorization` header with the password as well.",
    )
    .default("false"),
];

fn is_realm(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The users of a file; `None` until it has been read.
type FromFile = ArcSwapOption<Users>;
/// Pairs that were verified, by the digest of the name, the hash and the password.
type Pairs = Verified<(), Instant>;

#[derive(Debug)]
struct BasicAuth {
    users: Arc<FromFile>,
    file: Option<Box<str>>,
    challenge: Box<str>,
    forward_user: Option<Box<str>>,
    forward_authorization: bool,
    pairs: Arc<Pairs>,
}

/// What a client sent.
struct Credentials {
    name: String,
    password: Vec<u8>,
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let Context { name, params, kept } = context;
    let file = params.text("users_file").map(Box::from);
    let users = match (&file, params.get("users")) {
        (Some(path), None) => kept.get_or_insert(&format!("policy/{name}/users/{path}"), FromFile::empty),
        (None, Some(_)) => Arc::new(FromFile::from_pointee(inline(params.named("users"))?)),
        _ => {
            let message = "`basic_auth` requires exactly one of `users_file` and `users`".to_owned();
            return Err(BuildError { key: None, message });
        }
    };
    let forward_user = params.text("forward_user").map(Box::from);
    if let Some(header) = &forward_user {
        identity::check_header_name("forward_user", header)?;
    }
    let realm = identity::quoted(params.text("realm").unwrap_or("restricted"));
    Ok(Box::new(BasicAuth {
        users,
        file,
        challenge: format!("Basic realm={realm}, charset=\"UTF-8\"").into(),
        forward_user,
        forward_authorization: params.flag("forward_authorization"),
        pairs: kept.get_or_insert(&format!("policy/{name}/pairs"), || Pairs::new(PAIRS)),
    }))
}

fn inline(items: &[(String, Value)]) -> Result<Users, BuildError> {
    let mut users = Users::default();
    for (name, value) in items {
        let Value::Text(hash) = value else { continue };
        users
            .add(name, hash)
            .map_err(|why| BuildError::of("users", why))?;
    }
    Ok(users)
}

impl Policy for BasicAuth {
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision {
        let credentials = match Credentials::of(request) {
            Ok(credentials) => credentials,
            Err(why) => return self.unauthorized(why),
        };
        let Some(users) = self.users.load_full() else {
            let refusal = Refusal::new(503, "auth_unavailable").with("Retry-After", RETRY_AFTER);
            return Decision::Refuse(refusal.because("the file with the users has not been read yet"));
        };
        let Some((hash, known)) = users.find(&credentials.name) else {
            return self.unauthorized("there are no users");
        };
        let digest = self.digest(&credentials, hash.text());
        if known == Known::Yes && self.pairs.get(&digest, request.now).is_some() {
            return self.accept(request, credentials.name, notes);
        }
        let (hash, pairs) = (Arc::clone(hash), Arc::clone(&self.pairs));
        let expires = request.now + REMEMBERED;
        Decision::Wait(Job::Compute(Compute::new(move || {
            let is_right = hash.verify(&credentials.password) && known == Known::Yes;
            // What was verified is remembered here and not when the request goes on: the users may have changed by then.
            if is_right {
                pairs.insert(digest, (), expires);
            }
            is_right
        })))
    }

    fn resume(&self, request: &Request<'_>, notes: &mut Notes, done: Job) -> Decision {
        let result = match done {
            Job::Compute(compute) => compute.result,
            Job::Fetch(_) => None,
        };
        match (result, Credentials::of(request)) {
            (Some(true), Ok(credentials)) => self.accept(request, credentials.name, notes),
            (Some(_), _) => self.unauthorized("wrong user name or password"),
            (None, _) => {
                let refusal = Refusal::new(503, "auth_overloaded").with("Retry-After", RETRY_AFTER);
                Decision::Refuse(refusal.because("too many passwords are being checked"))
            }
        }
    }

    fn feeds(&self) -> Vec<Feed> {
        let Some(path) = &self.file else {
            return Vec::new();
        };
        let users = Arc::clone(&self.users);
        let read = move |data: &[u8]| {
            let (users, new) = (Arc::clone(&users), Arc::new(Users::parse(data)?));
            let apply: Apply = Box::new(move || users.store(Some(new)));
            Ok(apply)
        };
        let source = Source::File(path.to_string());
        vec![Feed::new(
            source,
            FILE_SIZE,
            Arc::new(AtomicBool::new(false)),
            read,
        )]
    }
}

impl BasicAuth {
    /// The hash is one of the parts, so that a pair is forgotten when the user gets another password.
    fn digest(&self, credentials: &Credentials, hash: &str) -> Digest {
        let name = credentials.name.as_bytes();
        self.pairs.digest(&[name, hash.as_bytes(), &credentials.password])
    }

    fn accept(&self, request: &Request<'_>, name: String, notes: &mut Notes) -> Decision {
        if let Some(header) = &self.forward_user {
            identity::replace_client_copies(request, header, Some(name.as_bytes()), notes);
        }
        if !self.forward_authorization {
            notes.request_headers.push(Edit::Remove("Authorization".into()));
        }
        notes.user = Some(name.into());
        Decision::Continue
    }

    fn unauthorized(&self, why: &str) -> Decision {
        let refusal = Refusal::new(401, "unauthorized").with("WWW-Authenticate", &*self.challenge);
        Decision::Refuse(refusal.because(why))
    }
}

impl Credentials {
    /// The credentials of a request, or why there are none.
    fn of(request: &Request<'_>) -> Result<Self, &'static str> {
        let encoded = match identity::authorization(request, "Basic") {
            Single::One(encoded) if encoded.len() <= CREDENTIALS => encoded,
            Single::One(_) => return Err("credentials are too long"),
            Single::None => return Err("no credentials"),
            Single::Several => return Err("more than one Authorization header"),
        };
        let mut name = STANDARD
            .decode(encoded)
            .map_err(|_| "credentials are not valid Base64")?;
        let colon = memchr::memchr(b':', &name).ok_or("credentials have no colon")?;
        let password = name.split_off(colon + 1);
        name.pop();
        let is_control = |byte: &u8| *byte < b' ' || *byte == 0x7F;
        if name.iter().chain(&password).any(is_control) {
            // RFC 7617 §2; hashes made by programs in C would end at a NUL.
            return Err("credentials contain a control character");
        }
        if password.len() > PASSWORD {
            return Err("the password is too long");
        }
        let name = String::from_utf8(name).map_err(|_| "the user name is not UTF-8")?;
        Ok(Self { name, password })
    }
}

#[cfg(test)]
mod tests;
