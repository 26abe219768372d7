//! The priority of threads beside the workers.

/// Beside a worker that uses a whole core, a thread of this niceness still gets a tenth of that core.
pub const NICENESS: i32 = 10;

/// Lowers the priority of this thread below that of the workers. If that is refused, it keeps their priority.
pub fn lower() {
    let _ = rustix::process::nice(NICENESS);
}
