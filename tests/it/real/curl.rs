//! curl, with the options that people use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::backend::{self as program_backend, Kind};
use super::catalogue::{self, pattern};
use super::program::{command, find, run};
use super::traffic;
use crate::support::{Backend, Gate, Proxy, Response};

/// curl with a balancer in front of one backend.
struct Curl {
    program: PathBuf,
    proxy: Proxy,
    backend: Backend,
}

impl Curl {
    /// Prints a message and returns `None` if curl is not installed.
    fn before(backend: Backend) -> Option<Self> {
        let program = find("curl")?;
        let proxy = Proxy::before(&[&backend]).start();
        Some(Self {
            program,
            proxy,
            backend,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.address())
    }

    /// Its output with these arguments.
    fn run(&self, arguments: &[&str]) -> String {
        let all = [&["-q", "-sS", "--max-time", "30"], arguments].concat();
        run(&self.program, &all)
    }

    /// Status, length and HTTP version of the response for one path.
    fn brief(&self, arguments: &[&str], path: &str) -> String {
        let format = "%{http_code} %{size_download} %{http_version}";
        let url = self.url(path);
        self.run(&[arguments, &["-o", "/dev/null", "-w", format, &url]].concat())
    }
}

/// A file with the bytes of a body, deleted when dropped.
struct Upload(PathBuf);

impl Upload {
    fn new(name: &str, length: usize) -> Self {
        let name = format!("curl-{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, pattern(length)).expect("a file can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[test]
fn curl_sends_get_and_head_in_both_versions() {
    let Some(curl) = Curl::before(catalogue::start()) else {
        return;
    };
    assert_eq!(curl.brief(&[], "/bytes/1000"), "200 1000 1.1");
    assert_eq!(curl.brief(&["--http1.0"], "/bytes/1000"), "200 1000 1.1");
    assert_eq!(curl.brief(&["--http1.0"], "/chunked/50000"), "200 50000 1.1");
    assert_eq!(curl.brief(&[], "/chunked/50000"), "200 50000 1.1");
    assert_eq!(curl.brief(&["-L"], "/redirect"), "200 10 1.1");
    assert_eq!(curl.brief(&["-I"], "/bytes/1000"), "200 0 1.1");
    let head = curl.run(&["-I", &curl.url("/bytes/1000")]);
    assert!(head.contains("1000"), "{head}");
    traffic::expect_lines(&curl.proxy, 8);
}

#[test]
fn curl_decodes_what_was_compressed_and_shows_error_pages() {
    let text = |status: &str, body: &str| {
        let length = body.len();
        Response::raw(format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    let backend = Backend::start(move |request| match request.start() {
        start if start.starts_with("GET /long") => text("200 OK", &"abc ".repeat(5_000)),
        start if start.starts_with("GET /sorry") => text("200 OK", "<h1>Sorry</h1>"),
        _ => text("404 Not Found", "internal"),
    });
    let Some(program) = find("curl") else { return };
    let proxy = Proxy::before(&[&backend])
        .config(
            "routes: [{ pool: default, policies: [{ compress: {} }, \
             { error_pages: { 404: { pool: default, path: /sorry.html }, intercept: true } }] }]",
        )
        .start();
    let curl = Curl {
        program,
        proxy,
        backend,
    };
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(
            curl.run(&[version, "--compressed", &curl.url("/long")]),
            "abc ".repeat(5_000)
        );
        let size = curl.run(&[
            version,
            "-H",
            "Accept-Encoding: gzip",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &curl.url("/long"),
        ]);
        assert!(
            size.parse::<usize>().expect("a number") < 1_000,
            "{version}: {size}"
        );
        let page = [
            "-H",
            "Accept: text/html",
            "-w",
            " %{http_code}",
            &curl.url("/none"),
        ];
        assert_eq!(curl.run(&[&[version], &page[..]].concat()), "<h1>Sorry</h1> 404");
        assert_eq!(curl.run(&[version, &curl.url("/none")]), "internal");
    }
}

#[test]
fn curl_uses_one_connection_for_many_urls() {
    let Some(curl) = Curl::before(catalogue::start()) else {
        return;
    };
    let urls = curl.url("/bytes/[1-50]");
    let connects = curl.run(&[
        "-w",
        "%{stderr}%{stdout}%{num_connects}\n",
        "-o",
        "/dev/null",
        &urls,
    ]);
    let fresh: Vec<&str> = connects.lines().filter(|&count| count != "0").collect();
    assert_eq!((connects.lines().count(), fresh), (50, vec!["1"]), "{connects}");
}

#[test]
fn curl_uploads_with_a_length_and_in_chunks() {
    let Some(curl) = Curl::before(catalogue::start()) else {
        return;
    };
    let upload = Upload::new("upload", 3 << 20);
    let data = format!("@{}", upload.path());
    let length = "200 3145728 1.1";
    assert_eq!(curl.brief(&["--data-binary", &data], "/echo"), length);
    assert_eq!(curl.brief(&["-T", upload.path()], "/echo"), length);
    let chunked = ["-H", "Transfer-Encoding: chunked", "-T", upload.path()];
    assert_eq!(curl.brief(&chunked, "/echo"), length);
    let requests = curl
        .backend
        .requests(|request| request.start().ends_with("/echo"));
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.body == pattern(3 << 20)));
    assert_eq!(requests[2].field("transfer-encoding"), Some("chunked"));
    traffic::expect_lines(&curl.proxy, 3);
}

#[test]
fn curl_uploads_what_it_reads() {
    let Some(curl) = Curl::before(catalogue::start()) else {
        return;
    };
    let upload = Upload::new("stdin", 100_000);
    let file = fs::File::open(&upload.0).expect("the file is there");
    let output = command(&curl.program)
        .args(["-q", "-sS", "--max-time", "30", "-T", "-", &curl.url("/echo")])
        .stdin(Stdio::from(file))
        .output()
        .expect("curl starts");
    assert!(output.stdout == pattern(100_000), "{output:?}");
}

#[test]
fn curl_waits_for_the_100_of_a_backend_before_a_large_body() {
    for kind in [Kind::Node, Kind::Aiohttp, Kind::GunicornThreads] {
        let (Some(curl), Some(backend)) = (find("curl"), program_backend::Backend::start(kind)) else {
            return;
        };
        let proxy = Proxy::before(&[]).backend(&backend.url()).start();
        let upload = Upload::new("expect", 2 << 20);
        let data = format!("@{}", upload.path());
        // curl would send the body without a 100 after 20 s, which is after its time limit.
        let waits = [
            "-q",
            "-sS",
            "-v",
            "--stderr",
            "-",
            "--max-time",
            "15",
            "--expect100-timeout",
            "20",
        ];
        let sends = [
            "-H",
            "Expect: 100-continue",
            "--data-binary",
            &data,
            "-o",
            "/dev/null",
        ];
        let url = format!("http://{}/echo", proxy.address());
        let told = run(
            &curl,
            &[&waits[..], &sends, &["-w", "%{size_download}", &url]].concat(),
        );
        assert!(told.contains("< HTTP/1.1 100"), "{kind:?}: {told}");
        assert!(told.contains("< HTTP/1.1 200"), "{kind:?}: {told}");
        assert!(told.ends_with("2097152"), "{kind:?}: {told}");
    }
}

#[test]
fn curl_requests_ranges_and_encodings() {
    // `hello` in gzip, without compression.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x05\0\xfa\xffhello\x86\xa6\x10\x36\x05\0\0\0";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        gzip.len()
    );
    let backend = Backend::start(move |request| match request.field("range") {
        Some(_) => Response::raw(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-2/5\r\nContent-Length: 2\r\n\r\nel",
        ),
        None => Response::raw(&head).send(gzip),
    });
    let Some(curl) = Curl::before(backend) else { return };
    assert_eq!(curl.run(&["--compressed", &curl.url("/x")]), "hello");
    assert_eq!(
        curl.run(&["-r", "1-2", "-w", " %{http_code}", &curl.url("/x")]),
        "el 206"
    );
    let ranges = curl
        .backend
        .requests(|request| request.field("range") == Some("bytes=1-2"));
    assert_eq!(ranges.len(), 1);
}

#[test]
fn curl_receives_a_stream_while_it_is_sent() {
    let gate = Gate::default();
    let backend = Backend::start({
        let gate = gate.clone();
        move |request| {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            match request.start() {
                "GET /events" => Response::raw(head)
                    .send("9\r\ndata: 1\n\n\r\n")
                    .wait(&gate)
                    .send("9\r\ndata: 2\n\n\r\n0\r\n\r\n"),
                _ => Response::ok(""),
            }
        }
    });
    let Some(curl) = Curl::before(backend) else { return };
    let mut child = command(&curl.program)
        .args(["-q", "-sS", "-N", "--max-time", "30", &curl.url("/events")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut stdout = child.stdout.take().expect("its output is a pipe");
    let mut first = [0; 9];
    std::io::Read::read_exact(&mut stdout, &mut first)
        .expect("the first event comes before the second is sent");
    assert_eq!(&first, b"data: 1\n\n");
    gate.open();
    let rest = std::io::read_to_string(stdout).expect("the rest comes");
    assert_eq!(rest, "data: 2\n\n");
    assert!(child.wait().is_ok_and(|status| status.success()));
}
