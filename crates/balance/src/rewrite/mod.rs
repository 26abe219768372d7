//! Changes what a request asks for before it goes to a backend: its path and its host. Pure; the query is kept, and the log and
//! the routes see the path as it was received.
//!
//! A rewritten path is normalised by the rules for the path of a request. If it is not a path then, the request fails with
//! [`INVALID_PATH`]: a server error, because the client sent a valid path, and the person who can change the rule looks for
//! those.

mod prefix;
mod replace;

use evenkeel_wire::http1::{check_authority, normalise_path};

use crate::policy::BuildError;
use crate::schema::{Form, Key, Kind, Params, Section};

pub use prefix::Prefix;
use replace::Replace;

/// Status and error code of a request whose rewritten path is not a path.
pub const INVALID_PATH: (u16, &str) = (500, "rewrite_invalid_path");

const PATH: Kind = Kind::Text(Form::new("a path that begins with /").matching("^/[^?#]*$"));

/// The keys of `path_regex`.
pub const REGEX: Section = Section {
    name: "path_regex",
    about: "Replaces what a regular expression matches.",
    keys: &[
        Key::new(
            "match",
            Kind::Text(Form::new("a regular expression")),
            "The regular expression. Every place in the path that it matches is replaced; write `^…$` for the whole path. A path that it does not match is not changed.",
        )
        .required(),
        Key::new(
            "replace",
            Kind::Text(Form::new("a text with $1 or ${name}").template()),
            "What takes the place of a match. `$1` or `${1}` is the first group, `${name}` a named one, `$0` the whole match, `$$` a `$`. A group that took no part in the match is empty.",
        )
        .required(),
    ],
};

/// The keys of `rewrite`.
pub const SECTION: Section = Section {
    name: "rewrite",
    about: "Changes the path and the host of requests before they go to a backend. At most one of `path`, `path_prefix` and `path_regex`. The query is kept. A rewritten path is normalised again; a request whose path is not valid then gets a 500 response with the error `rewrite_invalid_path`.",
    keys: &[
        Key::new("path", PATH, "The whole path."),
        Key::new(
            "path_prefix",
            PATH,
            "Takes the place of the `path_prefix` of the route. `/` removes it: the backend then receives it in `X-Forwarded-Prefix`.",
        ),
        Key::new("path_regex", Kind::Section(&REGEX), "Replaces what a regular expression matches."),
        Key::new(
            "host",
            Kind::Text(Form::new("a host, with a port if needed")),
            "The host that the backend receives: `keep` for the one that the client sent, `backend` for the backend's address, or a name. `X-Forwarded-Host` has the client's in any case.",
        )
        .words(&["keep", "backend"])
        .default("keep"),
    ],
};

/// What is changed. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    path: Path,
    host: Host,
}

#[derive(Debug, Clone, Default)]
enum Path {
    #[default]
    Keep,
    Whole(Box<[u8]>),
    Prefix(Prefix),
    Regex(Box<Replace>),
}

/// The host that the backend receives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Host {
    /// The one that the client sent.
    #[default]
    Keep,
    /// That of the backend's address.
    Backend,
    /// This one, with a port if one was written.
    Name(Box<str>),
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewritten<'a> {
    /// It goes on as received.
    Same,
    /// The buffer holds the new path.
    Changed {
        /// The prefix that was removed, for `X-Forwarded-Prefix`.
        removed_prefix: Option<&'a str>,
    },
}

/// The rewritten path is not a path: see [`INVALID_PATH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten path is not valid")]
pub struct InvalidPath;

impl Rewrite {
    /// The changes that the config asks for. `route_prefix` is the `path_prefix` of the route, if it has one.
    ///
    /// # Errors
    /// All that is wrong, for the person who wrote it.
    pub fn build(params: &Params, route_prefix: Option<&str>) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let kinds = ["path", "path_prefix", "path_regex"];
        if kinds.iter().filter(|key| params.get(key).is_some()).count() > 1 {
            errors.push(BuildError {
                key: None,
                message: "`rewrite` takes one of `path`, `path_prefix` and `path_regex`".to_owned(),
            });
        }
        let path = path(params, route_prefix).unwrap_or_else(|error| {
            errors.push(error);
            Path::Keep
        });
        let host = host(params).unwrap_or_else(|error| {
            errors.push(error);
            Host::Keep
        });
        match errors.is_empty() {
            true => Ok(Self { path, host }),
            false => Err(errors),
        }
    }

    /// Rewrites a path without its query into `out`, which is cleared. `*`, which stands for the server as a whole, stays.
    ///
    /// # Errors
    /// [`InvalidPath`].
    pub fn path(&self, path: &[u8], out: &mut Vec<u8>) -> Result<Rewritten<'_>, InvalidPath> {
        out.clear();
        if path == b"*" {
            return Ok(Rewritten::Same);
        }
        let is_changed = match &self.path {
            Path::Keep => false,
            Path::Whole(path) => {
                out.extend_from_slice(path);
                true
            }
            Path::Prefix(prefix) => prefix.replace(path, out),
            Path::Regex(replace) => replace.replace(path, out)?,
        };
        if !is_changed {
            out.clear();
            return Ok(Rewritten::Same);
        }
        normalise_path(out).map_err(|_| InvalidPath)?;
        let removed_prefix = match &self.path {
            Path::Prefix(prefix) => prefix.removed(),
            _ => None,
        };
        Ok(Rewritten::Changed { removed_prefix })
    }

    /// The host that the backend receives.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// A path from the config, normalised.
///
/// # Errors
/// Why it is not valid.
pub(crate) fn written_path(key: &'static str, text: &str) -> Result<Box<[u8]>, BuildError> {
    let mut path = text.as_bytes().to_vec();
    match normalise_path(&mut path) {
        Ok(()) => Ok(path.into()),
        Err(_) => Err(BuildError::of(
            key,
            format!(
                "{text:?} is not a path: it begins with / and has no query, no fragment and no white space; encode other characters as in /a%20b"
            ),
        )),
    }
}

fn path(params: &Params, route_prefix: Option<&str>) -> Result<Path, BuildError> {
    if let Some(text) = params.text("path") {
        return Ok(Path::Whole(written_path("path", text)?));
    }
    if let Some(text) = params.text("path_prefix") {
        return Ok(Path::Prefix(Prefix::build(route_prefix, text)?));
    }
    if let Some(regex) = params.section("path_regex") {
        let text = |key| regex.text(key).unwrap_or_default();
        return Ok(Path::Regex(Box::new(Replace::build(
            text("match"),
            text("replace"),
        )?)));
    }
    Ok(Path::Keep)
}

fn host(params: &Params) -> Result<Host, BuildError> {
    match params.text("host") {
        None | Some("keep") => Ok(Host::Keep),
        Some("backend") => Ok(Host::Backend),
        Some(name) if check_authority(name.as_bytes()).is_ok() => Ok(Host::Name(name.into())),
        Some(name) => Err(BuildError::of(
            "host",
            format!(
                "{name:?} is not a host: write a name or an address, with a port if needed, or keep or backend"
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
