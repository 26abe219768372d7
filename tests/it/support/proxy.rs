//! The balancer as a process: started with a config, observed through its log lines, stopped by a signal.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::DEADLINE;
use super::backend::Backend;
use super::client::{Client, Received};
use super::event::Log;

/// The unit in which the kernel counts memory, on the machines that run the tests.
const PAGE: usize = 4096;

/// A running balancer. When dropped, it is stopped and must exit with code 0 in time.
pub(crate) struct Proxy {
    pid: Pid,
    folder: PathBuf,
    events: Log<Event>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
}

/// An event of the process.
#[derive(Debug, Clone)]
enum Event {
    /// A line of the access log or the operations log.
    Line(Value),
    /// A line of stdout that is not a log line.
    Odd(String),
    /// A line of stderr.
    Message(String),
    /// Its exit.
    End(ExitStatus),
}

/// How to start a balancer.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    backends: Vec<String>,
    listener: String,
    config: String,
    program: Option<Vec<String>>,
    descriptors: Option<u32>,
    hosts: Option<PathBuf>,
    variables: Vec<(String, String)>,
    is_without_admin: bool,
    admin_token: Option<String>,
    admin_socket: Option<PathBuf>,
}

impl Proxy {
    /// A balancer with a listener and these backends, in the short form of the config.
    pub(crate) fn before(backends: &[&Backend]) -> Builder {
        let backends = backends.iter().map(|backend| backend.url()).collect();
        Builder {
            backends,
            ..Builder::default()
        }
    }

    /// Its listening address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its admin API.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("it was started with its admin API")
    }

    /// A new connection to it.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Requests `path` on a new connection.
    pub(crate) fn get(&self, path: &str) -> Received {
        self.client().get(path)
    }

    /// Requests `path` from its admin API.
    pub(crate) fn get_admin(&self, path: &str) -> Received {
        let address = self.admin();
        let mut client = Client::connect(address);
        // The admin API accepts only its own host names.
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
            .read()
    }

    /// Waits until its access log has at least `count` lines; returns all lines so far.
    pub(crate) fn access_lines(&self, count: usize) -> Vec<Value> {
        self.events.wait_for("lines of the access log", |all| {
            let lines: Vec<Value> = all
                .iter()
                .filter_map(Event::line)
                .filter(is_access)
                .cloned()
                .collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits for the access log line of a path that only one request of the test uses.
    pub(crate) fn access_line(&self, path: &str) -> Value {
        self.wait_for_line(|line| is_access(&line) && line["path"] == path)
    }

    /// Waits for a line of either log that `is_meant` accepts.
    pub(crate) fn wait_for_line(&self, is_meant: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_line_from(0, is_meant)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> usize {
        let path = format!("/proc/{}/statm", self.pid.as_raw_nonzero());
        let text = fs::read_to_string(path).expect("the process runs");
        let pages = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("the kernel counts pages") * PAGE
    }

    /// The number of lines of either log so far that `is_meant` accepts.
    pub(crate) fn count_so_far(&self, is_meant: impl Fn(&Value) -> bool) -> usize {
        let all = self.events.all();
        let lines = all.iter().filter_map(Event::line);
        lines.filter(|line| is_meant(line)).count()
    }

    /// Waits for this number of such lines; each worker writes its own lines at its own time.
    pub(crate) fn wait_for_count(&self, count: usize, is_meant: impl Fn(&Value) -> bool) {
        self.events.wait_for("so many lines", |all| {
            let lines = all.iter().filter_map(Event::line);
            (lines.filter(|line| is_meant(line)).count() >= count).then_some(())
        });
    }

    /// The current position in its events, for the methods that look at later lines.
    pub(crate) fn mark(&self) -> usize {
        self.events.all().len()
    }

    /// Waits for a line after `mark`. Fails at once if the process exits without it.
    pub(crate) fn wait_for_line_from(&self, mark: usize, is_meant: impl Fn(&Value) -> bool) -> Value {
        let found = self.events.wait_for("a log line", |all| {
            let mut lines = all.iter().skip(mark).filter_map(Event::line);
            match lines.find(|line| is_meant(line)) {
                Some(line) => Some(Some(line.clone())),
                None => all.iter().any(Event::is_end).then_some(None),
            }
        });
        found.unwrap_or_else(|| panic!("it ended before that line; {}", self.output()))
    }

    /// Waits for a line of the operations log after `mark` whose message begins like this, ignoring case.
    pub(crate) fn wait_for_message(&self, mark: usize, beginning: &str) -> Value {
        self.wait_for_line_from(mark, |line| begins(line, beginning))
    }

    /// Waits until a stop has reached all workers: the listener closes shortly after the signal. While it is open and
    /// does not accept, connects would hang.
    pub(crate) fn wait_until_refused(&self) {
        let start = evenkeel::internals::clock::now();
        loop {
            match TcpStream::connect_timeout(&self.address(), DEADLINE) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                outcome => assert!(start.elapsed() < DEADLINE, "it is still open: {outcome:?}"),
            }
        }
    }

    /// Waits for a line of stderr for which `find` returns a result.
    pub(crate) fn wait_for_stderr<R>(&self, find: impl Fn(&str) -> Option<R>) -> R {
        self.events.wait_for("a line on stderr", |all| {
            all.iter().find_map(|event| match event {
                Event::Message(line) => find(line),
                _ => None,
            })
        })
    }

    /// The stderr lines so far.
    pub(crate) fn messages(&self) -> Vec<String> {
        let all = self.events.all();
        let messages = all.iter().filter_map(|event| match event {
            Event::Message(line) => Some(line.clone()),
            _ => None,
        });
        messages.collect()
    }

    /// Replaces its config file, which it reads at the next reload.
    pub(crate) fn write_config(&self, config: &str) {
        fs::write(config_path(&self.folder), config).expect("the config can be written");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // After an exit the process id may belong to another process.
        assert!(
            !self.has_ended(),
            "it ended before the signal; {:#?}",
            self.events.all()
        );
        kill_process(self.pid, signal).expect("the process runs");
    }

    /// Stops it and waits for its exit.
    pub(crate) fn stop(&self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its exit.
    pub(crate) fn wait(&self) -> ExitStatus {
        self.events.wait_for("the end of the process", |all| {
            all.iter().find_map(|event| match event {
                Event::End(status) => Some(*status),
                _ => None,
            })
        })
    }

    /// Its output, for failure messages.
    fn output(&self) -> String {
        let all = self.events.all();
        let lines = all.iter().map(|event| match event {
            Event::Line(line) => format!("stdout: {line}\n"),
            Event::Odd(line) => format!("stdout: {line}\n"),
            Event::Message(line) => format!("stderr: {line}\n"),
            Event::End(status) => format!("{status}\n"),
        });
        format!("what it wrote:\n{}", lines.collect::<String>())
    }

    fn has_ended(&self) -> bool {
        self.events.all().iter().any(Event::is_end)
    }

    fn wait_for_address(&self, message: &str) -> SocketAddr {
        let line = self.wait_for_message(0, message);
        let address = line["address"].as_str().and_then(|text| text.parse().ok());
        address.unwrap_or_else(|| panic!("no address: {line}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
        if thread::panicking() {
            eprintln!("{}", self.output());
            if !self.has_ended() {
                kill_process(self.pid, Signal::KILL).ok();
            }
            return;
        }
        if !self.has_ended() {
            // It may have ended by itself just now, after a test that let it stop.
            match kill_process(self.pid, Signal::TERM) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => panic!("cannot stop the process: {error}"),
            }
            let status = self.wait();
            assert!(status.success(), "ended with {status}; {}", self.output());
        }
        let all = self.events.all();
        let odd = all.iter().find_map(|event| match event {
            Event::Odd(line) => Some(line),
            _ => None,
        });
        assert!(odd.is_none(), "not a log line: {odd:?}");
    }
}

impl Event {
    fn line(&self) -> Option<&Value> {
        match self {
            Self::Line(line) => Some(line),
            _ => None,
        }
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::End(_))
    }
}

impl Builder {
    /// Adds lines to the config; the top-level keys `listeners`, `admin` and `backends` exist already.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Adds these keys to its listener.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.listener);
        self
    }

    /// Adds a backend by its URL.
    pub(crate) fn backend(mut self, url: &str) -> Self {
        self.backends.push(url.to_owned());
        self
    }

    /// Turns the admin API off.
    pub(crate) fn without_admin(mut self) -> Self {
        self.is_without_admin = true;
        self
    }

    /// Gives the admin API a token. Reads of the admin API by [`Proxy`] do not send it.
    pub(crate) fn admin_token(mut self, token: &str) -> Self {
        self.admin_token = Some(token.to_owned());
        self
    }

    /// Puts the admin API on this Unix socket. [`Proxy::admin`] has no address then.
    pub(crate) fn admin_socket(mut self, path: &Path) -> Self {
        self.admin_socket = Some(path.to_owned());
        self
    }

    /// Limits its file descriptors.
    pub(crate) fn descriptors(mut self, limit: u32) -> Self {
        self.descriptors = Some(limit);
        self
    }

    /// Makes this file its `/etc/hosts`, in a mount namespace of its own.
    pub(crate) fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts another program, or another command, in place of `run` with the config.
    pub(crate) fn program(mut self, words: &[&str]) -> Self {
        self.program = Some(words.iter().map(|&word| word.to_owned()).collect());
        self
    }

    /// The config that it starts with.
    pub(crate) fn text(&self) -> String {
        let admin = match &self.admin_token {
            _ if self.is_without_admin => "off".to_owned(),
            Some(token) => format!("{{ address: '127.0.0.1:0', token: {token} }}"),
            None => match &self.admin_socket {
                Some(path) => format!("unix:{}", path.display()),
                None => "127.0.0.1:0".to_owned(),
            },
        };
        let listen = match self.listener.as_str() {
            "" => "listen: 127.0.0.1:0".to_owned(),
            keys => format!("listeners: [{{ address: 127.0.0.1:0, {keys} }}]"),
        };
        let mut text = format!("{listen}\nadmin: {admin}\n");
        if !self.backends.is_empty() {
            text.push_str("backends:\n");
        }
        for url in &self.backends {
            writeln!(text, "  - {url}").expect("a string takes all");
        }
        text + &self.config
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Proxy {
        let text = self.text();
        self.start_with(&text)
    }

    /// The same with this config.
    pub(crate) fn start_with(self, config: &str) -> Proxy {
        let folder = new_folder();
        fs::write(config_path(&folder), config).expect("the config can be written");
        let path = config_path(&folder).to_string_lossy().into_owned();
        let balancer = [env!("CARGO_BIN_EXE_evenkeel"), "run", "-c", &path].map(str::to_owned);
        let mut words = self.program.unwrap_or_else(|| balancer.to_vec());
        if let Some(limit) = self.descriptors {
            let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
            words.splice(..0, ["sh".to_owned(), "-c".to_owned(), script]);
        }
        if let Some(hosts) = &self.hosts {
            let script = format!(
                "mount --bind '{}' /etc/hosts && exec \"$0\" \"$@\"",
                hosts.display()
            );
            words.splice(..0, ["unshare", "-rm", "sh", "-c", &script].map(str::to_owned));
        }
        let child = Command::new(&words[0])
            .args(&words[1..])
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let events = Log::default();
        follow(child, &events);
        let mut proxy = Proxy {
            pid: pid.expect("a child has an id"),
            folder,
            events,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: None,
        };
        proxy.address = proxy.wait_for_address("Listening");
        if self.admin_socket.is_some() {
            proxy.wait_for_message(0, "Admin API listening");
        } else if !self.is_without_admin {
            proxy.admin = Some(proxy.wait_for_address("Admin API listening"));
        }
        proxy
    }
}

/// Turns the output of the process into events. Its exit comes last, after all output.
fn follow(mut child: Child, events: &Log<Event>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let its = events.clone();
    let messages = thread::spawn(move || for_each_line(stderr, |line| its.push(Event::Message(line))));
    let its = events.clone();
    thread::spawn(move || {
        for_each_line(stdout, |line| its.push(log_line(line)));
        drop(messages.join());
        its.push(Event::End(child.wait().expect("a child can be waited for")));
    });
}

fn for_each_line(stream: Option<impl Read>, act: impl Fn(String)) {
    let lines = stream.map(|stream| BufReader::new(stream).lines());
    // A line that is not UTF-8 is no log line either.
    lines
        .into_iter()
        .flatten()
        .for_each(|line| act(line.unwrap_or_default()));
}

fn log_line(text: String) -> Event {
    match serde_json::from_str(&text) {
        Ok(line @ Value::Object(_)) => Event::Line(line),
        _ => Event::Odd(text),
    }
}

fn begins(line: &Value, beginning: &str) -> bool {
    let message = line["msg"].as_str().unwrap_or_default();
    message.to_lowercase().starts_with(&beginning.to_lowercase())
}

fn is_access(line: &&Value) -> bool {
    line["msg"] == "Request completed"
}

fn config_path(folder: &Path) -> PathBuf {
    folder.join("evenkeel.yaml")
}

/// A folder for this test only.
fn new_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("evenkeel-it-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENS: &str = r#"echo '{"msg":"Listening","address":"127.0.0.1:9"}'; "#;

    /// Runs until a signal arrives, and checks for signals all the time.
    const RUNS: &str = "while :; do :; done";

    fn start(script: &str) -> Proxy {
        let script = format!("{LISTENS}{script}");
        let before = Proxy::before(&[]).without_admin();
        before.program(&["sh", "-c", &script]).start()
    }

    #[test]
    fn writes_the_short_form_of_the_config() {
        let text = Proxy::before(&[])
            .backend("http://a:1")
            .config("workers: 1")
            .text();
        assert_eq!(
            text,
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nbackends:\n  - http://a:1\nworkers: 1\n"
        );
    }

    #[test]
    fn waits_for_lines_and_a_clean_end() {
        let line = r#"echo '{"msg":"Request completed","path":"/a"}'"#;
        let proxy = start(&format!("trap 'exit 0' TERM; {line}; {RUNS}"));
        assert_eq!(proxy.address().port(), 9);
        assert_eq!(proxy.access_line("/a")["path"], "/a");
        assert_eq!(proxy.access_lines(1).len(), 1);
        assert!(proxy.stop().success());
    }

    #[test]
    #[should_panic(expected = "it ended before that line")]
    fn does_not_wait_for_a_process_that_ended() {
        let proxy = start("exit 1");
        proxy.wait_for_line(|line| line["msg"] == "never");
    }

    #[test]
    #[should_panic(expected = "ended with")]
    fn accepts_only_a_clean_exit() {
        drop(start(RUNS));
    }

    #[test]
    #[should_panic(expected = "not a log line")]
    fn accepts_only_log_lines_on_stdout() {
        let proxy = start("echo hello");
        proxy.wait();
    }
}
