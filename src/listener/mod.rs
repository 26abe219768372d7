//! Where clients come in: accepting, spreading connections over workers, and keeping room for them.

mod accept;
mod arrival;
mod connection;
mod crew;
mod desk;
mod hands;
mod http2;
mod introduced;
mod parking;
mod queue;
mod settings;
mod turns;
mod waiting;

pub use accept::Acceptor;
pub use crew::{Crew, Seat};
pub use settings::{Redirect, Settings};
