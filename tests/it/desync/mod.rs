//! Checks that the balancer cannot be desynchronised: hostile requests and responses, hand-written, from public corpora
//! and mutated, judged by the oracle. `CONTRIBUTING.md` explains how to run it for longer.

mod bench;
mod corpora;
mod planned;
mod proof;
mod requests;
mod responses;
mod table;
mod tunnels;
