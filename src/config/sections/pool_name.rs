//! Names of pools: which are valid, and the name of the pool that `backends` at top level defines.

/// Name of the pool that `backends` at top level defines.
pub(super) const DEFAULT_POOL: &str = "default";

/// Whether a text is a valid pool name. The name appears in paths of the admin API and in labels of metrics.
pub(super) fn is_pool_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(is_part) && !matches!(name, "." | "..")
}
