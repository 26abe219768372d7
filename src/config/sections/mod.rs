//! The sections of the config, one file each: the table of its keys, `read` from the tree to the settings, and `show`
//! from the settings to what `evenkeel print-config` prints. A new key is a change to one of these files.
//!
//! Reading continues after an error, so that one run finds all of them; the result is then discarded.

mod access_log;
mod address;
mod admin;
mod backend;
mod block;
mod built;
mod certificate_time;
mod duration;
mod ejection;
mod health_check;
mod health_check_request;
mod known;
mod limits;
mod listener;
mod listener_tls;
mod lists;
mod policies;
mod policy_files;
mod pool;
mod pool_name;
mod pool_tls;
mod queue;
mod reloads;
mod retry;
mod route;
mod route_action;
mod route_changes;
mod route_host;
mod route_match;
mod source_item;
mod sticky;
mod stores;
mod strategy;
mod timeouts;
mod top_level;
mod tracing;
mod trusted_proxies;

use evenkeel_balance::{action, edits, rewrite};

use super::context::Context;
use super::reader::Written;
use super::source::Origin;
use crate::schema::Section;

pub(super) use lists::list;
pub(super) use top_level::{read, show};

/// Every section, in reading order; the file itself is the first.
pub(super) const SECTIONS: [&Section; 36] = [
    &top_level::ROOT,
    &listener::LISTENER,
    &listener_tls::LISTENER_TLS,
    &listener_tls::CERTIFICATE,
    &admin::ADMIN,
    &access_log::ACCESS_LOG,
    &access_log::SAMPLE,
    &health_check::HEALTH_CHECK,
    &health_check_request::BODY_SECTION,
    &ejection::EJECTION,
    &retry::RETRY,
    &queue::QUEUE,
    &retry::HEDGE,
    &timeouts::TIMEOUTS,
    &limits::LIMITS,
    &pool::POOL,
    &pool_tls::POOL_TLS,
    &sticky::STICKY,
    &backend::BACKEND,
    &timeouts::POOL_TIMEOUTS,
    &limits::POOL_LIMITS,
    &route::ROUTE,
    &route_match::REGEX,
    &action::SPLIT,
    &action::REDIRECT,
    &action::RESPOND,
    &rewrite::SECTION,
    &rewrite::REGEX,
    &edits::SECTION,
    &edits::HEADERS,
    &route_changes::ROUTE_TIMEOUTS,
    &route_changes::ROUTE_LIMITS,
    &action::MIRROR,
    &route::ROUTE_DEFAULTS,
    &stores::STORE,
    &tracing::TRACING,
];

/// How a message refers to another part of the config.
fn refer(cx: &Context<'_>, written: Written<'_>) -> String {
    let quote = cx.quote(written.span);
    match cx.source.origin {
        Origin::File => format!("{quote} on line {}", cx.source.line(written.span)),
        Origin::Arguments => quote,
    }
}
