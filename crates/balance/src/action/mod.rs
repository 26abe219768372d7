//! What a route does with a request beside sending it to its pool: redirect it, respond to it, choose one of several pools, and
//! send a copy to another pool. Pure; whoever handles the request carries the decision out.

mod mirror;
mod redirect;
mod respond;
mod split;

pub use mirror::{MARK, Mirror, SECTION as MIRROR, shadow_host};
pub use redirect::{Matched, MissingHost, Redirect, SECTION as REDIRECT};
pub use respond::{BodyFile, MAX_BODY, Respond, SECTION as RESPOND};
pub use split::{Cursor, SECTION as SPLIT, Split};
