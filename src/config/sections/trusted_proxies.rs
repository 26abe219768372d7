//! `trusted_proxies`: whose forwarding headers and PROXY headers are trusted.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::block;
use crate::config::context::Context;
use crate::config::print::{Item, text, word};
use crate::config::reader::{Reader, refuse_shape, written};
use crate::config::source::Diagnostic;
use crate::config::tree::Node;
use crate::proxy::TrustedProxies;
use crate::schema::{Form, Key, Kind};

/// The key of the top level.
pub(super) const KEY: Key = Key::new(
            "trusted_proxies",
            Kind::List(&Kind::Text(Form::new(ACCEPTED).matching(r"^(unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$"))),
            "The proxies whose `X-Forwarded-*` headers and PROXY headers are trusted. `unix` is every client of a Unix socket; it applies to `X-Forwarded-*` only.",
        )
        .default("[]");

/// The accepted items.
const ACCEPTED: &str = "an IP address, a CIDR block such as 10.0.0.0/8, or unix";

/// Reads the key of the top level.
pub(super) fn read(root: &Reader<'_>) -> TrustedProxies {
    let is_unix = |item: &&Node| written(item).is_some_and(|written| written.text == "unix");
    let items = root.list("trusted_proxies").unwrap_or_default().iter();
    let (files, blocks): (Vec<_>, Vec<_>) = items.partition(is_unix);
    TrustedProxies {
        blocks: blocks
            .into_iter()
            .filter_map(|item| read_block(root.cx, item))
            .collect(),
        unix: !files.is_empty(),
    }
}

/// Prints the addresses, and `unix` last.
pub(super) fn show(trusted: &TrustedProxies) -> Item {
    let blocks = trusted.blocks.iter().map(|block| text(&block.to_string()));
    Item::Line(blocks.chain(trusted.unix.then(|| word("unix"))).collect())
}

fn read_block(cx: &Context<'_>, item: &Node) -> Option<IpNet> {
    let Some(written) = written(item) else {
        refuse_shape(cx, item, ACCEPTED);
        return None;
    };
    let block = block::read(cx, written);
    if block.is_none() {
        let message = format!("{} is not an IP address or CIDR block", cx.quote(item.span));
        let hint = block_hint(written.text).filter(|_| !written.is_expanded);
        cx.report(
            Diagnostic::error(item.span, message)
                .note_if(hint)
                .note(format!("accepted: {ACCEPTED}")),
        );
    }
    block
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
