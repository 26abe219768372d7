//! The admin API over real sockets, every wait with a deadline.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::admin::connections::CONNECTIONS;
use crate::admin::control::{Command, Readiness};
use crate::admin::listen::QuietLimits;
use crate::admin::{
    BackendState, BackendStatus, CheckStatus, ConfigStatus, ConnectionsStatus, Explained, PoolStatus,
    ProcessStatus, Question, QueueStatus, RejectedStatus, ReloadOutcome, Reloaded, RequestsStatus, Status,
    Time, View, client,
};
use crate::net::ListenAddress;
use crate::telemetry::metrics::{ProcessSample, ProcessUsage, Snapshot};

mod feeds;
mod log_level;
mod metrics;
mod sockets;

const DEADLINE: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_hours(1);
const FOREVER: QuietLimits = QuietLimits {
    idle: HOUR,
    head: HOUR,
    response: HOUR,
};

/// A view that always shows the same, except for its readiness.
struct Fixed {
    readiness: Mutex<Readiness>,
}

impl View for Fixed {
    fn readiness(&self) -> Readiness {
        self.readiness.lock().expect("no panic").clone()
    }

    fn status(&self) -> Status {
        shown_status()
    }

    fn metrics(&self) -> Snapshot {
        Snapshot {
            threads: Vec::new(),
            routes: Vec::new(),
            pools: Vec::new(),
            policies: Vec::new(),
            sources: Vec::new(),
            logs: Vec::new(),
            certificates: Vec::new(),
            process: ProcessSample {
                version: "1.2.3",
                usage: ProcessUsage::default(),
                started: UNIX_EPOCH,
                workers: 2,
                config_loaded: UNIX_EPOCH,
                reloads_succeeded: 0,
                reloads_failed: 0,
                reloads_rolled_back: 0,
                spans: Arc::default(),
            },
        }
    }

    fn previous_config(&self) -> Option<String> {
        None
    }

    fn rejected(&self) -> Vec<RejectedStatus> {
        vec![RejectedStatus {
            time: Time::from(UNIX_EPOCH),
            from: "client".to_owned(),
            peer: "192.0.2.1:1".to_owned(),
            error: "bare_lf".to_owned(),
            code: "bare_lf".to_owned(),
            rule: "a line must end with CR LF".to_owned(),
            line: Some(1),
            header: None,
            offset: 3,
            limit: None,
            detail: "a line must end with CR LF: line 1".to_owned(),
            excerpt: r"GET\n".to_owned(),
        }]
    }

    fn explain(&self, question: &Question) -> Result<Explained, String> {
        Err(format!("{} is not explained here", question.url))
    }

    fn config(&self) -> String {
        "listen: 127.0.0.1:8080\n".to_owned()
    }
}

fn shown_status() -> Status {
    let check = CheckStatus {
        time: Time::from(UNIX_EPOCH),
        duration_ms: 0.25,
        healthy: false,
        status: None,
        reason: Some("connection refused".to_owned()),
    };
    let backend = BackendStatus {
        url: "http://localhost:8001".to_owned(),
        name: None,
        state: BackendState::Down,
        eligible: false,
        why: Some("connection refused".to_owned()),
        since: Time::from(UNIX_EPOCH),
        ejected_until: None,
        last_check: Some(check.clone()),
        checks: vec![check],
        weight: 1,
        effective_weight: 1.0,
        backup: false,
        in_flight: 0,
        attempts: 3,
        failures: 3,
        latency_ms: None,
        adaptive_limit: None,
    };
    Status {
        process: ProcessStatus {
            version: "1.2.3".to_owned(),
            pid: 7,
            started: Time::from(SystemTime::UNIX_EPOCH),
            uptime_seconds: 5,
            ready: true,
            workers: 2,
            listeners: vec!["127.0.0.1:8080".to_owned()],
            connections: ConnectionsStatus {
                active: 1,
                accepted: 2,
            },
            requests: RequestsStatus {
                in_flight: 0,
                total: 9,
            },
            config: ConfigStatus {
                source: "config.yaml".to_owned(),
                loaded: Time::from(UNIX_EPOCH),
                last_reload: None,
                guarded_until: None,
                rolled_back: None,
            },
        },
        certificates: Vec::new(),
        pools: vec![PoolStatus {
            name: "default".to_owned(),
            strategy: "round_robin".to_owned(),
            sticky: None,
            retry_tokens: 10,
            eligible: 0,
            queue: QueueStatus {
                depth: 0,
                waited_ms: None,
            },
            backends: vec![backend],
        }],
    }
}

/// A running admin API.
struct Api {
    address: SocketAddr,
    view: Arc<Fixed>,
    commands: mpsc::Receiver<Command>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "the test owns the task and ends with it"
)]
fn start(token: Option<&str>, limits: QuietLimits) -> Api {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let settings = Settings {
        address: ListenAddress::Ip(address),
        token: token.map(str::to_owned),
    };
    let view = Arc::new(Fixed {
        readiness: Mutex::new(Readiness::Ready),
    });
    let (sender, commands) = mpsc::channel(1);
    let control = Control {
        feeds: feeds::known(),
        log_level: tracing::Level::INFO.into(),
        view: Arc::clone(&view) as Arc<dyn View>,
        commands: sender,
        changes: mpsc::channel(1).0,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = AdminListener::new(StdListener::Tcp(listener)).expect("inside a runtime");
    let listener = BoundedListener::new(listener, limits);
    let router = router(Guard::new(&settings, Some(address.ip())), control);
    let task = tokio::spawn(serve_bounded(listener, router, async {
        let _ = stopped.await;
    }));
    Api {
        address,
        view,
        commands,
        stop,
        task,
    }
}

async fn get(api: &Api, path: &'static str) -> (u16, String) {
    get_with(api, path, None).await
}

async fn get_with(api: &Api, path: &'static str, token: Option<&'static str>) -> (u16, String) {
    let address = ListenAddress::Ip(api.address);
    let response = tokio::task::spawn_blocking(move || client::get_blocking(&address, path, token, DEADLINE));
    let (status, body) = response.await.expect("no panic").expect("a response");
    (status, String::from_utf8(body).expect("text"))
}

/// Sends `head` as it is and returns the whole response.
async fn raw(address: SocketAddr, head: &str) -> String {
    String::from_utf8_lossy(&raw_bytes(address, head).await).into_owned()
}

async fn raw_bytes(address: SocketAddr, head: &str) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut response = Vec::new();
        stream
            .read_to_end(&mut response)
            .await
            .expect("a response that ends");
        response
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .expect("a response in time")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Responds to the next command.
#[allow(clippy::disallowed_methods, reason = "the test ends with it")]
fn respond_to_reload(api: &mut Api, outcome: ReloadOutcome) -> JoinHandle<()> {
    let (_, none) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut api.commands, none);
    tokio::spawn(async move {
        let Some(Command::Reload(request)) = commands.recv().await else {
            panic!("a reload");
        };
        let reply = request.reply.expect("a reply");
        reply.send(outcome).expect("somebody waits");
    })
}

#[tokio::test]
async fn probes_show_whether_the_process_is_live_and_ready() {
    let api = start(None, QUIET_LIMITS);
    assert_eq!(
        get(&api, "/livez").await,
        (200, r#"{"status":"live"}"#.to_owned())
    );
    assert_eq!(
        get(&api, "/readyz").await,
        (200, r#"{"status":"ready"}"#.to_owned())
    );
    *api.view.readiness.lock().expect("no panic") = Readiness::NotReady("draining".to_owned());
    assert_eq!(get(&api, "/livez").await.0, 200);
    let (status, body) = get(&api, "/readyz").await;
    let detail = "the process is not ready: draining";
    assert_eq!((status, json(&body)["detail"].as_str()), (503, Some(detail)));
}

#[tokio::test]
async fn everything_except_the_probes_needs_the_token() {
    let api = start(Some("s3cret"), QUIET_LIMITS);
    assert_eq!(get(&api, "/livez").await.0, 200);
    assert_eq!(get(&api, "/readyz").await.0, 200);
    let (status, body) = get(&api, "/api/v1/status").await;
    assert_eq!(
        (status, json(&body)["code"].as_str()),
        (401, Some("unauthorized"))
    );
    assert_eq!(get_with(&api, "/api/v1/status", Some("wrong")).await.0, 401);
    assert_eq!(get_with(&api, "/api/v1/status", Some("s3cret")).await.0, 200);
    assert_eq!(get(&api, "/api/v1/rejected").await.0, 401);
    assert_eq!(get_with(&api, "/api/v1/rejected", Some("s3cret")).await.0, 200);
}

#[tokio::test]
async fn rejected_messages_are_a_list() {
    let api = start(None, QUIET_LIMITS);
    let (status, body) = get(&api, "/api/v1/rejected").await;
    assert_eq!(status, 200);
    let one = &json(&body)["rejected"][0];
    assert_eq!(one["excerpt"], r"GET\n");
    assert_eq!((&one["line"], &one["limit"]), (&1.into(), &Value::Null));
}

#[tokio::test]
async fn status_is_that_of_the_view() {
    let api = start(None, QUIET_LIMITS);
    let (status, body) = get(&api, "/api/v1/status").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Status>(&body).expect("a status"),
        shown_status()
    );
    let backend = &json(&body)["pools"][0]["backends"][0];
    assert_eq!(
        (&backend["state"], &backend["last_check"]["healthy"]),
        (&"down".into(), &false.into())
    );
}

#[tokio::test]
async fn config_is_the_effective_one() {
    let api = start(None, QUIET_LIMITS);
    assert_eq!(
        get(&api, "/api/v1/config").await,
        (200, "listen: 127.0.0.1:8080\n".to_owned())
    );
}

#[tokio::test]
async fn reload_responds_when_the_control_plane_has_finished() {
    let mut api = start(None, QUIET_LIMITS);
    let ask = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let responded = respond_to_reload(&mut api, Ok(Reloaded::default()));
    let response = raw(api.address, ask).await;
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.ends_with(r#"{"reloaded":true}"#),
        "{response}"
    );
    responded.await.expect("one command came");
}

#[tokio::test]
async fn reload_of_a_config_with_errors_lists_them() {
    let mut api = start(None, QUIET_LIMITS);
    let errors = vec![
        "config.yaml:3:7: no such pool".to_owned(),
        "config.yaml:9:1: twice".to_owned(),
    ];
    let responded = respond_to_reload(&mut api, Err(errors.clone()));
    let ask = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let response = raw(api.address, ask).await;
    assert!(response.starts_with("HTTP/1.1 422 "), "{response}");
    let body = json(response.rsplit("\r\n\r\n").next().expect("a body"));
    assert_eq!(body["errors"], serde_json::json!(errors));
    responded.await.expect("one command came");
}

#[tokio::test]
async fn commands_are_rejected_when_too_many_are_queued_or_the_process_stops() {
    let mut api = start(None, QUIET_LIMITS);
    let ask = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // The test's channel holds one command: this one fills it and gets no response.
    let mut waiting = TcpStream::connect(api.address).await.expect("a connection");
    waiting.write_all(ask.as_bytes()).await.expect("written");
    let filled = async {
        while api.commands.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, filled)
        .await
        .expect("the command waits");
    assert!(raw(api.address, ask).await.contains(r#""code":"busy""#));
    api.commands.close();
    assert!(raw(api.address, ask).await.contains(r#""code":"stopping""#));
}

#[tokio::test]
async fn errors_are_problem_details() {
    let api = start(None, QUIET_LIMITS);
    let (status, body) = get(&api, "/nothing").await;
    let expected = serde_json::json!({
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": "not found", "code": "not_found",
    });
    assert_eq!((status, json(&body)), (404, expected));
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    let wrong = raw(api.address, &format!("GET /api/v1/reload HTTP/1.1\r\n{close}")).await;
    assert!(wrong.starts_with("HTTP/1.1 405 "), "{wrong}");
    assert!(wrong.contains("\r\nallow: POST\r\n"), "{wrong}");
    let garbled = raw(
        api.address,
        &format!("POST /api/v1/pools/%FF/backends/b/drain HTTP/1.1\r\n{close}"),
    )
    .await;
    assert!(garbled.starts_with("HTTP/1.1 400 "), "{garbled}");
    let unknown = raw(api.address, &format!("GET /nothing HTTP/1.1\r\n{close}")).await;
    for response in [&wrong, &garbled, &unknown] {
        let kind = "\r\ncontent-type: application/problem+json\r\n";
        assert!(response.contains(kind), "{response}");
        let nosniff = "x-content-type-options: nosniff\r\n";
        assert!(response.contains(nosniff), "{response}");
        assert!(!response.contains("access-control-"), "{response}");
    }
}

#[tokio::test]
async fn a_page_in_a_browser_can_neither_rebind_nor_post() {
    let mut api = start(None, QUIET_LIMITS);
    let rebound = "GET /api/v1/config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(raw(api.address, rebound).await.starts_with("HTTP/1.1 421 "));
    let unknown = "GET /nothing HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(raw(api.address, unknown).await.starts_with("HTTP/1.1 421 "));
    for field in [
        "Origin: http://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Origin: null",
    ] {
        let post = format!(
            "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n{field}\r\nConnection: close\r\n\r\n"
        );
        assert!(
            raw(api.address, &post).await.starts_with("HTTP/1.1 403 "),
            "{field}"
        );
    }
    assert!(api.commands.try_recv().is_err(), "no command came through");
}

#[tokio::test]
async fn a_head_that_drips_is_bounded_in_total() {
    let limits = QuietLimits {
        head: Duration::from_millis(200),
        ..FOREVER
    };
    let api = start(None, limits);
    let dripped = async {
        let mut stream = TcpStream::connect(api.address).await.expect("a connection");
        let mut sent = 0;
        // The pace is the attack: a byte every 20 ms would keep an idle timeout from ever running out.
        while stream.write_all(b"G").await.is_ok() {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sent
    };
    let sent = tokio::time::timeout(DEADLINE, dripped)
        .await
        .expect("the connection is closed in time");
    assert!(sent >= 2, "bytes came while the connection lived: {sent}");
}

/// Waits until the API has closed a connection.
async fn closed(mut connection: TcpStream) {
    // A reset is an end too.
    let end = async { while matches!(connection.read(&mut [0; 64]).await, Ok(1..)) {} };
    tokio::time::timeout(DEADLINE, end)
        .await
        .expect("it is closed in time");
}

#[tokio::test]
async fn open_connections_do_not_block_probes() {
    // Nothing is closed because it is quiet for too long.
    let api = start(None, FOREVER);
    let mut kept = Vec::new();
    for begun in [
        "",
        "G",
        "GET /livez HTTP/1.1\r\nHost: loc",
        "POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n1",
        "POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\nContent-Length: 9\r\n\r\n1",
    ] {
        for _ in 0..CONNECTIONS {
            let mut connection = TcpStream::connect(api.address).await.expect("a connection");
            connection.write_all(begun.as_bytes()).await.expect("written");
            kept.push(connection);
        }
        assert_eq!(get(&api, "/livez").await.0, 200, "{begun:?}");
        assert_eq!(get(&api, "/readyz").await.0, 200, "{begun:?}");
    }
}

#[tokio::test]
async fn the_longest_idle_connection_is_evicted_and_a_command_continues() {
    let mut api = start(None, FOREVER);
    let mut asking = TcpStream::connect(api.address).await.expect("a connection");
    let ask = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    asking.write_all(ask.as_bytes()).await.expect("written");
    let command = tokio::time::timeout(DEADLINE, api.commands.recv()).await;
    let Some(Command::Reload(request)) = command.expect("in time") else {
        panic!("a reload");
    };
    let first = TcpStream::connect(api.address).await.expect("a connection");
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS - 1 {
        kept.push(TcpStream::connect(api.address).await.expect("a connection"));
    }
    closed(first).await;
    let reply = request.reply.expect("a reply");
    reply.send(Ok(Reloaded::default())).expect("somebody waits");
    let mut response = String::new();
    let read = asking.read_to_string(&mut response);
    tokio::time::timeout(DEADLINE, read)
        .await
        .expect("in time")
        .expect("a response");
    assert!(response.ends_with(r#"{"reloaded":true}"#), "{response}");
}

#[tokio::test]
async fn an_idle_connection_and_a_slow_head_have_their_own_limits() {
    let short = Duration::from_millis(50);
    let idle = start(
        None,
        QuietLimits {
            idle: short,
            ..FOREVER
        },
    );
    let mut used = TcpStream::connect(idle.address).await.expect("a connection");
    used.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("written");
    closed(used).await;
    let head = start(
        None,
        QuietLimits {
            head: short,
            ..FOREVER
        },
    );
    let mut half = TcpStream::connect(head.address).await.expect("a connection");
    half.write_all(b"GET /livez HTT").await.expect("written");
    closed(half).await;
}

#[tokio::test]
async fn stops_although_a_connection_stays_open() {
    let api = start(None, QUIET_LIMITS);
    let mut half = TcpStream::connect(api.address).await.expect("a connection");
    half.write_all(b"GET /livez HTT").await.expect("written");
    assert_eq!(get(&api, "/livez").await.0, 200);
    api.stop.send(()).expect("it runs");
    let ended = tokio::time::timeout(DEADLINE, api.task).await.expect("in time");
    ended.expect("no panic").expect("no error");
}
