//! The HTTP/2 protocol: the state machine of a connection, its frames, and heads as lists of fields. Heads obey the rules of
//! [`http1`](crate::http1). In reading order: [`Stream`] is one of its streams; [`Engine`] is the state machine; `frame` is
//! its alphabet; `head` reads and writes heads.

mod stream;

mod engine;

mod frame;

mod fields;
mod head;
mod refused;

mod budget;
mod history;
mod reason;

pub use engine::{BrokeOff, Engine, IncomingRequest, ReceiveContext, ResetReason, Response};
pub use fields::{HeadField, HeadFields};
pub use frame::{is_begin_of_server, may_begin_head};
pub use reason::Reason;
pub use stream::{HeadResult, Stream};
