//! The running listeners: configured settings completed by actual addresses and the port of redirects.

use std::sync::Arc;

use crate::listener;
use crate::net::ListenAddress;

/// A running listener: its actual address and its settings.
pub(super) type Running = (String, Arc<listener::Settings>);

/// The running listeners, with their actual addresses and with the port that clients are redirected to.
pub(super) fn all(listeners: &[listener::Settings], addresses: &[ListenAddress]) -> Vec<Running> {
    let with_tls = || {
        let both = listeners.iter().zip(addresses);
        both.filter(|(settings, _)| settings.tls.is_some())
            .filter_map(|(_, address)| address.ip())
    };
    // A Unix socket has no port: its clients are redirected to the port of another listener.
    let port = |of: &ListenAddress| {
        let usual = with_tls().find(|address| address.port() == 443);
        let its = of.ip().map(|address| address.ip());
        let near = || with_tls().find(|address| Some(address.ip()) == its);
        let found = usual.or_else(near).or_else(|| with_tls().next());
        found.map_or(443, |address| address.port())
    };
    let one = |(index, (settings, address)): (usize, (&listener::Settings, &ListenAddress))| {
        let mut settings = settings.clone();
        settings.index = index;
        if settings.redirect == Some(listener::Redirect::ToTls) {
            settings.redirect = Some(listener::Redirect::ToPort(port(address)));
        }
        (address.to_string(), Arc::new(settings))
    };
    listeners.iter().zip(addresses).enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Redirect;
    use crate::tls::testing::{Authority, Folder};
    use crate::tls::{ClientAuth, Files, Server, ServerSettings};

    /// The redirect of the first listener. A listener has TLS when its address ends in `s`.
    fn resolved(redirect: Redirect, addresses: &[&str]) -> Option<Redirect> {
        let folder = Folder::new();
        folder.put("a", &Authority::new().sign_for(&["a.test"]));
        let files = Files {
            cert: folder.path().join("a.pem"),
            key: folder.path().join("a.key"),
        };
        let tls = Server::load(ServerSettings {
            certificates: vec![files],
            client_ca: None,
            client_auth: ClientAuth::None,
            http2: true,
        });
        let tls = Arc::new(tls.unwrap());
        let settings = |text: &&str| listener::Settings {
            index: 0,
            address: ListenAddress::Ip(text.trim_end_matches('s').parse().unwrap()),
            proxy_protocol: false,
            http2: true,
            tls: text.ends_with('s').then(|| Arc::clone(&tls)),
            redirect: (!text.ends_with('s')).then_some(redirect),
            half_close: crate::proxy::HalfClose::default(),
        };
        let listeners: Vec<_> = addresses.iter().map(settings).collect();
        let addresses: Vec<_> = listeners
            .iter()
            .map(|settings| settings.address.clone())
            .collect();
        all(&listeners, &addresses)[0].1.redirect
    }

    #[test]
    fn clients_are_redirected_to_the_port_of_a_listener_with_tls() {
        for (addresses, port) in [
            (&["10.0.0.1:80"][..], 443),
            (&["10.0.0.1:80", "10.0.0.1:443s"], 443),
            (&["10.0.0.1:80", "10.0.0.1:8443s", "10.0.0.2:443s"], 443),
            (&["10.0.0.1:80", "10.0.0.2:7443s", "10.0.0.1:8443s"], 8443),
            (&["10.0.0.1:80", "10.0.0.2:7443s", "10.0.0.2:8443s"], 7443),
        ] {
            let sent = resolved(Redirect::ToTls, addresses);
            assert_eq!(sent, Some(Redirect::ToPort(port)), "{addresses:?}");
        }
        let sent = resolved(Redirect::ToPort(444), &["10.0.0.1:80", "10.0.0.1:8443s"]);
        assert_eq!(sent, Some(Redirect::ToPort(444)), "as configured");
    }
}
