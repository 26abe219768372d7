//! Which pool a request goes to, by host and path. Pure.

mod route;

pub use route::Route;
