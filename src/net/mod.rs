//! Sockets: connecting to a backend and resolving its name.

mod dial;
mod lookup;
mod resolve;

pub use dial::{DialError, dial};
pub use lookup::Lookup;
pub use resolve::resolve;

/// Bound of addresses that one name can have: more are not tried within one attempt.
pub const MAX_ADDRESSES: usize = 8;
