//! The upgrade of the running binary: this process starts its program again and passes it all listening sockets. The new process
//! builds everything, says that it is ready, is told to serve, and says that it does; only then does this one stop accepting.
//! The sockets are shared, so a connection that waits in their queue is accepted by either process.
//!
//! Both talk over a Unix socket that the new process is started with as its standard input. No other child can inherit
//! anything, because descriptors are passed as messages.

mod launch;
mod new_process;
mod old_process;
mod table;

pub use launch::Launch;
pub(super) use new_process::Inherited;
pub(super) use old_process::{Sockets, Upgrade};

/// Tells a process that it is started for an upgrade.
const VARIABLE: &str = "EVENKEEL_UPGRADE";
/// From the new process: everything is built.
const READY: &[u8] = b"r";
/// To the new process: serve.
const SERVE: &[u8] = b"s";
/// To the new process: end, you are not needed.
const GIVE_UP: &[u8] = b"n";
/// From the new process: it accepts. The addresses of the sockets that it has not taken follow, as JSON; older versions do not say
/// them.
const SERVING: &[u8] = b"a";
