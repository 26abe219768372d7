//! PROXY headers and Unix sockets with other programs: curl and HAProxy in front of the balancer, nginx behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;

use super::backend::{Backend as Program, Kind, Port};
use super::program::{command, find, run};
use crate::support::{Backend, Builder, Client, DEADLINE, Proxy};

const QUIET: &str = "health_check: { kind: none }";

/// A folder for sockets and certificates, with a short path, deleted when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Writes a certificate for `localhost` and its key; returns the listener's TLS config for them.
    fn tls(&self) -> String {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (cert, key) = (self.file("cert.pem"), self.file("key.pem"));
        fs::write(&cert, issued.cert.pem()).expect("a file can be written");
        fs::write(&key, issued.signing_key.serialize_pem()).expect("a file can be written");
        format!("tls: {{ certificates: [{{ cert: '{cert}', key: '{key}' }}] }}")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn curl(program: &Path, arguments: &[&str]) -> String {
    run(
        program,
        &[&["-q", "-sS", "-k", "--max-time", "30"], arguments].concat(),
    )
}

fn listeners(entries: &[String]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|entry| format!("  - {{ {entry} }}\n"))
        .collect();
    format!("listeners:\n{}trusted_proxies: [127.0.0.0/8]", entries.concat())
}

/// HTTP/1.0, HTTP/1.1 and HTTP/2 over every kind of socket, with and without a PROXY header.
#[test]
fn curl_uses_proxy_headers_and_unix_sockets() {
    let Some(program) = find("curl") else { return };
    let (folder, backend) = (Folder::new("curl"), Backend::saying("hello"));
    let (plain, proxied) = (folder.file("plain"), folder.file("proxied"));
    let tls = folder.tls();
    let config = listeners(&[
        format!("address: 'unix:{plain}'"),
        format!("address: 'unix:{proxied}', proxy_protocol: true"),
        format!("address: 'unix:{plain}-tls', {tls}"),
        format!("address: 'unix:{proxied}-tls', proxy_protocol: true, {tls}"),
    ]);
    let proxy = Proxy::before(&[&backend]).config(QUIET).config(&config);
    let proxy = proxy.start();
    for (number, versions) in ["--http1.1", "--http2-prior-knowledge", "--http2"]
        .iter()
        .enumerate()
    {
        for tls in [false, true] {
            if matches!(
                (*versions, tls),
                ("--http2-prior-knowledge", true) | ("--http2", false)
            ) {
                continue;
            }
            let (suffix, scheme) = if tls { ("-tls", "https") } else { ("", "http") };
            for (name, option) in [("plain", None), ("proxied", Some("--haproxy-protocol"))] {
                let path = format!("/{name}-{number}-{tls}");
                let socket = folder.file(&format!("{name}{suffix}"));
                let url = format!("{scheme}://localhost{path}");
                let mut arguments = vec![*versions, "--unix-socket", &socket, &url];
                arguments.extend(option);
                assert_eq!(curl(&program, &arguments), "hello", "{arguments:?}");
                assert_eq!(proxy.access_line(&path)["client_ip"], "unix:", "{arguments:?}");
            }
        }
    }
}

#[test]
fn curl_sends_a_proxy_header_before_tls_with_both_protocols() {
    let Some(program) = find("curl") else { return };
    let (folder, backend) = (Folder::new("named"), Backend::saying("hello"));
    for (keys, scheme) in [(String::new(), "http"), (format!(", {}", folder.tls()), "https")] {
        let keys = format!("proxy_protocol: true{keys}");
        let proxy = Proxy::before(&[&backend])
            .config(QUIET)
            .config("trusted_proxies: [127.0.0.0/8]")
            .listener(&keys)
            .start();
        for version in ["--http1.1", "--http2", "--http2-prior-knowledge"] {
            if version == "--http2" && scheme == "http" {
                continue;
            }
            let path = format!("/{}{version}", scheme);
            let url = format!("{scheme}://{}{path}", proxy.address());
            let format = " %{local_ip}:%{local_port}";
            let got = curl(&program, &[version, "--haproxy-protocol", "-w", format, &url]);
            let own = proxy.access_line(&path)["client_ip"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            assert_eq!(got, format!("hello {own}"));
        }
    }
}

/// HAProxy as a TCP load balancer in front. It stops when dropped.
struct Haproxy {
    child: Child,
    ports: Vec<Port>,
}

impl Haproxy {
    /// Starts one that forwards to these servers, each from a port of its own.
    fn before(program: &Path, folder: &Folder, servers: &[String]) -> Self {
        let ports: Vec<Port> = servers.iter().map(|_| Port::reserve()).collect();
        let mut config =
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 30s\n timeout server 30s\n"
                .to_owned();
        for (port, server) in ports.iter().zip(servers) {
            let number = port.number;
            config += &format!("listen l{number}\n bind 127.0.0.1:{number}\n server s {server}\n");
        }
        let file = folder.file("haproxy.cfg");
        fs::write(&file, config).expect("a file can be written");
        let child = command(program)
            .args(["-db", "-f", &file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self { child, ports }
    }

    /// A connection to one of its ports, once it listens. HAProxy connects to the balancer only when it gets a
    /// connection.
    fn client(&mut self, index: usize) -> Client {
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports[index].number));
        let began = clock::now();
        while std::net::TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(
                ended.is_none() && began.elapsed() < DEADLINE,
                "it does not listen: {ended:?}"
            );
            thread::park_timeout(Duration::from_millis(5));
        }
        Client::connect(address)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn haproxy_in_front_names_the_client() {
    let Some(program) = find("haproxy") else { return };
    let (folder, backend) = (Folder::new("haproxy"), Backend::saying("hello"));
    let socket = folder.file("socket");
    let config = format!("listeners: [{{ address: 'unix:{socket}', proxy_protocol: true }}]");
    let proxy = Proxy::before(&[&backend])
        .config(QUIET)
        .config("trusted_proxies: [127.0.0.0/8]")
        .config(&config);
    // Only through the Unix socket: the TCP listener accepts plain requests.
    let proxy = proxy.start();
    let ways = [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
    ];
    let servers: Vec<String> = ways.iter().map(|way| format!("unix@{socket} {way}")).collect();
    let mut haproxy = Haproxy::before(&program, &folder, &servers);
    for (index, way) in ways.iter().enumerate() {
        let mut client = haproxy.client(index);
        for turn in 0..2 {
            let path = format!("/{index}-{turn}");
            assert_eq!(client.get(&path).text(), "hello", "{path}");
            let line = proxy.access_line(&path);
            assert_eq!(line["client_ip"], client.address().to_string(), "{way}");
        }
    }
}

/// A pool with this backend that sends PROXY headers.
fn pool(url: &str, version: &str) -> Builder {
    let pool =
        format!("pools: {{ a: {{ backends: ['{url}'], send_proxy: {version} }} }}\nroutes: [{{ pool: a }}]");
    // With probes, whose headers nginx must accept too.
    let check = "health_check: { interval: 200ms, healthy_after: 1, unhealthy_after: 1 }";
    Proxy::before(&[]).config(&pool).config(check)
}

#[test]
fn nginx_as_backend_receives_the_client() {
    let Some(nginx) = Program::start(Kind::Nginx) else {
        return;
    };
    let url = format!("unix:{}", nginx.socket("proxied").display());
    for version in ["v1", "v2"] {
        let proxy = pool(&url, version).start();
        let mut client = proxy.client();
        for _ in 0..2 {
            let own = client.address();
            let response = client.get("/client");
            assert_eq!(
                (response.status(), response.text()),
                (200, format!("{} {}", own.ip(), own.port())),
                "{version}"
            );
        }
        let began = clock::now();
        while !proxy.get_admin("/api/v1/status").text().contains("\"up\"") {
            assert!(began.elapsed() < DEADLINE, "nginx does not respond to the probe");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
    let proxy = pool(&url, "off").start();
    assert_ne!(
        proxy.get("/client").status(),
        200,
        "nginx takes no request without a header"
    );
}

#[test]
fn nginx_serves_files_through_a_unix_socket() {
    let Some(nginx) = Program::start(Kind::Nginx) else {
        return;
    };
    nginx.write_file(100_000);
    let url = format!("unix:{}", nginx.socket("plain").display());
    let proxy = Proxy::before(&[]).backend(&url).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/bytes/100000");
        assert_eq!(response.body, super::catalogue::pattern(100_000));
    }
}

/// The header comes before TLS, whichever protocol ALPN selects.
#[test]
fn a_tls_backend_receives_the_client() {
    let (folder, backend) = (Folder::new("behind"), Backend::saying("hello"));
    let tls = folder.tls();
    for http2 in [false, true] {
        let inner = Proxy::before(&[&backend])
            .config(QUIET)
            .config("trusted_proxies: [127.0.0.0/8]")
            .listener(&format!("http2: {http2}, proxy_protocol: true, {tls}"))
            .start();
        let outer = format!(
            "pools: {{ a: {{ backends: ['https://{}'], send_proxy: v2, tls: {{ danger_skip_verify: true }} }} }}\n\
             routes: [{{ pool: a }}]\nworkers: 1",
            inner.address()
        );
        let outer = Proxy::before(&[]).config(QUIET).config(&outer);
        let outer = outer
            .config("trusted_proxies: [127.0.0.0/8]")
            .listener("proxy_protocol: true")
            .start();
        let mut clients = [outer.client(), outer.client()];
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("PROXY TCP4 192.0.2.{number} 192.0.2.99 {number} 80\r\n"));
        }
        for turn in 0..2 {
            for (number, client) in clients.iter_mut().enumerate() {
                let path = format!("/{http2}-{turn}-{number}");
                assert_eq!(client.get(&path).text(), "hello", "{path}");
                let line = inner.access_line(&path);
                assert_eq!(line["client_ip"], format!("192.0.2.{number}:{number}"), "{path}");
                let protocol = if http2 { "HTTP/2.0" } else { "HTTP/1.1" };
                assert_eq!(line["protocol"], protocol);
            }
        }
    }
}
