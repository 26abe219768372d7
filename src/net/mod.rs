//! (placeholder) net
