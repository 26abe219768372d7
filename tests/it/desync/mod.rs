//! That the balancer cannot be desynchronised: hostile requests and answers, written by hand, taken from public corpora and
//! mutated, judged by the oracle. `CONTRIBUTING.md` says how to let it run for longer.

mod bench;
mod corpora;
mod proof;
mod requests;
mod responses;
mod table;
mod tunnels;
