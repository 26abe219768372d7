//! An oracle for one question: can balancer, client and backend be brought to different opinions about where a message
//! ends? It drives a balancer between a hostile client and a backend that records (or the other way round), reads what
//! passed with parsers that are not the balancer's, and lets a canary follow on the same pooled connection. That it
//! finds what it looks for is proved with a naive proxy that has one mistake at a time.

mod faithful;
mod grammar;
mod judge;
mod judge_response;
mod lane;
mod message;
mod mutate;
mod naive;
mod recorder;
mod wire;

pub(crate) use judge::{Kind, Verdict, Violation, judge_request};
pub(crate) use judge_response::{HOSTILE, Meant, judge_response};
pub(crate) use lane::{Evidence, Input, Lane};
pub(crate) use mutate::{Dice, mutate};
pub(crate) use naive::{Flaw, Naive};
pub(crate) use recorder::{Mode, Script};
