//! Where backends come from and where their names lead: so far the ones that the config lists.

mod fixed;

pub use fixed::Names;
