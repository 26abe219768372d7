//! Messages in transit, whatever their protocol: a connection with its unread input and its output, reading heads from it,
//! writing heads to it, and moving a body from one connection to another. The request path above asks a connection what its
//! protocol allows, and writes heads without knowing their form: it names no protocol.

mod collect;
mod connection;
mod evidence;
mod filter;
mod head;
mod new_connection;
mod outgoing;
mod protocol;
mod response;
mod transfer;
mod tunnel;

pub use crate::http1::{BodyError, HeadScan, Limits, Malformed, ReadSoFar, reason_phrase};

pub use collect::Collect;
pub use connection::Connection;
pub use evidence::Evidence;
pub use head::{AwaitedHead, HeadError, poll_head};
pub use new_connection::{NewConnection, SharedConnection};
pub(crate) use outgoing::name;
pub use outgoing::{HeadWriter, OutgoingHead, OwnName, Target};
pub use protocol::{RequestFate, explain_break, framing_for, may_have_trailers};
pub use response::{AwaitedResponse, ResponseError, poll_response};
pub use transfer::{Replay, Transfer, TransferError, Waiting};
pub use tunnel::{BrokenEnd, Relayed, Tunnel};
