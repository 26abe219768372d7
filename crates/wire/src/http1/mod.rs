//! The HTTP/1.0 and HTTP/1.1 protocol: strict parsing of heads, body framing, and descriptions of refused messages.

pub mod scan;

pub mod parse;

pub mod chunked;

mod body;
mod excerpt;
mod fault;
mod framing;
mod limits;
mod malformed;
mod piece;
mod reason;
mod rule;
mod syntax;
mod target;
mod tls;

pub use body::{BodyError, Decoder, Encoder};
pub use excerpt::{ReadSoFar, excerpt, framing_excerpt};
pub use fault::{COOKIE_LINES, Exceeded, Fault, FaultPlace};
pub use framing::content_length;
pub use limits::Limits;
pub use malformed::Malformed;
pub use parse::{check_method, request as parse_request, response as parse_response};
pub use piece::Piece;
pub use reason::reason_phrase;
pub use rule::Rule;
pub use scan::{HeadScan, Kind};
pub use syntax::is_token;
pub use target::{Target, check_authority, normalise_path, parse as parse_target};
pub use tls::{expects_tls, is_tls_alert};
