//! The balancer as a process, in front of backends that are one server on many addresses of the loopback network.

use std::fs;
use std::io::{BufRead, BufReader, Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The kernel's clock ticks in a second: `USER_HZ`.
const TICK: Duration = Duration::from_millis(10);

/// A running balancer, which is killed when this is dropped.
pub(crate) struct Balancer {
    process: Child,
    config: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Balancer {
    /// Starts it in front of this number of backends.
    pub(crate) fn start(backends: usize) -> Result<Self> {
        raise_descriptors()?;
        let port = serve()?;
        let config = std::env::temp_dir().join(format!("evenkeel-scrape-{}.yaml", std::process::id()));
        let mut text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\naccess_log: off\nworkers: 2\n\
                        health_check: { kind: none }\nbackends:\n"
            .to_owned();
        for number in 0..backends {
            let host = Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250 + 1) as u8);
            text.push_str(&format!("  - http://{host}:{port}\n"));
        }
        fs::write(&config, text)?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["run".as_ref(), "-c".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().expect("it is piped");
        let (mut address, mut admin) = (None, None);
        let mut lines = BufReader::new(stdout).lines();
        while address.is_none() || admin.is_none() {
            let line = lines
                .next()
                .ok_or_else(|| Error::other("the balancer has ended"))??;
            let line: Value = serde_json::from_str(&line)?;
            let at = || line.get("address")?.as_str()?.parse().ok();
            match line.get("msg").and_then(Value::as_str) {
                Some("Listening") => address = at(),
                Some("Admin API listening") => admin = at(),
                _ => {}
            }
        }
        // What it writes later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            process,
            config,
            address: address.expect("it was read"),
            admin: admin.expect("it was read"),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its admin API.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The processor time of its control runtime, which is its first thread.
    pub(crate) fn control_time(&self) -> Result<Duration> {
        let id = self.process.id();
        let stat = fs::read_to_string(format!("/proc/{id}/task/{id}/stat"))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let times = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: u32 = times.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        Ok(TICK * ticks)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Both fail only if there is nothing left to clean up.
        let _ = self.process.kill().and_then(|()| self.process.wait());
        let _ = fs::remove_file(&self.config);
    }
}

/// Allows as many descriptors as this process may have: each backend has a connection to each worker.
fn raise_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// Starts the server of all backends, which runs until the process ends. Returns its port.
fn serve() -> Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("it does not block");
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(respond(stream));
            }
        });
    });
    Ok(port)
}

/// Responds to every request, none of which has a body.
async fn respond(mut stream: TcpStream) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        if stream.read(&mut bytes).await? == 0 {
            return Ok(());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
    }
}
