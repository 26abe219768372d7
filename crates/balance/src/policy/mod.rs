//! Policies: checks and changes that a route applies to its requests, one file each, and the table that names them. Pure: what
//! has to wait for something, such as another server, says so, and whoever drives it does the waiting.
//!
//! The order of the policies of a route is fixed by [`Order`], whatever the config says: the cheapest refusals come first, and
//! what needs an identity comes after what proves it.

mod basic_auth;
mod body_limit;
mod compress;
mod concurrency;
mod cors;
mod decision;
mod error_pages;
mod feed;
mod forward_auth;
mod gcra;
mod identity;
mod ip;
mod jwt;
mod key_table;
mod limit_memory;
mod rate_limit;
mod shared_limit;
mod verified;

use std::fmt::{self, Debug};
use std::sync::Arc;

pub use crate::notes::{Claim, Edit, Notes};
pub use compress::{Compression, Outcome, ResponseFacts};
pub use decision::{AskedServer, Compute, Decision, Fetch, Fetched, Job, Refusal};
pub use error_pages::{ErrorPages, FilePage, Page};
pub use feed::{Apply, Feed, FeedError, Source};
pub use shared_limit::{SharedLimit, Usage};

use crate::kept::KeptBuilder;
use crate::request::Request;
use crate::schema::{Key, Params, Row, RowForm, Table};

/// A policy of a route. Shared by all workers.
pub trait Policy: Debug + Send + Sync {
    /// Decides about a request before a backend is chosen. What the policy finds out or wants changed goes into `notes`.
    fn check(&self, request: &Request<'_>, notes: &mut Notes) -> Decision;

    /// Decides again, with the result of the job that [`Self::check`] or this function had asked for.
    fn resume(&self, request: &Request<'_>, notes: &mut Notes, done: Job) -> Decision {
        let _ = (request, notes, done);
        Decision::Continue
    }

    /// The pages that take the place of the bodies of errors.
    fn error_pages(&self) -> Option<&ErrorPages> {
        None
    }

    /// How it compresses responses, if it does.
    fn compression(&self) -> Option<&Compression> {
        None
    }

    /// Data that the policy needs from files or other servers, which is read again in the background.
    fn feeds(&self) -> Vec<Feed> {
        Vec::new()
    }

    /// The server that it asks with [`Job::Fetch`], if it does.
    fn fetches(&self) -> Option<AskedServer<'_>> {
        None
    }

    /// The limit that instances share through a store, if the policy is one.
    fn shared_limit(&self) -> Option<Arc<SharedLimit>> {
        None
    }
}

/// When a policy acts, in the order of the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Lists of addresses.
    Address,
    /// Preflight requests of browsers, which carry no credentials.
    Preflight,
    /// Limits by address, header, cookie or query.
    Limit,
    /// The size of the request body.
    BodySize,
    /// Who the client is.
    Identity,
    /// Limits by what identified the client.
    LimitOfIdentity,
    /// The response: pages in place of errors, and compression.
    Response,
}

/// What a policy is built from.
pub struct Context<'a> {
    /// Its name in the config. An inline policy has the name of its route and its kind.
    pub name: &'a str,
    /// Its parameters, validated against the keys of its row.
    pub params: &'a Params,
    /// State that outlives a reload: ask by `policy/NAME`.
    pub kept: &'a mut KeptBuilder,
}

/// A row of the table of policies.
pub struct PolicyEntry {
    /// Its name in the config.
    pub name: &'static str,
    /// One line for the docs.
    pub summary: &'static str,
    /// Its parameters.
    pub keys: &'static [Key],
    /// When it acts.
    pub order: fn(&Params) -> Order,
    /// The error codes of its refusals, each with its meaning and status.
    pub codes: &'static [(&'static str, &'static str)],
    /// Builds the policy.
    ///
    /// # Errors
    /// What is wrong with the parameters, for the person who wrote them.
    pub build: fn(Context<'_>) -> Result<Box<dyn Policy>, BuildError>,
}

/// Why a policy could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// The key with the invalid value; `None` for the policy as a whole.
    pub key: Option<&'static str>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl BuildError {
    /// An error of one key.
    pub fn of(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key: Some(key),
            message: message.into(),
        }
    }
}

impl PartialEq for PolicyEntry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Debug for PolicyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All policies that the config accepts, in the order in which the docs list them.
pub static POLICIES: &[PolicyEntry] = &[
    PolicyEntry {
        name: "ip",
        summary: "allows or denies clients by their address",
        keys: ip::KEYS,
        order: |_| Order::Address,
        codes: ip::CODES,
        build: ip::build,
    },
    PolicyEntry {
        name: "error_pages",
        summary: "replaces the bodies of error responses with pages for people",
        keys: error_pages::KEYS,
        order: |_| Order::Response,
        codes: &[],
        build: error_pages::build,
    },
    PolicyEntry {
        name: "basic_auth",
        summary: "checks user names and passwords",
        keys: basic_auth::KEYS,
        order: |_| Order::Identity,
        codes: basic_auth::CODES,
        build: basic_auth::build,
    },
    PolicyEntry {
        name: "jwt",
        summary: "verifies JSON Web Tokens",
        keys: jwt::KEYS,
        order: |_| Order::Identity,
        codes: jwt::CODES,
        build: jwt::build,
    },
    PolicyEntry {
        name: "forward_auth",
        summary: "asks another server whether a request may pass",
        keys: forward_auth::KEYS,
        order: |_| Order::Identity,
        codes: forward_auth::CODES,
        build: forward_auth::build,
    },
    PolicyEntry {
        name: "compress",
        summary: "compresses responses for clients that accept it",
        keys: compress::KEYS,
        order: |_| Order::Response,
        codes: &[],
        build: compress::build,
    },
    PolicyEntry {
        name: "rate_limit",
        summary: "limits the rate of requests of each client, header value or user",
        keys: rate_limit::KEYS,
        order: rate_limit::order,
        codes: rate_limit::CODES,
        build: rate_limit::build,
    },
    PolicyEntry {
        name: "concurrency",
        summary: "limits the requests in flight of each client, header value or user",
        keys: concurrency::KEYS,
        order: rate_limit::order,
        codes: concurrency::CODES,
        build: concurrency::build,
    },
    PolicyEntry {
        name: "body_limit",
        summary: "limits the size of request bodies",
        keys: body_limit::KEYS,
        order: |_| Order::BodySize,
        codes: body_limit::CODES,
        build: body_limit::build,
    },
    PolicyEntry {
        name: "cors",
        summary: "lets pages of other origins read responses, and answers their preflight requests",
        keys: cors::KEYS,
        order: |_| Order::Preflight,
        codes: &[],
        build: cors::build,
    },
];

/// The same table, as the config reads it.
pub const TABLE: Table = Table {
    what: "policy",
    form: RowForm::Name,
    rows: || {
        let row = |entry: &PolicyEntry| Row {
            name: entry.name,
            summary: entry.summary,
            keys: entry.keys,
        };
        POLICIES.iter().map(row).collect()
    },
};

/// The policy with this name.
pub fn by_name(name: &str) -> Option<&'static PolicyEntry> {
    POLICIES.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for entry in POLICIES {
            assert!(std::ptr::eq(by_name(entry.name).unwrap(), entry));
            assert!(!entry.summary.is_empty() && !entry.summary.contains('\n'));
        }
        assert!(by_name("magic").is_none());
        assert_eq!(TABLE.names().len(), POLICIES.len());
    }

    #[test]
    fn error_codes_are_words_of_one_policy_only() {
        let mut codes: Vec<&str> = Vec::new();
        for (code, meaning) in POLICIES.iter().flat_map(|entry| entry.codes) {
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(!code.is_empty() && code.bytes().all(is_word), "{code}");
            assert!(meaning.contains("status"), "{code}: {meaning}");
            assert!(!codes.contains(code), "{code} is there twice");
            codes.push(code);
        }
    }
}
