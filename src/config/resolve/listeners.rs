//! Resolves `listen`, `listeners` and `admin`: every address that the process binds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::address::{self, Listening};
use super::refer;
use super::tls;
use crate::admin;
use crate::config::context::Context;
use crate::config::reader::{Reader, Written, is_off, refuse_shape, written};
use crate::config::reference::{ADMIN, LISTENER};
use crate::config::source::{Diagnostic, Origin, Span};
use crate::config::tree::{Node, Value};
use crate::listener::{self, Redirect};
use crate::net::ListenAddress;
use crate::proxy::{HalfClose, TrustedProxies};

/// Most listeners. Each is compared with every other one.
const MOST_LISTENERS: usize = 256;

/// Shortest token, in bytes, that causes no warning: 16 random characters cannot be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Reads all addresses and reports those that cannot be bound at the same time.
pub(super) fn read(
    root: &Reader<'_>,
    trusted: &TrustedProxies,
) -> (Vec<listener::Settings>, Option<admin::Settings>) {
    let plain = |listening: Listening<'_>| listener::Settings {
        address: listening.address,
        proxy_protocol: false,
        http2: true,
        tls: None,
        redirect: None,
        half_close: HalfClose::default(),
    };
    let mut all: Vec<_> = short(root)
        .into_iter()
        .map(|listening| (listening.clone(), plain(listening)))
        .collect();
    all.extend(long(root, trusted));
    let addresses: Vec<_> = all.iter().map(|(listening, _)| listening.clone()).collect();
    if !root.has_any(&["listen", "listeners"]) {
        let note = match root.cx.source.origin {
            Origin::File => "write `listen: 0.0.0.0:8080`",
            Origin::Arguments => "add `--listen 0.0.0.0:8080`",
        };
        root.cx
            .report(Diagnostic::whole("the config has no listener").note(note));
    }
    let admin = admin(root);
    let reached = admin.as_ref().map(|(address, written, _)| Listening {
        address: ListenAddress::Ip(*address),
        written: *written,
    });
    check_overlaps(root.cx, &addresses, reached.as_ref());
    let listeners = all.into_iter().map(|(_, settings)| settings).collect();
    let admin = admin.map(|(address, _, token)| admin::Settings { address, token });
    (listeners, admin)
}

fn short<'a>(root: &Reader<'a>) -> Vec<Listening<'a>> {
    let Some(node) = root.node("listen") else {
        return Vec::new();
    };
    let nodes = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    check_number(root, "listen", node.span, nodes);
    let read_one = |node: &'a Node| match written(node) {
        Some(written) => address::read(root, "listen", written),
        None => {
            root.refuse_node("listen", node);
            None
        }
    };
    nodes.iter().take(MOST_LISTENERS).filter_map(read_one).collect()
}

fn long<'a>(root: &Reader<'a>, trusted: &TrustedProxies) -> Vec<(Listening<'a>, listener::Settings)> {
    let Some(items) = root.list("listeners") else {
        return Vec::new();
    };
    if let Some(span) = root.key_span("listeners") {
        check_number(root, "listeners", span, items);
    }
    let read_one = |item: &'a Node| {
        let reader = Reader::open(root.cx, &LISTENER, item)?;
        reader.require("address");
        let listening = address::read(&reader, "address", reader.text("address")?);
        let http2 = reader.flag("http2", None);
        let tls = tls::listener(&reader, http2).map(Arc::new);
        let redirect = redirect(&reader);
        let half_close = match reader.choice("client_half_close", None) {
            "serve" => HalfClose::Serve,
            _ => HalfClose::Abort,
        };
        let proxy_protocol = reader.flag("proxy_protocol", None);
        let listening = listening?;
        if proxy_protocol {
            check_trust(&reader, &listening, trusted);
        }
        let settings = listener::Settings {
            address: listening.address.clone(),
            proxy_protocol,
            http2,
            tls,
            redirect,
            half_close,
        };
        Some((listening, settings))
    };
    items.iter().take(MOST_LISTENERS).filter_map(read_one).collect()
}

/// Reads `redirect_to_https`.
fn redirect(reader: &Reader<'_>) -> Option<Redirect> {
    let written = reader.text("redirect_to_https")?;
    let redirect = match (written.text, written.text.parse()) {
        ("false", _) => return None,
        ("true", _) => Redirect::ToTls,
        (_, Ok(port @ 1..)) => Redirect::ToPort(port),
        _ => {
            reader.refuse("redirect_to_https", written, None);
            return None;
        }
    };
    let tls = reader.node("tls").map(|node| &node.value);
    if tls.is_some_and(|value| matches!(value, Value::Map(_))) {
        let message =
            "`redirect_to_https` cannot be used with `tls`: requests to this listener already use HTTPS";
        let note = "write `redirect_to_https` in the listener for plain HTTP";
        reader
            .cx
            .report(Diagnostic::error(written.span, message).note(note));
    }
    Some(redirect)
}

/// Reports `proxy_protocol` without trusted proxies. A Unix socket needs none, since its file mode controls access.
fn check_trust(reader: &Reader<'_>, listening: &Listening<'_>, trusted: &TrustedProxies) {
    let is_file = matches!(listening.address, ListenAddress::Unix(_));
    if let (false, true, Some(span)) = (
        is_file,
        trusted.blocks.is_empty(),
        reader.key_span("proxy_protocol"),
    ) {
        let message = "`proxy_protocol: true` requires `trusted_proxies`";
        let note = "list the addresses of the proxies, such as `trusted_proxies: [10.0.0.0/8]`";
        reader.cx.report(Diagnostic::error(span, message).note(note));
    }
}

fn check_number(root: &Reader<'_>, key: &str, span: Span, items: &[Node]) {
    if items.is_empty() {
        root.cx
            .report(Diagnostic::error(span, format!("`{key}` is empty")).note("write at least one address"));
    } else if items.len() > MOST_LISTENERS {
        root.cx.report(Diagnostic::error(
            span,
            format!("`{key}` has more than {MOST_LISTENERS} items"),
        ));
    }
}

/// The address of the admin API, the text it was read from, and the token.
type Admin<'a> = (SocketAddr, Option<Written<'a>>, Option<String>);

fn admin<'a>(root: &Reader<'a>) -> Option<Admin<'a>> {
    let absent = Reader::absent(root.cx, &ADMIN);
    let default = || default_address();
    let Some(node) = root.node("admin") else {
        return Some((default()?, None, None));
    };
    match &node.value {
        value if is_off(value) => None,
        Value::Text(_) => {
            let written = written(node)?;
            let address = address::read_ip(root, "admin", written)?;
            let token = token(&absent);
            check_reach(root.cx, (address, Some(written)), false);
            Some((address, Some(written), token))
        }
        Value::Map(_) => {
            let reader = Reader::open(root.cx, &ADMIN, node)?;
            let written = reader.text("address");
            let address = match written {
                Some(written) => address::read_ip(&reader, "address", written),
                None => default(),
            };
            let token = token(&reader);
            let has_token = token.is_some() || is_token_refused(&reader);
            let address = address?;
            check_reach(root.cx, (address, written), has_token);
            Some((address, written, token))
        }
        _ => {
            root.refuse_node("admin", node);
            None
        }
    }
}

fn default_address() -> Option<SocketAddr> {
    address::parse(ADMIN.key("address")?.default_text())
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

fn check_reach(cx: &Context<'_>, (address, written): (SocketAddr, Option<Written<'_>>), has_token: bool) {
    let is_loopback = address.ip().to_canonical().is_loopback();
    let Some(written) = written.filter(|_| !is_loopback && !has_token) else {
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

fn check_overlaps(cx: &Context<'_>, listeners: &[Listening<'_>], admin: Option<&Listening<'_>>) {
    for (index, later) in listeners.iter().enumerate() {
        let earlier = listeners
            .iter()
            .take(index)
            .find(|earlier| earlier.overlaps(later));
        if let (Some(written), Some(other)) = (later.written, earlier.and_then(|other| other.written)) {
            let message = format!("this listener overlaps with {}", refer(cx, other));
            cx.report(Diagnostic::error(written.span, message));
        }
    }
    let Some(admin) = admin else { return };
    let Some(listener) = listeners.iter().find(|listener| listener.overlaps(admin)) else {
        return;
    };
    match (admin.written, listener.written) {
        (Some(written), Some(other)) => {
            let message = format!("the admin API overlaps with the listener {}", refer(cx, other));
            cx.report(Diagnostic::error(written.span, message));
        }
        (None, Some(written)) => {
            let message = format!(
                "this listener overlaps with the admin API at its default address {}",
                admin.address
            );
            cx.report(
                Diagnostic::error(written.span, message)
                    .note("use another address for one of them, or write `admin: off`"),
            );
        }
        _ => {}
    }
}
