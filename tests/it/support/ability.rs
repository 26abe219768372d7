//! What tests need of the machine. Where it is missing they are skipped, except with `CI=true`.

use std::process::Command;

pub(crate) use super::skip::skip;

/// Whether `unshare` with these options may make namespaces.
pub(crate) fn can_unshare(options: &[&str]) -> bool {
    let tried = Command::new("unshare").args(options).arg("true").output();
    let can = tried.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        skip(&format!(
            "`unshare {}` is not permitted here: {tried:?}",
            options.join(" ")
        ));
    }
    can
}
