//! `sticky` of a pool: how its clients stay with a backend.

use std::time::Duration;

use crate::config::print::{Item, map, masked, text, word};
use crate::config::reader::{Reader, Written, refuse_shape, written};
use crate::config::source::Diagnostic;
use crate::pool::{CookieSettings, SameSite, Secure, StickySettings};
use crate::schema::units::show_duration;
use crate::schema::{Form, Key, Kind, Section};

/// The key of a pool.
pub(super) const KEY: Key = Key::new(
    "sticky",
    Kind::Section(&STICKY),
    "Whether clients stay with the backend that they first got, by a cookie or by a header.",
)
.words(&["off"])
.default("off");

/// `sticky` of a pool.
pub(super) const STICKY: Section = Section {
    name: "pools.NAME.sticky",
    about: "How clients stay with a backend: exactly one of `cookie` and `header`. The other keys are those of the cookie. A backend that is down, or gone, is replaced by another one; a draining backend keeps the clients whose cookie names it.",
    keys: &[
        Key::new(
            "cookie",
            Kind::Text(Form::new("a name of a cookie").matching(TOKEN)),
            "Name of a cookie that names the backend by a keyed hash. It is set by the first response and passed on to backends.",
        )
        .otherwise("required without `header`"),
        Key::new(
            "header",
            Kind::Text(Form::new("a name of a header").matching(TOKEN)),
            "Name of a request header: requests with the same value go to the same backend by consistent hashing, without a cookie. Requests without it go to any backend.",
        )
        .otherwise("required without `cookie`"),
        Key::new(
            "max_age",
            Kind::Duration { least: SECOND, most: YEAR },
            "How long browsers keep the cookie after the response that set it; `session` is until they are closed.",
        )
        .words(&["session"])
        .default("session"),
        Key::new("http_only", Kind::Flag, "Whether scripts of pages cannot read the cookie.").default("true"),
        Key::new(
            "same_site",
            Kind::Choice(&["lax", "strict", "none"]),
            "Whether browsers send the cookie with requests from pages of other sites: `lax` with links only, `strict` with none, `none` with all.",
        )
        .default("lax"),
        Key::new(
            "secure",
            Kind::Choice(&["auto", "always", "never"]),
            "Whether browsers send the cookie over TLS only. `auto` is when the client used TLS, with `same_site: none`, and for names that begin with `__Host-` or `__Secure-`.",
        )
        .default("auto"),
        Key::new(
            "secret",
            Kind::Text(Form::new("a text of at least 16 bytes")),
            "The secret of the hash. Instances of the same pool need the same one; `random` is a new one for each start, with which restarts and other instances do not know the clients. Use a variable, such as `${STICKY_SECRET}`.",
        )
        .words(&["random"])
        .default("random")
        .secret(),
    ],
};

/// RFC 9110 §5.6.2; names of cookies are tokens too (RFC 6265 §4.1.1).
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
const SECOND: Duration = Duration::from_secs(1);
/// Browsers keep no cookie for longer than 400 days.
const YEAR: Duration = Duration::from_hours(400 * 24);
/// Shortest secret, in bytes.
const SHORTEST_SECRET: usize = 16;
/// Headers that name no client, or that are not the client's.
const NO_SESSION: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];

/// Reads `sticky`. `None` when it is off, or invalid, which is reported.
pub(super) fn read(pool: &Reader<'_>) -> Option<StickySettings> {
    let Some(node) = pool.node("sticky") else {
        // Reads the keys, so that each of them is known to be read.
        return of_keys(&Reader::absent(pool.cx, &STICKY));
    };
    if pool.is_off("sticky") {
        return None;
    }
    of_keys(&Reader::open(pool.cx, &STICKY, node)?)
}

/// Prints `sticky`; `None` is off.
pub(super) fn show(settings: Option<&StickySettings>) -> Item {
    match settings {
        None => word("off"),
        Some(StickySettings::Header(name)) => map([("header", text(name))]),
        Some(StickySettings::Cookie(cookie)) => {
            let named =
                |all: &[(&'static str, bool)]| all.iter().find(|(_, is_it)| *is_it).map_or("", |it| it.0);
            map([
                ("cookie", text(&cookie.name)),
                (
                    "max_age",
                    word(cookie.max_age.map_or_else(|| "session".to_owned(), show_duration)),
                ),
                ("http_only", word(cookie.is_http_only)),
                (
                    "same_site",
                    word(named(
                        &SameSite::ALL.map(|(name, it)| (name, it == cookie.same_site)),
                    )),
                ),
                (
                    "secure",
                    word(named(&Secure::ALL.map(|(name, it)| (name, it == cookie.secure)))),
                ),
                (
                    "secret",
                    cookie
                        .secret
                        .as_ref()
                        .map_or_else(|| word("random"), |_| masked()),
                ),
            ])
        }
    }
}

fn of_keys(sticky: &Reader<'_>) -> Option<StickySettings> {
    let (cookie, header) = (name(sticky, "cookie"), name(sticky, "header"));
    let settings = cookie_settings(sticky);
    let span = sticky.span()?;
    let report = |message: &str| sticky.cx.report(Diagnostic::error(span, message.to_owned()));
    match (cookie, header) {
        (Some(_), Some(_)) => report("`cookie` and `header` exclude each other in `sticky`"),
        (None, None) if !sticky.has_any(&["cookie", "header"]) => {
            report("`sticky` requires `cookie` or `header`");
        }
        (None, None) => {}
        (None, Some(header)) => {
            let others = ["max_age", "http_only", "same_site", "secure", "secret"];
            if let Some(span) = others.iter().find_map(|key| sticky.key_span(key)) {
                let message = format!(
                    "{} is a key of a sticky cookie, and `header` sets none",
                    sticky.cx.quote(span)
                );
                sticky.cx.report(Diagnostic::error(span, message));
            }
            if NO_SESSION
                .iter()
                .any(|name| name.eq_ignore_ascii_case(header.text))
            {
                sticky.refuse("header", header, None);
            }
            return Some(StickySettings::Header(header.text.into()));
        }
        (Some(cookie), None) => {
            let settings = CookieSettings {
                name: cookie.text.into(),
                ..settings
            };
            check(sticky, &settings, cookie);
            return Some(StickySettings::Cookie(settings));
        }
    }
    None
}

/// Reports what does not fit together.
fn check(sticky: &Reader<'_>, settings: &CookieSettings, cookie: Written<'_>) {
    if settings.secure == Secure::Never && settings.needs_secure() {
        let message = "browsers refuse this cookie without `Secure`: remove `secure: never`";
        sticky.cx.report(Diagnostic::error(cookie.span, message));
    }
    if settings.secret.is_none() && !sticky.has_any(&["secret"]) {
        let message =
            "`sticky` has no `secret`: after a restart, and at other instances, clients get another backend";
        let note = "write `secret: \"${STICKY_SECRET}\"`, or `secret: random` for a single instance";
        sticky
            .cx
            .report(Diagnostic::warning(cookie.span, message).note(note));
    }
}

/// The name of a cookie or a header.
fn name<'a>(sticky: &Reader<'a>, key: &str) -> Option<Written<'a>> {
    let written = sticky.text(key)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&byte);
    if written.text.is_empty() || !written.text.bytes().all(is_token) {
        sticky.refuse(key, written, None);
        return None;
    }
    Some(written)
}

/// The settings of the cookie, without its name.
fn cookie_settings(sticky: &Reader<'_>) -> CookieSettings {
    let is_session = sticky
        .text("max_age")
        .is_none_or(|written| written.text == "session");
    let (same_site, secure) = (sticky.choice("same_site", None), sticky.choice("secure", None));
    let same_site = SameSite::ALL.iter().find(|(name, _)| *name == same_site);
    let secure = Secure::ALL.iter().find(|(name, _)| *name == secure);
    CookieSettings {
        name: Box::default(),
        max_age: (!is_session).then(|| sticky.duration("max_age", Some(SECOND))),
        is_http_only: sticky.flag("http_only", None),
        same_site: same_site.map_or(SameSite::Lax, |(_, it)| *it),
        secure: secure.map_or(Secure::Auto, |(_, it)| *it),
        secret: secret(sticky),
    }
}

/// The secret. No message shows it.
fn secret(sticky: &Reader<'_>) -> Option<Box<str>> {
    let node = sticky.node("secret")?;
    let Some(written) = written(node) else {
        refuse_shape(sticky.cx, node, "a text of at least 16 bytes, or random");
        return None;
    };
    if written.text == "random" {
        return None;
    }
    if written.text.len() < SHORTEST_SECRET {
        let message =
            format!("`secret` is shorter than {SHORTEST_SECRET} bytes and can be guessed: use a longer one");
        sticky.cx.report(Diagnostic::error(node.span, message));
    }
    Some(written.text.into())
}
