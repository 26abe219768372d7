//! The admin API of the process: its socket, and the tasks that serve it. A reload may move it to another address, give it another
//! token, and turn it on or off.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::history;
use super::start_error::StartError;
use super::view::AppState;
use crate::admin::{
    self, BackendChange, CHANGES_WAITING, COMMANDS_WAITING, Command, Control, Feeds, Settings, View,
};
use crate::net::{self, Bound, ListenAddress, StdListener};
use crate::tasks::Tasks;

/// Longest wait for running responses at the end. Streams of events do not end by themselves.
const GRACE: Duration = Duration::from_millis(250);

/// The admin API, on or off.
pub(super) struct AdminApi {
    state: Arc<AppState>,
    control: Control,
    active: Option<Active>,
    /// Closed once the server that ended last has closed its socket.
    closing: Option<oneshot::Receiver<()>>,
    /// The server, and those before it until their last responses have ended.
    servers: Tasks,
}

/// The admin API that is on.
struct Active {
    settings: Settings,
    bound: Bound,
    /// Dropped to end the server: it accepts nothing more and finishes its responses.
    stop: oneshot::Sender<()>,
    /// Closed once the server has closed its socket.
    open: oneshot::Receiver<()>,
    /// Takes samples of the traffic.
    sampler: Tasks,
}

/// What the admin API asks of the control plane. Nothing is ever received while it is off.
pub(super) struct Requests {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) changes: mpsc::Receiver<BackendChange>,
}

impl AdminApi {
    /// Begins with the admin API off.
    pub(super) fn new(state: &Arc<AppState>) -> (Self, Requests) {
        let (sender, commands) = mpsc::channel(COMMANDS_WAITING);
        let (change, changes) = mpsc::channel(CHANGES_WAITING);
        let view: Arc<dyn View> = Arc::<AppState>::clone(state);
        let control = Control {
            view,
            feeds: Feeds::new(state.events(), Arc::clone(&state.samples)),
            commands: sender,
            changes: change,
            log_level: state.log_level(),
        };
        let api = Self {
            state: Arc::clone(state),
            control,
            active: None,
            closing: None,
            servers: Tasks::default(),
        };
        (api, Requests { commands, changes })
    }

    /// The socket, if the admin API is on.
    pub(super) fn socket(&self) -> Option<&Bound> {
        self.active.as_ref().map(|active| &active.bound)
    }

    /// The socket, if it will be closed once these settings apply.
    pub(super) fn closing(&self, wanted: Option<&Settings>) -> Option<&Bound> {
        let is_kept =
            |active: &&Active| wanted.is_some_and(|wanted| wanted.address == active.settings.address);
        let active = self.active.as_ref().filter(|active| !is_kept(active));
        active.map(|active| &active.bound)
    }

    /// Binds the address of these settings, unless it is bound already, and listens on it. Sockets that are closed once the settings
    /// apply do not prevent that.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(super) fn prepare<'b>(
        &'b self,
        wanted: Option<&Settings>,
        closing: impl Iterator<Item = &'b Bound>,
    ) -> Result<Option<Bound>, StartError> {
        let Some(wanted) = wanted else { return Ok(None) };
        if self.active.is_some() && self.closing(Some(wanted)).is_none() {
            return Ok(None);
        }
        let address = &wanted.address;
        let bound = net::listen_beside(address, closing.chain(self.closing(Some(wanted))));
        let bound = bound.map_err(|source| StartError::bind(address, source).of_admin())?;
        Ok(Some(bound))
    }

    /// Applies settings: serves on the socket that was prepared, or goes on with the one that it has. Returns the address if it is
    /// another one than before.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn apply(
        &mut self,
        wanted: Option<&Settings>,
        bound: Option<Bound>,
    ) -> Result<Option<ListenAddress>, StartError> {
        let Some(wanted) = wanted else {
            self.stop();
            return Ok(None);
        };
        let is_same = |active: &Active| active.settings == *wanted && bound.is_none();
        if self.active.as_ref().is_some_and(is_same) {
            return Ok(None);
        }
        let is_moved = bound.is_some();
        let Some(used) = bound.as_ref().or(self.socket()) else {
            return Ok(None);
        };
        let address = used
            .address()
            .map_err(StartError::system("read the address of a listening socket"))?;
        let share = used
            .share()
            .map_err(StartError::system("listen for the admin API"))?;
        let (stop, open) = self.serve(share, wanted);
        let (known, sampler) = match self.active.take() {
            Some(before) => {
                // The server before ends now.
                drop(before.stop);
                self.closing = Some(before.open);
                (Some(before.bound), before.sampler)
            }
            None => (None, self.sampler()),
        };
        self.active = bound.or(known).map(|bound| Active {
            settings: wanted.clone(),
            bound,
            stop,
            open,
            sampler,
        });
        Ok(is_moved.then_some(address))
    }

    /// Says whether this process removes the file of its Unix socket.
    pub(super) fn own_file(&mut self, is_owned: bool) {
        if let Some(active) = &mut self.active {
            active.bound.set_owned(is_owned);
        }
    }

    /// Turns it off. Responses that run are finished.
    pub(super) fn stop(&mut self) {
        self.closing = self.active.take().map(|active| active.open);
    }

    /// Waits until the server that was told to end accepts no more connections and requests.
    pub(super) async fn has_closed(&mut self) {
        if let Some(closing) = self.closing.take() {
            let _ = tokio::time::timeout(GRACE, closing).await;
        }
    }

    /// Turns it off and lets running responses finish, such as the one to the request for the upgrade that ends this process.
    pub(super) async fn finish(&mut self) {
        self.stop();
        let _ = tokio::time::timeout(GRACE, self.servers.join()).await;
    }

    /// Serves until the returned sender is dropped. The receiver is closed once the socket is.
    fn serve(
        &mut self,
        socket: StdListener,
        settings: &Settings,
    ) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (open, closed) = oneshot::channel();
        let (settings, control) = (settings.clone(), self.control.clone());
        self.servers.spawn(async move {
            let stopped = async move { drop(stopped.await) };
            if let Err(error) = admin::serve(socket, &settings, control, stopped, open).await {
                tracing::error!(%error, "Admin API failed and is no longer served");
            }
        });
        (stop, closed)
    }

    fn sampler(&self) -> Tasks {
        let mut tasks = Tasks::default();
        tasks.spawn(history::sample(Arc::clone(&self.state)));
        tasks
    }
}
