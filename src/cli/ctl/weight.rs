//! `evenkeel ctl weight`: sets the weight of a backend.

use clap::Args;

use super::call::{Done, Failure, Process};
use crate::admin::MAX_WEIGHT;
use crate::cli::number::whole;

/// The arguments of `evenkeel ctl weight`.
#[derive(Debug, Clone, Args)]
pub(super) struct WeightArguments {
    /// Name of the pool
    pool: String,
    /// URL of the backend, or its name in the pool
    backend: String,
    /// Weight from 0 to 256; with 0 it gets no requests
    #[arg(value_parser = whole::<MAX_WEIGHT>)]
    weight: u32,
}

/// Sets the weight.
pub(super) fn run(process: &Process, arguments: &WeightArguments) -> Result<Done, Failure> {
    let WeightArguments {
        pool,
        backend,
        weight,
    } = arguments;
    let body = format!("{{\"weight\": {weight}}}");
    let (json, status) = process.change("PUT", (pool, backend), "weight", body.as_bytes())?;
    let text = format!(
        "backend {} of pool {pool} has weight {}\n",
        status.url, status.weight
    );
    Ok(Done { json, text })
}
