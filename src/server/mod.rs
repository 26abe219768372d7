//! (placeholder) server
