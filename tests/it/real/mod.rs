//! Clients and backends that nobody wrote for these tests, on both sides of the balancer: what people run today has to
//! work as it does without it. `.ci/run` installs the programs; without one its tests are skipped, but not with `CI=true`.

mod backend;
mod backends;
mod catalogue;
mod clients;
mod curl;
mod grpc;
mod ordinary;
mod program;
mod proxies;
mod python;
mod scripts;
mod traffic;
mod websocket;
