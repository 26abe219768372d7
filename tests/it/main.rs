//! Tests of the balancer from outside: its own process, real sockets, scripted backends. One file per feature.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a crate of tests: a failure is a panic"
)]

mod access_log;
mod access_log_hostile;
mod access_log_sinks;
mod admin_socket;
mod agreement;
mod balancing;
mod binary_upgrades;
mod boundaries;
mod command_line;
mod config_watch;
mod container_inits;
mod container_upgrades;
mod ctl;
mod demo;
mod desync;
mod details;
mod ejection;
mod faults;
mod forwarding;
mod giving_up;
mod grpc;
mod guarded_reloads;
mod health_checks;
mod hedging;
mod http2;
mod identity;
mod idle;
mod interim;
mod leaving;
mod limits;
mod loops;
mod names;
mod openapi;
mod operators;
mod overload;
mod pinning;
mod plans;
mod policies;
mod policy_records;
mod ports;
mod proxy_protocol;
mod queue;
mod rate_limits;
mod real;
mod recipes;
mod reloads;
mod reloads_access_log;
mod reloads_admin;
mod reloads_listeners;
mod reloads_workers;
mod requests;
mod response_policies;
mod responses;
mod retried_backends;
mod retries;
mod retry_settings;
mod retry_table;
mod reuse;
mod signals;
mod slow_start;
mod socket_activation;
mod sources;
mod stale;
mod sticky;
mod stopping;
mod strategies;
mod support;
mod timeouts;
mod tls;
mod tracing;
mod unix;
mod upgrade_faults;
mod upgrades;
