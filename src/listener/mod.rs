//! Accepts client connections, distributes them over the workers, serves them, and closes idle ones when there is no room.

mod accept;
mod client_connection;
mod closing;
mod connection;
mod connection_tasks;
mod eviction;
mod groups;
mod handshake_permits;
mod http2;
mod listening;
mod parked;
mod proxy_header;
mod queue;
mod settings;
mod stream_tasks;
mod tls_accept;
mod worker_set;

pub use accept::Acceptor;
pub use listening::{ListedListener, ListenerList, SocketShares};
pub use settings::{Redirect, Settings};
pub use worker_set::{WorkerHandle, WorkerSet};
