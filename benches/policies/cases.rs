//! The cases, and their requests.

use crate::folder::Folder;
use crate::rules::{self, Rule};

/// The most that each rule should add to a request, in nanoseconds.
const GOALS: [u32; 5] = [150, 150, 100, 150, 1_000];

/// A route.
pub(crate) struct Case {
    /// What it measures.
    pub(crate) name: &'static str,
    /// The most that it should add to a request, in nanoseconds.
    pub(crate) goal: Option<u32>,
    /// What the config has of it beside its path and its pool.
    pub(crate) keys: String,
}

/// All cases. The first two have no rule.
pub(crate) fn all(folder: &Folder) -> Vec<Case> {
    let plain = ["without a rule", "without a rule, again: has to be 0"].map(|name| Case {
        name,
        goal: None,
        keys: String::new(),
    });
    let rules = rules::all(folder).into_iter().zip(GOALS);
    let rules = rules.map(|(Rule { name, keys }, goal)| Case {
        name,
        goal: Some(goal),
        keys,
    });
    plain.into_iter().chain(rules).collect()
}

/// The request for the route of a case. All have the same headers.
pub(crate) fn request(case: usize) -> Vec<u8> {
    let token = rules::token();
    format!(
        "GET /{case}/small?c=d HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\nAccept: */*\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}
