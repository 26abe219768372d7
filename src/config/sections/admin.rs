//! `admin`: the address of the admin API, and its token.

use std::net::{Ipv4Addr, SocketAddr};

use super::address::{self, LISTEN_ADDRESS, Listening};
use crate::admin;
use crate::config::context::Context;
use crate::config::print::{Item, map, masked, text, word};
use crate::config::reader::{Reader, is_off, refuse_shape, written};
use crate::config::source::{Diagnostic, Origin};
use crate::config::tree::{Node, Value};
use crate::net::ListenAddress;
use crate::schema::{Form, Key, Kind, Section};

/// `admin` as a map.
pub(super) const ADMIN: Section = Section {
    name: "admin",
    about: "The admin API, which includes the metrics. `admin: ADDRESS` is the short form of a map with only `address`.",
    keys: &[
        Key::new(
            "address",
            LISTEN_ADDRESS,
            "IP address and port, where port 0 is any free port; or a Unix socket, to which its owner and group may connect.",
        )
        .default("127.0.0.1:9900"),
        Key::new(
            "token",
            Kind::Text(Form::new("visible ASCII characters").matching("^[!-~]+$")),
            "The bearer token that requests must have. Required when `address` is neither a loopback address nor a Unix socket. Use a variable, such as `${EVENKEEL_TOKEN}`.",
        )
        .words(&["none"])
        .default("none")
        .secret(),
    ],
};

/// Shortest token, in bytes, that causes no warning: 16 random characters cannot be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The address of the admin API, and the token.
pub(super) type Admin<'a> = (Listening<'a>, Option<String>);

/// Reads the address and the token. `None` when the admin API is off, or its address is invalid, which is reported.
pub(super) fn read<'a>(root: &Reader<'a>) -> Option<Admin<'a>> {
    let absent = Reader::absent(root.cx, &ADMIN);
    let default = || default_address();
    let Some(node) = root.node("admin") else {
        return Some((default()?, None));
    };
    match &node.value {
        value if is_off(value) => None,
        Value::Text(_) => {
            let written = written(node)?;
            let listening = address::read(root, "admin", written)?;
            let token = token(&absent);
            check_reach(root.cx, &listening, false);
            Some((listening, token))
        }
        Value::Map(_) => {
            let reader = Reader::open(root.cx, &ADMIN, node)?;
            let listening = match reader.text("address") {
                Some(written) => address::read(&reader, "address", written),
                None => default(),
            };
            let token = token(&reader);
            let has_token = token.is_some() || is_token_refused(&reader);
            let listening = listening?;
            check_reach(root.cx, &listening, has_token);
            Some((listening, token))
        }
        _ => {
            root.refuse_node("admin", node);
            None
        }
    }
}

/// Prints the admin API; `None` is off.
pub(super) fn show(settings: Option<&admin::Settings>) -> Item {
    let Some(settings) = settings else {
        return word("off");
    };
    let token = match settings.token {
        Some(_) => masked(),
        None => word("none"),
    };
    map([("address", text(&settings.address.to_string())), ("token", token)])
}

fn default_address() -> Option<Listening<'static>> {
    let address = address::parse(ADMIN.key("address")?.default_text())?;
    Some(Listening {
        address: ListenAddress::Ip(address),
        written: None,
    })
}

/// Whether an invalid token was written, which is already reported. Its absence is then not reported as well.
fn is_token_refused(reader: &Reader<'_>) -> bool {
    let is_none = |node: &Node| written(node).is_some_and(|written| written.text == "none");
    reader.has("token") && !reader.node("token").is_some_and(is_none)
}

/// Reads the token. No message shows it.
fn token(reader: &Reader<'_>) -> Option<String> {
    let node = reader.node("token")?;
    let Some(written) = written(node) else {
        refuse_shape(reader.cx, node, "visible ASCII characters");
        return None;
    };
    if written.text == "none" {
        return None;
    }
    if written.text.is_empty() || !written.text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            "invalid value for `token`: it must consist of visible ASCII characters, without spaces";
        reader.cx.report(Diagnostic::error(node.span, message));
        return None;
    }
    if written.text.len() < SHORTEST_TOKEN {
        let message = format!(
            "`token` is shorter than {SHORTEST_TOKEN} characters and can be guessed: use a longer one"
        );
        reader.cx.report(Diagnostic::warning(node.span, message));
    }
    Some(written.text.to_owned())
}

/// Reports an address that others can reach without a token. The file mode of a Unix socket controls access.
fn check_reach(cx: &Context<'_>, listening: &Listening<'_>, has_token: bool) {
    let Some(address) = listening.address.ip() else {
        return;
    };
    let is_loopback = address.ip().to_canonical().is_loopback();
    let Some(written) = listening.written.filter(|_| !is_loopback && !has_token) else {
        return;
    };
    let message = format!(
        "the admin API at {} is reachable from other machines and requires a `token`",
        cx.quote(written.span)
    );
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
    let note = match cx.source.origin {
        Origin::File => {
            format!(
                "write `admin: {{ address: …, token: \"${{EVENKEEL_TOKEN}}\" }}`, or a loopback address such as `{local}`"
            )
        }
        Origin::Arguments => {
            format!("write a loopback address such as `{local}`; a token requires a config file")
        }
    };
    cx.report(Diagnostic::error(written.span, message).note(note));
}
