//! Resolves the parsed tree into a [`Config`]. Continues after an error, so that one run finds all of them; the result is
//! then discarded.

mod access_log;
mod address;
mod file_item;
mod listeners;
mod lists;
mod pool_name;
mod pools;
mod routes;
mod rules;
mod tls;

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::context::Context;
use super::reader::{Reader, Written, refuse_shape, written};
use super::reference::{LIMITS, ROOT, TIMEOUTS};
use super::source::{Diagnostic, Origin};
use super::tree::{Node, Value};
use super::{Config, Workers};
use crate::pool::BackendSettings;
use crate::{http1, proxy};

/// Resolves the whole tree. The result is valid only if no error was reported.
pub(super) fn config(cx: &Context<'_>, root: Option<&Node>) -> Option<Config> {
    let Some(node) = root.filter(|node| !matches!(node.value, Value::Empty)) else {
        cx.report(
            Diagnostic::whole("the config is empty")
                .note("a minimal config:")
                .note("    listen: 0.0.0.0:8080")
                .note("    backends: [http://localhost:8001]"),
        );
        return None;
    };
    let root = Reader::open(cx, &ROOT, node)?;
    let workers = match root.optional("workers", None) {
        Some(count) => Workers::Count(usize::try_from(count).unwrap_or(usize::MAX)),
        None => Workers::Auto,
    };
    let trusted_proxies = trusted_proxies(&root);
    let (listeners, admin) = listeners::read(&root, &trusted_proxies);
    let pools = pools::read(&root, &listeners);
    let routes = routes::read(&root, &pools);
    Some(Config {
        listeners,
        workers,
        admin,
        access_log: access_log::read(&root),
        trusted_proxies,
        timeouts: client_timeouts(&root),
        limits: limits(&root),
        sources: lists::sources(&pools),
        pools: pools.into_iter().map(|pool| pool.settings).collect(),
        routes,
    })
}

/// Resolves the text of a list of backends outside the config. The result is valid only if no error was reported.
pub(super) fn backends(cx: &Context<'_>, root: Option<&Node>) -> Vec<BackendSettings> {
    lists::list(cx, root).listed
}

fn client_timeouts(root: &Reader<'_>) -> proxy::ClientTimeouts {
    let timeouts = root.section("timeouts", &TIMEOUTS);
    proxy::ClientTimeouts {
        header: timeouts.duration("client_header", None),
        idle: timeouts.duration("client_idle", None),
        drain: timeouts.duration("drain", None),
    }
}

fn limits(root: &Reader<'_>) -> proxy::Limits {
    let limits = root.section("limits", &LIMITS);
    let size = |name| usize::try_from(limits.size(name, None)).unwrap_or(usize::MAX);
    let count = |name| {
        let count = limits.optional(name, None)?;
        Some(usize::try_from(count).unwrap_or(usize::MAX))
    };
    proxy::Limits {
        connections: count("connections"),
        connections_per_client: count("connections_per_client"),
        requests_per_connection: limits.optional("requests_per_connection", None),
        message: http1::Limits {
            head: size("head"),
            line: size("line"),
            fields: size("fields"),
            chunk_extensions: size("chunk_extensions"),
            trailers: size("trailers"),
        },
        body: limits.optional("body", None),
        min_body_rate: limits.optional("min_body_rate", None),
    }
}

fn trusted_proxies(root: &Reader<'_>) -> proxy::TrustedProxies {
    let is_unix = |item: &&Node| written(item).is_some_and(|written| written.text == "unix");
    let items = root.list("trusted_proxies").unwrap_or_default().iter();
    let (files, blocks): (Vec<_>, Vec<_>) = items.partition(is_unix);
    proxy::TrustedProxies {
        blocks: blocks
            .into_iter()
            .filter_map(|item| block(root.cx, item))
            .collect(),
        unix: !files.is_empty(),
    }
}

fn block(cx: &Context<'_>, item: &Node) -> Option<IpNet> {
    let accepted = "an IP address, a CIDR block such as 10.0.0.0/8, or unix";
    let Some(written) = written(item) else {
        refuse_shape(cx, item, accepted);
        return None;
    };
    let one = written
        .text
        .parse()
        .map(|address: std::net::IpAddr| IpNet::from(address));
    let Some(block) = one.ok().or_else(|| written.text.parse().ok()) else {
        let message = format!("{} is not an IP address or CIDR block", cx.quote(item.span));
        let hint = block_hint(written.text).filter(|_| !written.is_expanded);
        cx.report(
            Diagnostic::error(item.span, message)
                .note_if(hint)
                .note(format!("accepted: {accepted}")),
        );
        return None;
    };
    if block != block.trunc() {
        let meant = (!written.is_expanded).then(|| format!("did you mean `{}`?", block.trunc()));
        cx.report(
            Diagnostic::warning(
                item.span,
                "this CIDR block has bits set after its prefix; they are ignored",
            )
            .note_if(meant),
        );
    }
    Some(block.trunc())
}

/// A suggestion for a text that is not an address or CIDR block.
fn block_hint(text: &str) -> Option<String> {
    match text {
        "*" | "all" | "any" => {
            return Some(
                "to trust every client, write `0.0.0.0/0` and `::/0`; any client can then forge its address"
                    .to_owned(),
            );
        }
        "localhost" => return Some("did you mean `127.0.0.0/8` and `::1`?".to_owned()),
        "private" | "private_ranges" => {
            return Some("write them out: `10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fd00::/8`".to_owned());
        }
        _ => {}
    }
    let (address, mask) = text.split_once('/')?;
    let (address, mask): (Ipv4Addr, Ipv4Addr) = (address.parse().ok()?, mask.parse().ok()?);
    let block = IpNet::with_netmask(address.into(), mask.into()).ok()?;
    Some(format!("did you mean `{block}`?"))
}

/// How a message refers to another part of the config.
fn refer(cx: &Context<'_>, written: Written<'_>) -> String {
    let quote = cx.quote(written.span);
    match cx.source.origin {
        Origin::File => format!("{quote} on line {}", cx.source.line(written.span)),
        Origin::Arguments => quote,
    }
}
