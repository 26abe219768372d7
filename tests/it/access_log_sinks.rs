//! The sinks of the access log: formats, fields, samples and syslog servers.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, DEADLINE, Proxy, Response, wait_until};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-sinks-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("the log is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn backend() -> Backend {
    Backend::start(|request| match request.start() {
        "GET /fails" => Response::status(500, "no"),
        _ => Response::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Cache: HIT\r\nX-Other: hidden\r\nSet-Cookie: a=b\r\n\r\nhello",
        ),
    })
}

/// The header and the message of a message of syslog.
fn parts(message: &[u8]) -> (Vec<String>, Value) {
    let text = String::from_utf8(message.to_vec()).expect("UTF-8");
    let parts: Vec<String> = text.splitn(8, ' ').map(str::to_owned).collect();
    let json = serde_json::from_str(&parts[7]).expect("the message is one JSON object");
    (parts, json)
}

fn receive_udp(socket: &UdpSocket) -> (Vec<String>, Value) {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).expect("a message comes in time");
    parts(&buffer[..length])
}

#[test]
fn two_sinks_have_their_own_formats_and_fields() {
    let folder = Folder::new("two");
    let backend = backend();
    let config = format!(
        "access_log:\n  - stdout\n  - {{ path: {}, format: combined, query: true }}\n\
         \x20 - {{ path: {}, fields: [status, header.X-Tag, response_header.X-Cache, header.X-None, tls_version] }}",
        folder.path("combined.log"),
        folder.path("fields.log"),
    );
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    let mut client = proxy.client();
    client.send(
        "GET /a?b=c HTTP/1.1\r\nHost: test\r\nX-Tag: one\r\nX-Tag: two\r\nUser-Agent: \"x\" y\r\nCookie: secret\r\n\r\n",
    );
    let length = client.read().text().len();
    let line = proxy.access_line("/a");
    assert!(
        line.get("header.X-Tag").is_none() && line["bytes_sent"].is_number(),
        "{line}"
    );
    let address = client.address().ip();
    drop(client);
    assert!(proxy.stop().success());
    let combined = folder.read("combined.log");
    let end = format!("\"GET /a?b=c HTTP/1.1\" 200 {length} \"-\" \"\\x22x\\x22 y\"\n");
    assert!(
        combined.starts_with(&format!("{address} - - [")) && combined.ends_with(&end),
        "{combined}"
    );
    assert_eq!(
        folder.read("fields.log"),
        "{\"status\":200,\"header.X-Tag\":\"one, two\",\"response_header.X-Cache\":\"HIT\",\"header.X-None\":null,\
         \"tls_version\":null}\n"
    );
}

#[test]
fn local_responses_and_refused_requests_have_their_headers_and_sizes_too() {
    let folder = Folder::new("local");
    let config = format!(
        "workers: 1\naccess_log:\n  - {{ path: {}, fields: [status, response_header.Retry-After, response_header.Content-Type] }}\n\
         \x20 - {{ path: {}, format: combined }}",
        folder.path("fields.log"),
        folder.path("combined.log"),
    );
    let proxy = Proxy::before(&[])
        .backend("http://127.0.0.1:1")
        .config(&config)
        .start();
    let body = proxy.get("/x").text().len();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    let refused = client.read().text().len();
    drop(client);
    assert!(proxy.stop().success());
    let fields = folder.read("fields.log");
    let lines: Vec<Value> = fields
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        (&lines[0]["status"], &lines[0]["response_header.Retry-After"]),
        (&503.into(), &"1".into())
    );
    assert_eq!(lines[1]["status"], 400);
    assert!(
        lines
            .iter()
            .all(|line| line["response_header.Content-Type"].is_string()),
        "{fields}"
    );
    let combined = folder.read("combined.log");
    let mut lines = combined.lines();
    let mut next = || lines.next().expect("a line").to_owned();
    let first = next();
    assert!(
        first.contains(&format!("\"GET /x HTTP/1.1\" 503 {body} ")),
        "{first}"
    );
    let second = next();
    assert!(
        second.contains(&format!("\" 400 {refused} \"-\" \"-\"")),
        "{second}"
    );
}

#[test]
fn a_sample_leaves_out_successes_and_never_failures() {
    let backend = backend();
    let config = "retry: off\naccess_log: { sample: { 2xx: 0%, 4xx: 0% } }";
    let proxy = Proxy::before(&[&backend]).config(config).start();
    for _ in 0..20 {
        assert_eq!(proxy.get("/works").status(), 200);
        assert_eq!(proxy.get("/fails").status(), 500);
    }
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.read().status(), 400);
    proxy.wait_for_count(21, |line| line["msg"] == "Request completed");
    assert!(proxy.stop().success());
    let count = |status: u16| proxy.count_so_far(|line| line["status"] == status);
    assert_eq!((count(200), count(500), count(400)), (0, 20, 1));
}

#[test]
fn a_syslog_server_gets_a_message_per_request() {
    let folder = Folder::new("syslog");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let unix = UnixDatagram::bind(folder.path("log")).expect("a socket");
    unix.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let backend = backend();
    let config = format!(
        "access_log:\n  - {{ path: 'syslog:udp://{}' }}\n\
         \x20 - {{ path: 'syslog:unix:{}', fields: [path], facility: daemon, severity: notice }}",
        udp.local_addr().expect("an address"),
        folder.path("log"),
    );
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    for path in ["/one", "/%0atwo"] {
        assert_eq!(proxy.get(path).status(), 200);
        let (header, line) = receive_udp(&udp);
        assert_eq!(header[0], "<134>1");
        assert_eq!(header[1], line["time"].as_str().expect("a time"));
        assert_eq!(header[3], "evenkeel");
        assert_eq!(header[4], proxy.pid().as_raw_nonzero().to_string());
        assert_eq!(header[5..7], ["access", "-"]);
        assert_eq!((&line["path"], &line["status"]), (&path.into(), &200.into()));
        let mut buffer = [0; 4096];
        let length = unix.recv(&mut buffer).expect("a message comes in time");
        let (header, line) = parts(&buffer[..length]);
        assert_eq!(header[0], "<29>1");
        assert_eq!(line, serde_json::json!({ "path": path }));
    }
}

#[test]
fn a_syslog_server_that_is_away_costs_no_request_and_gets_what_comes_later() {
    let folder = Folder::new("away");
    let path = folder.path("log");
    let backend = backend();
    let config = format!("access_log: [stdout, {{ path: 'syslog:unix:{path}', fields: [path] }}]");
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    assert_eq!(proxy.get("/before").status(), 200);
    let mark = proxy.wait_for_line(|line| line["log"] == format!("syslog:unix:{path}"));
    assert_eq!(mark["msg"], "Could not write the log; retrying until it succeeds");
    assert_eq!(proxy.get("/away").status(), 200);
    let mut buffer = [0; 4096];
    // Twice, because a server that restarts makes a new socket.
    for expected in [["/before", "/away"].as_slice(), &["/again"]] {
        let unix = UnixDatagram::bind(&path).expect("a socket");
        unix.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        if expected == ["/again"] {
            assert_eq!(proxy.get("/again").status(), 200);
        }
        for expected in expected {
            let length = unix.recv(&mut buffer).expect("a message comes in time");
            assert_eq!(parts(&buffer[..length]).1["path"], *expected);
        }
        drop(unix);
        fs::remove_file(&path).expect("it is there");
    }
    let metrics = proxy.get_admin("/metrics").text();
    let dropped = format!("evenkeel_log_lines_dropped_total{{log=\"syslog:unix:{path}\"}} 0\n");
    assert!(metrics.contains(&dropped), "{metrics}");
}

#[test]
fn a_udp_server_that_is_away_does_not_count_as_writable() {
    let backend = backend();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = udp.local_addr().expect("an address");
    // A connected socket keeps the port from other tests, and refuses what others send.
    udp.connect("127.0.0.1:9").expect("it connects");
    let config = format!("access_log: [{{ path: 'syslog:udp://{address}' }}]\nworkers: 1");
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    let wait_for = |msg: &str| {
        wait_until(msg, || {
            assert_eq!(proxy.get("/").status(), 200);
            proxy.count_so_far(|line| line["msg"] == msg) > 0
        });
    };
    wait_for("Could not write the log; retrying until it succeeds");
    // A new socket: the refusal of the first line comes with the second.
    for _ in 0..2 {
        proxy.signal(Signal::USR1);
        std::thread::sleep(Duration::from_millis(1_200));
        assert_eq!(proxy.get("/").status(), 200);
    }
    let has_claimed = |line: &Value| {
        let msg = line["msg"].as_str().unwrap_or_default();
        msg.contains("again")
    };
    wait_until("a refusal is counted", || {
        assert_eq!(proxy.get("/").status(), 200);
        let metrics = proxy.get_admin("/metrics").text();
        let dropped = metrics
            .lines()
            .find(|line| line.starts_with("evenkeel_log_lines_dropped_total{log=\"syslog"));
        !dropped.expect("the sink has a counter").ends_with(" 0")
    });
    assert_eq!(proxy.count_so_far(has_claimed), 0, "nobody listens");
    drop(udp);
    let udp = UdpSocket::bind(address).expect("the port is free");
    udp.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    wait_for("Log is writable again");
    assert_eq!(receive_udp(&udp).1["status"], 200);
}
