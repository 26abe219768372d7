//! The listeners of the process: their sockets, and the settings that workers apply to new connections. A reload binds the new ones,
//! passes the changed list to the workers, and closes the removed ones.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::start_error::StartError;
use super::upgrade::Upgrade;
use crate::listener::{self, ListedListener, ListenerList, SocketShares};
use crate::net::{self, Bound, ListenAddress, StdListener};

/// A running listener: its actual address and its settings.
pub(super) type Running = (String, Arc<listener::Settings>);

/// The operation that fails when no descriptor is free, as in [`StartError::System`].
const SHARE: &str = "share a listening socket with a worker";

/// A duplicate of a listening socket for a worker, and where it is to be put.
pub(super) type NewShare = (Arc<SocketShares>, usize, StdListener);

/// The listeners of the process.
pub(super) struct Listeners {
    active: Vec<Listener>,
    running: watch::Sender<Arc<[Running]>>,
    list: watch::Sender<Arc<ListenerList>>,
}

/// A listener with its socket.
pub(super) struct Listener {
    id: usize,
    bound: Bound,
    address: ListenAddress,
    sockets: Arc<SocketShares>,
}

/// Gives the listeners of a new config their ids: that of the one with the same address, else a new one, `next` or larger.
/// Several listeners may have port 0 of one address; they keep their order.
pub(super) fn identify(before: &[listener::Settings], wanted: &mut [listener::Settings], next: usize) {
    let mut known: Vec<_> = before.iter().map(|known| (known.id, &known.address)).collect();
    let mut next = next..;
    for settings in wanted {
        let same = known
            .iter()
            .position(|(_, address)| **address == settings.address);
        let id = same.map(|same| known.remove(same).0).or_else(|| next.next());
        settings.id = id.unwrap_or(usize::MAX);
    }
}

/// A number that is larger than all ids.
pub(super) fn next_id(listeners: &[listener::Settings]) -> usize {
    let largest = listeners.iter().map(|settings| settings.id).max();
    largest.map_or(0, |id| id.saturating_add(1))
}

impl Listeners {
    /// Begins with these sockets, one for each of `wanted`, for the workers with these numbers.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn start(
        bound: Vec<Bound>,
        wanted: &[listener::Settings],
        workers: &[usize],
    ) -> Result<Self, StartError> {
        let mut listeners = Self {
            active: Vec::new(),
            running: watch::Sender::new(Arc::default()),
            list: watch::Sender::default(),
        };
        let bound = bound.into_iter().zip(wanted);
        let added = bound.map(|(bound, settings)| Listener::new(settings.id, bound, workers));
        let added = added.collect::<io::Result<_>>();
        let added = added.map_err(StartError::system(SHARE))?;
        listeners.activate(wanted, added);
        Ok(listeners)
    }

    /// What workers follow.
    pub(super) fn list(&self) -> watch::Receiver<Arc<ListenerList>> {
        self.list.subscribe()
    }

    /// The running listeners, over all reloads.
    pub(super) fn running(&self) -> watch::Receiver<Arc<[Running]>> {
        self.running.subscribe()
    }

    /// The actual addresses.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        self.active
            .iter()
            .map(|listener| listener.address.clone())
            .collect()
    }

    /// The sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Bound> {
        self.active.iter().map(|listener| &listener.bound)
    }

    /// Duplicates the sockets for workers that are started, with these numbers.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn share_with(&self, workers: &[usize]) -> Result<Vec<NewShare>, StartError> {
        let share = |listener: &Listener, worker: usize| {
            let share = listener.bound.share()?;
            Ok((Arc::clone(&listener.sockets), worker, share))
        };
        let listeners = self.active.iter();
        let shares =
            listeners.flat_map(|listener| workers.iter().map(move |&worker| share(listener, worker)));
        let shares = shares.collect::<io::Result<_>>();
        shares.map_err(StartError::system(SHARE))
    }

    /// Closes what a worker that has ended has not taken.
    pub(super) fn discard_shares(&self, worker: usize) {
        self.active
            .iter()
            .for_each(|listener| drop(listener.sockets.take(worker)));
    }

    /// Binds the addresses that only `wanted` has, and listens on them, for the workers with these numbers. Clients wait until
    /// [`Self::activate`]. Sockets that are closed then do not prevent that: those of listeners that `wanted` does not have, and
    /// `closing`.
    ///
    /// # Errors
    /// An address cannot be bound. Nothing has changed then.
    pub(super) fn prepare(
        &self,
        wanted: &[listener::Settings],
        closing: Option<&Bound>,
        workers: &[usize],
    ) -> Result<Vec<Listener>, StartError> {
        let closing: Vec<&Bound> = self.closing(wanted).chain(closing).collect();
        let added = wanted.iter().filter(|settings| self.find(settings.id).is_none());
        let bind = |settings: &listener::Settings| {
            let bound = net::listen_beside(&settings.address, closing.iter().copied());
            let listener = bound.and_then(|bound| Listener::new(settings.id, bound, workers));
            listener.map_err(|source| StartError::bind(&settings.address, source))
        };
        added.map(bind).collect()
    }

    /// The sockets of listeners that `wanted` does not have.
    pub(super) fn closing(&self, wanted: &[listener::Settings]) -> impl Iterator<Item = &Bound> {
        let is_kept = |id: usize| wanted.iter().any(|settings| settings.id == id);
        let removed = self.active.iter().filter(move |active| !is_kept(active.id));
        removed.map(|active| &active.bound)
    }

    /// Makes `wanted` the listeners of the process; `added` are those that were prepared. Returns the generation of the list that
    /// workers apply. Until they have, they may still accept for removed listeners.
    pub(super) fn activate(&mut self, wanted: &[listener::Settings], added: Vec<Listener>) -> u64 {
        let mut before = std::mem::take(&mut self.active);
        before.extend(added);
        let mut settings = Vec::new();
        for wanted in wanted {
            let Some(place) = before.iter().position(|listener| listener.id == wanted.id) else {
                continue;
            };
            self.active.push(before.remove(place));
            settings.push(self.with_running_tls(wanted.clone()));
        }
        let running: Arc<[Running]> = all(&settings, &self.addresses()).into();
        let previous = Arc::clone(&self.list.borrow());
        if *running == **self.running.borrow() {
            return previous.generation;
        }
        let listeners = running.iter().zip(&self.active);
        let listeners = listeners.map(|((_, settings), listener)| ListedListener {
            settings: Arc::clone(settings),
            sockets: Arc::clone(&listener.sockets),
        });
        let list = ListenerList {
            generation: previous.generation + 1,
            next_id: previous.next_id.max(next_id(wanted)),
            listeners: listeners.collect(),
        };
        let generation = list.generation;
        // Before a worker closes one.
        before.iter().for_each(|removed| removed.bound.begin_closing());
        self.running.send_replace(running);
        self.list.send_replace(Arc::new(list));
        for removed in before {
            tracing::info!(address = %removed.address, "No longer listening");
        }
        generation
    }

    /// Whether another process has not taken the socket of each listener.
    pub(super) fn are_unused(&self, upgrade: &Upgrade) -> Vec<bool> {
        let asked = self.active.iter().map(|listener| listener.bound.asked());
        asked.map(|address| upgrade.is_unused(address)).collect()
    }

    /// Says of each listener whether this process removes the file of its Unix socket.
    pub(super) fn own_files(&mut self, are_owned: impl IntoIterator<Item = bool>) {
        for (listener, is_owned) in self.active.iter_mut().zip(are_owned) {
            listener.bound.set_owned(is_owned);
        }
    }

    /// Closes this thread's sockets and removes the files of Unix sockets. Workers still accept. Unless another process has the
    /// sockets, no connection begins any more.
    pub(super) fn close(&mut self, is_replaced: bool) {
        for Listener { bound, .. } in self.active.drain(..).filter(|_| !is_replaced) {
            bound.begin_closing();
        }
    }

    /// A listener that keeps TLS keeps its session tickets too: it takes over certificates and settings. New handshakes use them.
    /// The TLS of `wanted` itself never changes with that of the running listener: a rollback needs it as it was.
    fn with_running_tls(&self, mut wanted: listener::Settings) -> listener::Settings {
        let Some(tls) = &wanted.tls else { return wanted };
        let running = self.running.borrow();
        let same = running.iter().find(|(_, running)| running.id == wanted.id);
        let Some(running) = same.and_then(|(_, running)| running.tls.as_ref()) else {
            wanted.tls = Some(Arc::new(tls.detached()));
            return wanted;
        };
        if let Err(error) = running.adopt(tls) {
            let address = &wanted.address;
            tracing::error!(%address, %error, "Could not apply the new TLS settings; still using the old ones");
        }
        wanted.tls = Some(Arc::clone(running));
        wanted
    }

    fn find(&self, id: usize) -> Option<&Listener> {
        self.active.iter().find(|listener| listener.id == id)
    }
}

impl Listener {
    /// For the workers with these numbers.
    fn new(id: usize, bound: Bound, workers: &[usize]) -> io::Result<Self> {
        let shares = workers.iter().map(|&worker| Ok((worker, bound.share()?)));
        let shares: Vec<_> = shares.collect::<io::Result<_>>()?;
        Ok(Self {
            id,
            address: bound.address()?,
            bound,
            sockets: SocketShares::new(shares),
        })
    }

    /// The actual address.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }
}

/// The running listeners, with their actual addresses and with the port that clients are redirected to.
fn all(listeners: &[listener::Settings], addresses: &[ListenAddress]) -> Vec<Running> {
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
    let one = |(settings, address): (&listener::Settings, &ListenAddress)| {
        let mut settings = settings.clone();
        if settings.redirect == Some(listener::Redirect::ToTls) {
            settings.redirect = Some(listener::Redirect::ToPort(port(address)));
        }
        (address.to_string(), Arc::new(settings))
    };
    listeners.iter().zip(addresses).map(one).collect()
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
            id: 0,
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
    fn a_listener_keeps_its_id_as_long_as_a_config_has_its_address() {
        let listeners = |addresses: &[&str]| -> Vec<listener::Settings> {
            let settings = |text: &&str| listener::Settings {
                id: usize::MAX,
                address: ListenAddress::Ip(text.parse().unwrap()),
                proxy_protocol: false,
                http2: true,
                tls: None,
                redirect: None,
                half_close: crate::proxy::HalfClose::default(),
            };
            addresses.iter().map(settings).collect()
        };
        let ids = |listeners: &[listener::Settings]| -> Vec<usize> {
            listeners.iter().map(|settings| settings.id).collect()
        };
        let mut first = listeners(&["10.0.0.1:1", "10.0.0.1:0", "10.0.0.1:0"]);
        identify(&[], &mut first, 0);
        assert_eq!((ids(&first), next_id(&first)), (vec![0, 1, 2], 3));
        let mut second = listeners(&["10.0.0.1:0", "10.0.0.1:2", "10.0.0.1:1"]);
        identify(&first, &mut second, 3);
        assert_eq!(ids(&second), [1, 3, 0]);
        let mut third = listeners(&["10.0.0.1:0", "10.0.0.1:0"]);
        identify(&second, &mut third, 4);
        assert_eq!(ids(&third), [1, 4], "an address that returns is a new listener");
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
