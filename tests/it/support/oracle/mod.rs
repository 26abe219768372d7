//! An oracle for one question: can balancer, client and backend be made to disagree about where a message ends? It
//! drives a balancer between a hostile client and a recording backend (or the other way round), parses the traffic with
//! parsers that are not the balancer's, and sends a canary on the same pooled connection. A naive proxy with one flaw
//! at a time proves that it finds what it looks for.

mod faithful;
mod grammar;
mod judge;
mod judge_response;
mod lane;
mod message;
mod mutate;
mod naive;
mod plan;
mod recorder;
mod wire;

pub(crate) use judge::{Kind, Verdict, Violation, judge_request};
pub(crate) use judge_response::{HOSTILE, Meant, judge_response};
pub(crate) use lane::{Evidence, Input, Lane, Route};
pub(crate) use mutate::{Dice, mutate};
pub(crate) use naive::{Flaw, Naive};
pub(crate) use plan::CONFIG as PLAN;
pub(crate) use recorder::{Mode, Script};
