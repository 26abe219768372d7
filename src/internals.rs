//! What tests, the gate and the fuzz targets drive. Not an interface: anything here may change.

pub mod backend {
    //! Backends.
    pub use crate::backend::Address;
}
pub mod clock {
    //! The clock of the product.
    pub use crate::clock::{now as instant, wall};

    /// The current monotonic time, for tests that measure how long something takes.
    pub fn now() -> std::time::Instant {
        crate::clock::to_std(crate::clock::now())
    }
}
pub mod config {
    //! Reading and printing configs.
    pub use crate::config::{Config, Problem, Report, from_text, print};
}
pub mod http2 {
    //! HTTP/2 over sockets.
    pub use crate::http2::{Connection, Driver, Event, HeadFields, Reason, Shared, Stream, begin};
}
pub mod listener {
    //! Accepting connections.
    pub use crate::listener::{Acceptor, ListedListener, ListenerList, Settings, SocketShares, WorkerSet};
}
pub mod net {
    //! Sockets.
    pub use crate::net::{
        BadHeader, LONGEST_HEADER, ListenAddress, ProxyHeader, ProxyVersion, StdListener, Stream,
    };
}
pub mod pool {
    //! Pools.
    pub use crate::pool::Pool;
}
pub mod proxy {
    //! The request path.
    pub use crate::proxy::{
        Failure, HalfClose, Identity, Peer, Snapshot, SnapshotCell, TrustedProxies, Worker, write_request,
    };
}
pub mod server {
    //! A whole balancer.
    pub use crate::server::{Launch, Plan, Running, StartError, run, snapshot_of};
}
pub mod telemetry {
    //! Logs and metrics.
    pub use crate::telemetry::{Feed, Label, Timestamp, Writer};
    pub mod access_log {
        //! The access log.
        pub use crate::telemetry::access_log::{
            Client, Entry, Extra, LogBuffer, OnFull, Options, Target, encode,
        };
    }
    pub mod log {
        //! The operations log.
        pub use crate::telemetry::log::OperationsLog;
    }
    pub mod metrics {
        //! Metrics.
        pub use crate::telemetry::metrics::{METRICS, WorkerCounters};
    }
    pub mod trace {
        //! Trace context and spans.
        pub use crate::telemetry::trace::*;
    }
}
