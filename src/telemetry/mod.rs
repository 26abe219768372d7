//! What the balancer tells of itself: the access log, the operations log, the counters.

pub mod access_log;
