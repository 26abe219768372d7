//! Messages in transit, whatever their protocol: a connection with its unread input and its output, reading heads from it,
//! writing heads to it, and moving a body from one connection to another. The request path above asks a connection what its
//! protocol allows, and writes heads without knowing their form.

mod connection;
mod filter;
mod head;
mod outgoing;
mod protocol;
mod response;
mod transfer;

pub use crate::http2::BrokeOff;
pub use connection::Connection;
pub use head::{HeadError, poll_head};
pub(crate) use outgoing::name;
pub use outgoing::{HeadWriter, OutgoingHead, OwnName, Target};
pub use protocol::RequestFate;
pub use response::{ResponseError, poll_response};
pub use transfer::{Replay, Transfer, TransferError, Waiting};
