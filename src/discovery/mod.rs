//! (placeholder) discovery
