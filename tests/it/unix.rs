//! Unix sockets: clients on one, backends on one, and several listeners at once.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::http2::frame;

use crate::support::{Backend, Builder, Client, DEADLINE, Proxy};

const QUIET: &str = "health_check: { kind: none }";

/// The path of a socket, deleted when dropped.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-unix-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn address(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// A balancer with a Unix socket beside its usual listener.
fn beside(place: &SocketPath, keys: &str, backends: &[&Backend]) -> Builder {
    let listeners = format!("listeners: [{{ address: '{}', {keys} }}]", place.address());
    Proxy::before(backends).config(QUIET).config(&listeners)
}

/// The bytes received for `bytes`, up to the end of the connection.
fn ask(path: &Path, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    stream.write_all(bytes.as_ref()).expect("the bytes are taken");
    let mut got = Vec::new();
    if let Err(error) = stream.read_to_end(&mut got) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it ends");
    }
    String::from_utf8_lossy(&got).into_owned()
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n")
}

/// A backend on a Unix socket; it responds to each head with the connection's number and the head itself.
fn serve(place: &SocketPath) {
    let listener = UnixListener::bind(&place.0).expect("the path is free");
    // Ends with the test process: no client connects after that.
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || drop(converse(stream, number)));
        }
    });
}

fn converse(mut stream: UnixStream, number: usize) -> std::io::Result<()> {
    let mut unread = Vec::new();
    loop {
        let end = unread.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            let mut more = [0; 4096];
            match stream.read(&mut more)? {
                0 => return Ok(()),
                count => unread.extend_from_slice(&more[..count]),
            }
            continue;
        };
        let head: Vec<u8> = unread.drain(..end + 4).collect();
        let body = [format!("{number}\n").as_bytes(), &head].concat();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(&body)?;
    }
}

#[test]
fn clients_connect_through_a_unix_socket() {
    let (place, backend) = (SocketPath::new(), Backend::saying("hello"));
    let proxy = beside(&place, "http2: true", &[&backend]).start();
    let mode = fs::metadata(&place.0).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let response = ask(&place.0, get("/file", "X-Forwarded-For: 6.6.6.6\r\n"));
    assert!(response.ends_with("hello"), "{response}");
    assert_eq!(proxy.get("/port").text(), "hello");
    assert_eq!(proxy.access_line("/file")["client_ip"], "unix:");
    let request = backend.wait_for_request(|request| request.start() == "GET /file");
    assert_eq!(request.field("x-forwarded-for"), None, "{}", request.head);
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert!(proxy.stop().success());
    assert!(!place.0.exists(), "it goes at the stop");
}

#[test]
fn a_client_on_a_unix_socket_is_trusted_if_configured() {
    let (place, backend) = (SocketPath::new(), Backend::saying(""));
    let proxy = beside(&place, "http2: true", &[&backend])
        .config("trusted_proxies: [unix]")
        .start();
    ask(&place.0, get("/named", "X-Forwarded-For: 192.0.2.7\r\n"));
    ask(&place.0, get("/unnamed", ""));
    assert_eq!(proxy.access_line("/named")["client_ip"], "192.0.2.7");
    assert_eq!(proxy.access_line("/unnamed")["client_ip"], "unix:");
    for (path, chain) in [("/named", Some("192.0.2.7")), ("/unnamed", None)] {
        let request = backend.wait_for_request(|request| request.start() == format!("GET {path}"));
        assert_eq!(request.field("x-forwarded-for"), chain);
    }
}

/// The file permissions decide who is trusted: `trusted_proxies` is not needed.
#[test]
fn proxy_headers_are_trusted_on_a_unix_socket() {
    let (place, backend) = (SocketPath::new(), Backend::saying("hello"));
    let proxy = beside(&place, "proxy_protocol: true", &[&backend]).start();
    let header = "PROXY TCP6 2001:db8::7 ::1 50123 80\r\n";
    assert!(ask(&place.0, format!("{header}{}", get("/x", ""))).ends_with("hello"));
    assert_eq!(proxy.access_line("/x")["client_ip"], "[2001:db8::7]:50123");
    assert_eq!(ask(&place.0, get("/y", "")), "");
}

#[test]
fn connections_of_a_unix_socket_spread_over_workers() {
    let (place, backend) = (SocketPath::new(), Backend::saying("hello"));
    let proxy = beside(&place, "http2: true", &[&backend])
        .config("workers: 4")
        .start();
    let clients: Vec<UnixStream> = (0..64)
        .map(|_| UnixStream::connect(&place.0).expect("somebody listens"))
        .collect();
    for mut client in &clients {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("it is taken");
        let mut byte = [0; 1];
        client
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        client.read_exact(&mut byte).expect("a response");
    }
    // Each worker owns its connections, as the kernel's counters show.
    let folder = format!("/proc/{}/fdinfo", proxy.pid().as_raw_nonzero());
    let watched = fs::read_dir(folder).expect("the kernel tells").map(|entry| {
        let text = entry.ok().and_then(|entry| fs::read_to_string(entry.path()).ok());
        text.unwrap_or_default().matches("tfd:").count()
    });
    let watched: Vec<usize> = watched.filter(|count| *count >= 10).collect();
    let is_even = watched.len() >= 4 && watched.iter().all(|count| *count <= 24);
    assert!(is_even, "descriptors that each of them watches: {watched:?}");
}

#[test]
fn requests_to_a_unix_socket_reuse_its_connections() {
    let place = SocketPath::new();
    serve(&place);
    let proxy = Proxy::before(&[])
        .backend(&place.address())
        .config("workers: 1")
        .config(QUIET)
        .start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let text = client.get("/x").text();
        assert!(
            text.starts_with("0\nGET /x HTTP/1.1\r\n"),
            "the first connection: {text}"
        );
        assert!(text.contains("\r\nHost: test\r\n"), "{text}");
    }
    assert_eq!(proxy.access_line("/x")["backend"], place.address());
}

#[test]
fn long_bodies_pass_between_unix_sockets() {
    let (front, back) = (SocketPath::new(), SocketPath::new());
    let listener = UnixListener::bind(&back.0).expect("the path is free");
    let length = 3 << 20;
    let backend = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the balancer connects");
        let mut got = vec![0; length];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).expect("a head comes");
            head.extend_from_slice(&byte);
        }
        stream.read_exact(&mut got).expect("a body comes");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").expect("it is taken");
        stream.write_all(&got).expect("it is taken");
    });
    let _proxy = beside(&front, "http2: false", &[])
        .backend(&back.address())
        .start();
    let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut stream = UnixStream::connect(&front.0).expect("somebody listens");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    write!(
        stream,
        "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
    .expect("it is taken");
    stream.write_all(&body).expect("it is taken");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("it ends");
    backend.join().expect("the backend saw all");
    assert!(got.ends_with(&body), "{} bytes", got.len());
}

#[test]
fn probes_of_a_unix_socket_use_localhost_as_host() {
    let place = SocketPath::new();
    let listener = UnixListener::bind(&place.0).expect("the path is free");
    let proxy = Proxy::before(&[]).backend(&place.address()).start();
    let (mut stream, _) = listener.accept().expect("a probe comes");
    let mut head = [0; 64];
    let count = stream.read(&mut head).expect("it asks");
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    assert!(
        head.starts_with("GET / HTTP/1.1\r\nHost: localhost\r\n"),
        "{head}"
    );
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("it is taken");
    drop(stream);
    drop(proxy);
}

#[test]
fn requests_to_a_missing_or_dead_unix_socket_are_retried_elsewhere() {
    let (missing, dead, backend) = (SocketPath::new(), SocketPath::new(), Backend::saying("hello"));
    drop(UnixListener::bind(&dead.0).expect("the path is free"));
    let proxy = Proxy::before(&[&backend])
        .backend(&missing.address())
        .backend(&dead.address())
        .config("workers: 1")
        .config(QUIET)
        .start();
    for _ in 0..6 {
        let mut client = proxy.client();
        let post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(client.send(post).read().text(), "hello");
    }
    let lines = proxy.access_lines(6);
    let retried: Vec<_> = lines
        .iter()
        .filter_map(|line| line["retries"].as_array())
        .flatten()
        .collect();
    assert!(!retried.is_empty());
    assert!(
        retried.iter().all(|retry| retry["reason"] == "connect_failure"),
        "{retried:?}"
    );
}

/// Its error output at startup, which it exits from at once.
fn refusal(listen: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_evenkeel"), "run", "--admin", "off"]);
    for address in listen {
        command.args(["--listen", address]);
    }
    let output = command.arg("http://127.0.0.1:9").output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_address_that_cannot_be_bound_is_named_with_what_to_do() {
    let (live, plain, free) = (SocketPath::new(), SocketPath::new(), SocketPath::new());
    let _listener = UnixListener::bind(&live.0).expect("the path is free");
    fs::write(&plain.0, "precious").expect("a file can be written");
    let nowhere = "unix:/nowhere/at/all/e.sock";
    for (address, hint) in [
        (live.address(), "another process uses it: run `fuser -v "),
        (plain.address(), "not a socket exists at this path: remove it"),
        (nowhere.to_owned(), "the directory does not exist"),
    ] {
        // The first address is bound, and released again.
        let message = refusal(&[&free.address(), &address]);
        assert!(message.contains(&address) && message.contains(hint), "{message}");
        assert!(!free.0.exists());
    }
    assert_eq!(fs::read_to_string(&plain.0).expect("it is there"), "precious");
}

#[test]
fn a_stale_socket_of_a_dead_process_is_replaced() {
    let (place, backend) = (SocketPath::new(), Backend::saying("hello"));
    drop(UnixListener::bind(&place.0).expect("the path is free"));
    let _proxy = beside(&place, "http2: true", &[&backend]).start();
    assert!(ask(&place.0, get("/x", "")).ends_with("hello"));
}

#[test]
fn it_runs_from_arguments_and_is_healthy() {
    let (place, backend) = (SocketPath::new(), Backend::saying("hello"));
    let binary = env!("CARGO_BIN_EXE_evenkeel");
    let config = format!(
        "listen: '{}'\nadmin: off\nbackends: ['{}']\n",
        place.address(),
        backend.url()
    );
    let file = SocketPath::new();
    fs::write(&file.0, config).expect("a file can be written");
    let check = || {
        let mut command = Command::new(binary);
        command.arg("healthcheck").arg("-c").arg(&file.0);
        command.output().expect("it starts").status.success()
    };
    assert!(!check(), "nobody listens");
    let words = [
        binary,
        "run",
        "--admin",
        "off",
        "--listen",
        "127.0.0.1:0",
        "--listen",
    ];
    let (address, url) = (place.address(), backend.url());
    let words = [&words[..], &[&address, &url]].concat();
    let _proxy = Proxy::before(&[]).without_admin().program(&words).start();
    assert!(ask(&place.0, get("/x", "")).ends_with("hello"));
    assert!(check());
}

#[test]
fn several_listeners_of_every_family_serve_at_once() {
    let (place, backend) = (SocketPath::new(), Backend::saying("hello"));
    let listeners = format!(
        "listeners: [{{ address: '[::1]:0' }}, {{ address: '127.0.0.1:0' }}, {{ address: '{}' }}]",
        place.address()
    );
    let proxy = Proxy::before(&[&backend])
        .config(QUIET)
        .config(&listeners)
        .start();
    proxy.wait_for_count(4, |line| line["msg"] == "Listening");
    let found = std::cell::RefCell::new(Vec::new());
    proxy.count_so_far(|line| {
        if line["msg"] == "Listening" {
            found
                .borrow_mut()
                .push(line["address"].as_str().unwrap_or_default().to_owned());
        }
        false
    });
    let found = found.into_inner();
    assert_eq!(found.len(), 4, "{found:?}");
    for address in &found {
        match address.parse() {
            Ok(address) => assert_eq!(Client::connect(address).get("/x").text(), "hello"),
            Err(_) => assert!(ask(&place.0, get("/x", "")).ends_with("hello")),
        }
    }
    assert!(
        found.iter().any(|address| address.starts_with("[::1]:")),
        "{found:?}"
    );
}

/// The backend's response is complete at the balancer once it waits for the client socket, and may take long to
/// deliver.
#[test]
fn a_stop_waits_for_a_client_of_http2_that_reads_slowly() {
    let (place, backend) = (SocketPath::new(), Backend::saying(&"x".repeat(260_000)));
    let proxy = beside(&place, "http2: true", &[&backend]).start();
    let mut socket = UnixStream::connect(&place.0).unwrap();
    let window = [0, 16, 0, 0];
    let get = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
    let bytes = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[&[0, 4][..], &window].concat()),
        frame(8, 0, 0, &window),
        frame(1, 5, 1, &get),
    ];
    socket.write_all(&bytes.concat()).unwrap();
    // The response is at the balancer, and larger than the socket buffer.
    proxy.access_line("/");
    proxy.signal(rustix::process::Signal::TERM);
    // The client gets GOAWAY, acknowledges the PING, and does not read for longer than the grace period of other
    // connections.
    for _ in 0..100 {
        drop(socket.write_all(&frame(6, 1, 0, b"evenkeel")));
        thread::sleep(Duration::from_millis(20));
    }
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    let payload = got.iter().filter(|byte| **byte == b'x').count();
    assert!(payload >= 260_000, "{payload} bytes");
}
