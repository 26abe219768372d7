//! States for tests.

use super::app::App;
use super::background::First;
use super::model::{Event, History, Sample};
use crate::admin::{
    BackendState, BackendStatus, ConfigStatus, ConnectionsStatus, LatencyStatus, PoolStatus, ProcessStatus,
    QueueStatus, RequestsStatus, Status, Time,
};

const START: &str = "2026-01-01T00:00:00.000Z";

/// A status with this number of pools and of backends in each.
pub(super) fn status(pools: usize, backends: u16) -> Status {
    Status {
        process: ProcessStatus {
            version: "0.1.0".to_owned(),
            pid: 7,
            started: Time(START.to_owned()),
            uptime_seconds: 200,
            ready: true,
            workers: 2,
            listeners: vec!["127.0.0.1:8080".to_owned()],
            connections: ConnectionsStatus {
                active: 12,
                accepted: 40,
            },
            requests: RequestsStatus {
                in_flight: 3,
                total: 1000,
            },
            config: ConfigStatus {
                source: "demo".to_owned(),
                loaded: Time(START.to_owned()),
                last_reload: None,
                guarded_until: None,
                rolled_back: None,
            },
        },
        pools: (1..=pools).map(|number| pool(number, backends)).collect(),
        certificates: Vec::new(),
    }
}

fn pool(number: usize, backends: u16) -> PoolStatus {
    PoolStatus {
        name: format!("pool-{number}"),
        strategy: "round_robin".to_owned(),
        sticky: None,
        retry_tokens: 10,
        eligible: backends.into(),
        queue: QueueStatus {
            depth: 0,
            waited_ms: None,
        },
        backends: (1..=backends).map(backend).collect(),
    }
}

fn backend(number: u16) -> BackendStatus {
    BackendStatus {
        url: format!("http://127.0.0.1:{}", 8000 + number),
        name: None,
        state: BackendState::Up,
        eligible: true,
        why: None,
        since: Time(START.to_owned()),
        ejected_until: None,
        last_check: None,
        checks: Vec::new(),
        weight: 1,
        effective_weight: 1.0,
        backup: false,
        in_flight: 1,
        attempts: 300,
        failures: 0,
        latency_ms: Some(LatencyStatus { p50: 1.2, p99: 12.5 }),
        adaptive_limit: None,
    }
}

/// A state with this status, one minute of samples and two events.
pub(super) fn app(pools: usize, backends: u16) -> App {
    let sample = |second: u64| Sample {
        requests: 40 + second % 20,
        errors: 0,
        p50_ms: Some(1.2),
        p99_ms: Some(10.0 + second as f64),
        in_flight: 3,
        retries: 1,
        connections: 12,
    };
    let event = |id, level: &str, msg: &str| Event {
        id,
        time: "2026-01-01T00:03:10.000Z".to_owned(),
        level: level.to_owned(),
        msg: msg.to_owned(),
        ..Event::default()
    };
    let first = First {
        status: status(pools, backends),
        history: History {
            samples: (0..60).map(sample).collect(),
            events: vec![event(1, "INFO", "Started"), event(2, "WARN", "Backend is down")],
        },
    };
    App::new("127.0.0.1:9900".to_owned(), first, crate::clock::now())
}
