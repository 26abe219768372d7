//! Builds policies in tests, as the config does.

use super::{BuildError, Context, Policy};
use crate::kept::Kept;
use crate::schema::{Params, Value};

/// Builds a policy with these parameters, and with the state that `kept` holds from before.
pub(super) fn built(
    build: fn(Context<'_>) -> Result<Box<dyn Policy>, BuildError>,
    kept: &mut Kept,
    values: &[(&'static str, Value)],
) -> Result<Box<dyn Policy>, BuildError> {
    let mut params = Params::default();
    for (key, value) in values {
        params.set(key, value.clone());
    }
    let mut next = kept.next();
    let policy = build(Context {
        name: "policy",
        params: &params,
        kept: &mut next,
    });
    *kept = next.finish();
    policy
}
