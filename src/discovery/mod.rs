//! Discovery of backends and their addresses. So far there is one source: the backends that the config lists.

mod names;

pub use names::Names;
