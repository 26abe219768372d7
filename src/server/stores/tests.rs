//! Against a real `redis-server`, on a Unix socket of its own. Without the program, the tests say so and pass.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use evenkeel_balance::kept::Kept;
use evenkeel_balance::policy::{Context, Decision, Notes, Policy, by_name};
use evenkeel_balance::request::Request;
use evenkeel_balance::schema::{Params, Value};
use evenkeel_wire::head::RequestHead;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::tasks::Tasks;

const DEADLINE: Duration = Duration::from_secs(20);

/// A server that is stopped when this is dropped.
pub(in crate::server) struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts a server; `None` when the program is missing.
    pub(in crate::server) async fn start(name: &str) -> Option<Self> {
        let socket = std::env::temp_dir().join(format!("evenkeel-{}-{name}.sock", std::process::id()));
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        let child = command
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("skipped: `redis-server` is not installed");
            return None;
        };
        let server = Self { child, socket };
        let connect = || async { tokio::net::UnixStream::connect(&server.socket).await.is_ok() };
        wait_until("the server accepts connections", connect).await;
        Some(server)
    }

    pub(in crate::server) fn url(&self) -> String {
        url(&self.socket)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn url(socket: &Path) -> String {
    format!("redis+unix://{}", socket.display())
}

async fn wait_until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let start = clock::now();
    while !is_so().await {
        assert!(
            crate::clock::now() - start < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An instance: a policy, and the task that reports for it.
struct Instance {
    policy: Box<dyn Policy>,
    _tasks: Tasks,
    _limits: watch::Sender<Arc<[Arc<SharedLimit>]>>,
}

impl Instance {
    fn start(url: &str, rate: &str, on_failure: &str) -> Self {
        Self::of(
            Store::new("limits", url, Arc::default()).unwrap(),
            rate,
            on_failure,
        )
    }

    fn of(store: Store, rate: &str, on_failure: &str) -> Self {
        let mut params = Params::default();
        for (key, text) in [("rate", rate), ("shared", "limits"), ("on_failure", on_failure)] {
            params.set(key, Value::Text(text.to_owned()));
        }
        params.set("burst", Value::Count(30));
        let policy = (by_name("rate_limit").unwrap().build)(Context {
            name: "per_client",
            params: &params,
            kept: &mut Kept::default().next(),
        });
        let policy = policy.unwrap();
        let (sender, limits) = watch::channel(Arc::from([policy.shared_limit().unwrap()]));
        let mut tasks = Tasks::default();
        tasks.spawn(store.run(limits));
        Self {
            policy,
            _tasks: tasks,
            _limits: sender,
        }
    }

    /// The status of a request of this client; 200 when it is admitted.
    fn request(&self, client: u8) -> u16 {
        let head = RequestHead::default();
        let request = Request {
            head: &head,
            client_ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, client))),
            is_secure: false,
            listener: 0,
            now: clock::now(),
            wall: SystemTime::UNIX_EPOCH,
            random: Rng::fresh().bits(),
        };
        match self.policy.check(&request, &mut Notes::default()) {
            Decision::Continue => 200,
            Decision::Refuse(refusal) => refusal.status,
            Decision::Wait(job) => panic!("{job:?}"),
        }
    }

    async fn wait_for(&self, status: u16, client: u8) {
        wait_until(&format!("status {status}"), || async {
            self.request(client) == status
        })
        .await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn what_one_instance_admits_counts_for_the_others() {
    runtime().block_on(async {
        let Some(server) = Server::start("shared").await else {
            return;
        };
        // So slow that nothing becomes free during the test.
        let instances = ["first", "second"].map(|_| Instance::start(&server.url(), "1/h", "deny"));
        for instance in &instances {
            instance.wait_for(200, 1).await;
        }
        // Until the burst is used by both, in parts: each report shares out what is left.
        let mut admitted = 0;
        wait_until("the burst is used", || {
            let used = instances
                .iter()
                .filter(|instance| instance.request(2) == 200)
                .count();
            admitted += used;
            std::future::ready(admitted >= 30 && used == 0)
        })
        .await;
        assert!(admitted < 60, "{admitted}: as many as without the store");
        let late = Instance::start(&server.url(), "1/h", "deny");
        late.wait_for(200, 9).await;
        let mut admitted = 0;
        while late.request(2) != 429 {
            admitted += 1;
            assert!(admitted < 15, "alone, it would admit 30");
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    });
}

#[test]
fn a_store_that_goes_away_and_comes_back() {
    runtime().block_on(async {
        let Some(server) = Server::start("away").await else {
            return;
        };
        let socket = server.socket.clone();
        let deny = Instance::start(&server.url(), "1000000/s", "deny");
        let allow = Instance::start(&server.url(), "1000000/s", "allow");
        deny.wait_for(200, 1).await;
        drop(server);
        deny.wait_for(503, 1).await;
        assert_eq!(allow.request(1), 200);
        let server = Server::start("away").await.unwrap();
        assert_eq!(server.socket, socket);
        deny.wait_for(200, 1).await;
    });
}

#[test]
fn a_store_that_comes_later_and_then_hangs() {
    runtime().block_on(async {
        let socket = std::env::temp_dir().join(format!("evenkeel-{}-later.sock", std::process::id()));
        let deny = Instance::start(&url(&socket), "1000000/s", "deny");
        let allow = Instance::start(&url(&socket), "1000000/s", "allow");
        assert_eq!((deny.request(1), allow.request(1)), (503, 200));
        let Some(server) = Server::start("later").await else {
            return;
        };
        assert_eq!(server.socket, socket);
        deny.wait_for(200, 1).await;
        server.signal(Signal::STOP);
        deny.wait_for(503, 1).await;
        assert_eq!(allow.request(1), 200);
        server.signal(Signal::CONT);
        deny.wait_for(200, 1).await;
    });
}

#[test]
fn urls_of_other_kinds_are_refused_without_being_shown() {
    for url in ["http://127.0.0.1", "", "redis://", "valkey://user:secret@host"] {
        let error = Store::new("limits", url, Arc::default()).unwrap_err().to_string();
        assert!(
            !error.contains("secret") && error.contains("rediss://"),
            "{error}"
        );
    }
    for url in [
        "redis://127.0.0.1:6379/0",
        "rediss://:secret@store.test",
        "redis+unix:///run/redis.sock",
    ] {
        let store = Store::new("limits", url, Arc::default()).unwrap();
        assert!(!format!("{store:?}").contains("secret"));
    }
}
