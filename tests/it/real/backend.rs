//! A backend that is a real program.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use socket2::{Domain, Socket, Type};

use super::catalogue::pattern;
use super::program::{command, file, find, find_node_packages, find_python};
use crate::support::DEADLINE;

/// The available programs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// The file server of Python's standard library.
    PythonFiles,
    /// Node's own HTTP module. Keeps idle connections for 2 s and announces it.
    Node,
    /// Node with sessions in its memory, by long polling and WebSockets. Its name is its port.
    Polling,
    /// Socket.IO on Node. Its name is its port.
    SocketIo,
    /// gunicorn with processes: every connection carries one request.
    GunicornSync,
    /// gunicorn with threads. Keeps idle connections for 2 s and does not announce it.
    GunicornThreads,
    /// aiohttp.
    Aiohttp,
    /// A Python server with one thread for keep-alive connections: an open one blocks all others.
    OneAtATime,
    /// A WebSocket echo by aiohttp.
    Echo,
    /// nginx with files; also on two Unix sockets, one of which requires PROXY headers.
    Nginx,
}

/// A running backend. It stops with all its processes when dropped.
pub(super) struct Backend {
    kind: Kind,
    program: PathBuf,
    port: Port,
    /// With files of its own.
    folder: PathBuf,
    child: Child,
}

impl Backend {
    /// Starts a program and waits until it listens; prints a message and returns `None` if it is not installed.
    pub(super) fn start(kind: Kind) -> Option<Self> {
        let program = match kind {
            Kind::PythonFiles | Kind::Aiohttp | Kind::Echo | Kind::OneAtATime => find_python("python"),
            Kind::GunicornSync | Kind::GunicornThreads => find_python("gunicorn"),
            Kind::SocketIo => find_node_packages().and_then(|_| find("node")),
            Kind::Node | Kind::Polling => find("node"),
            Kind::Nginx => find("nginx"),
        }?;
        let port = Port::reserve();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("real-{}-{}", std::process::id(), port.number));
        fs::create_dir_all(folder.join("files")).expect("a folder can be made");
        let child = spawn(kind, &program, port.number, &folder);
        let mut backend = Self {
            kind,
            program,
            port,
            folder,
            child,
        };
        backend.wait_until_it_listens();
        Some(backend)
    }

    /// Its URL for a config.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }

    /// The path of nginx's Unix socket with this name: `plain`, or `proxied` for PROXY headers.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        socket(self.port.number, name)
    }

    /// Writes a file for it to serve, `/bytes/N` for the length.
    pub(super) fn write_file(&self, length: usize) {
        let folder = self.folder.join("files/bytes");
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join(length.to_string()), pattern(length)).expect("a file can be written");
    }

    /// Stops it gracefully and waits for its exit.
    pub(super) fn stop(&mut self) {
        let signal = match self.kind {
            Kind::Nginx => Signal::QUIT,
            _ => Signal::TERM,
        };
        kill_process(self.pid(), signal).expect("it runs");
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again at the same address.
    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.kind, &self.program, self.port.number, &self.folder);
        self.wait_until_it_listens();
    }

    fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.expect("a child has an id")
    }

    /// Not all programs report when they listen: only a connect shows it.
    fn wait_until_it_listens(&mut self) {
        let start = clock::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number)).is_err() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "{:?} ended: {ended:?}", self.kind);
            assert!(start.elapsed() < 3 * DEADLINE, "{:?} does not listen", self.kind);
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have exited already.
        kill_process_group(self.pid(), Signal::KILL).ok();
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
        drop(SOCKETS.map(|name| fs::remove_file(self.socket(name))));
    }
}

/// A port that no other process gets, and that the given program can listen on.
pub(super) struct Port {
    pub(super) number: u16,
    /// Bound and never listening: with the same option on both sockets, another program can still use the port.
    _socket: Socket,
}

impl Port {
    pub(super) fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        socket.set_reuse_address(true).expect("an option can be set");
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&anywhere.into()).expect("a port is free");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self {
            number: address.expect("a bound socket has an address").port(),
            _socket: socket,
        }
    }
}

/// The paths of nginx's Unix sockets.
const SOCKETS: [&str; 2] = ["plain", "proxied"];

/// In a separate folder: the path of a Unix socket must be short.
fn socket(port: u16, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("evenkeel-real-{}-{port}-{name}", std::process::id()))
}

fn spawn(kind: Kind, program: &Path, port: u16, folder: &Path) -> Child {
    let mut command = command(program);
    let files = folder.join("files");
    let number = port.to_string();
    match kind {
        Kind::PythonFiles => command
            .args(["-m", "http.server", &number, "--bind", "127.0.0.1"])
            .args(["--protocol", "HTTP/1.1", "--directory"])
            .arg(files),
        Kind::Node => command.args([&file("programs/node_backend.mjs"), &number, "2000"]),
        Kind::Polling => command.args([&file("programs/polling_backend.mjs"), &number, &number]),
        Kind::SocketIo => command
            .env("NODE_PATH", find_node_packages().unwrap_or_default())
            .args([&file("programs/socket_io_backend.cjs"), &number]),
        Kind::GunicornSync => gunicorn(&mut command, port).args(["--workers", "2"]),
        Kind::GunicornThreads => {
            gunicorn(&mut command, port).args(["--worker-class", "gthread", "--threads", "8"])
        }
        Kind::Aiohttp => command.args([&file("programs/aiohttp_backend.py"), &number]),
        Kind::OneAtATime => command.args([&file("programs/one_at_a_time.py"), &number]),
        Kind::Echo => command.args([&file("programs/echo.py"), &number]),
        Kind::Nginx => {
            let path = folder.join("nginx.conf");
            fs::write(&path, nginx_config(port, folder)).expect("a file can be written");
            command
                .arg("-e")
                .arg(folder.join("error.log"))
                .arg("-c")
                .arg(path)
        }
    };
    command
        // A process group of its own, so that all its processes can be stopped at once.
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

fn gunicorn(command: &mut Command, port: u16) -> &mut Command {
    command
        .args(["--bind", &format!("127.0.0.1:{port}"), "--no-control-socket"])
        .args(["--keep-alive", "2", "--graceful-timeout", "5"])
        .args(["--chdir", &file("programs"), "wsgi:application"])
}

fn nginx_config(port: u16, folder: &Path) -> String {
    let folder = folder.display();
    let [plain, proxied] = SOCKETS.map(|name| socket(port, name).display().to_string());
    // As root its workers would switch to a user without access to the folder.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    // nginx does not compress responses to requests with `Via`, which ours have (RFC 9110 §7.6.3), unless
    // `gzip_proxied` is set.
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};"))
        .concat();
    format!(
        "daemon off; worker_processes 1; {user} pid {folder}/pid; events {{}}
         http {{
           access_log off; {temporary}
           server {{
             listen 127.0.0.1:{port}; listen unix:{plain}; listen unix:{proxied} proxy_protocol;
             root {folder}/files;
             gzip on; gzip_min_length 1; gzip_types *; gzip_proxied any;
             location = /client {{ return 200 '$proxy_protocol_addr $proxy_protocol_port'; }}
             location = /redirect {{ return 302 /bytes/10; }}
             location = /status/204 {{ return 204; }}
             location = /close {{ keepalive_timeout 0; return 200 closed; }}
           }}
         }}"
    )
}
