//! Messages on their way, whatever protocol they came by: a connection with what was read and is to be written, reading a
//! head from it, and moving a body from one to another. The request path above knows no difference between protocols
//! but the words in which heads are written.

mod connection;
mod head;
mod outgoing;
mod transfer;

pub use connection::Connection;
pub use head::{HeadError, poll_head};
pub use outgoing::{HeadWriter, OutgoingHead, Target};
pub use transfer::{Replay, Transfer, TransferError, Waiting};
