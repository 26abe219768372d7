//! Real client and backend programs on both sides of the balancer: what people run must work as it does without the
//! balancer. `.ci/run` installs the programs; without one its tests are skipped, except with `CI=true`.

mod backend;
mod backends;
mod catalogue;
mod chromium;
mod clients;
mod curl;
mod dashboard;
mod devtools;
mod grpc;
mod htpasswd;
mod openapi;
mod ordinary;
mod polling;
mod program;
mod proxies;
mod python;
mod reconnecting;
mod scripts;
mod socket_io;
mod top;
mod traffic;
mod websocket;
