//! Least.
