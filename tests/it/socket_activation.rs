//! Listening sockets of a service manager (`LISTEN_FDS`): it keeps them open, whichever process serves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::binary_upgrades::{Folder, ask, wait_until};
use crate::support::Backend;

const DEADLINE: Duration = Duration::from_secs(60);
/// Starts the program with its standard input and output as descriptors 3 and 4.
const ACTIVATE: &str = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; \
                        export LISTEN_FDS=2 LISTEN_FDNAMES=tcp:unix LISTEN_PID=$$; exec \"$0\" \"$@\"";

/// The program, started with two sockets.
struct Activated {
    folder: Folder,
    child: Child,
    tcp: TcpListener,
    unix: UnixListener,
}

impl Activated {
    fn start(backend: &Backend) -> Self {
        let folder = Folder::new();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(folder.path("socket")).unwrap();
        let config = format!(
            "listeners: [{{ address: '{}' }}, {{ address: 'unix:{}' }}]\nworkers: 2\nadmin: off\nbackends: ['{}']\n",
            tcp.local_addr().unwrap(),
            folder.text("socket"),
            backend.url()
        );
        fs::write(folder.path("config.yaml"), config).unwrap();
        let child = Command::new("sh")
            .args(["-c", ACTIVATE, &folder.text("program"), "run"])
            .args([
                "-c",
                &folder.text("config.yaml"),
                "--pid-file",
                &folder.text("pid"),
            ])
            .stdin(OwnedFd::from(tcp.try_clone().unwrap()))
            .stdout(Stdio::from(OwnedFd::from(unix.try_clone().unwrap())))
            .spawn()
            .unwrap();
        Self {
            folder,
            child,
            tcp,
            unix,
        }
    }

    fn address(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }

    /// One request over each of the sockets.
    fn ask(&self) {
        let response = ask(self.address(), "/").expect("a response by TCP");
        assert!(response.ends_with("hello"), "{response}");
        let response = self.ask_unix().expect("a response by the Unix socket");
        assert!(response.ends_with("hello"), "{response}");
    }

    fn ask_unix(&self) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.folder.path("socket"))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }

    /// Waits for the process that serves after this one, by its file.
    fn serving_after(&self, before: Option<Pid>) -> Pid {
        let mut serving = None;
        wait_until("a process serves", || {
            serving = self.folder.serving().filter(|pid| Some(*pid) != before);
            serving.is_some()
        });
        serving.unwrap()
    }

    /// Stops the process that serves. The sockets stay open, for the next start.
    fn stop(&self, serving: Pid) {
        kill_process(serving, Signal::TERM).unwrap();
        wait_until("its file is removed", || !self.folder.path("pid").exists());
        let _by_tcp = TcpStream::connect_timeout(&self.address(), DEADLINE).unwrap();
        let _by_unix = UnixStream::connect(self.folder.path("socket")).unwrap();
        self.tcp.set_nonblocking(true).unwrap();
        self.unix.set_nonblocking(true).unwrap();
        wait_until("a connection by TCP waits", || self.tcp.accept().is_ok());
        wait_until("one by the Unix socket waits", || self.unix.accept().is_ok());
    }
}

/// Whether a process has this socket open, and not another one with its address.
fn has_open(process: Pid, socket: impl AsFd) -> bool {
    let number = rustix::fs::fstat(socket).unwrap().st_ino;
    let name = format!("socket:[{number}]");
    let folder = format!("/proc/{}/fd", process.as_raw_nonzero());
    let mut links = fs::read_dir(folder).unwrap().flatten();
    links.any(|link| fs::read_link(link.path()).is_ok_and(|to| to.as_os_str() == name.as_str()))
}

#[test]
fn a_listener_takes_the_socket_that_the_process_was_started_with() {
    let backend = Backend::saying("hello");
    let mut activated = Activated::start(&backend);
    // The queues are open before the process runs: it waits here.
    activated.ask();
    let serving = activated.serving_after(None);
    assert!(has_open(serving, &activated.tcp) && has_open(serving, &activated.unix));
    activated.stop(serving);
    assert!(activated.child.wait().unwrap().success());
}

#[test]
fn upgrades_under_load_pass_the_sockets_of_the_service_manager_on() {
    let backend = Backend::saying("hello");
    let mut activated = Activated::start(&backend);
    let mut serving = activated.serving_after(None);
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                activated.ask();
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            kill_process(serving, Signal::USR2).unwrap();
            serving = activated.serving_after(Some(serving));
            assert!(has_open(serving, &activated.tcp) && has_open(serving, &activated.unix));
            let environment = fs::read(format!("/proc/{}/environ", serving.as_raw_nonzero())).unwrap();
            let environment = String::from_utf8_lossy(&environment);
            assert!(!environment.contains("LISTEN_"), "{environment}");
            let before = asked.load(Ordering::Relaxed);
            wait_until("it is asked", || {
                asked.load(Ordering::Relaxed) > before + 5 || client.is_finished()
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    // The process that the service manager has started.
    assert!(activated.child.wait().unwrap().success());
    activated.stop(serving);
}
