//! Random strategy.
