//! The balancer as a process, in front of backends that are one server on many addresses of the loopback network.

use std::fs;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::folder::Folder;
use crate::process::{BALANCER, LISTENING, Process};

/// What it logs with the address of its admin API.
const ADMIN: &str = "Admin API listening";
/// The kernel's clock ticks in a second: `USER_HZ`.
const TICK: Duration = Duration::from_millis(10);

/// A running balancer.
pub(crate) struct Balancer {
    process: Process,
    _folder: Folder,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Balancer {
    /// Starts it in front of this number of backends.
    pub(crate) fn start(backends: usize) -> Result<Self> {
        raise_descriptors()?;
        let port = serve()?;
        let mut text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\naccess_log: off\nworkers: 2\n\
                        health_check: { kind: none }\nbackends:\n"
            .to_owned();
        for number in 0..backends {
            let host = Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250 + 1) as u8);
            text.push_str(&format!("  - http://{host}:{port}\n"));
        }
        let folder = Folder::new("scrape");
        let config = folder.write("evenkeel.yaml", &text);
        let (process, [address, admin]) = Process::start(Command::new(BALANCER), &config, [LISTENING, ADMIN]);
        Ok(Self {
            process,
            _folder: folder,
            address,
            admin,
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

    /// The processor time of all its threads, those that have ended included.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let times = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: u32 = times.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        Ok(TICK * ticks)
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
