//! Whether the container ends with this process: it is its process 1, or it was started by an init program, such as tini, that ends
//! with it. It is neither where a service manager starts it.

use std::os::unix::fs::MetadataExt as _;
use std::{env, fs, process};

use rustix::process::{Pid, getpid, getppid, set_child_subreaper};

/// The inode of the pid namespace of the machine: `PROC_PID_INIT_INO` of the kernel, the same on every machine.
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Whether this is the first process of a container.
pub(super) fn is_first_of_container() -> bool {
    process::id() == 1 || (is_in_container() && is_started_by_init() && !is_notifying())
}

/// Makes the kernel give the orphans of this process to it, as to process 1. An init program that is process 1 would get them otherwise.
pub(super) fn adopt_orphans() {
    if process::id() != 1
        && let Err(error) = set_child_subreaper(Some(getpid()))
    {
        tracing::warn!(%error, "Could not become the parent of orphaned processes; after a second upgrade the container may end early");
    }
}

/// Whether the pid namespace is another than that of the machine. `false` where `/proc` does not tell.
fn is_in_container() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() != INITIAL_NAMESPACE)
}

/// Whether the parent is process 1, or in another namespace: the container's runtime, where containers share process ids.
fn is_started_by_init() -> bool {
    getppid().is_none_or(Pid::is_init)
}

/// Whether a service manager follows the process that serves by what it is told: systemd, in a container that is a whole machine.
fn is_notifying() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}
