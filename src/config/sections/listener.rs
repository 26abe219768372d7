//! `listen` and an item of `listeners`: every address where clients connect.

use std::sync::Arc;

use super::address::{self, LISTEN_ADDRESS, Listening};
use super::{admin, listener_tls, refer};
use crate::config::context::Context;
use crate::config::print::{Item, map, text, word};
use crate::config::reader::{Reader, written};
use crate::config::source::{Diagnostic, Origin, Span};
use crate::config::tree::{Node, Value};
use crate::listener::{self, Redirect};
use crate::net::ListenAddress;
use crate::proxy::{HalfClose, TrustedProxies};
use crate::schema::{Key, Kind, Section};

/// An item of `listeners`.
pub(super) const LISTENER: Section = Section {
    name: "listeners[]",
    about: "One address where clients connect. Addresses must not be the same or overlap (`0.0.0.0:80` includes `127.0.0.1:80`).",
    keys: &[
        Key::new(
            "address",
            LISTEN_ADDRESS,
            "IP address and port; port 0 is any free port. `:8080` is `0.0.0.0:8080`; `[::]` is IPv6 only. `unix:PATH` is a Unix socket, created with mode 0660: a stale socket at this path is replaced, and the socket is removed when the process stops.",
        )
        .required(),
        listener_tls::KEY,
        Key::new(
            "http2",
            Kind::Flag,
            "Whether clients may use HTTP/2: with TLS if ALPN selects it, without TLS if a connection starts with the HTTP/2 preface.",
        )
        .default("true"),
        Key::new(
            "proxy_protocol",
            Kind::Flag,
            "Whether every connection begins with a PROXY header, version 1 or 2, that names the client. It is accepted only from `trusted_proxies`, which are then required, or on a Unix socket, where the permissions of the file control access. A connection without it, or from another address, is closed.",
        )
        .default("false"),
        Key::new(
            "redirect_to_https",
            Kind::Either(&Kind::Flag, &Kind::Count { least: 1, most: 65_535 }),
            "Whether requests are redirected (308) to the same URL with `https`. A number is the port to redirect to. `true` is port 443 if a listener with TLS uses it or none exists, else the port of the first listener with TLS of the same address, or of any address. Requests that a trusted proxy received over HTTPS, and those below `/.well-known/acme-challenge/`, are not redirected.",
        )
        .default("false"),
        Key::new(
            "client_half_close",
            Kind::Choice(&["abort", "serve"]),
            "What to do when an HTTP/1 client closes its sending side while it waits for the response or receives it. `abort`: treat the client as gone, abort the request at the backend and log status 499. `serve`: still send the response. A client that closes its sending side together with its request or directly after it, before the response begins, as `printf … | nc -N` does, is always served.",
        )
        .default("abort"),
    ],
};

/// Most listeners. Each is compared with every other one.
const MOST_LISTENERS: usize = 256;

/// Reads `listen`, `listeners` and `admin`, and reports addresses that cannot be bound at the same time.
pub(super) fn read(
    root: &Reader<'_>,
    trusted: &TrustedProxies,
) -> (Vec<listener::Settings>, Option<crate::admin::Settings>) {
    let plain = |listening: Listening<'_>| listener::Settings {
        id: 0,
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
    let admin = admin::read(root);
    check_overlaps(
        root.cx,
        &addresses,
        admin.as_ref().map(|(listening, _)| listening),
    );
    let listeners = all.into_iter().enumerate();
    let listeners = listeners.map(|(id, (_, settings))| listener::Settings { id, ..settings });
    let listeners = listeners.collect();
    let admin = admin.map(|(listening, token)| crate::admin::Settings {
        address: listening.address,
        token,
    });
    (listeners, admin)
}

/// Prints an item of `listeners`.
pub(super) fn show(settings: &listener::Settings) -> Item {
    map([
        ("address", text(&settings.address.to_string())),
        ("tls", listener_tls::show(settings.tls.as_deref())),
        ("http2", word(settings.http2)),
        ("proxy_protocol", word(settings.proxy_protocol)),
        (
            "redirect_to_https",
            match settings.redirect {
                None => word(false),
                Some(Redirect::ToTls) => word(true),
                Some(Redirect::ToPort(port)) => word(port),
            },
        ),
        (
            "client_half_close",
            word(match settings.half_close {
                HalfClose::Abort => "abort",
                HalfClose::Serve => "serve",
            }),
        ),
    ])
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
        let tls = listener_tls::read(&reader, http2).map(Arc::new);
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
            id: 0,
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
